"""The two sides of a comparison: rows of two frames laid beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, Dbf

__all__ = ["Side", "same_bytes"]


@dataclass(frozen=True, eq=False)
class Side:
    """A frame, seen through `rows` (-1: this side has no such channel). Without rows: as it is."""

    frame: Frame
    rows: NDArray[np.intp] | None = None

    @cached_property
    def dbf(self) -> NDArray[np.uint8]:
        """uint8[N]"""
        return self._column(self.frame.dbf, Dbf.NONE)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """bool[N]: has a value."""
        return self._column(self.frame.valid, False)

    @cached_property
    def count(self) -> NDArray[np.int32]:
        """int32[N]"""
        return self._column(self.frame.count, 0)

    @cached_property
    def number(self) -> NDArray[np.float64]:
        """float64[N]"""
        return self._column(self.frame.number, np.nan)

    @cached_property
    def meta(self) -> NDArray[np.int32]:
        """int32[N], into the frame's `metas`; 0 where there is no such channel."""
        return self._column(self.frame.meta, 0)

    @cached_property
    def position(self) -> NDArray[np.int64]:
        """int64[N]: entry of the frame's side table, -1 where there is none."""
        return self._column(self.frame.side_position, -1)

    def size(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """int64[rows]: bytes of these rows, -1 where a row is a number."""
        position = self.position[rows]
        if not len(self.frame.side_end):
            return position
        return np.where(position < 0, -1, (self.frame.side_end - self.frame.side_start)[position])

    def raw(self, rows: NDArray[np.intp]) -> bytes:
        """The bytes of these rows, which all have some, one after the other."""
        return self.frame.side_bytes(self.position[rows])

    def elements(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """The elements of these numeric rows, one after the other; a scalar has one. float64 holds every CA number."""
        position, dbf, count = self.position[rows], self.dbf[rows], self.count[rows]
        out = np.repeat(self.number[rows], count)
        for kind in np.unique(dbf[position >= 0]).tolist():
            these = (position >= 0) & (dbf == kind)
            elements = np.frombuffer(self.raw(rows[these]), ELEMENT_DTYPE[Dbf(kind)])
            out[np.repeat(these, count)] = elements
        return out

    def strings(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """uint8[elements, 40]: the elements of these string rows; what follows a NUL is noise and zeroed."""
        frame = self.frame
        spans = frame.side_start[self.position[rows]].tolist(), frame.side_end[self.position[rows]].tolist()
        padded = b"".join([frame.side[s:e].ljust(STRING_SIZE, b"\0") for s, e in zip(*spans, strict=True)])
        cells = np.frombuffer(padded, np.uint8).reshape(-1, STRING_SIZE)
        ended: NDArray[np.bool_] = np.logical_or.accumulate(cells == 0, axis=1)
        return np.where(ended, np.uint8(0), cells)

    def _column(self, column: NDArray[Any], absent: Any) -> NDArray[Any]:
        if self.rows is None:
            return column
        if not len(column):
            return np.full(len(self.rows), absent, column.dtype)
        picked = column[self.rows]
        picked[self.rows < 0] = absent
        return picked


def same_bytes(a: Side, b: Side, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """bool[rows]: rows that are the same byte for byte; both sides have some, equally many."""
    same = np.ones(len(rows), bool)
    left, right = a.raw(rows), b.raw(rows)
    if left == right:
        return same
    different = np.frombuffer(left, np.uint8) != np.frombuffer(right, np.uint8)
    size = a.size(rows)
    some = size > 0
    same[some] = ~np.logical_or.reduceat(different, (np.cumsum(size) - size)[some])
    return same
