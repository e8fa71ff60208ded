"""Making and clearing channels, and reading the meta data of those that have connected: background work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._channels import BATCH
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._get import ScalarGet
from squirrel_ioc.ca._layout import CTRL_DTYPE, DBR_CTRL
from squirrel_ioc.ca._plan import Buffer
from squirrel_ioc.model.values import Dbf, State

__all__ = ["ClearOperation", "CreateOperation", "MetaOperation"]

CLEAR_AFTER_S: Final = 1.0
"""How long an IOC may take to show that it takes messages, before its channels are abandoned instead of cleared."""


class CreateOperation:
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

    def exception(self, chid: int, status: int, op: int) -> None:
        """See `Operation`."""

    def value(self, index: int, status: int, count: int, raw: bytes) -> None:
        """See `Operation`."""

    def puts_ended(self, indexes: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """See `Operation`."""

    def cancel(self) -> None:
        """See `Operation`."""
        self._next = len(self._slots)


class ClearOperation:
    """Clears channels. That sends messages, on which libca may block when an IOC hangs: its channels are abandoned.

    An abandoned channel stays in libca, silent, until its process ends.
    """

    def __init__(self, engine: Engine, slots: Sequence[int]) -> None:
        self._engine = engine
        self._left = np.asarray(slots, np.intp)
        self._heard: dict[int, int] | None = None
        self._deadline = 0.0

    def step(self, now: float) -> bool | None:
        """See `Operation`."""
        table, iocs = self._engine.table, self._engine.iocs
        connected = table.connected[self._left]
        if self._heard is None:
            self._deadline = now + CLEAR_AFTER_S
            self._heard = {i: iocs.all[i].replies for i in np.unique(table.ioc[self._left[connected]]).tolist()}
            for index in self._heard:
                iocs.ask(iocs.all[index], now)
        deaf = [i for i, heard in self._heard.items() if iocs.all[i].replies == heard]
        blocked = connected & np.isin(table.ioc[self._left], deaf)
        batch = self._left[~blocked][:BATCH]
        if len(batch):
            table.clear(batch.tolist())
            self._left = np.setdiff1d(self._left, batch)
        elif now >= self._deadline:
            self.cancel()
        if not len(self._left):
            return None
        return bool(len(batch))

    def exception(self, chid: int, status: int, op: int) -> None:
        """See `Operation`."""

    def value(self, index: int, status: int, count: int, raw: bytes) -> None:
        """See `Operation`."""

    def puts_ended(self, indexes: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """See `Operation`."""

    def cancel(self) -> None:
        """See `Operation`."""
        self._engine.table.abandon(self._left.tolist())
        self._left = np.zeros(0, np.intp)


class MetaOperation:
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
        self._chids = table.chid[self._slots]
        self._buffer = Buffer.of(table, self._slots, CTRL_DTYPE, DBR_CTRL)
        self._buffer.clear()
        b = self._buffer
        self._bulk = ScalarGet(
            engine.iocs, engine.groups, b.lanes, b.chids, b.types, b.pointers, b.status, b.status_at, window
        )
        self._timeout_s = timeout_s
        self._deadline = 0.0

    def _bare(self, slots: NDArray[np.intp]) -> None:
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
            self._bulk.withdraw(State.TIMEOUT, now)
        if not self._bulk.finished:
            return moved
        self._end()
        return None

    def _end(self) -> None:
        table, slots = self._engine.table, self._slots
        outcome = np.empty(len(slots), np.uint8)
        outcome[self._buffer.order] = self._bulk.outcome
        # A slot may have got another channel, or none, meanwhile; a connection lost comes back as a new one.
        same = (table.chid[slots] == self._chids) & table.connected[slots]
        for dbf, view in self._buffer.views.items():
            rows = self._buffer.rows[dbf]
            good = same[rows] & (outcome[rows] == State.VALUE) & (table.dbf[slots[rows]] == dbf)
            done, records = slots[rows[good]], view[good]
            table.meta[done] = self._engine.metas.intern(dbf, table.count[done].tolist(), records)
            table.ready[done] = True
        refused = np.isin(outcome, (State.ERROR, State.NO_READ_ACCESS))
        self._bare(slots[same & refused])
        self.failed = slots[same & np.isin(outcome, (State.TIMEOUT, State.IOC_OPEN, State.NOT_READ))]

    def exception(self, chid: int, status: int, op: int) -> None:
        """See `Operation`."""
        if op == ca.OP_GET:
            self._bulk.exception(chid, status)

    def value(self, index: int, status: int, count: int, raw: bytes) -> None:
        """See `Operation`."""

    def puts_ended(self, indexes: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """See `Operation`."""

    def cancel(self) -> None:
        """See `Operation`."""
        self._bulk.withdraw(State.NOT_READ, time.monotonic())
