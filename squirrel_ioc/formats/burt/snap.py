"""Snapshot files of BURT (.snap, -nosdds).

Source: as in `burt`.

A header between `--- Start BURT header` and `--- End BURT header`, then `[RO|RON|WO] PV count value...` a line, `%`
begins a comment. BURT writes what a PV shows: doubles "%.15e", floats "%.6e", enums by label, and a character as
itself, whatever it is, NUL included. A string with blanks stands in quotes, with quotes inside left as they are; an
empty one, or an element that an array does not have, is `\\0`. Further words after the value, as LIGO's tools write
them, are ignored with a warning.

Here a number that needs more digits gets them, and a string that looks like a number stands in quotes, so that both
come back as themselves. A single character is a STRING, an array of them CHAR; the PV's type, where it is known,
decides (`retype`, as_shown). Values have no times and no alarms.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from squirrel_ioc.formats._continued_texts import Continued, Text, is_plain
from squirrel_ioc.formats._frame_columns import Cell
from squirrel_ioc.formats._frame_rows import rows
from squirrel_ioc.formats._lines import first_look, open_regular, read_lines
from squirrel_ioc.formats._losses import frame_losses, now_if_none
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses, Problems
from squirrel_ioc.formats._protocol import ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats._untyped import ValueRows
from squirrel_ioc.formats.burt.values import array_cell, row_text, scalar_cell
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import Dbf, State

__all__ = ["START", "read", "write"]

START = "--- Start BURT header"
_END = "--- End BURT header"
_FIELD = re.compile(r"(Time|Login ID|Eff +UID|Group ID|Keywords|Comments|Type|Directory|Req File)\s*:?\s*(.*?)\s*")
_TIME = re.compile(r"(?:[A-Z][a-z]{2} )?([A-Z][a-z]{2}) +(\d\d?) (\d\d):(\d\d):(\d\d) (?:[A-Z]{2,5} )?(\d{4})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FLAGGED = re.compile(r"(\S+)\s+([01]|0x[0-9a-fA-F]+)\s*")
"""A text, and the flag that LIGO's SDF writes after every value: whether it is monitored."""

_WITH_FLAG = re.compile(r'[ \t]*(?:-?\d[-+.\deE]*|"[^"]*"|\\0{1,3})(?:[ \t]+(?:0x[0-9a-fA-F]+|[-+.\deE]+))+[ \t]*')
"""A value that is no other with this after it: a number, a text in quotes, or none."""

_LINE = re.compile(r"[ \t]*(?:(RON|RO|WO|-)[ \t]+)?([^ \t]+)[ \t]+(\d{1,9})(?:[ \t](.*))?", re.DOTALL)


def read(path: Path, options: ReadOptions, origin: str) -> SnapshotFile:
    """The values of a snapshot file. Raises FormatError."""
    problems = Problems(options.limits.problems)
    with open_regular(path, path.name, options.limits) as file:
        look = first_look(file, path.name, options, lambda lines: _look(lines, options.encoding), any_bytes=True)
        lines = read_lines(file, path.name, problems, options.limits, options.encoding, any_bytes=True)
        reader = _Reader(path.name, problems, options, look)
        reader.header(lines)
        reader.body(lines)
    frame = reader.rows.frame(as_shown=True)
    return SnapshotFile(
        frame,
        title=path.stem,
        comment=reader.fields.get("Comments", "").replace("\\r", "\r").replace("\\n", "\n"),
        labels=tuple(filter(None, (k.strip() for k in reader.fields.get("Keywords", "").split(",")))),
        taken=reader.taken(),
        user=(reader.fields.get("Login ID", "").split() or [""])[0],
        origin=origin,
        file_name=path.name,
        typed=False,
        read_only=frozenset(frame.channels.names if reader.fields.get("Type") == "Nowrite" else reader.read_only),
        warnings=reader.rows.warnings.lines(),
    )


class _Look(NamedTuple):
    """What the whole file shows: PVs with names without separators; LIGO's flags after the values."""

    plain: bool
    flags: bool


def _look(lines: Iterator[tuple[int, str]], encoding: str) -> _Look:
    for _, text in lines:
        if text.strip() == _END:
            break
    plain = flags = False
    first = True
    for _, text in lines:
        match = _LINE.fullmatch(text)
        if match is None or text.lstrip().startswith("%"):
            continue
        count, value = int(match[3]), match[4] or ""
        flags = flags or (count == 1 and _WITH_FLAG.fullmatch(value) is not None)
        plain = plain or is_plain(match[2], partial(_ends_text, count, value, encoding), first=first)
        first = False
    return _Look(plain, flags)


def _ends_text(count: int, value: str, encoding: str) -> bool:
    """Whether the value of a line could be the end of a text that begins above it."""
    try:
        return value.endswith('"') or (count == 1 and scalar_cell(value, 1, encoding)[0].meta.dbf is Dbf.STRING)
    except ValueError:
        return True


class _Reader:
    def __init__(self, name: str, problems: Problems, options: ReadOptions, look: _Look) -> None:
        self.rows = ValueRows(name, problems, options)
        self._texts = Continued(name, self.rows, problems, options.live, plain=look.plain)
        self._flags = look.flags
        self.fields: dict[str, str] = {}
        self.read_only: list[str] = []
        self._name = name
        self._problems = problems
        self._encoding = options.encoding

    def header(self, lines: Iterator[tuple[int, str]]) -> None:
        begun, number = False, 0
        for number, text in lines:
            line = text.strip()
            if not begun:
                if line.startswith("SDDS"):
                    self._problems.fatal(self._name, number, "an SDDS file; write it anew with burtrb -nosdds")
                if line and line != START:
                    break
                begun = bool(line)
            elif line == _END:
                self._check_type(number)
                return
            elif (field := _FIELD.fullmatch(line)) is not None:
                self.fields[field[1]] = field[2].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        reason = f"the header has no {_END!r}" if begun else f"a BURT snapshot begins with {START!r}"
        self._problems.fatal(self._name, number or None, reason)

    def _check_type(self, number: int) -> None:
        kind = self.fields.get("Type", "Absolute")
        if kind == "Nowrite":
            self.rows.warnings.note("a Nowrite snapshot: all its PVs are taken as read-only")
        elif kind != "Absolute":
            self._problems.fatal(self._name, number, f"a snapshot of type {kind} does not hold values of PVs")

    def taken(self) -> datetime | None:
        text = self.fields.get("Time", "")
        match = _TIME.fullmatch(text)
        if match is not None and match[1] in _MONTHS:
            hour, minute, second = (int(match[i]) for i in (3, 4, 5))
            with contextlib.suppress(ValueError, OverflowError):
                local = datetime(int(match[6]), _MONTHS.index(match[1]) + 1, int(match[2]), hour, minute, second)
                return local.astimezone()
        if text:
            self.rows.warnings.note(f"the time {text!r} of its header is none")
        return None

    def body(self, lines: Iterator[tuple[int, str]]) -> None:
        for number, text in lines:
            stripped = text.strip(" \t\r")
            if not stripped:
                self._texts.blank()
            if not stripped or stripped.startswith("%"):
                continue
            if stripped == START:
                self._problems.fatal(self._name, number, "a second header: these are several files in one")
            match = _LINE.fullmatch(text)
            if match is None:
                if not self._texts.takes(number, text, None):
                    self._problems.add(self._name, number, "a line is [RO|RON|WO] PV count value")
                continue
            tag, name, count, value = match[1], match[2], int(match[3]), match[4] or ""
            if self._texts.takes(number, text, name, partial(_ends_text, count, value, self._encoding)):
                continue
            name = canonical(name)
            self._texts.follows(None)
            if self.rows.new(name, number, value):
                self._value(number, tag, name, count, value)
        self._texts.follows(None)

    def _value(self, number: int, tag: str | None, name: str, count: int, value: str) -> None:
        if tag in ("RO", "RON", "-"):
            self.read_only.append(name)
        if tag == "WO":
            self.rows.warnings.add("WO is taken as an ordinary PV", name)
        parse = scalar_cell if count == 1 else array_cell
        above = Text(name, number, value, lambda longer: _whole(*parse(longer, count, self._encoding)))
        try:
            cell, rest = parse(value, count, self._encoding)
        except ValueError as e:
            above.problem = str(e)
            self._texts.follows(above)
            return
        if self._flags and count == 1 and not rest and (flagged := _FLAGGED.fullmatch(value)) is not None:
            cell, rest = scalar_cell(flagged[1], count, self._encoding)
            rest = flagged[2]
        if rest:
            self.rows.warnings.add("further words after the value are ignored", name)
        elif count == 1 and cell.meta.dbf is Dbf.STRING:
            self._texts.follows(above)
        self.rows.put(name, cell)


def _whole(cell: Cell, rest: str) -> Cell:
    """Raises ValueError when something follows the value."""
    if rest:
        raise ValueError(f"{rest[:40]!r} after the value")
    return cell


def write(sink: Sink, snapshot: SnapshotFile) -> list[str]:
    """A snapshot file; returns what it cannot hold."""
    losses = Losses()
    frame_losses(losses, snapshot, comment=True, labels=True, user=True)
    local = now_if_none(snapshot.taken).astimezone()
    labels = [label for label in snapshot.labels if "," not in label and label.strip()]
    if len(labels) < len(snapshot.labels):
        losses.note("labels with a comma are left out")
    header = {
        "Time:": time.asctime(local.timetuple()),
        "Login ID:": f"{snapshot.user.split()[0] if snapshot.user.split() else 'squirrel-ioc'} ()",
        "Eff  UID:": "0",
        "Group ID:": "0",
        "Keywords:": _one_line(",".join(labels)),
        "Comments:": _one_line(snapshot.comment),
        "Type:": "Absolute",
        "Directory": "/",
        "Req File:": "squirrel-ioc",
    }
    sink(f"{START}\n")
    for key, value in header.items():
        sink(f"{key:<10}{value}\n")
    sink(f"{_END}\n")
    for row in rows(snapshot.frame):
        if (problem := name_problem(row.name)) is not None or row.state is not State.VALUE:
            losses.left_out(problem or "no value", row.name)
            continue
        try:
            text = row_text(row, losses)
        except ValueError as e:
            losses.left_out(str(e), row.name)
            continue
        read_only = not row.setpoint or row.name in snapshot.read_only
        sink(f"{'RO ' * read_only}{row.name} {text}\n")
        if not row.setpoint:
            losses.add("a readback, which is a read-only PV there", row.name)
    return losses.lines()


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n").replace("\0", "")
