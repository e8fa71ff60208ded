"""Snapshots of Phoebus as CSV.

Source: as in `phoebus`.

Columns `PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ_ONLY`. A time stamp
is `seconds.nanoseconds`, without leading zeros: `12.5` is 5 ns after 12 s. STATUS is one of eight classes of alarm
(`_STATUS`). Values stand in quotes, and quotes in them are not escaped: see `phoebus.values`. A readback's value has
the type of the setpoint's; it has no time and no alarm.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from squirrel_ioc.formats._frame_columns import Cell
from squirrel_ioc.formats._lines import open_regular, read_lines
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Problems
from squirrel_ioc.formats._protocol import ReadOptions, SnapshotFile
from squirrel_ioc.formats._untyped import ValueRows
from squirrel_ioc.formats.phoebus.header import Header
from squirrel_ioc.formats.phoebus.values import COLUMNS, is_missing, parse
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import State

__all__ = ["read"]

_MOST_LINES = 100
_LONGEST = 65536  # bytes that are parsed again with every line
_STAMP = re.compile(r"(-?\d{1,11})\.(\d{1,9})")
_SEVERITY = {"NONE": 0, "MINOR": 1, "MAJOR": 2, "INVALID": 3, "UNDEFINED": 3, "": 0}
_STATUS = {
    "": 0,
    "NONE": 0,
    "DEVICE": 11,
    "DRIVER": 9,
    "RECORD": 7,
    "DB": 14,
    "CONF": 16,
    "UNDEFINED": 17,
    "CLIENT": 20,
}
"""A CA alarm status (alarm.h) of each class."""


class _Cells(NamedTuple):
    """The columns that are read, by their names."""

    pv: str
    timestamp: str
    status: str
    severity: str
    value_type: str
    value: str
    readback: str
    readback_value: str
    read_only: str


def read(path: Path, options: ReadOptions, origin: str) -> SnapshotFile:
    """The values of a snapshot. Raises FormatError."""
    problems = Problems(options.limits.problems)
    with open_regular(path, path.name, options.limits) as file:
        lines = read_lines(file, path.name, problems, options.limits, options.encoding)
        header = Header(path.name, problems)
        columns = header.read(lines)
        reader = _Reader(path.name, problems, options)
        reader.read(columns, lines)
    frame = reader.frame()
    try:
        taken = header.date
    except ValueError:
        taken = None
        reader.rows.warnings.note(f"the date {header.first('Date:')!r} of its header is none")
    return SnapshotFile(
        frame,
        title=header.first("Snapshot name:") or path.stem,
        comment=header.description,
        labels=header.labels,
        taken=taken,
        user=header.first("Creator:"),
        origin=origin,
        file_name=path.name,
        readbacks=reader.readbacks,
        read_only=frozenset(reader.read_only),
        warnings=reader.rows.warnings.lines(),
    )


class _Reader:
    def __init__(self, name: str, problems: Problems, options: ReadOptions) -> None:
        self.rows = ValueRows(name, problems, options)
        self.readbacks: dict[str, str] = {}
        self.read_only: list[str] = []
        self._name = name
        self._problems = problems
        self._options = options
        self._readback_values: dict[str, tuple[int, _Cells]] = {}

    def read(self, columns: Sequence[str], lines: Iterator[tuple[int, str]]) -> None:
        if "VALUE" not in columns or "VALUE_TYPE" not in columns:
            self._problems.fatal(self._name, None, "has no columns VALUE and VALUE_TYPE: this is no snapshot")
        if unknown := [c for c in columns if c not in COLUMNS]:
            self.rows.warnings.note(f"columns {', '.join(unknown)} are not kept")
        order = [columns.index(c.upper()) if c.upper() in columns else -1 for c in _Cells._fields]
        usual = list(columns) == COLUMNS
        for number, text in lines:
            if not text.strip() or text.startswith("#"):
                continue
            cells: Sequence[str] | str | None = _cells_of(text, len(columns), usual=usual)
            if isinstance(cells, str):
                cells = self._continued(number, text, lines, len(columns), cells, usual=usual)
            if cells is not None:
                row = _Cells(*[cells[i] if i >= 0 else "" for i in order])
                self._row(number, row._replace(pv=canonical(row.pv), readback=canonical(row.readback)))

    def _continued(
        self, number: int, text: str, lines: Iterator[tuple[int, str]], width: int, reason: str, *, usual: bool
    ) -> Sequence[str] | None:
        """The cells of a row with a raw line end in a text; None, and a problem, when it is none."""
        told: list[int] = []
        for following, more in islice(lines, _MOST_LINES if text.count('"') % 2 else 0):
            if not isinstance(_cells_of(more, width, usual=usual), str) or len(text) > _LONGEST:
                break
            text, told = f"{text}\n{more}", [*told, following]
            if not isinstance(cells := _cells_of(text, width, usual=usual), str):
                for line in told:
                    what = f"is no PV, but the rest of a text of {cells[0]}, which has a line end in it"
                    self.rows.warnings.note(f"line {line} {what}")
                return cells
        self._problems.add(self._name, number, reason)
        return None

    def _row(self, number: int, cells: _Cells) -> None:
        if not self.rows.new(cells.pv, number, f"{cells.value_type},{cells.value}"):
            return
        try:
            self._add(cells)
        except ValueError as e:
            self._problems.add(self._name, number, f"{cells.pv}: {e}")
        if cells.read_only.lower() in ("1", "true"):
            self.read_only.append(cells.pv)
        if cells.readback:
            if (problem := name_problem(cells.readback)) is not None:
                self._problems.add(self._name, number, problem)
            self.readbacks[cells.pv] = cells.readback
            self._readback_values.setdefault(cells.readback, (number, cells))

    def _add(self, cells: _Cells) -> None:
        if is_missing(cells.value_type, cells.value):
            self.rows.columns.add_missing(cells.pv, State.DISCONNECTED)
            return
        severity = _SEVERITY.get(cells.severity.upper())
        if severity is None:
            raise ValueError(f"SEVERITY {cells.severity!r} is none of {', '.join(filter(None, _SEVERITY))}")
        cell = parse(cells.value_type, cells.value)
        self.rows.columns.add(cells.pv, cell, severity, _STATUS.get(cells.status, 17), _nanoseconds(cells.timestamp))

    def frame(self) -> Frame:
        """The values of the setpoints, then of the readbacks that are no setpoints themselves."""
        self._problems.check()
        columns = self.rows.columns
        setpoints, known = len(columns), set(columns.names)
        for name, (number, cells) in self._readback_values.items():
            if name in known:
                continue
            if cells.readback_value == "---" or is_missing(cells.value_type, cells.readback_value):
                columns.add_missing(name, State.DISCONNECTED)
                continue
            try:
                columns.add(name, _readback(cells.value_type, cells.readback_value))
            except ValueError as e:
                self.rows.warnings.note(f"line {number}: readback {name}: {e}; left without a value")
                columns.add_missing(name, State.ERROR)
        if not setpoints:
            self._problems.fatal(self._name, None, "holds no PV")
        return columns.frame(setpoints)


def _cells_of(text: str, width: int, *, usual: bool) -> Sequence[str] | str:
    """The cells of a line; what is wrong with it."""
    if usual and not text.startswith('"') and (usual_cells := _usual_cells(text)) is not None:
        return usual_cells
    try:
        cells = next(csv.reader([text]))
    except csv.Error as e:
        return str(e)
    return cells if len(cells) == width else f"{len(cells)} cells under {width} columns"


def _usual_cells(text: str) -> list[str] | None:
    """The cells of a line as Phoebus writes it; None when it is another one.

    Only the two values stand in quotes, which they may have inside as well: the first one is as long as can be. Not a
    regular expression, which would take the square of the length for a line made to that end.
    """
    *first, rest = text.split(",", 6)
    middle, *last = rest.rsplit(",", 2)
    if len(first) != 6 or len(last) != 2 or not (middle.startswith('"') and middle.endswith('"')):
        return None
    end = len(middle) - 1
    while (end := middle.rfind(',"', 1, end + 1)) > 0:
        comma = middle.rfind(",", 1, end)
        if comma < 2:
            return None
        readback = middle[comma + 1 : end]
        if middle[comma - 1] == '"' and '"' not in readback:
            return [*first, middle[1 : comma - 1], readback, middle[end + 2 : -1], *last]
    return None


def _nanoseconds(text: str) -> int:
    if text in ("", "0"):
        return 0
    match = _STAMP.fullmatch(text)
    if match is None or abs(int(match[1])) > 9_000_000_000:
        raise ValueError(f"TIMESTAMP {text!r} is no seconds.nanoseconds")
    return int(match[1]) * 1_000_000_000 + int(match[2])


def _readback(kind: str, value: str) -> Cell:
    try:
        return parse(kind, value)
    except ValueError:
        # Phoebus writes any number beside any other, whatever the type of the first.
        if kind in ("string", "enum") or kind.endswith("_array"):
            raise
        return parse("double", value)
