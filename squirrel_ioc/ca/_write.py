"""Writing the values of a frame, in one round or two."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._encode import Encoded
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._plan import lanes_of
from squirrel_ioc.ca._put import Puts
from squirrel_ioc.ca._read import PROGRESS_S
from squirrel_ioc.ca._second_round import WAIT_SHARE, fit_for_again, same_kind
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import State, WriteState

__all__ = ["WriteOperation"]

_NOT_SENT = (WriteState.DISCONNECTED, WriteState.IOC_OPEN)
"""What may be sent in the second round. All else was sent, or is not to be sent."""

_LATE_S = 1.0
"""A put that takes longer is told of while it is waited for."""


@dataclass(frozen=True, eq=False)
class _Round:
    """Put i is row `rows[i]` of the frame; `connection` is that of each row when this began."""

    puts: Puts
    rows: NDArray[np.intp]
    tag: int
    connection: NDArray[np.int32]


class WriteOperation(Operation):
    """One bulk write: `outcome` uint8[rows] at its end. The callbacks are called in the engine thread.

    The second round is for what could not be sent in the first one and can be sent now, see `fit_for_again`. It begins
    within `retry_s` of the end of the first one, which it waits for only while channels that are back have still to
    tell what they are; 0: there is none.
    """

    def __init__(
        self,
        engine: Engine,
        values: Frame,
        slots: NDArray[np.intp],
        timeout_s: float,
        retry_s: float,
        window: int,
        progress: Callable[[int, int], None],
        abort: Callable[[], bool],
        waiting: Callable[[str, int], None],
    ) -> None:
        self.outcome = np.full(len(values), WriteState.NOT_ISSUED, np.uint8)
        self._engine = engine
        self._values = values
        self._slots = slots
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._window = window
        self._progress = progress
        self._abort = abort
        self._waiting = waiting
        self._round: _Round | None = None
        self._meta = np.zeros(0, np.int32)
        self._generation = -1
        self._first_ended_at = 0.0
        self._told_at = 0.0
        self._cancelled = False

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        if self._first_ended_at:
            return self._between(now)
        if self._round is None:
            if self._cancelled:
                return None
            self._round = self._begin(now)
        round_ = self._round
        self._look_for_losses(round_)
        if not self._may_issue():
            round_.puts.skip_rest()
        moved = round_.puts.step(now, self._may_issue)
        if round_.puts.finished:
            self._close(round_)
            if self._retry_s == 0 or not self._may_issue():
                return None
            self._first_ended_at = now
            return self._between(now)
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            late = round_.puts.late(now, _LATE_S)
            if len(late):
                self._waiting(self._values.channels.names[round_.rows[late[0]]], len(late) - 1)
            self._progress(len(self._values) - len(round_.rows) + round_.puts.done, len(self._values))
        return moved

    def _begin(self, now: float) -> _Round:
        table = self._engine.table
        slots, known = self._slots, self._slots >= 0
        connected = known & table.connected[slots]
        writable = known & table.writable[slots]
        wanted = self._values.state == State.VALUE
        self.outcome[wanted & ~connected] = WriteState.DISCONNECTED
        self.outcome[wanted & connected & ~writable] = WriteState.NO_WRITE_ACCESS
        self._meta = np.where(known, table.meta[slots], 0).astype(np.int32)
        self._told_at = now
        return self._round_of(np.flatnonzero(wanted & writable), now)

    def _round_of(self, rows: NDArray[np.intp], now: float) -> _Round:
        engine, table = self._engine, self._engine.table
        busy = np.isin(table.chid[self._slots[rows]], list(engine.answers.unfinished.chids))
        # Those that have to wait come last in their lane.
        rows = np.concatenate((rows[~busy], rows[busy]))
        order, lanes = lanes_of(table.ioc[self._slots[rows]])
        rows = rows[order]
        slots = self._slots[rows]
        self._generation = table.generation
        tag = engine.answers.tag(self)
        puts = Puts(
            engine.iocs,
            lanes,
            table.chid[slots].tolist(),
            Encoded(self._values, rows),
            engine.answers.unfinished,
            engine.answers.put_handler,
            tag,
            self._window,
            self._timeout_s,
            now,
        )
        return _Round(puts, rows, tag, table.connection[slots])

    def _look_for_losses(self, round_: _Round) -> None:
        table = self._engine.table
        if table.generation != self._generation:
            self._generation = table.generation
            round_.puts.lost(table.connection[self._slots[round_.rows]] != round_.connection)

    def _between(self, now: float) -> bool | None:
        """After the first round: begin the second one, or wait for it, or end."""
        if not self._may_issue():
            return None
        table = self._engine.table
        rows = np.flatnonzero(np.isin(self.outcome, _NOT_SENT))
        able, soon = fit_for_again(self._engine, self._slots[rows], now)
        if soon.any() and now - self._first_ended_at < self._retry_s * WAIT_SHARE:
            return False
        able &= table.writable[self._slots[rows]]
        rows = rows[able]
        rows = rows[same_kind(self._engine.metas, self._meta[rows], table.meta[self._slots[rows]])]
        if not len(rows):
            return None
        self._first_ended_at, self._retry_s = 0.0, 0.0
        self._round = self._round_of(rows, now)
        return True

    def _may_issue(self) -> bool:
        return not (self._cancelled or self._abort())

    def _close(self, round_: _Round) -> None:
        self._engine.answers.untag(round_.tag)
        self.outcome[round_.rows] = round_.puts.outcome

    def puts_ended(self, indexes: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """See `Operation`."""
        if self._round is not None:
            self._round.puts.ended(indexes, statuses)

    def cancel(self) -> None:
        """See `Operation`."""
        self._cancelled = True
        if self._round is not None:
            self._round.puts.withdraw(WriteState.TIMEOUT, WriteState.NOT_ISSUED, time.monotonic())
