"""Many requests to many IOCs: each IOC in its own lane, none waiting for another.

What reads and writes have in common: the window of an IOC, who is still owed an answer, how it ended. The requests
are issued and polled by `step`, a slice of work at a time, in the engine thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._iocs import PROBE_AFTER_S, Ioc, Iocs

__all__ = ["Bulk", "Lane", "LaneRange", "Outcomes", "PENDING", "SLICE"]

PENDING: Final = 255
"""Outcome of a request not decided yet. The others are those of `State` or `WriteState`."""

SLICE: Final = 1000
"""Requests issued at once: about a millisecond."""

REQUEST_BYTES: Final = 24
"""A CA message header (caProto.h), extended form."""

LaneRange = tuple[int, int, int]
"""IOC index, first request, last request + 1."""


@dataclass(frozen=True)
class Outcomes:
    """What ends a request, in the words of `State` or of `WriteState`."""

    not_issued: int
    ioc_open: int
    other: int
    of_status: Mapping[int, int]
    """By ECA status; any other failure is `other`."""


@dataclass(eq=False)
class Lane:
    """Requests [next, end) are still to be issued to this IOC, `pending` of those before are under way."""

    ioc: Ioc
    start: int
    next: int
    end: int
    pending: int = 0
    failed: bool = False
    """A request of this lane has failed."""
    started_at: float = 0.0
    moved_at: float = 0.0


class Bulk(ABC):
    """`chids[i]` is the channel of request i; the requests to one IOC are neighbours: `lanes`.

    `outcome` uint8[n] tells how each ended. `window` is the most that may be under way to one IOC.
    """

    is_sweep = True
    """Whether the time it takes an IOC tells how fast that is."""

    def __init__(
        self, iocs: Iocs, lanes: Sequence[LaneRange], chids: list[int], outcomes: Outcomes, window: int
    ) -> None:
        self.outcome: NDArray[np.uint8] = np.full(len(chids), PENDING, np.uint8)
        self.done = 0
        """Requests decided."""
        self._iocs = iocs
        self._chids = chids
        self._outcomes = outcomes
        self._window = window
        self._index: dict[int, int] | None = None
        self._lanes = [Lane(iocs.all[ioc], start, start, end) for ioc, start, end in lanes]
        self._active = list(self._lanes)
        self._starts = [start for _, start, _ in lanes]
        self._gone: NDArray[np.bool_] | None = None

    @abstractmethod
    def _issue(self, lane: Lane, start: int, end: int, now: float) -> list[int]:
        """Issue requests [start, end): the ECA status of each."""

    @abstractmethod
    def _poll(self, lane: Lane, now: float) -> int:
        """How many requests of the lane have ended since, their outcomes written down, `heard_at` when by answers."""

    @abstractmethod
    def _withdraw(self, lane: Lane, now: float) -> None:
        """Give up what is under way in the lane; outcomes not known after this stay PENDING."""

    def _answered(self, index: int) -> bool:
        """Whether request `index` is known to have had its answer, so that a failure told now is another's."""
        return False

    def _room(self, lane: Lane) -> int:
        """How many requests may be issued to the lane now."""
        return min(self._window - lane.ioc.in_flight, SLICE, lane.end - lane.next)

    @property
    def finished(self) -> bool:
        """Whether every request is decided."""
        return not self._active

    def step(self, now: float, may_issue: Callable[[], bool]) -> bool:
        """Poll and issue, a slice a lane. Whether anything has moved.

        Once `may_issue` says no, what was not issued stays so.
        """
        moved = False
        for lane in self._active:
            if lane.ioc.open:
                self._skip(lane, self._outcomes.ioc_open)
            # First issue, then poll: what becomes free is for everybody.
            issued = self._fill(lane, now, may_issue)
            ended = self._poll(lane, now) if lane.pending else 0
            if ended:
                lane.pending -= ended
                lane.ioc.in_flight -= ended
                lane.moved_at = now
                self.done += ended
            if issued or ended:
                moved = True
            elif lane.pending and now - lane.moved_at > PROBE_AFTER_S:
                self._iocs.silent(lane.ioc, now)
        self._active = [lane for lane in self._active if not self._ended(lane, now)]
        return moved

    def _ended(self, lane: Lane, now: float) -> bool:
        if lane.pending or lane.next < lane.end:
            return False
        if lane.started_at and self.is_sweep:
            lane.ioc.sweep_s = now - lane.started_at
        return True

    def _fill(self, lane: Lane, now: float, may_issue: Callable[[], bool]) -> bool:
        room = 0 if lane.ioc.gave_up else self._room(lane)
        if room <= 0:
            return False
        if not may_issue():
            self._skip(lane, self._outcomes.not_issued)
            return True
        if self._gone is not None and (room := self._before_gone(lane, room, self._gone)) == 0:
            return True
        start, end = lane.next, lane.next + room
        lane.next = end
        lane.started_at = lane.started_at or now
        if not lane.pending:
            lane.moved_at = now
        statuses = self._issue(lane, start, end, now)
        issued = statuses.count(ca.ECA_NORMAL)
        if issued != room:
            for i, status in enumerate(statuses, start):
                if status != ca.ECA_NORMAL:
                    self.outcome[i] = self._outcome_of(status)
            lane.failed = True
        lane.pending += issued
        lane.ioc.in_flight += issued
        self.done += room - issued
        return True

    def lost(self, gone: NDArray[np.bool_]) -> None:
        """bool[n]: the connections these requests were made for are no more; of these, issue nothing more.

        The channels may be connected again, as something else.
        """
        self._gone = gone

    def _before_gone(self, lane: Lane, room: int, gone: NDArray[np.bool_]) -> int:
        """How many requests come before the next one that is gone; those that are gone and come first are decided."""
        ahead = gone[lane.next : lane.next + room]
        if not ahead.any():
            return room
        if not ahead[0]:
            return int(np.argmax(ahead))
        count = room if ahead.all() else int(np.argmin(ahead))
        self.outcome[lane.next : lane.next + count] = self._outcome_of(ca.ECA_DISCONN)
        lane.next += count
        self.done += count
        return 0

    def skip_rest(self) -> None:
        """Issue nothing more."""
        for lane in self._active:
            self._skip(lane, self._outcomes.not_issued)

    def _skip(self, lane: Lane, outcome: int) -> None:
        """Do not issue the rest of the lane."""
        self.outcome[lane.next : lane.end] = outcome
        self.done += lane.end - lane.next
        lane.next = lane.end

    def _outcome_of(self, status: int) -> int:
        return self._outcomes.of_status.get(status, self._outcomes.other)

    def _lane_of(self, index: int) -> Lane:
        return self._lanes[bisect_right(self._starts, index) - 1]

    def exception(self, chid: int, status: int) -> None:
        """A request for this channel has failed, perhaps one of these."""
        if self._index is None:
            self._index = {c: i for i, c in enumerate(self._chids)}
        index = self._index.get(chid)
        if index is None or self.outcome[index] != PENDING or self._answered(index):
            return
        lane = self._lane_of(index)
        if index < lane.next:
            self.outcome[index] = self._outcome_of(status)
            lane.failed = True

    def withdraw(self, under_way: int, not_issued: int, now: float) -> None:
        """Give up: these are the outcomes of what is under way and not answered, and of what was not issued."""
        for lane in self._active:
            if lane.pending:
                self._withdraw(lane, now)
                lane.ioc.in_flight -= lane.pending
                lane.pending = 0
            self._skip(lane, not_issued)
        self._active = []
        self.outcome[self.outcome == PENDING] = under_way
        self.done = len(self.outcome)
