"""Save files of autosave (.sav, also .cfg of configMenu).

Source: as in `autosave`.

A first line `# autosave R5.3<TAB>Automatically generated - DO NOT MODIFY - 060720-154526`; perhaps `! 1 channel(s)
not connected`; then a PV a line: its name, one blank, the rest is the value, escaped as in C. Of a PV that was not
connected, `#NAME Search Issued`. Arrays are `NAME @array@ { "1" "2" }`, with quotes and backslashes escaped, perhaps
over several lines. `NAME$` is a long string: here a CHAR array with its NUL. `<END>` is last: without it the file was
not written to its end.

Numbers are "%.14g" and "%.7g"; here more digits are written where a number needs them, to come back as itself. Enums
are indices. Nothing says what type a PV has: see `retype`. The values have no times and no alarms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from squirrel_ioc.formats._continued_texts import Continued, Text, is_plain
from squirrel_ioc.formats._escape import unescape
from squirrel_ioc.formats._frame_columns import Cell, chars_cell, number_cell, numbers_cell, text_cell, texts_cell
from squirrel_ioc.formats._frame_rows import double_text
from squirrel_ioc.formats._lines import first_look, open_regular, read_lines
from squirrel_ioc.formats._macros import MacroError, Macros
from squirrel_ioc.formats._problems import Problems
from squirrel_ioc.formats._protocol import ReadOptions, SnapshotFile
from squirrel_ioc.formats._untyped import ValueRows
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import Dbf

__all__ = ["ARRAY", "read"]

_VERSION = re.compile(r"#\s?(?:save/restore|autosave)\s+[VR](\d+)[.-](\d+)")
_FIRST_WITH_END = (1, 8)
_NO_END = "no <END>, which came with version 1.8: nothing tells whether the file is whole"
_DATE = re.compile(r"(\d{6}-\d{6})\s*$")
ARRAY = "@array@"
_COUNTED = re.compile(r"!\s*\d+ channel")
_UNCONNECTED = frozenset(["Search Issued", "Not Connected"])
_FIELD = re.compile(r"\S*(:\S+|\.[A-Z][A-Z0-9]{0,3}\$?)")
_ELEMENT = re.compile(r'\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_TOKEN = re.compile(r'\\.|["}]')
_ELEMENT_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PRINTED = {"n": "\n", "r": "\r"}


def read(path: Path, options: ReadOptions, origin: str) -> SnapshotFile:
    """The values of a save file. Raises FormatError."""
    problems = Problems(options.limits.problems)
    with open_regular(path, path.name, options.limits) as file:
        plain = first_look(file, path.name, options, _has_plain_names)
        reader = _Reader(path.name, problems, options, plain=plain)
        reader.read(read_lines(file, path.name, problems, options.limits, options.encoding))
        doubts = [] if reader.ended else [_NO_END + _cut_off(file, reader.rows)]
    frame = reader.rows.frame()
    return SnapshotFile(
        frame,
        title=path.stem,
        taken=reader.taken,
        origin=origin,
        file_name=path.name,
        typed=False,
        warnings=[*doubts, *reader.rows.warnings.lines()],
    )


def _cut_off(file: BinaryIO, rows: ValueRows) -> str:
    """What to say of a file without <END> whose last line has no end either: autosave gives each line one."""
    if not rows.columns.names:
        return ""
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return ""
    return f"; its last line has no end: the value of {rows.columns.names[-1]} may be cut off"


class _Reader:
    def __init__(self, name: str, problems: Problems, options: ReadOptions, *, plain: bool) -> None:
        self.rows = ValueRows(name, problems, options, last_wins=True)
        self._texts = Continued(name, self.rows, problems, options.live, plain=plain)
        self.taken: datetime | None = None
        self.ended = False
        self._name = name
        self._problems = problems
        self._encoding = options.encoding
        self._limit = options.limits.line_bytes
        self._macros = Macros(options.macros) if options.macros else None

    def read(self, lines: Iterator[tuple[int, str]]) -> None:
        number = 0
        has_end_mark = False
        for number, raw in lines:
            has_end_mark |= _has_end_mark(raw)
            text = self._expand(number, raw)
            if text is None or not text.strip():
                self._texts.blank()
                continue
            if text.startswith("<END>"):
                if any(after.strip() for _, after in lines):
                    self.rows.warnings.note("what follows <END> is ignored")
                self.ended = True
                return
            if text.lstrip().startswith("#"):
                self._comment(number, text.lstrip(), lines)
            elif not text.startswith("!"):
                self._value(number, text.lstrip(), lines)
            elif not _COUNTED.match(text):  # what begins so is nothing, or the rest of a text
                self._texts.takes(number, text, None)
        if has_end_mark:
            self._problems.add(self._name, number, "no <END>: the file was not written to its end")

    def _expand(self, number: int, text: str) -> str | None:
        if self._macros is None:
            return text
        try:
            return self._macros.expand(text)
        except MacroError as e:
            self._problems.add(self._name, number, str(e))
            return None

    def _comment(self, number: int, text: str, lines: Iterator[tuple[int, str]]) -> None:
        """The header, a PV that was not connected, or a remark."""
        if self.taken is None and (date := _DATE.search(text)) is not None:
            try:
                self.taken = datetime.strptime(date[1], "%y%m%d-%H%M%S").astimezone()
            except ValueError:
                self.rows.warnings.note(f"the date {date[1]} of its header is none")
        name, _, rest = text[1:].partition(" ")
        if name and rest.startswith(ARRAY):
            self._whole_array(number, rest, lines)
        likely = rest.strip() in _UNCONNECTED or _FIELD.fullmatch(name) is not None
        if name and likely:
            self.rows.comment(canonical(name), number)
            self._texts.follows(None)

    def _value(self, number: int, text: str, lines: Iterator[tuple[int, str]]) -> None:
        name = text.split(None, 1)[0]
        value = text[len(name) + 1 :]
        if value.startswith(ARRAY):
            value = self._whole_array(number, value, lines)
            if "\n" in value:
                self._texts.tell(number, f"{name}: a text of the array has a line end in it", name)
        elif self._texts.takes(number, text, name, partial(_is_text, value)):
            return
        name = canonical(name)
        self._texts.follows(None)
        if not self.rows.new(name, number, value):
            return
        try:
            cell = self._cell(name, value)
        except ValueError as e:
            self._problems.add(self._name, number, f"{name}: {e}")
            return
        self.rows.put(name, cell)
        if not value.startswith(ARRAY) and cell.raw is not None:
            self._texts.follows(Text(name, number, value, lambda longer: self._cell(name, longer)))

    def _cell(self, name: str, value: str) -> Cell:
        """Raises ValueError."""
        if value.startswith(ARRAY):
            return _array(value, self._encoding)
        if name.endswith("$"):
            return chars_cell(unescape(value, self._encoding))
        return _scalar(value, self._encoding)

    def _whole_array(self, number: int, value: str, lines: Iterator[tuple[int, str]]) -> str:
        """An array may go on in the lines that follow, to its closing bracket."""
        parts, size = [value], len(value)
        closed, quoted = _scan(value, quoted=False)
        while not closed:
            following = next(lines, None)
            if following is None or following[1].startswith("<END>"):
                self._problems.fatal(self._name, number, "the array that begins here has no end")
            parts.append("\n" * quoted + following[1])
            size += len(following[1])
            if size > self._limit:
                self._problems.fatal(
                    self._name, number, f"the array that begins here is longer than {self._limit} bytes"
                )
            closed, quoted = _scan(following[1], quoted=quoted)
        return "".join(parts)


def _has_plain_names(lines: Iterator[tuple[int, str]]) -> bool:
    """Whether its PVs may have names without a separator."""
    first = closed = True
    quoted = False
    for _, raw in lines:
        text = raw.strip()
        if not closed:
            closed, quoted = _scan(raw, quoted=quoted)
        elif text.startswith("<END>"):
            break
        elif text and not text.startswith("!"):
            name, _, value = text.removeprefix("#").partition(" ")
            if value.startswith(ARRAY):
                closed, quoted = _scan(value, quoted=False)
            if not text.startswith("#"):
                if is_plain(name, partial(_is_text, value), first=first):
                    return True
                first = False
    return False


def _is_text(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return not value.startswith(ARRAY)
    return False


def _has_end_mark(header: str) -> bool:
    """Whether this line is the header of a version that ends its files with <END>: 1.8 and later."""
    match = _VERSION.match(header)
    return match is not None and (int(match[1]), int(match[2])) >= _FIRST_WITH_END


def _scan(text: str, *, quoted: bool) -> tuple[bool, bool]:
    """Whether an array is closed in this line, and if not, whether the line ends within quotes."""
    for token in _TOKEN.finditer(text):
        if token[0] == '"':
            quoted = not quoted
        elif token[0] == "}" and not quoted:
            return True, False
    return False, quoted


def _elements_end(value: str, opening: int) -> int:
    """Where the elements of an array end."""
    end = opening + 1
    while (match := _ELEMENT.match(value, end)) is not None:
        end = match.end()
    return end


def _scalar(text: str, encoding: str) -> Cell:
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        if double_text(number) == text:
            return number_cell(Dbf.DOUBLE, number)
    return text_cell(unescape(text, encoding))


def _array(value: str, encoding: str) -> Cell:
    opening = value.find("{")
    if opening < 0 or value[len(ARRAY) : opening].strip():
        raise ValueError("an array begins with {")
    if "\\" not in value:
        between, texts = value[opening + 1 :].split('"')[::2], value.split('"')[1::2]
    else:
        end = _elements_end(value, opening)
        texts = [_ELEMENT_ESCAPE.sub(_plain, t) for t in _ELEMENT.findall(value[opening + 1 : end])]
        between = [value[end:]]
    if between[-1].strip() != "}" or any(b.strip() for b in between[:-1]):
        raise ValueError('an array is { "element" "element" ... }')
    try:
        numbers = [float(t) for t in texts]
    except ValueError:
        numbers = []
    if len(numbers) == len(texts) and all(double_text(n) == t for n, t in zip(numbers, texts, strict=True)):
        return numbers_cell(Dbf.DOUBLE, numbers)
    return texts_cell([t.encode(encoding) for t in texts])


def _plain(match: re.Match[str]) -> str:
    return _PRINTED.get(match[1], match[1])
