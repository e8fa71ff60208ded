"""Writing the values of a frame."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._encode import Encoded
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._plan import lanes_of
from squirrel_ioc.ca._put import Puts
from squirrel_ioc.ca._read import PROGRESS_S
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import State, WriteState

__all__ = ["WriteOperation"]


class WriteOperation(Operation):
    """One bulk write: `outcome` uint8[rows] at its end. `progress` and `abort` are called in the engine thread."""

    def __init__(
        self,
        engine: Engine,
        values: Frame,
        slots: NDArray[np.intp],
        timeout_s: float,
        window: int,
        progress: Callable[[int, int], None],
        abort: Callable[[], bool],
    ) -> None:
        self.outcome = np.full(len(values), WriteState.NOT_ISSUED, np.uint8)
        self._engine = engine
        self._values = values
        self._slots = slots
        self._timeout_s = timeout_s
        self._window = window
        self._progress = progress
        self._abort = abort
        self._puts: Puts | None = None
        self._rows = np.zeros(0, np.intp)
        self._tag = 0
        self._told_at = 0.0
        self._cancelled = False

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        if self._cancelled:
            self._end()
            return None
        if self._puts is None:
            self._puts = self._begin(now)
        puts = self._puts
        if not self._may_issue():
            puts.skip_rest()
        moved = puts.step(now, self._may_issue)
        if puts.finished:
            self._end()
            return None
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            self._progress(len(self._values) - len(self._rows) + puts.done, len(self._values))
        return moved

    def _begin(self, now: float) -> Puts:
        engine, table = self._engine, self._engine.table
        slots, known = self._slots, self._slots >= 0
        connected = known & table.connected[slots]
        writable = known & table.writable[slots]
        wanted = self._values.state == State.VALUE
        self.outcome[wanted & ~connected] = WriteState.DISCONNECTED
        self.outcome[wanted & connected & ~writable] = WriteState.NO_WRITE_ACCESS
        rows = np.flatnonzero(wanted & writable)
        busy = np.isin(table.chid[slots[rows]], list(engine.answers.unfinished.chids))
        # Those that have to wait come last in their lane.
        rows = np.concatenate((rows[~busy], rows[busy]))
        order, lanes = lanes_of(table.ioc[slots[rows]])
        self._rows = rows[order]
        self._told_at = now
        self._tag = engine.answers.tag(self)
        return Puts(
            engine.iocs,
            lanes,
            table.chid[slots[self._rows]].tolist(),
            Encoded(self._values, self._rows),
            engine.answers.unfinished,
            engine.answers.put_handler,
            self._tag,
            self._window,
            self._timeout_s,
            now,
        )

    def _may_issue(self) -> bool:
        return not (self._cancelled or self._abort())

    def _end(self) -> None:
        if self._puts is not None:
            self._engine.answers.untag(self._tag)
            self.outcome[self._rows] = self._puts.outcome

    def puts_ended(self, indexes: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """See `Operation`."""
        if self._puts is not None:
            self._puts.ended(indexes, statuses)

    def cancel(self) -> None:
        """See `Operation`."""
        self._cancelled = True
        if self._puts is not None:
            self._puts.withdraw(WriteState.TIMEOUT, WriteState.NOT_ISSUED, time.monotonic())
