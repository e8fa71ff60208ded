"""Values as Phoebus writes them into CSV, see `phoebus.snap`.

By VALUE_TYPE: a number as Java prints it (`1.0E-4`, `NaN`, `Infinity`); a text as it is; an enum `"label~[A;B;C]"`,
where the label may be an index; an array `"[1;2;3]"`. `byte` is signed. Phoebus reads a text only up to a `~`, cuts off
the first and last character of one that begins with `[`, and takes `""`, `null` and `---` for a PV without a value; a
quote it does not read at all. Such texts are read here as they are, and not written.

Unsigned and 64-bit types, which Channel Access has not, become the next type that holds the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from squirrel_ioc.formats._frame_columns import Cell, chars_cell, number_cell, numbers_cell, text_cell, texts_cell
from squirrel_ioc.formats._frame_rows import Row, texts
from squirrel_ioc.model.values import STRING_SIZE, Dbf, Meta

__all__ = ["COLUMNS", "EMPTY_TEXT", "is_missing", "parse", "type_of", "value_text"]

COLUMNS = [
    "PV",
    "SELECTED",
    "TIMESTAMP",
    "STATUS",
    "SEVERITY",
    "VALUE_TYPE",
    "VALUE",
    "READBACK",
    "READBACK_VALUE",
    "DELTA",
    "READ_ONLY",
]
_MISSING = frozenset(["", "null", "---"])
_INTEGER = re.compile(r"[-+]?\d{1,20}")
_REAL = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|NaN|[-+]?Infinity")
_WHOLE = {
    "byte": (Dbf.CHAR, -128, 255),
    "ubyte": (Dbf.CHAR, 0, 255),
    "short": (Dbf.SHORT, -(2**15), 2**15 - 1),
    "ushort": (Dbf.SHORT, 0, 2**16 - 1),
    "int": (Dbf.LONG, -(2**31), 2**31 - 1),
    "uint": (Dbf.LONG, 0, 2**32 - 1),
    "long": (Dbf.LONG, -(2**63), 2**63 - 1),
    "ulong": (Dbf.LONG, 0, 2**64 - 1),
}
_REALS = {"double": Dbf.DOUBLE, "number": Dbf.DOUBLE, "float": Dbf.FLOAT}
_TYPE = {
    Dbf.CHAR: "byte",
    Dbf.SHORT: "short",
    Dbf.LONG: "int",
    Dbf.FLOAT: "float",
    Dbf.DOUBLE: "double",
    Dbf.STRING: "string",
    Dbf.ENUM: "enum",
}
_BOOLEAN = ("false", "true")
_SCALAR_META: dict[tuple[str, ...], Meta] = {}
EMPTY_TEXT = "[0]"
"""A text without characters, with the NUL that ends it: Phoebus knows no empty array."""

_FORBIDDEN = re.compile(r'["~\x00-\x1f\x7f]')


def is_missing(kind: str, value: str) -> bool:
    """Whether the cells say that the PV had no value."""
    return kind in ("", "na") or (value in _MISSING and kind != "string")


def parse(kind: str, value: str) -> Cell:
    """The value of a row. Raises ValueError when it does not fit its type."""
    if kind.endswith("_array"):
        return _array(kind.removesuffix("_array"), value)
    if kind == "string":
        raw = value.encode()
        return text_cell(raw) if len(raw) < STRING_SIZE else chars_cell(raw)
    if kind == "enum":
        return _enum(value)
    if kind == "boolean":
        return _enum(f"{value.lower()}~[false;true]")
    value = value.strip()
    if kind in _REALS:
        return number_cell(_REALS[kind], _real(value))
    if kind in _WHOLE:
        whole = _integer(kind, value)
        return number_cell(_holding(kind, [whole]), whole & 255 if kind == "byte" else whole)
    raise ValueError(f"VALUE_TYPE {kind!r} is not known")


def _real(text: str) -> float:
    if not _REAL.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


def _integer(kind: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no whole number")
    _, low, high = _WHOLE[kind]
    if not low <= (value := int(text)) <= high:
        raise ValueError(f"{text} does not fit {kind}")
    return value


def _holding(kind: str, values: Sequence[int]) -> Dbf:
    """The type of Channel Access that holds them all."""
    dbf = _WHOLE[kind][0]
    if dbf is Dbf.CHAR or not values:
        return dbf
    low, high = min(values), max(values)
    if dbf is Dbf.SHORT and high < 2**15:
        return dbf
    if low >= -(2**31) and high < 2**31:
        return Dbf.LONG
    if any(int(float(v)) != v for v in values):
        raise ValueError(f"{high if high >= 2**31 else low} has more digits than Channel Access can hold")
    return Dbf.DOUBLE


def _enum(value: str) -> Cell:
    text, tilde, listed = value.rpartition("~[")
    if not tilde:
        text, listed = value, ""
    elif not listed.endswith("]"):
        raise ValueError("the states of an enum are label~[A;B;C]")
    labels = tuple(listed[:-1].split(";")) if listed[:-1] else ()
    if labels not in _SCALAR_META:
        if len(_SCALAR_META) > 10_000:
            _SCALAR_META.clear()
        _SCALAR_META[labels] = Meta(Dbf.ENUM, 1, labels=labels)
    return number_cell(Dbf.ENUM, _state(text, labels), _SCALAR_META[labels])


def _state(text: str, labels: tuple[str, ...]) -> int:
    if text in labels:
        return labels.index(text)
    if text.isascii() and text.isdigit() and len(text) < 6:
        return int(text)
    raise ValueError(f"{text[:40]!r} is none of the states {', '.join(labels)[:200]}")


def _array(kind: str, value: str) -> Cell:
    listed = ""
    if kind == "enum":
        value, _, listed = value.rpartition("~")
    value, listed = value.strip() if kind != "string" else value, listed.strip()
    if not (value.startswith("[") and value.endswith("]") and len(value) > 1):
        raise ValueError("an array is [a;b;c]")
    words = value[1:-1].split(";") if len(value) > 2 else []
    if kind == "string":
        return texts_cell([t.encode() for t in words])
    if kind == "enum":
        labels = tuple(listed[1:-1].split(";")) if len(listed) > 2 else ()
        states = [_state(t, labels) for t in words]
        return numbers_cell(Dbf.ENUM, states, Meta(Dbf.ENUM, max(len(states), 2), labels=labels))
    if kind == "boolean":
        return numbers_cell(Dbf.ENUM, [_BOOLEAN.index(t.strip().lower()) for t in words])
    if kind in _REALS:
        return numbers_cell(_REALS[kind], [_real(t.strip()) for t in words])
    if kind in _WHOLE:
        values = [_integer(kind, t.strip()) for t in words]
        dbf = _holding(kind, values)
        return numbers_cell(dbf, [v & 255 for v in values] if kind == "byte" else values)
    raise ValueError(f"VALUE_TYPE {kind + '_array'!r} is not known")


def type_of(row: Row) -> str:
    """The VALUE_TYPE of a row."""
    return _TYPE[row.dbf] + "_array" * row.array


def value_text(row: Row) -> str:
    """The VALUE of a row. Raises ValueError when Phoebus would read another value out of it."""
    if row.dbf is Dbf.ENUM:
        return _enum_text(row)
    if row.array and not row.elements:
        if row.dbf is Dbf.CHAR:
            return EMPTY_TEXT
        raise ValueError("an empty array, which Phoebus takes for one with an element 0")
    if row.dbf is Dbf.STRING:
        return _strings_text(row)
    numbers = _TEXTS[row.dbf](row.elements)
    return f"[{';'.join(numbers)}]" if row.array else numbers[0]


def _strings_text(row: Row) -> str:
    try:
        decoded: list[str] = [e.decode() for e in texts(row)]
    except UnicodeDecodeError:
        raise ValueError("a text that is not UTF-8") from None
    if any(_FORBIDDEN.search(t) for t in decoded):
        raise ValueError("a text with a quote, a ~ or a control character")
    if row.array:
        if any(";" in t for t in decoded) or decoded == [""]:
            raise ValueError("an array with a ; in a text")
        return f"[{';'.join(decoded)}]"
    (text,) = decoded
    if text.startswith("[") or text.lower() in _MISSING:
        raise ValueError("a text that Phoebus reads as another or as none")
    return text


def _enum_text(row: Row) -> str:
    labels = row.meta.labels
    if any(_FORBIDDEN.search(label) or ";" in label for label in labels):
        raise ValueError("a label with a quote, a ~, a ; or a control character")
    if labels == ("",):
        raise ValueError("a single label that is empty")
    states = [_label(int(e), labels) for e in row.elements]
    if not row.array:
        return f"{states[0]}~[{';'.join(labels)}]"
    if not states or any(s not in labels for s in states):
        raise ValueError("an array of enums without labels")
    return f"[{';'.join(states)}]~[{';'.join(labels)}]"


def _label(index: int, labels: tuple[str, ...]) -> str:
    """The label, where it can only mean this index; else the index, where it is no label."""
    label = labels[index] if index < len(labels) else ""
    if label and labels.index(label) == index and label[0] != "[" and label.lower() not in _MISSING:
        return label
    if str(index) in labels:
        raise ValueError(f"state {index} has no label of its own")
    return str(index)


def _reals(values: Sequence[float]) -> list[str]:
    return [_real_text(repr(v)) for v in values]


def _singles(values: Sequence[float]) -> list[str]:
    return [_real_text(str(v)) for v in np.array(values, np.float32)]


def _real_text(text: str) -> str:
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text)


_TEXTS: dict[Dbf, Callable[[Sequence[float]], list[str]]] = {
    Dbf.DOUBLE: _reals,
    Dbf.FLOAT: _singles,
    Dbf.LONG: lambda values: [str(int(v)) for v in values],
    Dbf.SHORT: lambda values: [str(int(v)) for v in values],
    Dbf.CHAR: lambda values: [str(int(v) - 256 * (v > 127)) for v in values],
}
