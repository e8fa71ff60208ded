"""The channels: made and cleared in bulk, and what is known of each, as columns by slot.

Everything here belongs to the engine thread, save the two handlers, which libca calls in its own threads: they only
note the channel. What has become of it is asked for afterwards, in batches, so that an old note can do no harm.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.model.values import Dbf

__all__ = ["BATCH", "ChannelTable", "Released", "abandon", "clear"]

BATCH: Final = 1000
"""Channels handled between two looks at everything else: a few milliseconds."""

_HOST_SIZE: Final = 128

_immortal: list[Any] = []
"""Handlers. libca may keep a pointer to one longer than its table lives; they are few."""


_COLUMNS: Final = (
    ("chid", np.int64, 0),
    ("dbf", np.uint8, Dbf.NONE),
    ("count", np.int32, 0),
    ("connected", np.bool_, False),
    ("readable", np.bool_, False),
    ("writable", np.bool_, False),
    ("ready", np.bool_, False),
    ("meta", np.int32, 0),
    ("ioc", np.int32, -1),
    ("connection", np.int32, 0),
    ("subscribed", np.bool_, False),
    ("told", np.int32, -1),
    ("stale", np.bool_, False),
)


@dataclass(frozen=True)
class Released:
    """Channels that have no slot any more: libca's channel int64[n], IOC int32[n] (-1: was not connected)."""

    chid: NDArray[np.int64]
    ioc: NDArray[np.int32]

    def take(self, which: NDArray[np.bool_]) -> Released:
        """Some of them."""
        return Released(self.chid[which], self.ioc[which])


def clear(channels: Released) -> None:
    """Clear channels: sends a message for each that is connected. Nothing may be about to use them."""
    for chid in channels.chid.tolist():
        ca.clear_channel(chid)


def abandon(channels: Released) -> None:
    """Hear no more of channels that cannot be cleared now; libca keeps them."""
    for chid in channels.chid.tolist():
        ca.change_connection_event(chid, None)
        ca.replace_access_event(chid, None)


def _address(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)


class ChannelTable:
    """Columns by slot, all of one length:

    chid       int64  libca's channel, 0 for a free slot
    dbf        uint8  native type, `Dbf.NONE` before the first connection; kept when the connection is lost
    count      int32  maximum element count, likewise
    connected, readable, writable   bool
    ready      bool   connected, and the meta data of this connection have been read
    meta       int32  index of the meta data, kept when the connection is lost
    ioc        int32  index of the IOC, -1 before the first connection
    connection int32  grows whenever the connection comes or goes: what has the same number has not been away

    subscribed, told, stale   see `Properties`: has a subscription; the connection in which it was first heard of; its
               meta data have changed since they were asked for

    `generation` grows whenever any of them changes.
    """

    chid: NDArray[np.int64]
    dbf: NDArray[np.uint8]
    count: NDArray[np.int32]
    connected: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    writable: NDArray[np.bool_]
    ready: NDArray[np.bool_]
    meta: NDArray[np.int32]
    ioc: NDArray[np.int32]
    connection: NDArray[np.int32]
    subscribed: NDArray[np.bool_]
    told: NDArray[np.int32]
    stale: NDArray[np.bool_]

    def __init__(self) -> None:
        self.generation = 0
        self.size = 0
        self._free: list[int] = []
        self._slot_of_chid: dict[int, int] = {}
        self._connection_notes: deque[ca.ConnectionArgs] = deque()
        self._access_notes: deque[ca.AccessArgs] = deque()
        self._grow(1024)
        self._make_handlers()

    def _grow(self, n: int) -> None:
        """Longer columns. Others may be reading: each is replaced when it is complete."""
        for name, kind, empty in _COLUMNS:
            column = np.full(n, empty, kind)
            old = getattr(self, name, ())
            column[: len(old)] = old
            setattr(self, name, column)

    def _make_handlers(self) -> None:
        # What libca calls only keeps the note: when an IOC of 40,000 channels comes or goes, every microsecond counts.
        handlers = ca.ConnectionHandler(self._connection_notes.append), ca.AccessHandler(self._access_notes.append)
        _immortal.extend(handlers)
        self._on_connection, self._on_access = (ctypes.cast(h, ctypes.c_void_p).value for h in handlers)

    def reserve(self, count: int) -> list[int]:
        """Slots for `count` new channels."""
        slots = [self._free.pop() for _ in range(min(count, len(self._free)))]
        missing = count - len(slots)
        slots += range(self.size, self.size + missing)
        self.size += missing
        if self.size > len(self.chid):
            self._grow(max(self.size, 2 * len(self.chid)))
        return slots

    def create(self, slots: Sequence[int], names: Sequence[str]) -> None:
        """Make the channels of these reserved slots. A name libca does not take never connects."""
        chids = np.zeros(len(slots), np.int64)
        start = _address(chids)
        where = range(start, start + 8 * len(slots), 8)
        # libca refuses the empty name; it would take what stands before a NUL.
        encoded = [b"" if "\0" in name else name.encode(errors="replace") for name in names]
        list(map(ca.create_channel, encoded, repeat(self._on_connection), repeat(None), repeat(0), where))
        made = chids.tolist()
        list(map(ca.replace_access_event, filter(None, made), repeat(self._on_access)))
        self.chid[slots] = chids
        self._slot_of_chid.update((c, s) for c, s in zip(made, slots, strict=True) if c)

    def release(self, slots: Sequence[int]) -> Released:
        """Free the slots. Their channels are heard no more, and left to the caller: see `clear` and `abandon`."""
        index = np.asarray(slots, np.intp)
        index = index[self.chid[index] != 0]
        released = Released(self.chid[index], np.where(self.connected[index], self.ioc[index], -1))
        for chid in released.chid.tolist():
            del self._slot_of_chid[chid]
        self.connected[index] = self.readable[index] = self.writable[index] = self.ready[index] = False
        self.subscribed[index] = self.stale[index] = False
        self.chid[index], self.dbf[index], self.count[index] = 0, Dbf.NONE, 0
        self.meta[index], self.ioc[index] = 0, -1
        self.connection[index] += 1
        self._free += np.asarray(slots, np.intp).tolist()
        self.generation += 1
        return released

    @property
    def used(self) -> NDArray[np.intp]:
        """The slots that have a channel."""
        return np.flatnonzero(self.chid[: self.size])

    def slots_of(self, chids: Sequence[int]) -> NDArray[np.intp]:
        """Their slots, -1 for a channel that has none any more."""
        return np.fromiter((self._slot_of_chid.get(chid, -1) for chid in chids), np.intp, len(chids))

    @property
    def noted(self) -> bool:
        """Whether there is something for `refresh`."""
        return bool(self._connection_notes or self._access_notes)

    def refresh(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Look what has become of the channels noted, one batch. Slots that have connected, and that were lost."""
        none = np.zeros(0, np.intp)
        slots, chids = self._take(self._connection_notes)
        up, down = none, none
        if chids:
            self.generation += 1
            dbf = np.fromiter(map(ca.field_type, chids), np.int16, len(chids))
            count = np.fromiter(map(ca.element_count, chids), np.int64, len(chids))
            state = np.fromiter(map(ca.state, chids), np.int8, len(chids))
            good = (state == ca.CS_CONN) & (dbf >= 0) & (dbf < Dbf.NONE)
            up, down = slots[good], slots[~good]
            self.dbf[up], self.count[up] = dbf[good], count[good]
            self.ready[slots] = False
            self.connection[slots] += 1
            self.connected[up], self.connected[down] = True, False
            self._ask_access(slots, chids)
        slots, chids = self._take(self._access_notes)
        if chids:
            self.generation += 1
            self._ask_access(slots, chids)
        return up, down

    def _take(self, notes: deque[Any]) -> tuple[NDArray[np.intp], list[int]]:
        noted = {notes.popleft().chid for _ in range(min(BATCH, len(notes)))}
        chids = [c for c in noted if c in self._slot_of_chid]
        return np.fromiter(map(self._slot_of_chid.__getitem__, chids), np.intp, len(chids)), chids

    def _ask_access(self, slots: NDArray[np.intp], chids: list[int]) -> None:
        connected = self.connected[slots]
        self.readable[slots] = connected & np.fromiter(map(ca.read_access, chids), bool, len(chids))
        self.writable[slots] = connected & np.fromiter(map(ca.write_access, chids), bool, len(chids))

    def hosts(self, slots: NDArray[np.intp]) -> NDArray[np.bytes_]:
        """The names of the IOCs these channels live on, S[n], as libca gives them now."""
        names = np.zeros(len(slots), f"S{_HOST_SIZE}")
        start = _address(names)
        where = range(start, start + _HOST_SIZE * len(slots), _HOST_SIZE)
        list(map(ca.get_host_name, self.chid[slots].tolist(), where, repeat(_HOST_SIZE)))
        return names
