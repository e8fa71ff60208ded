"""Bulk writes: a put with completion each.

Every put tells its own end to the put handler, so that each outcome is exact: sync groups are no faster, for it is the
IOC that takes the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._bulk import PENDING, REQUEST_BYTES, Bulk, Lane, LaneRange, Outcomes
from squirrel_ioc.ca._encode import Encoded
from squirrel_ioc.ca._iocs import Iocs
from squirrel_ioc.model.values import WriteState

__all__ = ["Puts", "UnfinishedPuts"]

MAX_PUT_BYTES: Final = 192 * 1024
"""Values under way to one IOC, unless one alone is larger. libca blocks the caller at 0x58000 not yet sent."""

PUTS_AT_ONCE: Final = 2000
"""Puts under way to all IOCs that answer. Their ends come in a burst, during which no other thread gets Python's lock:
2000 of them take about 10 ms."""

LEAST_SHARE: Final = 10
"""Puts that every IOC may have under way, however many IOCs there are."""

BUSY_S: Final = 1.0
"""A put waits so long for an earlier one to the same channel, which was given up."""

BRISK_S: Final = 0.1
"""An IOC that has completed nothing for this long takes no share from the others."""

WRITE_OUTCOMES: Final = Outcomes(
    not_issued=WriteState.NOT_ISSUED,
    ioc_open=WriteState.IOC_OPEN,
    other=WriteState.REFUSED,
    of_status={ca.ECA_DISCONN: WriteState.DISCONNECTED, ca.ECA_NOWTACCESS: WriteState.NO_WRITE_ACCESS},
)


class UnfinishedPuts:
    """Puts given up that the IOC has not completed yet, by token.

    A second put with completion to the same channel would stop the IOC's server for us, all of it, for up to 60 s
    (camessage.c, write_notify_action): it has to wait here.
    """

    def __init__(self) -> None:
        self._chids: dict[int, int] = {}

    def add(self, token: int, chid: int) -> None:
        """The put was given up."""
        self._chids[token] = chid

    def ended(self, tokens: NDArray[np.int64]) -> None:
        """The IOC has completed these, or their circuit is gone."""
        if self._chids:
            for token in tokens.tolist():
                self._chids.pop(token, None)

    def forget(self, chids: NDArray[np.int64]) -> None:
        """These channels are about to be cleared: libca may use the same address for another."""
        gone = set(chids.tolist()) if self._chids else set()
        self._chids = {token: chid for token, chid in self._chids.items() if chid not in gone}

    @property
    def chids(self) -> set[int]:
        """The channels to which no put may go now."""
        return set(self._chids.values())


class Puts(Bulk):
    """Put `encoded` value i to channel i, each to complete within `timeout_s` of being sent.

    The engine's put handler calls `ended` with `tag | i`.
    """

    is_sweep = False  # records take as long as what they move

    def __init__(
        self,
        iocs: Iocs,
        lanes: Sequence[LaneRange],
        chids: list[int],
        encoded: Encoded,
        unfinished: UnfinishedPuts,
        handler: int,
        tag: int,
        window: int,
        timeout_s: float,
        now: float,
    ) -> None:
        super().__init__(iocs, lanes, chids, WRITE_OUTCOMES, window)
        self._types: list[int] = encoded.types.tolist()
        self._counts: list[int] = encoded.counts.tolist()
        self._pointers: list[int] = encoded.pointers.tolist()
        sizes = encoded.sizes + REQUEST_BYTES
        self._sizes = sizes
        self._bytes_until = np.concatenate(([0], np.cumsum(sizes)))
        self._encoded = encoded
        self._unfinished = unfinished
        self._handler = handler
        self._tag = tag
        self._timeout_s = timeout_s
        self._started_at = now
        self._arrived: dict[Lane, int] = dict.fromkeys(self._lanes, 0)
        self._slices: dict[Lane, deque[tuple[int, int, float]]] = {lane: deque() for lane in self._lanes}
        self._busy: set[int] = unfinished.chids
        self._share = LEAST_SHARE

    def _room(self, lane: Lane) -> int:
        room = min(super()._room(lane), self._share - lane.pending)
        if room <= 0:
            return room
        start = lane.next
        budget = MAX_PUT_BYTES - lane.ioc.put_bytes + int(self._bytes_until[start])
        room = min(room, int(np.searchsorted(self._bytes_until, budget, "right")) - 1 - start)
        if room <= 0 and lane.ioc.put_bytes == 0:
            room = 1
        return self._free_of_busy(start, room) if self._busy else room

    def step(self, now: float, may_issue: Callable[[], bool]) -> bool:
        """See `Bulk`."""
        brisk = sum(1 for lane in self._active if not lane.pending or now - lane.moved_at < BRISK_S)
        self._share = max(PUTS_AT_ONCE // max(brisk, 1), LEAST_SHARE)
        if self._busy:
            self._busy &= self._unfinished.chids
            if now - self._started_at >= min(BUSY_S, self._timeout_s):
                self._skip_busy()
        return super().step(now, may_issue)

    def _skip_busy(self) -> None:
        for lane in self._active:
            while lane.next < lane.end and self._chids[lane.next] in self._busy:
                self.outcome[lane.next] = WriteState.BUSY
                lane.next += 1
                self.done += 1

    def _free_of_busy(self, start: int, room: int) -> int:
        return next((i for i in range(room) if self._chids[start + i] in self._busy), room)

    def _issue(self, lane: Lane, start: int, end: int, now: float) -> list[int]:
        cut = slice(start, end)
        tokens = range(self._tag + start, self._tag + end)
        columns = self._types[cut], self._counts[cut], self._chids[cut], self._pointers[cut]
        statuses = list(map(ca.array_put_callback, *columns, repeat(self._handler), tokens))
        self._slices[lane].append((start, end, now))
        lane.ioc.put_bytes += int(self._sizes[cut][np.equal(statuses, ca.ECA_NORMAL)].sum())
        return statuses

    def ended(self, indexes: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """These puts have completed, or failed."""
        owed = self.outcome[indexes] == PENDING
        indexes, statuses = indexes[owed], statuses[owed]
        self.outcome[indexes] = WriteState.DONE
        for i in np.flatnonzero(statuses != ca.ECA_NORMAL).tolist():
            status = int(statuses[i])
            self.outcome[indexes[i]] = WriteState.DROPPED if status == ca.ECA_DISCONN else self._outcome_of(status)
        which = np.searchsorted(self._starts, indexes, "right") - 1
        counts = np.bincount(which, minlength=len(self._lanes))
        sizes = np.bincount(which, self._sizes[indexes], minlength=len(self._lanes))
        for k in np.flatnonzero(counts).tolist():
            lane = self._lanes[k]
            self._arrived[lane] += int(counts[k])
            lane.ioc.put_bytes -= int(sizes[k])

    def late(self, now: float, after_s: float) -> NDArray[np.intp]:
        """Puts that were sent so long ago and have not completed, ascending; empty while others still go out."""
        if any(lane.next < lane.end and not lane.ioc.gave_up for lane in self._active):
            return np.zeros(0, np.intp)
        late = [np.arange(s, e) for lane in self._active for s, e, at in self._slices[lane] if now - at >= after_s]
        rows = np.concatenate(late) if late else np.zeros(0, np.intp)
        return np.sort(rows[self.outcome[rows] == PENDING])

    def exception(self, chid: int, status: int) -> None:
        """Nothing: the failures of puts with completion come to `ended`."""

    def _poll(self, lane: Lane, now: float) -> int:
        ended = self._arrived[lane]
        if ended:
            self._arrived[lane] = 0
            lane.ioc.heard_at = now
        slices = self._slices[lane]
        while slices:
            start, end, issued_at = slices[0]
            late = np.flatnonzero(self.outcome[start:end] == PENDING) + start
            if len(late) and now - issued_at < self._timeout_s:
                break
            slices.popleft()
            if len(late):
                self._time_out(lane, late.tolist(), now)
                ended += len(late)
        return ended

    def _time_out(self, lane: Lane, late: list[int], now: float) -> None:
        self.outcome[late] = WriteState.TIMEOUT
        size = int(self._sizes[late].sum())
        for index in late:
            self._unfinished.add(self._tag + index, self._chids[index])
        lane.ioc.put_bytes -= size
        self._iocs.timed_out(lane.ioc, size, now)

    def _withdraw(self, lane: Lane, now: float) -> None:
        for start, end, _ in self._slices[lane]:
            late = np.flatnonzero(self.outcome[start:end] == PENDING) + start
            if len(late):
                self._time_out(lane, late.tolist(), now)
        self._slices[lane].clear()
