"""Reading many channels into a frame, in one round or two."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._decode import Columns
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._read_round import ReadPlan, ReadRound, few_metas
from squirrel_ioc.ca._second_round import WAIT_SHARE, fit_for_again
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import State

__all__ = ["ReadOperation", "PROGRESS_S"]

PROGRESS_S: Final = 0.1
"""Between two calls of `progress`."""

_IN_PASSING: Final = np.isin(np.arange(256), (State.DISCONNECTED, State.TIMEOUT, State.ERROR, State.IOC_OPEN))
"""By state: whether a second try may help. What may not be read stays so."""


class ReadOperation(Operation):
    """One bulk read: `frame` at its end. `progress` and `abort` are called in the engine thread.

    The second round is for rows that failed in the first one and can be tried again at once, see `fit_for_again`. When
    there is none, it takes no time. It ends `retry_s` after the first one; 0: there is none.
    """

    def __init__(
        self,
        engine: Engine,
        channels: ChannelList,
        plan: Callable[[], ReadPlan],
        timeout_s: float,
        retry_s: float,
        window: int,
        progress: Callable[[int, int], None],
        abort: Callable[[], bool],
    ) -> None:
        self.frame: Frame | None = None
        self._engine = engine
        self._channels = channels
        self._make_plan = plan
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._window = window
        self._progress = progress
        self._abort = abort
        self._first: ReadRound | None = None
        self._state: NDArray[np.uint8] | None = None
        self._second: ReadRound | None = None
        self._again = np.zeros(0, np.intp)
        self._deadline = 0.0
        self._told_at = 0.0
        self._cancelled = False

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        if self._first is None:
            if self._cancelled:
                return None
            self._first = ReadRound(self._engine, self, self._make_plan(), self._window, is_sweep=True)
            self._deadline, self._told_at = now + self._timeout_s, now
        round_ = self._second or self._first
        stopped = self._cancelled or self._abort()
        if stopped:
            round_.withdraw(State.NOT_READ, now)
        moved = round_.step(now)
        if now >= self._deadline:
            round_.withdraw(State.TIMEOUT, now)
        if round_.finished:
            if stopped or self._second is not None or not self._go_on(self._first, now):
                self._end(self._first)
                return None
        elif now - self._told_at >= PROGRESS_S:
            self._told_at = now
            self._progress(len(self._channels) - len(round_.plan.slots) + round_.done, len(self._channels))
        return moved

    def _go_on(self, first: ReadRound, now: float) -> bool:
        """After the first round: begin the second one, or wait for it. False when there is none."""
        if self._state is None:
            self._deadline = now + self._retry_s
        state = self._first_state(first)
        if self._retry_s == 0 or now >= self._deadline:
            return False
        slots = first.plan.slots
        failed = np.flatnonzero(_IN_PASSING[state])
        able, soon = fit_for_again(self._engine, slots[failed], now)
        able &= self._engine.table.readable[slots[failed]]
        if now < self._deadline - self._retry_s * WAIT_SHARE and (soon.any() or self._nameless(first.plan, state, now)):
            return True
        if not able.any():
            return False
        self._again = failed[able]
        plan = ReadPlan(self._engine, slots[self._again])
        self._second = ReadRound(self._engine, self, plan, self._window, is_sweep=False)
        return True

    def _nameless(self, plan: ReadPlan, state: NDArray[np.uint8], now: float) -> bool:
        """Whether there are values of channels that have still to tell what they are, and can."""
        rows = plan.unready
        if not len(rows):
            return False
        table, slots = self._engine.table, plan.slots[rows]
        waits = (state[rows] == State.VALUE) & (table.connection[slots] == plan.connection[rows])
        return bool(np.any(waits & fit_for_again(self._engine, slots, now)[1]))

    def _first_state(self, first: ReadRound) -> NDArray[np.uint8]:
        """How the rows fared in the first round, which is over."""
        if self._state is None:
            self._state = first.state()
            first.close()
        return self._state

    def _end(self, first: ReadRound) -> None:
        plan, state = first.plan, self._first_state(first)
        if self._second is None and not len(plan.unready):
            columns, meta, metas = Columns(state, plan.dbf), plan.meta, plan.metas
            first.fill(columns)
        else:
            columns = Columns(state, self._types(plan))
            first.fill(columns)
            meta, metas = few_metas(self._metas(plan, state), self._engine.metas.all)
        if self._second is not None:
            self._second.close()
            columns.outcome(self._again, self._second.state())
            self._second.fill(columns, self._again)
        self.frame = columns.frame(self._channels, meta, metas)

    def _types(self, plan: ReadPlan) -> NDArray[np.uint8]:
        dbf = plan.dbf.copy()
        if self._second is not None:
            dbf[self._again] = self._second.plan.dbf
        return dbf

    def _metas(self, plan: ReadPlan, state: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Of each row, what its channel says of itself in the connection in which its value was read."""
        table, meta, rows = self._engine.table, plan.all_metas.copy(), plan.unready
        slots = plan.slots[rows]
        known = (state[rows] == State.VALUE) & (table.connection[slots] == plan.connection[rows]) & table.ready[slots]
        meta[rows[known]] = table.meta[slots[known]]
        if self._second is not None:
            meta[self._again] = self._second.plan.all_metas
        return meta

    def exception(self, chid: int, status: int, op: int) -> None:
        """See `Operation`."""
        round_ = self._second or self._first
        if op == ca.OP_GET and round_ is not None:
            round_.scalars.exception(chid, status)

    def value(self, index: int, status: int, count: int, raw: bytes) -> None:
        """See `Operation`."""
        round_ = self._second or self._first
        if round_ is not None:
            round_.arrays.value(index, status, count, raw)

    def cancel(self) -> None:
        """See `Operation`."""
        self._cancelled = True
        round_ = self._second or self._first
        if round_ is not None:
            round_.withdraw(State.NOT_READ, time.monotonic())
