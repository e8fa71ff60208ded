"""From what libca wrote into memory to the columns of a frame. No loop touches a scalar."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._layout import HEADER_DTYPE, VALUE_OFFSET
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, EPICS_EPOCH_S, STRING_SIZE, Dbf, Meta, State

__all__ = ["Columns"]


class Columns:
    """The columns of a frame, filled one native type after the other. `state` and `dbf` are the frame's at first."""

    def __init__(self, state: NDArray[np.uint8], dbf: NDArray[np.uint8]) -> None:
        n = len(state)
        self._state = state.copy()
        self._dbf = dbf
        self._count = np.zeros(n, np.int32)
        self._severity = np.full(n, -1, np.int16)
        self._status = np.full(n, -1, np.int16)
        self._stamp = np.zeros(n, np.int64)
        self._number = np.full(n, np.nan)
        self._side_rows: list[NDArray[np.intp]] = []
        self._side_values: list[list[bytes]] = []

    def outcome(self, rows: NDArray[np.intp], outcome: NDArray[np.uint8]) -> None:
        """How the reads of these rows ended."""
        self._state[rows] = outcome

    def scalars(self, dbf: Dbf, rows: NDArray[np.intp], records: NDArray[Any]) -> None:
        """DBR_TIME_* `records` of these rows; those whose state is not VALUE are passed over."""
        good = self._state[rows] == State.VALUE
        if not good.all():
            rows, records = rows[good], records[good]
        self._count[rows] = 1
        self._header(rows, records)
        value = records["value"]
        if dbf is Dbf.STRING:
            self._beside(rows, _cut(value))
            return
        # A float's signalling NaN becomes a quiet one in a double, and says so.
        with np.errstate(invalid="ignore"):
            self._number[rows] = value
            if dbf is Dbf.FLOAT:
                bits = np.ascontiguousarray(value).view(np.uint32)
                odd = np.flatnonzero(self._number[rows].astype(np.float32).view(np.uint32) != bits)
                if len(odd):
                    self._number[rows[odd]] = np.nan
                    self._beside(rows[odd], [b.tobytes() for b in bits[odd]])

    def arrays(self, rows: NDArray[np.intp], values: Sequence[tuple[int, bytes] | None]) -> None:
        """Count and DBR_TIME_* bytes of these rows, None where there was no answer."""
        good = [i for i, v in enumerate(values) if v is not None]
        if not good:
            return
        rows = rows[good]
        answers = [v for v in values if v is not None]
        size = HEADER_DTYPE.itemsize
        self._count[rows] = [count for count, _ in answers]
        self._header(rows, np.frombuffer(b"".join([raw[:size] for _, raw in answers]), HEADER_DTYPE))
        self._beside(
            rows,
            [
                raw[VALUE_OFFSET[dbf] : VALUE_OFFSET[dbf] + ELEMENT_DTYPE[dbf].itemsize * count]
                for dbf, (count, raw) in zip(map(Dbf, self._dbf[rows].tolist()), answers, strict=True)
            ],
        )

    def _header(self, rows: NDArray[np.intp], records: NDArray[Any]) -> None:
        self._status[rows] = records["status"]
        self._severity[rows] = records["severity"]
        seconds = records["seconds"].astype(np.int64) + EPICS_EPOCH_S
        self._stamp[rows] = seconds * 1_000_000_000 + records["nanoseconds"]

    def _beside(self, rows: NDArray[np.intp], values: list[bytes]) -> None:
        self._side_rows.append(rows)
        self._side_values.append(values)

    def frame(self, channels: ChannelList, meta: NDArray[np.int32], metas: tuple[Meta, ...]) -> Frame:
        """The frame of these columns."""
        side_row, values = np.zeros(0, np.int64), list(chain.from_iterable(self._side_values))
        if values:
            side_row = np.concatenate(self._side_rows)
            order = np.argsort(side_row)
            side_row = side_row[order]
            objects = np.empty(len(values), object)
            objects[:] = values
            values = objects[order].tolist()
        return Frame(
            channels,
            self._state,
            self._dbf,
            self._count,
            self._severity,
            self._status,
            self._stamp,
            self._number,
            meta,
            metas,
            side_row.astype(np.int32),
            np.cumsum(np.fromiter(map(len, values), np.int64, len(values))),
            b"".join(values),
        )


def _cut(strings: NDArray[np.bytes_]) -> list[bytes]:
    """Each string up to its first NUL: what follows it is whatever the IOC had there."""
    octets = np.ascontiguousarray(strings).view(np.uint8).reshape(-1, STRING_SIZE)
    gone = np.logical_or.accumulate(octets == 0, axis=1)
    octets = np.where(gone, np.uint8(0), octets)
    cut: list[bytes] = octets.view(f"S{STRING_SIZE}").ravel().tolist()
    return cut
