"""From a frame's rows to memory that libca takes values from. No loop touches a number."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, Dbf

__all__ = ["Encoded"]

_ALIGN = 8


class Encoded:
    """The values of `rows` (in any order, all with a value) of a frame, where `pointers` int64[n] say.

    `types` int64[n] are DBR types, `counts` int64[n] elements, `sizes` int64[n] bytes of a value as it is sent.
    """

    def __init__(self, frame: Frame, rows: NDArray[np.intp]) -> None:
        self.types = frame.dbf[rows].astype(np.int64)
        self.counts = frame.count[rows].astype(np.int64)
        self.sizes = np.zeros(len(rows), np.int64)
        self.pointers = np.zeros(len(rows), np.int64)
        self._memory: list[NDArray[np.int64]] = []
        beside = np.isin(rows, frame.side_row)
        for dbf in Dbf:
            if dbf in (Dbf.NONE, Dbf.STRING):
                continue
            which = np.flatnonzero((self.types == dbf) & ~beside)
            if len(which):
                self._numbers(which, frame.number[rows[which]], dbf)
        which = np.flatnonzero(beside)
        if len(which):
            self._bytes(which, frame, rows[which])

    def _numbers(self, which: NDArray[np.intp], numbers: NDArray[np.float64], dbf: Dbf) -> None:
        dtype = ELEMENT_DTYPE[dbf]
        with np.errstate(invalid="ignore", over="ignore"):
            values = numbers.astype(dtype)
        memory = self._keep(values.tobytes())
        self.pointers[which] = memory + dtype.itemsize * np.arange(len(which))
        self.sizes[which] = dtype.itemsize

    def _bytes(self, which: NDArray[np.intp], frame: Frame, rows: NDArray[np.intp]) -> None:
        """Strings with the NUL that ends them, and everything aligned as its elements are."""
        where = np.searchsorted(frame.side_row, rows)
        ends = frame.side_end[where].tolist()
        starts = np.concatenate(([0], frame.side_end))[where].tolist()
        is_string = (self.types[which] == Dbf.STRING).tolist()
        side = frame.side
        pieces = []
        for start, end, string in zip(starts, ends, is_string, strict=True):
            room = max(end - start, 1)
            if string:
                # One more byte ends a string that has no NUL, so that libca can see that it is too long.
                room = -(-room // STRING_SIZE) * STRING_SIZE + 1
            pieces.append(side[start:end].ljust(-(-room // _ALIGN) * _ALIGN, b"\0"))
        memory = self._keep(b"".join(pieces))
        offsets = list(accumulate(map(len, pieces), initial=0))[:-1]
        self.pointers[which] = memory + np.array(offsets, np.int64)
        self.sizes[which] = np.array(ends) - np.array(starts)

    def _keep(self, raw: bytes) -> int:
        memory = np.zeros(-(-len(raw) // _ALIGN), np.int64)
        memory.view(np.uint8)[: len(raw)] = np.frombuffer(raw, np.uint8)
        self._memory.append(memory)
        return int(memory.ctypes.data)
