"""Values as BURT writes them, see `burt.snap`."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence

from squirrel_ioc.formats._frame_columns import Cell, number_cell, numbers_cell, text_cell, texts_cell
from squirrel_ioc.formats._frame_rows import Row, plain_nan, texts
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.model.values import Dbf, Meta

__all__ = ["scalar_cell", "array_cell", "row_text"]

_NULL = "\\0"
_NULLS = frozenset(["\\0", "\\00", "\\000"])
_INTEGER = re.compile(r"0|-?[1-9]\d{0,9}")
_EXPONENT = re.compile(r"-?\d\.(\d+)e[+-]\d{2,3}")
_QUOTED = re.compile(r'"(.*)"(?:[ \t]+([^"]*))?', re.DOTALL)
_WORD = re.compile(r'[ \t]*("([^"]*)"|[^ \t]+)')
_EXTRA = re.compile(r"(?:[ \t]+(?:0x[0-9a-f]+|[-+.\deE]+))+")
_FLOAT = struct.Struct("<f")
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_QUOTED_CHARS = (" ", "%")
_BLANK_CHARS = range(9, 14)


def _double(value: float) -> str:
    text = f"{value:.15e}"
    return text if float(text) == value or value != value else f"{value:.16e}"


def _single(value: float) -> str:
    text = f"{value:.6e}"
    if not math.isfinite(value):
        return text
    return text if abs(float(text)) < 3.4028235e38 and _round(float(text)) == value else f"{value:.8e}"


def _round(value: float) -> float:
    rounded: float = _FLOAT.unpack(_FLOAT.pack(value))[0]
    return rounded


def _number(text: str) -> tuple[Dbf, float] | None:
    """The number that BURT would write like this; None when it must have been a string. NONE goes with any type."""
    if _INTEGER.fullmatch(text):
        value = int(text)
        return (Dbf.LONG, value) if -(2**31) <= value < 2**31 else None
    if (match := _EXPONENT.fullmatch(text)) is not None:
        number = float(text)
        if len(match[1]) in (6, 8) and abs(number) < 3.4028235e38:
            return Dbf.FLOAT, _round(number)
        return (Dbf.DOUBLE, number) if math.isfinite(number) else None
    return (Dbf.NONE, _SPECIAL[text]) if text in _SPECIAL else None


def _bytes(text: str, encoding: str) -> bytes:
    """Text that is text: a control character or a stray byte makes sense as a single character only.

    A line end in it was there as it is.
    """
    raw = text.encode(encoding, "surrogateescape")
    try:
        raw.decode(encoding)
    except UnicodeDecodeError as e:
        raise ValueError(f"byte 0x{raw[e.start]:02x} is no {encoding} text") from None
    if any((c < 32 and c not in (9, 10)) or c == 127 for c in raw):
        raise ValueError("control characters in a text")
    return raw


def scalar_cell(value: str, _count: int, encoding: str) -> tuple[Cell, str]:
    """The value of a line with count 1, and what follows it. Raises ValueError."""
    text = value.strip(" \t")
    if (quoted := _QUOTED.fullmatch(text)) is not None:
        rest = quoted[2] or ""
        return text_cell(_bytes(quoted[1], encoding)), "" if rest.startswith("%") else rest
    text = _uncommented(text)
    if not text:
        # A blank is how BURT writes the character 32, and nothing at all an empty text.
        return text_cell(b" " if value == " " else b""), ""
    first = re.split(r"[ \t]", text, maxsplit=1)[0]
    if first in _NULLS:
        return text_cell(b""), text[len(first) :].strip()
    rest = text[len(first) :]
    number = _number(first) if not rest or _EXTRA.fullmatch(rest) else None
    if number is not None:
        return number_cell(Dbf.DOUBLE if number[0] is Dbf.NONE else number[0], number[1]), rest.strip()
    raw = text.encode(encoding, "surrogateescape")
    if len(raw) == 1 and not 32 <= raw[0] < 127:
        return number_cell(Dbf.CHAR, raw[0]), ""
    return text_cell(_bytes(text, encoding)), ""


def _uncommented(text: str) -> str:
    """Without a comment; a % that is the whole value is none."""
    return text if text == "%" else re.split(r"(?:^|[ \t])%", text, maxsplit=1)[0].rstrip(" \t")


def array_cell(value: str, count: int, encoding: str) -> tuple[Cell, str]:
    """The value of a line with another count than 1, and what follows it. Raises ValueError."""
    words: list[tuple[str, bool]] = []
    end = 0
    while len(words) < count and (match := _WORD.match(value, end)) is not None:
        if match[2] is None and match[1].startswith("%") and len(match[1]) > 1:
            break
        words.append((match[1] if match[2] is None else match[2], match[2] is not None))
        end = match.end()
    rest = value[end:].strip(" \t")
    if len(words) < count:
        return _characters(value, count, len(words)), ""
    while words and words[-1][0] in _NULLS and not words[-1][1]:
        words.pop()
    return _elements(words, encoding, count), "" if rest.startswith("%") else rest


def _elements(words: list[tuple[str, bool]], encoding: str, count: int) -> Cell:
    known = [None if w in _NULLS and not quoted else w for w, quoted in words]
    raws = [(t or "").encode(encoding, "surrogateescape") for t in known]
    plain = not any(quoted and text not in _QUOTED_CHARS for text, quoted in words)
    if known and plain:
        if all(len(r) <= 1 for r in raws) and not all(r.isdigit() or not r for r in raws):
            return numbers_cell(Dbf.CHAR, [r[0] if r else 0 for r in raws], Meta(Dbf.CHAR, max(count, 2)))
        numbers = [(Dbf.NONE, 0.0) if t is None else _number(t) for t in known]
        found = [n for n in numbers if n is not None]
        if len(found) == len(numbers):
            kinds = {dbf for dbf, _ in found} - {Dbf.NONE}
            kind = kinds.pop() if len(kinds) == 1 else Dbf.DOUBLE
            return numbers_cell(kind, [n for _, n in found], Meta(kind, max(count, 2)))
    return texts_cell([_bytes(t or "", encoding) for t in known], Meta(Dbf.STRING, max(count, 2)))


def _characters(value: str, count: int, found: int) -> Cell:
    """Characters as BURT writes them, a blank between two, of which some are blanks themselves."""
    if len(value) in (2 * count - 1, 2 * count) and not value[1::2].strip(" "):
        raws = [c.encode("utf-8", "surrogateescape") for c in value[0::2]]
        if all(len(r) == 1 for r in raws):
            return numbers_cell(Dbf.CHAR, [r[0] for r in raws], Meta(Dbf.CHAR, max(count, 2)))
    raise ValueError(f"{count} elements announced, {found} found")


def row_text(row: Row, losses: Losses) -> str:
    """The count and the value of a row. Raises ValueError when the format cannot hold it."""
    if row.dbf is Dbf.CHAR:
        words = _chars(row, losses)
    elif row.dbf is Dbf.STRING:
        words = [_string(e, array=row.array) for e in texts(row)]
        if row.array and words:
            _check_strings(row.elements)
    elif row.dbf is Dbf.ENUM:
        words = _states(row)
    else:
        words = [_plain(row, e, losses) for e in row.elements]
    if not row.array:
        return f"1 {words[0]}"
    words += [_NULL] * (2 - len(words))
    return f"{len(words)} {' '.join(words)}"


def _check_strings(elements: Sequence[bytes]) -> None:
    if not elements[-1]:
        raise ValueError("an array of strings whose last one is empty")
    if all(e in (b"", b" ", b"%") for e in elements):
        raise ValueError("an array of strings that looks like one of characters")


def _chars(row: Row, losses: Losses) -> list[str]:
    codes = row.elements
    if any(c in _BLANK_CHARS for c in codes):
        raise ValueError("a character that ends a word or a line")
    if not row.array:
        return [_char(c) for c in codes]
    text = bytes(codes).rstrip(b"\0")
    if len(text) < len(codes):
        losses.add("the NULs at the end of an array of characters are cut off", row.name)
    if not text:
        losses.add("an empty array of characters is one of texts where the PV's type is not known", row.name)
    elif all(48 <= c < 58 or c == 0 for c in text):
        if 0 in text:
            raise ValueError("an array of digits with a NUL between them, which looks like one of numbers")
        losses.add("an array of digits comes back as numbers where the PV's type is not known", row.name)
    if 34 in text:
        # With a quote among them, characters can only be told apart by their place.
        if 0 in text or (len(text) < len(codes) and len(text) == 1):
            raise ValueError("an array of characters with a quote and a NUL")
        return [bytes([c]).decode("ascii", "surrogateescape") for c in text]
    return [_char(c) for c in codes]


def _plain(row: Row, element: float, losses: Losses) -> str:
    if element != element and not plain_nan(element):
        losses.add("a NaN with a payload becomes an ordinary one", row.name)
    if row.dbf is Dbf.DOUBLE:
        return _double(element)
    if row.dbf is Dbf.FLOAT:
        return _single(element)
    return str(int(element))


def _states(row: Row) -> list[str]:
    """Labels, as BURT has them; indices where one of them has no label of its own."""
    labels = row.meta.labels
    words = []
    for index in map(int, row.elements):
        if index >= len(labels) or not labels[index] or labels.count(labels[index]) > 1:
            break
        words.append(_string(labels[index].encode(), array=row.array))
    else:
        return words
    if any(str(e) in labels for e in map(int, row.elements)):
        raise ValueError("a state without a label of its own, whose index is another one's label")
    return [str(int(e)) for e in row.elements]


def _char(code: int) -> str:
    if code == 0:
        return _NULL
    char = bytes([code]).decode("ascii", "surrogateescape")
    return f'"{char}"' if char in _QUOTED_CHARS else char


def _string(raw: bytes, *, array: bool) -> str:
    if not raw:
        return _NULL
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ValueError("a text that is not UTF-8") from None
    if any(c < 32 or c == 127 for c in raw):
        raise ValueError("a control character in a text")
    if array and '"' in text:
        raise ValueError("a quote in an array of strings")
    plain = text.isascii() and not re.search(r'[ "%\\]', text) and _number(text) is None and len(text) > array
    return text if plain else f'"{text}"'
