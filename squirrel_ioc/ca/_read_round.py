"""One round of a bulk read: its plan, and its requests."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._decode import Columns
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._get import ArrayGet, ScalarGet
from squirrel_ioc.ca._layout import DBR_TIME, TIME_DTYPE
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._plan import Buffer, lanes_of
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State

__all__ = ["ReadPlan", "ReadRound", "few_metas"]

_FEW_METAS: Final = 64


class ReadPlan:
    """How to read the channels in these slots (-1: not watched), laid out once for a state of the connections.

    `connection` int32[n] as in the table; `unready`: rows that are to be read, and whose meta data were not known when
    this was made; `all_metas`: the table's meta column, of which `meta` and `metas` are a smaller form. `as_text`: each
    value, also a scalar, comes as an array of DBR_STRING.
    """

    def __init__(self, engine: Engine, slots: NDArray[np.intp], *, as_text: bool = False) -> None:
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
        dbf = np.uint8(Dbf.STRING) if as_text else table.dbf[slots]
        self.dbf = np.where(known, dbf, np.uint8(Dbf.NONE)).astype(np.uint8)
        self.connection = table.connection[slots]
        self.unready = np.flatnonzero(readable & ~table.ready[slots])
        self.all_metas = np.where(known, table.meta[slots], 0)
        self.meta, self.metas = few_metas(self.all_metas, engine.metas.all)
        scalar = (table.count[slots] == 1) & (not as_text)
        self.scalar_rows = np.flatnonzero(readable & scalar)
        self.scalars = Buffer.of(table, slots[self.scalar_rows], TIME_DTYPE, DBR_TIME)
        array_rows = np.flatnonzero(readable & ~scalar)
        order, self.array_lanes = lanes_of(table.ioc[slots[array_rows]])
        self.array_rows = array_rows[order]
        self.array_chids: list[int] = table.chid[slots[self.array_rows]].tolist()
        self.array_types: list[int] = (self.dbf[self.array_rows].astype(np.int64) + DBR_TIME).tolist()


def few_metas(meta: NDArray[np.int32], metas: tuple[Meta, ...]) -> tuple[NDArray[np.int32], tuple[Meta, ...]]:
    """The meta column for a tuple without much that is not used."""
    if len(metas) <= _FEW_METAS:
        return meta, metas
    used, index = np.unique(meta, return_inverse=True)
    if not len(used):
        return meta, (NO_META,)
    return index.astype(np.int32), tuple(metas[i] for i in used.tolist())


class ReadRound:
    """The requests of a plan, each issued once. Their answers come to `operation`, which passes them on."""

    def __init__(self, engine: Engine, operation: Operation, plan: ReadPlan, window: int, *, is_sweep: bool) -> None:
        self.plan = plan
        self._engine = engine
        self._generation = plan.generation
        self._tag = engine.answers.tag(operation)
        buffer = plan.scalars
        plan.busy = True
        buffer.clear()
        self.scalars = ScalarGet(
            engine.iocs,
            engine.groups,
            buffer.lanes,
            buffer.chids,
            buffer.types,
            buffer.pointers,
            buffer.status,
            buffer.status_at,
            window,
        )
        self.arrays = ArrayGet(
            engine.iocs,
            plan.array_lanes,
            plan.array_chids,
            plan.array_types,
            engine.answers.value_handler,
            self._tag,
            window,
        )
        self._both = self.scalars, self.arrays
        for bulk in self._both:
            bulk.is_sweep = is_sweep

    def step(self, now: float) -> bool:
        """A slice of it. Whether anything has moved."""
        table = self._engine.table
        if table.generation != self._generation:
            self._generation = table.generation
            gone = table.connection[self.plan.slots] != self.plan.connection
            self.scalars.lost(gone[self.plan.scalar_rows[self.plan.scalars.order]])
            self.arrays.lost(gone[self.plan.array_rows])
        moved = [bulk.step(now, _always) for bulk in self._both]
        return any(moved)

    @property
    def finished(self) -> bool:
        """Whether every request is decided."""
        return all(bulk.finished for bulk in self._both)

    @property
    def done(self) -> int:
        """How many rows are decided."""
        plan = self.plan
        return len(plan.slots) - len(plan.scalar_rows) - len(plan.array_rows) + sum(bulk.done for bulk in self._both)

    def withdraw(self, outcome: State, now: float) -> None:
        """Give up what is not decided."""
        for bulk in self._both:
            bulk.withdraw(outcome, outcome, now)

    def close(self) -> None:
        """What still comes is for nobody."""
        self._engine.answers.untag(self._tag)

    def state(self) -> NDArray[np.uint8]:
        """uint8[rows]: a `State` each."""
        plan, state = self.plan, self.plan.state.copy()
        state[plan.scalar_rows[plan.scalars.order]] = self.scalars.outcome
        state[plan.array_rows] = self.arrays.outcome
        return state

    def fill(self, columns: Columns, rows: NDArray[np.intp] | None = None) -> None:
        """Put the values into `columns`, whose states are known; row i of the plan is `rows[i]` there, or i.

        After this, others may use the plan, and its memory.
        """
        plan = self.plan
        for dbf, view in plan.scalars.views.items():
            which = plan.scalar_rows[plan.scalars.rows[dbf]]
            columns.scalars(dbf, which if rows is None else rows[which], view)
        columns.arrays(plan.array_rows if rows is None else rows[plan.array_rows], self.arrays.values)
        plan.busy = False


def _always() -> bool:
    return True
