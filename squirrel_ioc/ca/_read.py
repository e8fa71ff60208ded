"""Reading many channels into a frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._decode import Columns
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._get import ArrayGet, ScalarGet
from squirrel_ioc.ca._layout import DBR_TIME, TIME_DTYPE
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._plan import Buffer, lanes_of
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State

__all__ = ["ReadOperation", "ReadPlan", "PROGRESS_S"]

PROGRESS_S: Final = 0.1
"""Between two calls of `progress`."""

_FEW_METAS: Final = 64


class ReadPlan:
    """How to read the channels in these slots (-1: not watched), laid out once for a state of the connections."""

    def __init__(self, engine: Engine, slots: NDArray[np.intp]) -> None:
        table = engine.table
        self.generation = table.generation
        self.slots = slots
        self.busy = False
        known = slots >= 0
        connected = known & table.connected[slots]
        readable = known & table.readable[slots]
        self.state = np.full(len(slots), State.DISCONNECTED, np.uint8)
        self.state[connected] = State.NO_READ_ACCESS
        self.state[readable] = State.NOT_READ
        self.dbf = np.where(known, table.dbf[slots], np.uint8(Dbf.NONE)).astype(np.uint8)
        self.meta, self.metas = _few_metas(np.where(known, table.meta[slots], 0), engine.metas.all)
        scalar = table.count[slots] == 1
        self.scalar_rows = np.flatnonzero(readable & scalar)
        self.scalars = Buffer.of(table, slots[self.scalar_rows], TIME_DTYPE, DBR_TIME)
        array_rows = np.flatnonzero(readable & ~scalar)
        order, self.array_lanes = lanes_of(table.ioc[slots[array_rows]])
        self.array_rows = array_rows[order]
        self.array_chids: list[int] = table.chid[slots[self.array_rows]].tolist()
        self.array_types: list[int] = (self.dbf[self.array_rows].astype(np.int64) + DBR_TIME).tolist()


def _few_metas(meta: NDArray[np.int32], metas: tuple[Meta, ...]) -> tuple[NDArray[np.int32], tuple[Meta, ...]]:
    """The meta column for a tuple without much that is not used."""
    if len(metas) <= _FEW_METAS:
        return meta, metas
    used, index = np.unique(meta, return_inverse=True)
    if not len(used):
        return meta, (NO_META,)
    return index.astype(np.int32), tuple(metas[i] for i in used.tolist())


class ReadOperation(Operation):
    """One bulk read: `frame` at its end. `progress` and `abort` are called in the engine thread."""

    def __init__(
        self,
        engine: Engine,
        channels: ChannelList,
        plan: Callable[[], ReadPlan],
        timeout_s: float,
        window: int,
        progress: Callable[[int, int], None],
        abort: Callable[[], bool],
    ) -> None:
        self.frame: Frame | None = None
        self._engine = engine
        self._channels = channels
        self._make_plan = plan
        self._timeout_s = timeout_s
        self._window = window
        self._progress = progress
        self._abort = abort
        self._plan: ReadPlan | None = None
        self._tag = 0
        self._deadline = 0.0
        self._told_at = 0.0
        self._cancelled = False

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        if self._plan is None:
            if self._cancelled:
                return None
            self._begin(self._make_plan(), now)
        bulks = self._scalars, self._arrays
        if self._stopped():
            self._withdraw(State.NOT_READ, now)
        moved = [bulk.step(now, _always) for bulk in bulks]
        if now >= self._deadline:
            self._withdraw(State.TIMEOUT, now)
        if all(bulk.finished for bulk in bulks):
            self._end()
            return None
        if now - self._told_at >= PROGRESS_S:
            self._told_at = now
            self._progress(self._settled + sum(b.done for b in bulks), len(self._channels))
        return any(moved)

    def _begin(self, plan: ReadPlan, now: float) -> None:
        engine, buffer = self._engine, plan.scalars
        self._plan, plan.busy = plan, True
        self._deadline, self._told_at = now + self._timeout_s, now
        self._tag = engine.answers.tag(self)
        buffer.clear()
        self._scalars = ScalarGet(
            engine.iocs,
            engine.groups,
            buffer.lanes,
            buffer.chids,
            buffer.types,
            buffer.pointers,
            buffer.status,
            buffer.status_at,
            self._window,
        )
        self._arrays = ArrayGet(
            engine.iocs,
            plan.array_lanes,
            plan.array_chids,
            plan.array_types,
            engine.answers.value_handler,
            self._tag,
            self._window,
        )
        self._settled = len(self._channels) - len(plan.scalar_rows) - len(plan.array_rows)

    def _stopped(self) -> bool:
        return self._cancelled or self._abort()

    def _withdraw(self, outcome: State, now: float) -> None:
        for bulk in (self._scalars, self._arrays):
            bulk.withdraw(outcome, outcome, now)

    def _end(self) -> None:
        plan = self._plan
        if plan is None:
            return
        self._engine.answers.untag(self._tag)
        columns = Columns(plan.state, plan.dbf)
        scalars = plan.scalars
        columns.outcome(plan.scalar_rows[scalars.order], self._scalars.outcome)
        columns.outcome(plan.array_rows, self._arrays.outcome)
        for dbf, view in scalars.views.items():
            columns.scalars(dbf, plan.scalar_rows[scalars.rows[dbf]], view)
        columns.arrays(plan.array_rows, self._arrays.values)
        self.frame = columns.frame(self._channels, plan.meta, plan.metas)
        plan.busy = False

    def exception(self, chid: int, status: int, op: int) -> None:
        """See `Operation`."""
        if op == ca.OP_GET and self._plan is not None:
            self._scalars.exception(chid, status)

    def value(self, index: int, status: int, count: int, raw: bytes) -> None:
        """See `Operation`."""
        self._arrays.value(index, status, count, raw)

    def cancel(self) -> None:
        """See `Operation`."""
        self._cancelled = True
        if self._plan is not None:
            self._withdraw(State.NOT_READ, time.monotonic())


def _always() -> bool:
    return True
