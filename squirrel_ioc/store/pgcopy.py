"""Arrays and rows in PostgreSQL's binary format, whole columns at a time with numpy.

The format of COPY: https://www.postgresql.org/docs/current/sql-copy.html ("Binary Format"). The format of an array
is what `array_send` writes and `array_recv` reads (src/backend/utils/adt/arrayfuncs.c): dimensions, a flag for nulls,
the element type; for each dimension its length and lower bound; for each element its length and its bytes. All of it
is big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import StoreError

__all__ = [
    "HEADER",
    "TRAILER",
    "INT2",
    "INT4",
    "INT8",
    "FLOAT8",
    "ArrayType",
    "field_length",
    "int4_field",
    "row",
    "MAX_FIELD",
]

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
"""Signature, flags, length of the header's extension."""

TRAILER: Final = struct.pack("!h", -1)

MAX_FIELD: Final = 1_000_000_000
"""Bytes of a field: PostgreSQL takes less than 1 GiB."""

_PREFIX: Final = struct.Struct("!iiiiii")
"""Length of the field; dimensions, flags, element type; length of the dimension, its lower bound."""

_ONE_DIMENSION: Final = 20
"""Bytes of an array before its elements."""

_EMPTY: Final = 12
"""Bytes of an array without elements: it has no dimension."""


class ArrayType:
    """A PostgreSQL array type of fixed-size numbers: `oid` and layout of its elements."""

    def __init__(self, oid: int, dtype: str) -> None:
        self._oid = oid
        big = np.dtype(dtype).newbyteorder(">")
        self._element = np.dtype([("length", ">i4"), ("value", big)])
        self._native = np.dtype(dtype)
        self._empty = struct.pack("!iiii", _EMPTY, 0, 0, oid)

    def fields(self, column: NDArray[Any], bounds: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """The slices `bounds` (start, stop) of a column, each as a field of a COPY row."""
        elements = np.empty(len(column), self._element)
        elements["length"] = self._native.itemsize
        elements["value"] = column
        data = elements.tobytes()
        size = self._element.itemsize
        for start, stop in bounds:
            if start == stop:
                yield self._empty
            else:
                n = stop - start
                yield (
                    _PREFIX.pack(_ONE_DIMENSION + n * size, 1, 0, self._oid, n, 1) + data[start * size : stop * size]
                )

    def parse(self, sent: bytes) -> NDArray[Any]:
        """The elements of what `array_send` returned. Raises StoreError when it is another type or has nulls."""
        dimensions, nulls, oid = struct.unpack_from("!iii", sent)
        if oid != self._oid or nulls or dimensions > 1:
            raise StoreError(f"array of type {oid} with {dimensions} dimensions where {self._oid} was stored")
        if not dimensions:
            return np.zeros(0, self._native)
        elements: NDArray[Any] = np.frombuffer(sent, self._element, offset=_ONE_DIMENSION)["value"]
        return elements

    def join(self, sent: Iterable[bytes]) -> NDArray[Any]:
        """The elements of several arrays, one after the other, in the machine's own byte order."""
        parts = [self.parse(s) for s in sent]
        return np.concatenate(parts, dtype=self._native) if parts else np.zeros(0, self._native)


INT2: Final = ArrayType(21, "i2")
INT4: Final = ArrayType(23, "i4")
INT8: Final = ArrayType(20, "i8")
FLOAT8: Final = ArrayType(701, "f8")


def field_length(size: int) -> bytes:
    """What stands before the bytes of a field. Raises StoreError when they are more than PostgreSQL takes."""
    if size > MAX_FIELD:
        raise StoreError(f"{size} bytes are more than one row of the database can hold ({MAX_FIELD})")
    return struct.pack("!i", size)


def int4_field(value: int) -> bytes:
    """An integer as a field of a COPY row."""
    return struct.pack("!ii", 4, value)


def row(fields: Sequence[bytes], more: int = 0) -> bytes:
    """A COPY row, or the begin of one that has `more` fields."""
    return struct.pack("!h", len(fields) + more) + b"".join(fields)
