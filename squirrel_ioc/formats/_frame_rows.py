"""The values of a frame on their way into a file: row by row, as Python numbers and bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from squirrel_ioc.formats._thread_pauses import LINES_A_LOOK, breathe
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, TEXT_SIZE, Dbf, Meta, State

__all__ = ["Row", "rows", "texts", "text_of", "double_text", "float_text", "number_text", "plain_nan"]

_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")
_PLAIN_NAN = {_DOUBLE.pack(sign * float("nan")) for sign in (1, -1)} | {
    _DOUBLE.pack(float(np.float32("nan"))),
}


class Row(NamedTuple):
    """One row of a frame. `elements` are int, float, or bytes of a string (to its NUL); one of them in a scalar."""

    name: str
    state: State
    dbf: Dbf
    array: bool
    elements: Sequence[Any]
    raw: bytes | None
    severity: int
    status: int
    stamp: int
    meta: Meta
    setpoint: bool


def rows(frame: Frame) -> Iterator[Row]:
    """Every row, in order."""
    states, kinds = list(State), {d.value: d for d in Dbf}
    side_end, side = [0, *frame.side_end.tolist()], frame.side
    positions = frame.side_position.tolist()
    setpoints = frame.channels.setpoints
    columns = (
        frame.channels.names,
        frame.state.tolist(),
        frame.dbf.tolist(),
        frame.count.tolist(),
        frame.number.tolist(),
        positions,
        frame.meta.tolist(),
        frame.severity.tolist(),
        frame.status.tolist(),
        frame.stamp.tolist(),
    )
    for i, (name, state, dbf, count, number, position, meta_index, severity, status, stamp) in enumerate(
        zip(*columns, strict=True)
    ):
        if i % LINES_A_LOOK == 0:
            breathe()
        meta, kind = frame.metas[meta_index], kinds[dbf]
        array = meta.count > 1 or count != 1
        raw = side[side_end[position] : side_end[position + 1]] if position >= 0 else None
        elements: Sequence[Any] = ()
        if state == State.VALUE:
            if raw is None:
                elements = (number,) if kind in (Dbf.DOUBLE, Dbf.FLOAT) else (int(number),)
            else:
                elements = _elements(kind, raw, array)
        yield Row(name, states[state], kind, array, elements, raw, severity, status, stamp, meta, i < setpoints)


def _elements(dbf: Dbf, raw: bytes, array: bool) -> Sequence[Any]:
    if dbf is not Dbf.STRING:
        elements: Sequence[Any] = np.frombuffer(raw, ELEMENT_DTYPE[dbf]).tolist()
        return elements
    if not array:
        return (raw.split(b"\0", 1)[0],)
    return [raw[i : i + STRING_SIZE].split(b"\0", 1)[0] for i in range(0, len(raw), STRING_SIZE)]


def texts(row: Row) -> Sequence[bytes]:
    """The strings of a row. Raises ValueError when one has no room for its NUL: no file could be read back into it."""
    size = STRING_SIZE if row.array else TEXT_SIZE
    if any(len(e) >= size for e in row.elements):
        raise ValueError(f"a text of more than {size - 1} bytes")
    return row.elements


def double_text(value: float) -> str:
    """The shortest decimal text that is this double again: as autosave writes it ("%.14g") where that is enough."""
    text = f"{value:.14g}"
    # A whole number without its ".0", which autosave does not take for one.
    return text if float(text) == value or value != value else repr(value).removesuffix(".0")


def float_text(value: float) -> str:
    """The same of a single precision number ("%.7g")."""
    text = f"{value:.7g}"
    if value != value or abs(value) == np.inf:
        return text
    return (
        text
        if abs(float(text)) < 3.4028235e38 and _FLOAT.unpack(_FLOAT.pack(float(text)))[0] == value
        else f"{value:.9g}"
    )


def number_text(dbf: Dbf, value: float) -> str:
    """A number of this type as text, exactly."""
    if dbf is Dbf.DOUBLE:
        return double_text(value)
    return float_text(value) if dbf is Dbf.FLOAT else str(int(value))


def text_of(dbf: Dbf, element: Any) -> bytes:
    """An element as text: what a string PV is given for it, and what two values of different types have in common."""
    return element if isinstance(element, bytes) else number_text(dbf, element).encode()


def plain_nan(value: float) -> bool:
    """Whether a NaN is the ordinary one, which is all that text can say."""
    return _DOUBLE.pack(value) in _PLAIN_NAN
