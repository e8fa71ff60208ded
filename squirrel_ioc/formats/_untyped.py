"""What the readers of formats without types have in common: repeated PVs, and the types of the machine at the end."""

from __future__ import annotations

from squirrel_ioc.formats._frame_columns import Cell, Columns
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses, Problems
from squirrel_ioc.formats._protocol import ReadOptions
from squirrel_ioc.formats.retype import retype
from squirrel_ioc.model.frame import Frame

__all__ = ["ValueRows"]


class ValueRows:
    """The rows of a file of values, with the line each came from.

    A PV that is given twice with the same text is taken once, with a warning: request files that overlap make such
    files. With two different values the file is wrong; or, with `last_wins`, the last one is taken.
    """

    def __init__(self, file: str, problems: Problems, options: ReadOptions, *, last_wins: bool = False) -> None:
        self.columns = Columns()
        self.warnings = Losses()
        self._file = file
        self._problems = problems
        self._options = options
        self._seen: dict[str, tuple[int, str]] = {}
        self._commented: dict[str, int] = {}
        self._last_wins = last_wins
        self._row: dict[str, int] = {}

    def comment(self, name: str, line: int) -> None:
        """A line that is commented out: its PV has no value, unless another line gives it one."""
        if name not in self._seen and name_problem(name) is None:
            self._check_count(line)
            self._seen[name] = (line, "")
            self._commented[name] = len(self.columns)
            self.columns.add_missing(name)

    def put(self, name: str, cell: Cell) -> None:
        """Add the value of a new PV."""
        row = self._commented.pop(name, self._row.get(name))
        if row is None:
            self._row[name] = len(self.columns)
            self.columns.add(name, cell)
        else:
            self._row[name] = row
            self.columns.fill(row, cell)

    def new(self, name: str, line: int, text: str) -> bool:
        """Whether a PV is to be added; `text` is its value as the file has it."""
        if name in self._commented:
            self._seen[name] = (line, text)
            return True
        if name in self._seen:
            first, before = self._seen[name]
            if self._last_wins and before != text:
                self.warnings.add("given again, the last value is taken", name)
                self._seen[name] = (line, text)
                return True
            if before == text:
                self.warnings.add("given twice with the same value", name)
            else:
                self._problems.add(self._file, line, f"{name} is given again, with another value than in line {first}")
            return False
        if (problem := name_problem(name)) is not None:
            self._problems.add(self._file, line, problem)
            return False
        self._check_count(line)
        self._seen[name] = (line, text)
        return True

    def _check_count(self, line: int) -> None:
        if len(self._seen) >= self._options.limits.rows:
            self._problems.fatal(self._file, line, f"more than {self._options.limits.rows} PVs")
        if self.columns.value_bytes > self._options.limits.value_bytes:
            self._problems.fatal(self._file, line, f"more than {self._options.limits.value_bytes} bytes of values")

    def line_of(self, name: str) -> int:
        """The line a PV was given in."""
        return self._seen[name][0]

    def frame(self, *, typed: bool = False, as_shown: bool = False) -> Frame:
        """The values, with the types of the machine where those are known. Raises FormatError if anything was wrong."""
        self._problems.check()
        if not self.columns.names:
            self._problems.fatal(self._file, None, "holds no PV")
        frame = self.columns.frame()
        if typed or not self._options.live:
            return frame
        frame, wrong = retype(frame, self._options.live, as_shown=as_shown)
        limit = self._options.limits.problems
        for row, reason in list(wrong.items())[:limit]:
            name = frame.channels.names[row]
            self.warnings.note(f"line {self.line_of(name)}: {name}: {reason}; kept as it is in the file")
        if len(wrong) > limit:
            self.warnings.note(f"{len(wrong) - limit} more values do not fit their PV; kept as they are in the file")
        return frame
