"""A frame: the values of many channels at one time, as columns.

A frame is immutable by convention: nobody writes into its arrays once it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model._encode import encode
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.values import ELEMENT_DTYPE, NO_META, STRING_SIZE, Dbf, Meta, State, decode

__all__ = ["ChannelList", "Frame", "FrameBuilder", "Scalar", "Value"]

Scalar = int | float | str
Value = Scalar | NDArray[Any] | list[str] | None


@dataclass(frozen=True, eq=False)
class Frame:
    """Values of `channels`, one row a channel, all columns of length N.

    state     uint8  a `State`; only rows with State.VALUE have a value
    dbf       uint8  a `Dbf`: native type of the value
    count     int32  elements the value has (0 for an empty array)
    severity  int16  alarm severity as read (0..3); -1 without a value
    status    int16  alarm status as read; -1 without a value
    stamp     int64  time stamp of the IOC, nanoseconds since the UNIX epoch; 0 without a value
    number    float64 the value of a numeric scalar (char, short, enum, long, float, double), else NaN
    meta      int32  index into `metas`

    Values that are no numeric scalar (strings; arrays; float32 NaNs that a float64 cannot carry bit for bit)
    are bytes: row `side_row[k]` has `side[side_end[k-1]:side_end[k]]`. `side_row` is ascending, int32;
    `side_end` int64. An array's bytes are its elements, little endian (ELEMENT_DTYPE); a scalar string's are its
    characters without the NUL; an array of strings is 40 bytes each. An empty string or array has an entry too.
    """

    channels: ChannelList
    state: NDArray[np.uint8]
    dbf: NDArray[np.uint8]
    count: NDArray[np.int32]
    severity: NDArray[np.int16]
    status: NDArray[np.int16]
    stamp: NDArray[np.int64]
    number: NDArray[np.float64]
    meta: NDArray[np.int32]
    metas: tuple[Meta, ...] = (NO_META,)
    side_row: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    side_end: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    side: bytes = b""

    @classmethod
    def empty(cls, channels: ChannelList, state: State = State.NOT_READ) -> Frame:
        """A frame without any value."""
        n = len(channels)
        return cls(
            channels,
            np.full(n, state, np.uint8),
            np.full(n, Dbf.NONE, np.uint8),
            np.zeros(n, np.int32),
            np.full(n, -1, np.int16),
            np.full(n, -1, np.int16),
            np.zeros(n, np.int64),
            np.full(n, np.nan),
            np.zeros(n, np.int32),
        )

    def __len__(self) -> int:
        return len(self.channels)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which rows have a value."""
        return np.equal(self.state, State.VALUE)

    @cached_property
    def side_start(self) -> NDArray[np.int64]:
        """int64[side_row]: where the bytes of each entry begin in `side`."""
        return np.concatenate((np.zeros(1, np.int64), self.side_end))[:-1]

    @cached_property
    def side_position(self) -> NDArray[np.int64]:
        """int64[N]: position in `side_row` of each row, -1 where it has no bytes."""
        position = np.full(len(self), -1, np.int64)
        position[self.side_row] = np.arange(len(self.side_row))
        return position

    def side_bytes(self, positions: NDArray[np.int64]) -> bytes:
        """The bytes of these entries of `side_row`, one after the other. Neighbours are copied in one go."""
        if not len(positions):
            return b""
        breaks = np.flatnonzero(np.diff(positions) != 1)
        first = positions[np.concatenate(([0], breaks + 1))]
        last = positions[np.concatenate((breaks, [len(positions) - 1]))]
        side = self.side
        spans = zip(self.side_start[first].tolist(), self.side_end[last].tolist(), strict=True)
        return b"".join([side[start:end] for start, end in spans])

    def raw(self, row: int) -> bytes | None:
        """The bytes of a string, an array or an odd NaN; None for a number or no value."""
        k = int(self.side_position[row])
        return None if k < 0 else self.side[int(self.side_start[k]) : int(self.side_end[k])]

    def value(self, row: int) -> Value:
        """The value as Python sees it: int, float, str, a numpy array, a list of str; None without one."""
        if self.state[row] != State.VALUE:
            return None
        dbf = Dbf(int(self.dbf[row]))
        raw = self.raw(row)
        if raw is None:
            number = float(self.number[row])
            return number if dbf in (Dbf.FLOAT, Dbf.DOUBLE) else int(number)
        if dbf is Dbf.STRING:
            if self.is_array(row):
                return [decode(raw[i : i + STRING_SIZE]) for i in range(0, len(raw), STRING_SIZE)]
            return decode(raw)
        elements = np.frombuffer(raw, ELEMENT_DTYPE[dbf])
        return elements if self.is_array(row) else float(elements[0])

    def is_array(self, row: int) -> bool:
        """Whether the channel of this row is an array (it may hold no or one element)."""
        meta = self.metas[int(self.meta[row])]
        return meta.count > 1 or int(self.count[row]) != 1

    def take(self, rows: NDArray[np.intp], channels: ChannelList | None = None) -> Frame:
        """The frame of these rows, which must be ascending; `channels` saves making their list again."""
        if len(rows) == len(self):
            return self if channels is None or channels is self.channels else replace(self, channels=channels)
        return self.reordered(rows, self.channels.take(rows) if channels is None else channels)

    def reordered(self, rows: NDArray[np.intp], channels: ChannelList) -> Frame:
        """The frame of these rows, in any order; `channels` is their list."""
        positions = self.side_position[rows] if len(self.side_row) else np.full(len(rows), -1, np.int64)
        has_bytes = positions >= 0
        positions = positions[has_bytes]
        return Frame(
            channels,
            self.state[rows],
            self.dbf[rows],
            self.count[rows],
            self.severity[rows],
            self.status[rows],
            self.stamp[rows],
            self.number[rows],
            self.meta[rows],
            self.metas,
            np.flatnonzero(has_bytes).astype(np.int32),
            np.cumsum(self.side_end[positions] - self.side_start[positions]),
            self.side_bytes(positions),
        )

    @classmethod
    def concatenate(cls, frames: Sequence[Frame], channels: ChannelList | None = None) -> Frame:
        """Frames one below the other; `channels` replaces the joined lists. Meta data are merged.

        Raises ValueError when `channels` has not as many channels as the frames have rows.
        """
        if channels is None:
            names = tuple(name for f in frames for name in f.channels.names)
            ids = np.concatenate([np.zeros(0, np.int32), *(f.channels.ids for f in frames)])
            channels = ChannelList(names, ids, len(names))
        elif len(channels) != sum(map(len, frames)):
            raise ValueError(f"{sum(map(len, frames))} rows for {len(channels)} channels")
        if not frames:
            return cls.empty(channels)
        metas, meta_columns = _merge_metas(frames)
        rows = np.cumsum([0] + [len(f) for f in frames])
        sides = np.cumsum([0] + [len(f.side) for f in frames])

        def column(name: str) -> Any:
            return np.concatenate([getattr(f, name) for f in frames])

        return cls(
            channels,
            column("state"),
            column("dbf"),
            column("count"),
            column("severity"),
            column("status"),
            column("stamp"),
            column("number"),
            np.concatenate(meta_columns),
            metas,
            np.concatenate([f.side_row + r for f, r in zip(frames, rows, strict=False)]).astype(np.int32),
            np.concatenate([f.side_end + s for f, s in zip(frames, sides, strict=False)]),
            b"".join(f.side for f in frames),
        )


def _merge_metas(frames: Sequence[Frame]) -> tuple[tuple[Meta, ...], list[NDArray[np.int32]]]:
    """One tuple of meta data for all, and each frame's column into it."""
    if all(f.metas is frames[0].metas for f in frames):
        return frames[0].metas, [f.meta for f in frames]
    metas: dict[Meta, int] = {}
    columns = []
    for f in frames:
        local = np.array([metas.setdefault(m, len(metas)) for m in f.metas], np.int32)
        columns.append(local[f.meta])
    return tuple(metas), columns


class FrameBuilder:
    """Makes a frame value by value: for files of other tools and for tests, not for bulk reads."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: list[tuple[State, Dbf, int, int, int, int, float]] = []
        self._meta: list[int] = []
        self._metas: dict[Meta, int] = {NO_META: 0}
        self._side: list[tuple[int, bytes]] = []

    def add(
        self,
        name: str,
        value: Value | bytes,
        meta: Meta,
        *,
        severity: int = 0,
        status: int = 0,
        stamp: int = 0,
    ) -> None:
        """Add a value that fits `meta`; an array is a sequence, bytes are raw elements.

        Raises ValueError when the value does not fit the type.
        """
        number, raw, count = encode(name, value, meta)
        if raw is not None:
            self._side.append((len(self._names), raw))
        self._names.append(name)
        self._rows.append((State.VALUE, meta.dbf, count, severity, status, stamp, number))
        self._meta.append(self._metas.setdefault(meta, len(self._metas)))

    def add_missing(self, name: str, state: State = State.DISCONNECTED, meta: Meta = NO_META) -> None:
        """Add a channel that has no value."""
        self._names.append(name)
        self._rows.append((state, meta.dbf, 0, -1, -1, 0, np.nan))
        self._meta.append(self._metas.setdefault(meta, len(self._metas)))

    def build(self, channels: ChannelList | None = None) -> Frame:
        """The frame; `channels` is its list where the caller has it already, with the names as they were added.

        Raises ValueError when the list is another one.
        """
        if channels is None:
            channels = ChannelList.of(self._names)
        elif channels.names != tuple(self._names):
            raise ValueError("the channel list has other names than the values")
        columns = list(zip(*self._rows, strict=True)) or [()] * 7
        dtypes = (np.uint8, np.uint8, np.int32, np.int16, np.int16, np.int64, np.float64)
        state, dbf, count, severity, status, stamp, number = (
            np.array(c, d) for c, d in zip(columns, dtypes, strict=True)
        )
        return Frame(
            channels,
            state,
            dbf,
            count,
            severity,
            status,
            stamp,
            number,
            np.array(self._meta, np.int32),
            tuple(self._metas),
            np.array([r for r, _ in self._side], np.int32),
            np.cumsum([len(b) for _, b in self._side]).astype(np.int64),
            b"".join(b for _, b in self._side),
        )
