"""Bulk reads: scalars by sync groups straight into memory, arrays by callback.

How libca's sync groups behave (CASG.cpp, syncgrp.cpp, syncGroupReadNotify.cpp): an answer is copied and taken off the
group's list. A failure is told to the exception handler, and the request stays on the list, so that the group never
ends. `ca_sg_block` empties the list at its end, so it cannot be called in slices. `ca_sg_test` takes libca's two locks
in the wrong order and locks up against the receive thread. `ca_sg_reset` empties the list under both locks, after
which answers are whole and late ones touch nothing. Hence: look in the buffer for what has come, then reset.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._bulk import PENDING, REQUEST_BYTES, SLICE, Bulk, Lane, LaneRange, Outcomes
from squirrel_ioc.ca._iocs import Iocs
from squirrel_ioc.ca._layout import NOT_ANSWERED
from squirrel_ioc.errors import ChannelAccessError
from squirrel_ioc.model.values import State

__all__ = ["ArrayGet", "Groups", "ScalarGet", "READ_OUTCOMES"]

READ_OUTCOMES = Outcomes(
    not_issued=State.NOT_READ,
    ioc_open=State.IOC_OPEN,
    other=State.ERROR,
    of_status={ca.ECA_DISCONN: State.DISCONNECTED, ca.ECA_NORDACCESS: State.NO_READ_ACCESS},
)


class Groups:
    """Sync groups, used again and again."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._made: list[int] = []

    def take(self) -> int:
        """An empty group."""
        if not self._free:
            gid = ctypes.c_uint()
            if ca.sg_create(ctypes.byref(gid)) != ca.ECA_NORMAL:
                raise ChannelAccessError("libca makes no more sync groups")
            self._made.append(gid.value)
            return gid.value
        return self._free.pop()

    def reset(self, gid: int) -> None:
        """Withdraw whatever is under way in the group, and take it back."""
        ca.sg_reset(gid)
        self._free.append(gid)

    @property
    def under_way(self) -> int:
        """Groups taken and not given back."""
        return len(self._made) - len(self._free)

    def close(self) -> None:
        """Delete them all."""
        for gid in self._made:
            ca.sg_delete(gid)
        self._made.clear()
        self._free.clear()


class ScalarGet(Bulk):
    """One element of each channel, as DBR type `types[i]`, to address `pointers[i]`, where the status comes first.

    `status` int16 and `status_at` int64[n] locate that status in the same memory; the caller has put NOT_ANSWERED
    there.
    """

    def __init__(
        self,
        iocs: Iocs,
        groups: Groups,
        lanes: Sequence[LaneRange],
        chids: list[int],
        types: list[int],
        pointers: list[int],
        status: NDArray[np.int16],
        status_at: NDArray[np.int64],
        window: int,
    ) -> None:
        super().__init__(iocs, lanes, chids, READ_OUTCOMES, window)
        self._groups = groups
        self._types = types
        self._pointers = pointers
        self._status = status
        self._status_at = status_at
        self._under_way: dict[Lane, deque[tuple[int, int, int, int]]] = {lane: deque() for lane in self._lanes}

    def _room(self, lane: Lane) -> int:
        # Half a window at a time, so that the IOC works on one half while the other is on its way.
        half = min(max(1, self._window // 2), SLICE, lane.end - lane.next)
        return half if super()._room(lane) >= half else 0

    def _issue(self, lane: Lane, start: int, end: int, now: float) -> list[int]:
        gid = self._groups.take()
        cut = slice(start, end)
        statuses = list(
            map(ca.sg_array_get, repeat(gid), self._types[cut], repeat(1), self._chids[cut], self._pointers[cut])
        )
        issued = statuses.count(ca.ECA_NORMAL)
        if issued:
            self._under_way[lane].append((gid, start, end, issued))
        else:
            self._groups.reset(gid)
        return statuses

    def _poll(self, lane: Lane, now: float) -> int:
        ended = 0
        under_way = self._under_way[lane]
        for _ in range(len(under_way)):
            gid, start, end, count = under_way.popleft()
            if not self._all_decided(lane, start, end):
                under_way.append((gid, start, end, count))
                continue
            self._groups.reset(gid)
            outcome = self.outcome[start:end]
            outcome[outcome == PENDING] = State.VALUE
            ended += count
            lane.ioc.heard_at = now
        return ended

    def _all_decided(self, lane: Lane, start: int, end: int) -> bool:
        if not lane.failed:
            # Answers come in the order of the requests, nearly always: the last one spares looking at the others.
            if self._status[self._status_at[end - 1]] == NOT_ANSWERED:
                return False
            return bool(np.all(self._status[self._status_at[start:end]] != NOT_ANSWERED))
        pending = self.outcome[start:end] == PENDING
        return bool(np.all(self._status[self._status_at[start:end][pending]] != NOT_ANSWERED))

    def _answered(self, index: int) -> bool:
        return bool(self._status[self._status_at[index]] != NOT_ANSWERED)

    def _withdraw(self, lane: Lane, now: float) -> None:
        self._iocs.timed_out(lane.ioc, lane.pending * REQUEST_BYTES, now)
        for gid, start, end, _ in self._under_way[lane]:
            self._groups.reset(gid)
            outcome = self.outcome[start:end]
            outcome[(outcome == PENDING) & (self._status[self._status_at[start:end]] != NOT_ANSWERED)] = State.VALUE
        self._under_way[lane].clear()


class ArrayGet(Bulk):
    """Whole arrays, as long as they are now, as DBR type `types[i]`: sync groups do not tell that length.

    The engine's value handler calls `value` with `tag | i`; `values[i]` is then count and raw DBR bytes.
    """

    def __init__(
        self,
        iocs: Iocs,
        lanes: Sequence[LaneRange],
        chids: list[int],
        types: list[int],
        handler: int,
        tag: int,
        window: int,
    ) -> None:
        super().__init__(iocs, lanes, chids, READ_OUTCOMES, window)
        self.values: list[tuple[int, bytes] | None] = [None] * len(chids)
        self._types = types
        self._handler = handler
        self._tag = tag
        self._arrived: dict[Lane, int] = dict.fromkeys(self._lanes, 0)

    def _issue(self, lane: Lane, start: int, end: int, now: float) -> list[int]:
        tokens = range(self._tag + start, self._tag + end)
        chids, types = self._chids[start:end], self._types[start:end]
        return list(map(ca.array_get_callback, types, repeat(0), chids, repeat(self._handler), tokens))

    def value(self, index: int, status: int, count: int, raw: bytes) -> None:
        """The answer to request `index`."""
        if self.outcome[index] != PENDING:
            return
        if status == ca.ECA_NORMAL:
            self.outcome[index] = State.VALUE
            self.values[index] = count, raw
        else:
            self.outcome[index] = self._outcome_of(status)
        self._arrived[self._lane_of(index)] += 1

    def exception(self, chid: int, status: int) -> None:
        """Nothing: the failures of these requests come to `value`."""

    def _poll(self, lane: Lane, now: float) -> int:
        arrived = self._arrived[lane]
        if arrived:
            self._arrived[lane] = 0
            lane.ioc.heard_at = now
        return arrived

    def _withdraw(self, lane: Lane, now: float) -> None:
        # Late answers find the tag unknown.
        self._iocs.timed_out(lane.ioc, lane.pending * REQUEST_BYTES, now)
