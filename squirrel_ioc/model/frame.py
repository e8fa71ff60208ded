"""A frame: the values of many channels at one time, as columns.

A frame is immutable by convention: nobody writes into its arrays once it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.values import ELEMENT_DTYPE, NO_META, Dbf, Meta, State

__all__ = ["ChannelList", "Frame", "FrameBuilder", "Scalar", "Value"]

Scalar = int | float | str
Value = Scalar | NDArray[Any] | list[str] | None


@dataclass(frozen=True, eq=False)
class ChannelList:
    """An ordered, immutable list of channels. Compared by identity: two lists are two objects.

    `ids` are the store's channel numbers, int32, same length; zero where the store has not seen a channel.
    The first `setpoints` channels are setpoints, which a restore may write; those that follow are readbacks. The
    store keeps this number with the list.
    """

    names: tuple[str, ...]
    ids: NDArray[np.int32]
    setpoints: int

    @classmethod
    def of(cls, names: Iterable[str], setpoints: int | None = None) -> ChannelList:
        """A list the store knows nothing of; all setpoints unless said otherwise."""
        t = tuple(names)
        return cls(t, np.zeros(len(t), np.int32), len(t) if setpoints is None else setpoints)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each name."""
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def array(self) -> NDArray[np.object_]:
        """The names as an object array, for fancy indexing."""
        a = np.empty(len(self.names), object)
        a[:] = self.names
        return a

    @cached_property
    def setpoint_list(self) -> ChannelList:
        """The setpoints alone; always the same object."""
        return self if self.setpoints == len(self) else self.take(np.arange(self.setpoints))

    def take(self, rows: NDArray[np.intp]) -> ChannelList:
        """The sub-list of these rows, which must be ascending."""
        return ChannelList(
            tuple(self.array[rows].tolist()), self.ids[rows], int(np.count_nonzero(rows < self.setpoints))
        )


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
    characters without the NUL; an array of strings is 40 bytes each.
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
    def side_index(self) -> dict[int, int]:
        """Position in `side_row` of each row that has bytes."""
        return {int(r): k for k, r in enumerate(self.side_row)}

    def raw(self, row: int) -> bytes | None:
        """The bytes of a string, an array or an odd NaN; None for a number or no value."""
        k = self.side_index.get(row)
        if k is None:
            return None
        start = int(self.side_end[k - 1]) if k else 0
        return self.side[start : int(self.side_end[k])]

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
                return [_text(raw[i : i + 40].split(b"\0", 1)[0]) for i in range(0, len(raw), 40)]
            return _text(raw)
        elements = np.frombuffer(raw, ELEMENT_DTYPE[dbf])
        return elements if self.is_array(row) else float(elements[0])

    def is_array(self, row: int) -> bool:
        """Whether the channel of this row is an array (it may hold no or one element)."""
        meta = self.metas[int(self.meta[row])]
        return meta.count > 1 or int(self.count[row]) != 1

    def take(self, rows: NDArray[np.intp], channels: ChannelList | None = None) -> Frame:
        """The frame of these rows, which must be ascending; `channels` saves making their list again."""
        if len(rows) == len(self):
            return self
        side_row, side_end, side = self.side_row, self.side_end, self.side
        if len(side_row):
            where = np.full(len(self), -1, np.int64)
            where[rows] = np.arange(len(rows))
            keep = where[side_row] >= 0
            if not keep.all():
                starts = np.concatenate(([0], side_end[:-1]))
                lengths = (side_end - starts)[keep]
                mask = np.repeat(keep, side_end - starts)
                side = np.frombuffer(side, np.uint8)[mask].tobytes()
                side_row, side_end = side_row[keep], np.cumsum(lengths)
            side_row = where[side_row].astype(np.int32)
        return Frame(
            channels or self.channels.take(rows),
            self.state[rows],
            self.dbf[rows],
            self.count[rows],
            self.severity[rows],
            self.status[rows],
            self.stamp[rows],
            self.number[rows],
            self.meta[rows],
            self.metas,
            side_row,
            side_end,
            side,
        )

    @classmethod
    def concatenate(cls, frames: Sequence[Frame], channels: ChannelList | None = None) -> Frame:
        """Frames one below the other; `channels` replaces the joined lists. Meta data are merged."""
        metas: dict[Meta, int] = {}
        meta_columns = []
        for f in frames:
            local = np.array([metas.setdefault(m, len(metas)) for m in f.metas], np.int32)
            meta_columns.append(local[f.meta])
        rows = np.cumsum([0] + [len(f) for f in frames])
        sides = np.cumsum([0] + [len(f.side) for f in frames])
        if channels is None:
            names = tuple(name for f in frames for name in f.channels.names)
            channels = ChannelList(names, np.concatenate([f.channels.ids for f in frames]), len(names))

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
            tuple(metas),
            np.concatenate([f.side_row + r for f, r in zip(frames, rows, strict=False)]).astype(np.int32),
            np.concatenate([f.side_end + s for f, s in zip(frames, sides, strict=False)]),
            b"".join(f.side for f in frames),
        )


def _text(raw: bytes) -> str:
    """CA strings are bytes: UTF-8 where they are, else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


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
        array = meta.count > 1
        number, raw, count = np.nan, None, 1
        if isinstance(value, bytes):
            raw = value
            if array:
                count = len(raw) // ELEMENT_DTYPE[meta.dbf].itemsize
        elif meta.dbf is Dbf.STRING:
            texts = [str(v) for v in value] if array and isinstance(value, (list, tuple, np.ndarray)) else [str(value)]
            encoded = [t.encode() for t in texts]
            if any(len(e) > 39 for e in encoded):
                raise ValueError(f"{name}: a string is longer than 39 bytes")
            raw = b"".join(e.ljust(40, b"\0") for e in encoded) if array else encoded[0]
            count = len(texts)
        elif array:
            elements = _fit(name, np.atleast_1d(np.asarray(value)), meta.dbf)
            raw, count = elements.tobytes(), len(elements)
        else:
            number = float(_fit(name, np.asarray([value]), meta.dbf)[0])
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
        """The frame."""
        columns = list(zip(*self._rows, strict=True)) or [()] * 7
        dtypes = (np.uint8, np.uint8, np.int32, np.int16, np.int16, np.int64, np.float64)
        state, dbf, count, severity, status, stamp, number = (
            np.array(c, d) for c, d in zip(columns, dtypes, strict=True)
        )
        return Frame(
            channels or ChannelList.of(self._names),
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


def _fit(name: str, values: NDArray[Any], dbf: Dbf) -> NDArray[Any]:
    """`values` as elements of the type, refusing what would change on the way."""
    dtype = ELEMENT_DTYPE[dbf]
    if values.size == 0:
        return np.zeros(0, dtype)
    if values.dtype.kind not in "iufb":
        raise ValueError(f"{name}: {values.flat[0]!r} is no number")
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if not np.all((values >= info.min) & (values <= info.max) & (values == np.floor(values))):
            raise ValueError(f"{name}: value does not fit {dbf.name}")
    with np.errstate(over="ignore"):
        return values.astype(dtype)
