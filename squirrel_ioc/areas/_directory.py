"""Who works: the workers of each area, and what they know of its channels and IOCs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from squirrel_ioc.areas._pack import unpack_live
from squirrel_ioc.areas._parts import LOST_S
from squirrel_ioc.areas._service_sql import Asked, WorkerRow
from squirrel_ioc.ca import IocState, Live
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList

__all__ = ["Directory", "Known"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Known:
    """What a worker knows of the channels of its area, as of `version` of their list."""

    version: int
    live_no: int
    live: Live
    iocs: list[IocState]
    connected: int


class Directory:
    """As last looked up."""

    def __init__(self, parts: Asked) -> None:
        self._parts = parts
        self._workers: dict[int, WorkerRow] = {}
        self._known: dict[int, Known] = {}
        self._looked = 0.0
        self._fresh: dict[str, tuple[str, ...]] = {}

    async def look(self, lists: Mapping[str, Mapping[int, ChannelList]]) -> bool:
        """Look up who works, and what those have told since. `lists` are the areas' lists by their versions.

        Returns whether anything is different. Raises StoreError.
        """
        rows = {row.id: row for row in await self._parts.workers() if row.area in lists}
        before, self._workers, self._looked = self._workers, rows, time.monotonic()
        changed = self._tell()
        for worker_id in tuple(self._known):
            # After a crash of the server another worker may have this id.
            row = rows.get(worker_id)
            if row is None or not row.live_no or not row.is_of(before.get(worker_id)):
                del self._known[worker_id]
        for row in rows.values():
            known = self._known.get(row.id)
            if row.live_no and (known is None or known.live_no != row.live_no):
                changed |= await self._fetch(row, lists[row.area])
        return changed

    async def _fetch(self, row: WorkerRow, lists: Mapping[int, ChannelList]) -> bool:
        told = await self._parts.live(row.id)
        if told is None or told[0] not in lists:
            return False
        version, live_no, data, iocs = told
        try:
            live = unpack_live(data, len(lists[version]))
        except StoreError as error:
            _log.warning("%s, area %s: %s", row.process, row.area, error)
            return False
        self._known[row.id] = Known(version, live_no, live, iocs, int(np.count_nonzero(live.connected)))
        return True

    def _tell(self) -> bool:
        """Whether other workers live than before; that is told in the log."""
        fresh: dict[str, tuple[str, ...]] = {}
        for row in self.fresh():
            fresh[row.area] = (*fresh.get(row.area, ()), row.process)
        before, self._fresh = self._fresh, fresh
        for area in sorted(before.keys() | fresh.keys()):
            now, then = fresh.get(area, ()), before.get(area, ())
            for process in set(now).difference(then):
                _log.info("area %s: %s works", area, process)
            for process in set(then).difference(now):
                rest = f"{len(now)} more" if now else "nobody else"
                _log.warning("area %s: %s does not work any more (%s does)", area, process, rest)
        return before != fresh

    def fresh(self) -> list[WorkerRow]:
        """The workers that live."""
        since = time.monotonic() - self._looked
        return [row for row in self._workers.values() if row.age_s + since < LOST_S]

    def count(self, area: str) -> int:
        """How many workers of an area live."""
        return sum(row.area == area for row in self.fresh())

    def others(self, area: str, worker_id: int | None) -> int:
        """How many workers of an area live apart from this one; None: from one that is not known."""
        if worker_id is None:
            return max(self.count(area) - 1, 0)
        return sum(row.area == area and row.id != worker_id for row in self.fresh())

    def connected(self, worker_id: int) -> int:
        """How many channels are connected, by what a worker has told."""
        known = self._known.get(worker_id)
        return 0 if known is None else known.connected

    def best(self, area: str) -> Known | None:
        """What the best informed living worker of an area knows."""
        known = [self._known[row.id] for row in self.fresh() if row.area == area and row.id in self._known]
        return max(known, key=lambda k: (k.version, k.connected), default=None)
