"""Which channels have changed their labels, units or limits since these were read: told by the IOCs (DBE_PROPERTY).

One subscription a channel, which costs nothing while nothing changes. A change is only noted; the meta data are read
again by who needs them next, so that a record that changes them all the time costs no more. An IOC whose server knows
no DBE_PROPERTY, or does not post it on writes to fields (EPICS base before 3.15), tells nothing.

Source: EPICS base `caeventmask.h`, `dbAccess.c` (dbPut), `camessage.c` (event_add_action).
"""

from __future__ import annotations

import ctypes
from collections import deque
from dataclasses import replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._channels import ChannelTable
from squirrel_ioc.ca._meta import MetaStore
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Dbf

__all__ = ["Properties", "with_metas"]

_immortal: list[Any] = []
"""The handlers: libca may call one later than its engine lives; they are few."""


class Properties:
    """Belongs to the engine thread, save the handler, which libca calls in its own and which only notes the channel."""

    def __init__(self, table: ChannelTable) -> None:
        self._table = table
        self._notes: deque[int] = deque()
        self._taken: list[int] = []
        note = self._notes.append

        def heard(args: ca.ValueArgs) -> None:
            if args.status == ca.ECA_NORMAL:
                note(args.chid)

        handler = ca.ValueHandler(heard)
        _immortal.append(handler)
        self._handler = ctypes.cast(handler, ctypes.c_void_p).value

    def subscribe(self, slots: NDArray[np.intp]) -> None:
        """Hear of these connected channels, as long as they exist. To be called before their meta data are asked for:
        what changes after that is heard of."""
        table = self._table
        slots = slots[table.connected[slots] & ~table.subscribed[slots] & (table.dbf[slots] != Dbf.STRING)]
        if len(slots):
            table.subscribed[slots] = True
            columns = table.dbf[slots].tolist(), repeat(1), table.chid[slots].tolist(), repeat(ca.DBE_PROPERTY)
            list(map(ca.create_subscription, *columns, repeat(self._handler), repeat(None), repeat(None)))

    def stale(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of these slots (-1: none) whose meta data have changed since they were asked for."""
        self._look()
        return np.compress(self._table.stale[slots] & (slots >= 0), slots)

    def _look(self) -> None:
        table = self._table
        self._taken += [self._notes.popleft() for _ in range(len(self._notes))]
        # The first news of a connection is no news; which connection it is of is known once the table knows them all.
        if not self._taken or table.noted:
            return
        chids, times = np.unique(np.array(self._taken, np.int64), return_counts=True)
        self._taken.clear()
        slots = table.slots_of(chids.tolist())
        slots, times = slots[slots >= 0], times[slots >= 0]
        first = table.told[slots] != table.connection[slots]
        table.told[slots] = table.connection[slots]
        table.stale[slots[~first | (times > 1)]] = True

    def tidy(self) -> None:
        """Look now and then, lest notes pile up."""
        if self._notes:
            self._look()


def with_metas(frame: Frame, rows: NDArray[np.intp], now: NDArray[np.int32], metas: MetaStore) -> Frame:
    """The frame with other meta data in these rows: `now` int32[rows], where those fit their values."""
    used, which = np.unique(now, return_inverse=True)
    found = [metas.all[index] for index in used.tolist()]
    fits = np.array([meta.dbf for meta in found], np.uint8)[which] == frame.dbf[rows]
    meta = frame.meta.copy()
    meta[rows[fits]] = (len(frame.metas) + which)[fits]
    return replace(frame, meta=meta, metas=frame.metas + tuple(found))
