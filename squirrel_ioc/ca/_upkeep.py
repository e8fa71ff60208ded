"""What the engine does by itself: to which IOC a channel belongs, and its meta data after every connection."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._connect import MetaOperation
from squirrel_ioc.ca._engine import Engine

__all__ = ["Upkeep"]

_DOTTED: Final = re.compile(rb"\d+\.\d+\.\d+\.\d+:\d+")

NAME_LOOKUP_S: Final = 30.0
"""libca asks the resolver for the name of an address in the background; after this, an address stays one."""

RETRY_S: Final = 1.0


class Upkeep:
    """Attached to an engine, lives in its thread."""

    def __init__(self, engine: Engine, timeout_s: float, window: int) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._window = window
        self._connected: list[NDArray[np.intp]] = []
        self._retry = np.zeros(0, np.intp)
        self._retry_at = 0.0
        self._running = 0
        self._names_until = 0.0
        self._nameless: dict[int, int] = {}
        engine.refreshed = self._refreshed
        engine.maintenance = self._maintain

    def _refreshed(self, up: NDArray[np.intp], down: NDArray[np.intp]) -> None:
        table, metas = self._engine.table, self._engine.metas
        if len(down):
            self._lost(down)
        if not len(up):
            return
        columns = table.meta[up].tolist(), table.dbf[up].tolist(), table.count[up].tolist()
        table.meta[up] = list(map(metas.fitting, *columns))
        self._assign_iocs(up)
        self._connected.append(up)

    def _lost(self, down: NDArray[np.intp]) -> None:
        table, iocs = self._engine.table, self._engine.iocs
        for index in np.unique(table.ioc[down]).tolist():
            if index >= 0 and not np.any(table.connected[: table.size] & (table.ioc[: table.size] == index)):
                iocs.lost(iocs.all[index])

    def _assign_iocs(self, slots: NDArray[np.intp]) -> None:
        table, iocs = self._engine.table, self._engine.iocs
        hosts, which = np.unique(table.hosts(slots), return_inverse=True)
        for k, raw in enumerate(hosts.tolist()):
            if raw.startswith(b"<"):
                continue  # disconnected again: its next connection tells
            theirs = slots[which == k]
            host = raw.decode("latin-1")
            ioc = iocs.of_host(host)
            if ioc is None:
                self._look_up_names()
                ioc = iocs.of_host(host) or iocs.add(host)
            if _DOTTED.fullmatch(raw):
                self._nameless[ioc.index] = int(theirs[0])
            table.ioc[theirs] = ioc.index
            iocs.answered(ioc)

    def _look_up_names(self) -> None:
        """Give the IOCs met by address the names that have become known since."""
        table, iocs = self._engine.table, self._engine.iocs
        for index, slot in list(self._nameless.items()):
            if not table.connected[slot] or table.ioc[slot] != index:
                del self._nameless[index]
                continue
            raw = table.hosts(np.array([slot]))[0]
            if not _DOTTED.fullmatch(raw) and not raw.startswith(b"<"):
                iocs.rename(iocs.all[index], raw.decode("latin-1"))
                del self._nameless[index]

    def _maintain(self, now: float) -> None:
        """See `Engine.maintenance`."""
        self._engine.properties.tidy()
        if self._connected:
            self._names_until = now + NAME_LOOKUP_S
            slots = np.unique(np.concatenate(self._connected))
            self._engine.properties.subscribe(slots)
            self._read_meta(slots)
            self._connected.clear()
        if len(self._retry) and now >= self._retry_at and not self._running:
            self._try_again(now)
        if self._nameless and now < self._names_until:
            self._look_up_names()

    def _try_again(self, now: float) -> None:
        table, iocs = self._engine.table, self._engine.iocs
        slots, self._retry = self._retry, np.zeros(0, np.intp)
        slots = slots[table.connected[slots] & ~table.ready[slots]]
        is_open = np.array([ioc.open for ioc in iocs.all], bool)[table.ioc[slots]]
        self._retry = slots[is_open]
        self._retry_at = now + RETRY_S
        if not is_open.all():
            self._read_meta(slots[~is_open])

    def _read_meta(self, slots: NDArray[np.intp]) -> None:
        operation = MetaOperation(self._engine, slots, self._timeout_s, self._window)
        self._running += 1

        def ended(error: BaseException | None) -> None:
            self._running -= 1
            self._retry = np.union1d(self._retry, slots if error else operation.failed)
            self._engine.tell_changed()

        self._engine.begin(operation, ended)
