"""The values of a file on their way into a frame: columns that grow, one row a PV."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, NO_META, STRING_SIZE, TEXT_SIZE, Dbf, Meta, State

__all__ = ["Cell", "Columns", "number_cell", "text_cell", "numbers_cell", "texts_cell", "chars_cell"]


class Cell(NamedTuple):
    """One value as frames keep it: a number, or bytes."""

    meta: Meta
    size: int
    number: float
    raw: bytes | None


_SCALAR = {dbf: Meta(dbf, 1) for dbf in Dbf}
_INTEGERS = {d: np.iinfo(t) for d, t in ELEMENT_DTYPE.items() if t.kind in "iu"}


def _array_meta(dbf: Dbf, count: int) -> Meta:
    """Of an array whose size is not known: what it holds, and at least two, or it would be no array."""
    return Meta(dbf, max(count, 2))


def number_cell(dbf: Dbf, value: float, meta: Meta | None = None) -> Cell:
    """A number in a scalar. Raises ValueError when it does not fit."""
    bounds = _INTEGERS.get(dbf)
    if bounds is not None:
        if not (bounds.min <= value <= bounds.max and value == int(value)):
            raise ValueError(f"{value} does not fit {dbf.name}")
    elif dbf is Dbf.FLOAT:
        with np.errstate(over="ignore"):
            single = float(np.float32(value))
        if single != value and abs(single) == np.inf:
            raise ValueError(f"{value} does not fit {dbf.name}")
        value = single
    return Cell(meta or _SCALAR[dbf], 1, float(value), None)


def text_cell(raw: bytes, meta: Meta | None = None) -> Cell:
    """A string. Raises ValueError when it is too long for one or has a NUL."""
    _check_text(raw, TEXT_SIZE)
    return Cell(meta or _SCALAR[Dbf.STRING], 1, np.nan, raw)


def numbers_cell(dbf: Dbf, values: Sequence[float], meta: Meta | None = None) -> Cell:
    """An array of numbers. Raises ValueError when one does not fit."""
    dtype = ELEMENT_DTYPE[dbf]
    if dtype.kind in "iu":
        bounds = _INTEGERS[dbf]
        for value in values:
            if not (bounds.min <= value <= bounds.max and value == int(value)):
                raise ValueError(f"{value} does not fit {dbf.name}")
    with np.errstate(over="ignore"):
        elements = np.array(values, np.float64 if dtype.kind == "f" else np.int64).astype(dtype)
    if dbf is Dbf.FLOAT and np.any(np.isinf(elements) & ~np.isinf(np.array(values, np.float64))):
        raise ValueError("a value does not fit FLOAT")
    return Cell(meta or _array_meta(dbf, len(values)), len(values), np.nan, elements.tobytes())


def texts_cell(values: Sequence[bytes], meta: Meta | None = None) -> Cell:
    """An array of strings. Raises ValueError when one is too long or has a NUL."""
    for raw in values:
        _check_text(raw, STRING_SIZE)
    joined = b"".join(raw.ljust(STRING_SIZE, b"\0") for raw in values)
    return Cell(meta or _array_meta(Dbf.STRING, len(values)), len(values), np.nan, joined)


def chars_cell(text: bytes, meta: Meta | None = None) -> Cell:
    """A long string: an array of characters, ended by a NUL. Raises ValueError when it has another one."""
    if b"\0" in text:
        raise ValueError("a text has a NUL")
    raw = text + b"\0"
    return Cell(meta or _array_meta(Dbf.CHAR, len(raw)), len(raw), np.nan, raw)


def _check_text(raw: bytes, size: int) -> None:
    if len(raw) >= size:
        raise ValueError(f"a text of {len(raw)} bytes does not fit STRING, which holds {size - 1}")
    if b"\0" in raw:
        raise ValueError("a text has a NUL")


class Columns:
    """Rows are added in any order of names; `frame` makes a frame of them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.value_bytes = 0
        """Of strings and arrays."""
        self._columns: tuple[list[Any], ...] = tuple([] for _ in range(8))
        self._metas: dict[Meta, int] = {NO_META: 0}
        self._side_row: list[int] = []
        self._side: list[bytes] = []

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, cell: Cell, severity: int = 0, status: int = 0, stamp: int = 0) -> None:
        """Add a value."""
        meta, count, number, raw = cell
        if raw is not None:
            self._side_row.append(len(self.names))
            self._side.append(raw)
            self.value_bytes += len(raw)
        self._append(name, (State.VALUE, meta.dbf, count, severity, status, stamp, number, self._meta(meta)))

    def add_missing(self, name: str, state: State = State.DISCONNECTED) -> None:
        """Add a PV without a value."""
        self._append(name, (state, Dbf.NONE, 0, -1, -1, 0, np.nan, 0))

    def fill(self, row: int, cell: Cell) -> None:
        """Give another value to a row, or the first one to a row that was added without."""
        meta, count, number, raw = cell
        at = bisect_left(self._side_row, row)
        if self._side_row[at : at + 1] == [row]:
            self.value_bytes -= len(self._side[at])
            del self._side_row[at], self._side[at]
        if raw is not None:
            self._side_row.insert(at, row)
            self._side.insert(at, raw)
            self.value_bytes += len(raw)
        values = (State.VALUE, meta.dbf, count, 0, 0, 0, number, self._meta(meta))
        for column, value in zip(self._columns, values, strict=True):
            column[row] = value

    def frame(self, setpoints: int | None = None) -> Frame:
        """The frame; the first `setpoints` rows are setpoints, all if not given."""
        dtypes = (np.uint8, np.uint8, np.int32, np.int16, np.int16, np.int64, np.float64, np.int32)
        state, dbf, count, severity, status, stamp, number, meta = (
            np.array(column, dtype) for column, dtype in zip(self._columns, dtypes, strict=True)
        )
        return Frame(
            ChannelList.of(self.names, setpoints),
            state,
            dbf,
            count,
            severity,
            status,
            stamp,
            number,
            meta,
            tuple(self._metas),
            np.array(self._side_row, np.int32),
            np.cumsum([len(raw) for raw in self._side], dtype=np.int64),
            b"".join(self._side),
        )

    def _append(self, name: str, values: tuple[Any, ...]) -> None:
        self.names.append(name)
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)

    def _meta(self, meta: Meta) -> int:
        return self._metas.setdefault(meta, len(self._metas))
