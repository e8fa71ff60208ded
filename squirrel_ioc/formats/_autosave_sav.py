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

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from squirrel_ioc.formats._columns import Cell, chars_cell, number_cell, numbers_cell, text_cell, texts_cell
from squirrel_ioc.formats._escape import escape, unescape
from squirrel_ioc.formats._lines import open_regular, read_lines
from squirrel_ioc.formats._macros import MacroError, Macros
from squirrel_ioc.formats._names import name_problem
from squirrel_ioc.formats._problems import Losses, Problems
from squirrel_ioc.formats._protocol import ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats._rows import Row, double_text, number_text, plain_nan, rows, texts
from squirrel_ioc.formats._snapshot import frame_losses, now_if_none
from squirrel_ioc.formats._untyped import ValueRows
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import Dbf, State

__all__ = ["read", "write"]

_VERSION = re.compile(r"#\s?(?:save/restore|autosave)\s+[VR](\d+)[.-](\d+)")
_FIRST_WITH_END = (1, 8)
_DATE = re.compile(r"(\d{6}-\d{6})\s*$")
_ARRAY = "@array@"
_UNCONNECTED = frozenset(["Search Issued", "Not Connected"])
_FIELD = re.compile(r"\S*(:\S+|\.[A-Z][A-Z0-9]{0,3}\$?)")
_ELEMENT = re.compile(r'\s*"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_TOKEN = re.compile(r'\\.|["}]')
_ELEMENT_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_PRINTED = {"n": "\n", "r": "\r"}
_LONG_STRING = 199
_NAME_LENGTH = 79


def read(path: Path, options: ReadOptions, origin: str) -> SnapshotFile:
    """The values of a save file. Raises FormatError."""
    problems = Problems(options.limits.problems)
    with open_regular(path, path.name, options.limits) as file:
        reader = _Reader(path.name, problems, options)
        reader.read(read_lines(file, path.name, problems, options.limits, options.encoding))
    frame = reader.rows.frame()
    return SnapshotFile(
        frame,
        title=path.stem,
        taken=reader.taken,
        origin=origin,
        file_name=path.name,
        typed=False,
        warnings=reader.rows.warnings.lines(),
    )


class _Reader:
    def __init__(self, name: str, problems: Problems, options: ReadOptions) -> None:
        self.rows = ValueRows(name, problems, options, last_wins=True)
        self.taken: datetime | None = None
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
                continue
            if text.startswith("<END>"):
                if any(after.strip() for _, after in lines):
                    self.rows.warnings.note("what follows <END> is ignored")
                return
            if text.lstrip().startswith("#"):
                self._comment(number, text.lstrip(), lines)
            elif not text.startswith("!"):
                self._value(number, text.lstrip(), lines)
        if has_end_mark:
            self._problems.add(self._name, number, "no <END>: the file was not written to its end")
        else:
            self.rows.warnings.note("no <END>, which came with version 1.8: nothing tells whether the file is whole")

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
        if name and rest.startswith(_ARRAY):
            self._whole_array(number, rest, lines)
        likely = rest.strip() in _UNCONNECTED or _FIELD.fullmatch(name) is not None
        if name and likely:
            self.rows.comment(canonical(name), number)

    def _value(self, number: int, text: str, lines: Iterator[tuple[int, str]]) -> None:
        name = text.split(None, 1)[0]
        value = text[len(name) + 1 :]
        if value.startswith(_ARRAY):
            value = self._whole_array(number, value, lines)
        name = canonical(name)
        if not self.rows.new(name, number, value):
            return
        try:
            if value.startswith(_ARRAY):
                cell = _array(value, self._encoding)
            elif name.endswith("$"):
                cell = chars_cell(unescape(value, self._encoding))
            else:
                cell = _scalar(value, self._encoding)
        except ValueError as e:
            self._problems.add(self._name, number, f"{name}: {e}")
            return
        self.rows.put(name, cell)

    def _whole_array(self, number: int, value: str, lines: Iterator[tuple[int, str]]) -> str:
        """An array may go on in the lines that follow, to its closing bracket."""
        parts, size = [value], len(value)
        closed, quoted = _scan(value, quoted=False)
        while not closed:
            following = next(lines, None)
            if following is None or following[1].startswith("<END>"):
                self._problems.fatal(self._name, number, "the array that begins here has no end")
            parts.append(following[1])
            size += len(following[1])
            if size > self._limit:
                self._problems.fatal(
                    self._name, number, f"the array that begins here is longer than {self._limit} bytes"
                )
            closed, quoted = _scan(following[1], quoted=quoted)
        return "".join(parts)


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
    if opening < 0 or value[len(_ARRAY) : opening].strip():
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


def write(sink: Sink, snapshot: SnapshotFile) -> list[str]:
    """A save file; returns what it cannot hold."""
    losses = Losses()
    frame_losses(losses, snapshot)
    taken = now_if_none(snapshot.taken).astimezone()
    lines: list[str] = []
    missing = 0
    for row in rows(snapshot.frame):
        if not row.setpoint:
            losses.left_out("a readback, and autosave writes all it has", row.name)
        elif row.name in snapshot.read_only:
            losses.left_out("read-only, and autosave writes all it has", row.name)
        elif (problem := name_problem(row.name)) is not None:
            losses.left_out(problem, row.name)
        elif row.state is not State.VALUE:
            missing += 1
            lines.append(f"#{row.name} Not Connected\n")
        else:
            try:
                lines.append(f"{row.name} {_text(row, losses)}\n")
            except ValueError as e:
                losses.left_out(str(e), row.name)
        if len(row.name) > _NAME_LENGTH:
            losses.add(f"autosave cuts names at {_NAME_LENGTH} characters", row.name)
    sink(f"# autosave R5.3\tAutomatically generated - DO NOT MODIFY - {taken:%y%m%d-%H%M%S}\n")
    if missing:
        sink(f"! {missing} channel(s) not connected - or not all gets were successful\n")
    for line in lines:
        sink(line)
    sink("<END>\n")
    return losses.lines()


def _text(row: Row, losses: Losses) -> str:
    if row.name.endswith("$") and row.dbf is Dbf.CHAR and row.array and row.raw is not None:
        return _long_string(row, losses, *row.raw.split(b"\0", 1))
    if row.dbf is Dbf.STRING:
        if row.array:
            return _braces([_quoted(row, e, losses) for e in texts(row)])
        text = escape(texts(row)[0])
        if text.startswith(_ARRAY):
            raise ValueError("its text looks like an array")
        return text
    if row.name.endswith("$"):
        raise ValueError("no text, though its name is that of a long string")
    for element in row.elements:
        if element != element and not plain_nan(element):
            losses.add("a NaN with a payload becomes an ordinary one", row.name)
            break
    numbers = [number_text(row.dbf, e) for e in row.elements]
    return _braces([f'"{t}" ' for t in numbers]) if row.array else numbers[0]


def _long_string(row: Row, losses: Losses, text: bytes, rest: bytes = b"") -> str:
    if len(text) > _LONG_STRING:
        losses.add(f"autosave reads the first {_LONG_STRING} characters of a long string", row.name)
    if rest.strip(b"\0"):
        raise ValueError("text after its NUL")
    return escape(text)


def _braces(elements: list[str]) -> str:
    return f"{_ARRAY} {{ {''.join(elements)}}}"


def _quoted(row: Row, element: bytes, losses: Losses) -> str:
    try:
        text = element.decode()
    except UnicodeDecodeError:
        raise ValueError("an element that is no UTF-8 text") from None
    if "\\" in text:
        losses.add("autosave itself does not read a backslash in an array of strings as it writes it", row.name)
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    if any(ord(c) < 32 or ord(c) == 127 for c in text.replace("\t", "")):
        raise ValueError("a control character in an array of strings")
    return f'"{text}" '
