"""Making and clearing channels, and reading the meta data of those that have connected: background work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._channels import BATCH, Released, abandon, clear
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._get import ScalarGet
from squirrel_ioc.ca._layout import CTRL_DTYPE, DBR_CTRL
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._plan import Buffer
from squirrel_ioc.model.values import Dbf, State

__all__ = ["ClearOperation", "CreateOperation", "MetaOperation", "RefreshOperation"]

CLEAR_AFTER_S: Final = 1.0
"""How long an IOC may take to show that it takes messages, before its channels are abandoned instead of cleared."""


class CreateOperation(Operation):
    """Makes the channels of reserved slots, a batch at a time."""

    def __init__(self, engine: Engine, slots: Sequence[int], names: Sequence[str]) -> None:
        self._engine = engine
        self._slots = slots
        self._names = names
        self._next = 0

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        cut = slice(self._next, self._next + BATCH)
        self._engine.table.create(self._slots[cut], self._names[cut])
        self._next += BATCH
        ca.flush_io()
        return True if self._next < len(self._slots) else None

    def cancel(self) -> None:
        """See `Operation`."""
        self._next = len(self._slots)


class ClearOperation(Operation):
    """Clears channels, once nothing that is under way can use them any more.

    Clearing sends messages, on which libca may block when an IOC hangs: the channels of one that does not answer a
    probe are abandoned instead. They stay in libca, silent, until the process ends. Without `slots`: all there are.
    """

    def __init__(self, engine: Engine, slots: Sequence[int] | None = None) -> None:
        self._engine = engine
        self._slots = slots
        self._left: Released | None = None
        self._users: list[Operation] = []
        self._replies: dict[int, int] = {}
        self._deadline = 0.0

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        engine = self._engine
        if self._left is None:
            if any(isinstance(operation, CreateOperation) for operation in engine.running):
                return False
            self._left = engine.table.release(engine.table.used.tolist() if self._slots is None else self._slots)
            engine.tell_changed()
            # From here on no operation takes up these channels; those that run may still hold them.
            self._users = [user for user in engine.running if not isinstance(user, ClearOperation)]
        self._users = [user for user in engine.running if user in self._users]
        if self._users:
            return False
        if not self._deadline:
            self._ask(self._left, now)
        return self._clear(self._left, now)

    def _ask(self, channels: Released, now: float) -> None:
        self._deadline = now + CLEAR_AFTER_S
        self._engine.answers.unfinished.forget(channels.chid)
        indexes, first = np.unique(channels.ioc, return_index=True)
        for index, row in zip(indexes.tolist(), first.tolist(), strict=True):
            if index >= 0:
                ioc = self._engine.iocs.all[index]
                self._replies[index] = ioc.replies
                self._engine.iocs.ask(ioc, now, int(channels.chid[row]))

    def _clear(self, channels: Released, now: float) -> bool | None:
        iocs = self._engine.iocs.all
        deaf = [index for index, replies in self._replies.items() if iocs[index].replies == replies]
        may = np.isin(channels.ioc, deaf, invert=True)
        may &= np.cumsum(may) <= BATCH
        if may.any():
            clear(channels.take(may))
            channels = self._left = channels.take(~may)
        elif now >= self._deadline:
            abandon(channels)
            channels = self._left = channels.take(may)
        return bool(may.any()) if len(channels.chid) else None

    def cancel(self) -> None:
        """See `Operation`."""
        if self._left is not None:
            abandon(self._left)
            self._left = self._left.take(np.zeros(len(self._left.chid), bool))


class MetaOperation(Operation):
    """Reads what channels that have just connected say of themselves. `failed` are the slots to try again."""

    def __init__(self, engine: Engine, slots: NDArray[np.intp], timeout_s: float, window: int) -> None:
        table = engine.table
        self.failed = np.zeros(0, np.intp)
        self._engine = engine
        slots = slots[table.connected[slots]]
        # A string has no meta data; of what may not be read only type and count are known.
        asked = table.readable[slots] & (table.dbf[slots] != Dbf.STRING)
        self._bare(slots[~asked])
        self._slots = slots[asked]
        self._connection = table.connection[self._slots]
        table.stale[self._slots] = False  # what changes from here on is news
        self._buffer = Buffer.of(table, self._slots, CTRL_DTYPE, DBR_CTRL)
        self._buffer.clear()
        b = self._buffer
        self._bulk = ScalarGet(
            engine.iocs, engine.groups, b.lanes, b.chids, b.types, b.pointers, b.status, b.status_at, window
        )
        self._timeout_s = timeout_s
        self._deadline = 0.0

    def _bare(self, slots: NDArray[np.intp]) -> None:
        if not len(slots):
            return
        table, metas = self._engine.table, self._engine.metas
        pairs = zip(table.dbf[slots].tolist(), table.count[slots].tolist(), strict=True)
        table.meta[slots] = [metas.bare(dbf, count) for dbf, count in pairs]
        table.ready[slots] = True
        table.generation += 1

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        self._deadline = self._deadline or now + self._timeout_s
        moved = self._bulk.step(now, lambda: True)
        if now >= self._deadline:
            self._bulk.withdraw(State.TIMEOUT, State.TIMEOUT, now)
        if not self._bulk.finished:
            return moved
        self._end()
        return None

    def _end(self) -> None:
        table, slots = self._engine.table, self._slots
        before = table.meta[slots]
        outcome = np.empty(len(slots), np.uint8)
        outcome[self._buffer.order] = self._bulk.outcome
        # A slot may have got another channel, or none, meanwhile; a connection that was lost comes back as a new one.
        same = (table.connection[slots] == self._connection) & table.connected[slots]
        for dbf, view in self._buffer.views.items():
            rows = self._buffer.rows[dbf]
            good = same[rows] & (outcome[rows] == State.VALUE) & (table.dbf[slots[rows]] == dbf)
            done, records = slots[rows[good]], view[good]
            table.meta[done] = self._engine.metas.intern(dbf, table.count[done].tolist(), records)
            table.ready[done] = True
        if np.any(table.meta[slots] != before):
            table.generation += 1
        refused = np.isin(outcome, (State.ERROR, State.NO_READ_ACCESS))
        self._bare(slots[same & refused])
        self.failed = slots[same & np.isin(outcome, (State.TIMEOUT, State.IOC_OPEN, State.NOT_READ))]
        table.stale[self.failed] = True

    def exception(self, chid: int, status: int, op: int) -> None:
        """See `Operation`."""
        if op == ca.OP_GET:
            self._bulk.exception(chid, status)

    def cancel(self) -> None:
        """See `Operation`."""
        self._bulk.withdraw(State.NOT_READ, State.NOT_READ, time.monotonic())


class RefreshOperation(Operation):
    """Reads the meta data of connected channels again: the labels of an enum can change while it is connected."""

    def __init__(
        self,
        engine: Engine,
        slots: NDArray[np.intp],
        timeout_s: float,
        window: int,
        abort: Callable[[], bool],
    ) -> None:
        self._of_meta = engine, slots, timeout_s, window
        self._abort = abort
        self._meta: MetaOperation | None = None

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        if self._meta is None:
            self._meta = MetaOperation(*self._of_meta)
        if self._abort():
            self._meta.cancel()
        return self._meta.step(now)

    def exception(self, chid: int, status: int, op: int) -> None:
        """See `Operation`."""
        if self._meta is not None:
            self._meta.exception(chid, status, op)

    def cancel(self) -> None:
        """See `Operation`."""
        if self._meta is not None:
            self._meta.cancel()
