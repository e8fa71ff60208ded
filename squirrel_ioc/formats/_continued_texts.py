"""Texts with a raw line end in them, told apart from lines with PVs.

A text that was written as it is goes on in the next line, and what stands there looks like a PV: of `first part`, line
end, `second part` it is a PV `second`. A line is taken for the rest of the text above it when

- it is none that the format has, or its name can be none of a PV; or
- its name is an ordinary word, its value a text, and all other names of the file have a `:`, `.`, `_`, `-` or a digit;

and the text with it is not longer than its PV can hold. Each such line is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass

from squirrel_ioc.formats._frame_columns import Cell
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Problems
from squirrel_ioc.formats._untyped import ValueRows
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import STRING_SIZE, Dbf

__all__ = ["Continued", "Text", "is_plain"]

_SEPARATOR = re.compile(r"\w[:._\-]\w|\d")
_WORD = re.compile(r"\W*[A-Za-z][a-z]*\W*")
_LONGEST = 65536  # bytes that are parsed again with every line
_MOST_TOLD = 100


def is_plain(name: str, is_text: Callable[[], bool], *, first: bool) -> bool:
    """Whether a line, in a first look at a file, shows that its PVs may have names without separators.

    `is_text`: whether its value is one; `first`: nothing stands above it that it could be the rest of.
    """
    if _SEPARATOR.search(name) is not None or name_problem(canonical(name)) is not None:
        return False
    return first or _WORD.fullmatch(name) is None or not is_text()


@dataclass
class Text:
    """A PV whose value may go on in the lines that follow.

    `parse` makes a value of a longer text, or raises ValueError. `problem`: as it stands, it is no value.
    """

    name: str
    line: int
    value: str
    parse: Callable[[str], Cell]
    problem: str = ""


class Continued:
    """Looks at each line whether it is the rest of the text above it."""

    def __init__(self, file: str, rows: ValueRows, problems: Problems, known: Container[str], *, plain: bool) -> None:
        self._file = file
        self._rows = rows
        self._problems = problems
        self._known = known
        self._plain = plain
        self._text: Text | None = None
        self._blank = self._told = 0

    def follows(self, text: Text | None) -> None:
        """What is above the next line; None where that is no text."""
        if self._text is not None and self._text.problem:
            self._problems.add(self._file, self._text.line, f"{self._text.name}: {self._text.problem}")
        self._text, self._blank = text, 0

    def blank(self) -> None:
        """An empty line, which counts when the text goes on after it."""
        self._blank += 1

    def takes(self, number: int, line: str, name: str | None, is_text: Callable[[], bool] = lambda: True) -> bool:
        """Whether this line is the rest of the text above; it is added to it then.

        `name` is the PV of the line, None where it cannot have one; `is_text` says whether its value would be a text.
        """
        above = self._text
        if above is None or not (name is None or (self._is_prose(name) and is_text())):
            return False
        longer = "\n".join([above.value, *[""] * self._blank, line])
        if len(longer) > _LONGEST:
            return False
        try:
            cell = above.parse(longer)
        except ValueError:
            if not above.problem:
                return False
        else:
            if cell.meta.dbf is Dbf.STRING and cell.size == 1 and len(cell.raw or b"") >= STRING_SIZE:
                return False
            self._rows.put(above.name, cell)
            above.problem = ""
        above.value, self._blank = longer, 0
        self.tell(number, f"is no PV, but the rest of the text of {above.name}, which has a line end in it", above.name)
        return True

    def tell(self, number: int, what: str, name: str) -> None:
        """Warn of a line; when there are many, of the PVs only."""
        self._told += 1
        if self._told > _MOST_TOLD:
            self._rows.warnings.add("a text with a line end in it", name)
        else:
            self._rows.warnings.note(f"line {number} {what}")

    def _is_prose(self, name: str) -> bool:
        if "$" in name or name in self._known:
            return False
        if name_problem(canonical(name)) is not None:
            return True
        return not self._plain and _SEPARATOR.search(name) is None and _WORD.fullmatch(name) is not None
