"""Values without a type: how they are kept, and how they get the type of their PV.

Autosave, BURT and PSI files do not say what type a PV has. What is read from them is kept like this:

- A text that a number of that format is written as, to the letter, becomes a number: in autosave `4.5` and `-12` become
  DOUBLE, in BURT `4.500000000000000e+00` DOUBLE, `4.500000e+00` FLOAT, `-12` LONG. Written again, it is the same text.
- Every other text is kept as a STRING, byte for byte: `1.10`, `007`, `ON`, `5 mA`. In autosave `1.10` can only have
  come from a string (a double 1.1 is written `1.1`), and as a number it would come back as another text.

So nothing changes by reading a file and writing it again, nothing is guessed, and most values compare as numbers.

The type is given by the PV. `retype` does it, wherever it is known: when the file is read (`ReadOptions.live`), or at
the latest when the snapshot is restored or compared, with the types of that moment. Its rules are what an IOC does
with a DBR_STRING put (dbConvert, `putString*`): a number is read from the text, a state is found by its label, then by
its index; a string is given a number's text, never the number (an IOC would print 5 as 5.000000); characters of a text
go into a char array. A value that does not fit is left as it was, with the reason: it is for the restore to refuse it.

A STRING that was not retyped can still be written: Channel Access converts DBR_STRING to the record's own type.
Written as DBR_DOUBLE, a number from a file would be wrong for a string record; hence `retype` before the write.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from squirrel_ioc.formats._frame_columns import (
    Cell,
    Columns,
    chars_cell,
    number_cell,
    numbers_cell,
    text_cell,
    texts_cell,
)
from squirrel_ioc.formats._frame_rows import Row, number_text, rows
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Dbf, Meta, State, decode

__all__ = ["Retyped", "retype"]

_WHOLE: Final = re.compile(r"[+-]?\d+")
_LONGEST_WHOLE: Final = 40


class Retyped(NamedTuple):
    """A frame whose values have the types of their PVs; `problems` says why a row could not be brought to its own."""

    frame: Frame
    problems: dict[int, str]


def retype(frame: Frame, live: Mapping[str, Meta], *, as_shown: bool = False) -> Retyped:
    """Bring every value whose PV is in `live` to the type of that PV.

    `as_shown`: the file holds what a PV shows (BURT reads DBR_STRING), so that `3` is rather a label than an index, and
    a character stands for itself. Rows without a value, of unknown PVs, and of the right type already are kept.
    """
    columns = Columns()
    problems: dict[int, str] = {}
    for i, row in enumerate(rows(frame)):
        meta = live.get(row.name)
        if row.state is not State.VALUE:
            columns.add_missing(row.name, row.state)
            continue
        cell = _as_is(row)
        if meta is not None and meta.dbf is not Dbf.NONE:
            try:
                cell = _convert(row, meta, as_shown)
            except ValueError as e:
                problems[i] = f"{e}: the PV is {meta.dbf.name}{f'[{meta.count}]' if meta.count > 1 else ''}"
        columns.add(row.name, cell, row.severity, row.status, row.stamp)
    return Retyped(columns.frame(frame.channels.setpoints), problems)


def _as_is(row: Row, meta: Meta | None = None) -> Cell:
    count = len(row.elements)
    return Cell(meta or row.meta, count, math.nan if row.raw is not None else float(row.elements[0]), row.raw)


def _convert(row: Row, meta: Meta, as_shown: bool) -> Cell:
    if meta.dbf is Dbf.STRING and meta.count == 1 and row.dbf is Dbf.CHAR and row.array and row.raw is not None:
        text = row.raw.rstrip(b"\0")
        if b"\0" not in text and (len(text) < len(row.raw) or decode(text).isprintable()):  # a long string
            return text_cell(text, meta)
    if len(row.elements) > max(meta.count, 1):
        raise ValueError(f"{len(row.elements)} elements")
    if row.dbf is meta.dbf and row.array == (meta.count > 1):
        return _as_is(row, meta)
    if meta.dbf is Dbf.STRING:
        chars = as_shown and row.dbf is Dbf.CHAR
        texts = [bytes([e]) if chars else _text(e, row.dbf) for e in row.elements]
        return texts_cell(texts, meta) if meta.count > 1 else text_cell(_single(texts), meta)
    if meta.dbf is Dbf.CHAR and meta.count > 1 and row.dbf is Dbf.STRING and not row.array and not as_shown:
        return _fitting(chars_cell(row.elements[0], meta))
    convert = _converter(row.dbf, meta, as_shown)
    numbers = [convert(e) for e in row.elements]
    if meta.count > 1:
        return numbers_cell(meta.dbf, numbers, meta)
    return number_cell(meta.dbf, _single(numbers), meta)


def _fitting(cell: Cell) -> Cell:
    if cell.size > cell.meta.count:
        if cell.size - 1 > cell.meta.count or cell.raw is None:
            raise ValueError(f"a text of {cell.size - 1} bytes")
        return cell._replace(size=cell.meta.count, raw=cell.raw[:-1])
    return cell


def _single(values: list[Any]) -> Any:
    if len(values) != 1:
        raise ValueError(f"{len(values)} elements")
    return values[0]


def _text(element: Any, dbf: Dbf) -> bytes:
    return element if isinstance(element, bytes) else number_text(dbf, element).encode()


def _converter(source: Dbf, meta: Meta, as_shown: bool) -> Callable[[Any], float]:
    """How an element of the file becomes a number of the PV."""
    if meta.dbf is Dbf.ENUM:
        return lambda e: _state(_text(e, source), meta.labels, as_shown=as_shown, number=not isinstance(e, bytes))
    if meta.dbf is Dbf.CHAR and source is not Dbf.CHAR:
        return lambda e: _char(_text(e, source), as_shown)
    if meta.dbf in (Dbf.FLOAT, Dbf.DOUBLE):
        return _number
    return _integer


def _state(raw: bytes, labels: tuple[str, ...], *, as_shown: bool, number: bool) -> int:
    """The index of an enum's state: a number is rather an index, a text rather a label."""
    text = decode(raw)
    index = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
    if text in labels and (as_shown or index is None or not number):
        return labels.index(text)
    if index is not None and (number or index < len(labels) or not labels):
        return index
    raise ValueError(f"{text!r} is no state of {', '.join(labels) or 'it'}")


def _char(raw: bytes, as_shown: bool) -> int:
    if as_shown and len(raw) <= 1:
        return raw[0] if raw else 0
    value = _integer(raw)
    return value + 256 if -128 <= value < 0 else value


def _integer(element: Any) -> int:
    if isinstance(element, int):
        return element
    number = _number(element)
    if isinstance(element, bytes):
        with contextlib.suppress(ValueError):
            return int(element)
    if not math.isfinite(number) or number != int(number):
        raise ValueError(f"{decode(element) if isinstance(element, bytes) else element!r} is no whole number")
    return int(number)


def _number(element: Any) -> float:
    if not isinstance(element, bytes):
        return float(element)
    text = decode(element)
    try:
        number = float(text) if "_" not in text and text.isascii() else None
    except ValueError:
        number = None
    if number is None:
        raise ValueError(f"{text!r} is no number")
    if _WHOLE.fullmatch(text) and len(text) < _LONGEST_WHOLE and int(text) != number:
        raise ValueError(f"{text} is an integer that no double is equal to")
    return number
