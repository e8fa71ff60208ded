"""Resources: every stored thing has a name. Contract section 7.

Which names there are is told from memory (`StoreIndex`); a PV is made when somebody looks for it, and is gone with the
last client. `Database` asks `resolve`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Set
from typing import Any, Final

from caproto import AlarmSeverity, AlarmStatus

from squirrel_ioc.ioc.groups.job_feed import JobFeed
from squirrel_ioc.ioc.groups.list import ListGroup
from squirrel_ioc.ioc.kinds.database import Database
from squirrel_ioc.ioc.kinds.pv import Alarm, Pv
from squirrel_ioc.ioc.ondemand.hist import Histories
from squirrel_ioc.ioc.ondemand.job_resources import JobResources
from squirrel_ioc.ioc.ondemand.resource import Context
from squirrel_ioc.ioc.ondemand.snapshot_resources import Restorer, Snapshots, Teller
from squirrel_ioc.ioc.ondemand.store_index import StoreIndex
from squirrel_ioc.ioc.ondemand.value_loader import Loader
from squirrel_ioc.ioc.ondemand.value_resources import ReferenceValues
from squirrel_ioc.ioc.service import Service
from squirrel_ioc.ioc.tasks import Tasks
from squirrel_ioc.store import RESYNC, StoreEvent

__all__ = ["Resources"]

_PARALLEL: Final = 2
"""Questions to the database at a time, besides values."""

_MAX_UNDER_WAY: Final = 5_000
"""PVs that are being fetched. While they are so many, no others are found: clients search again."""

_FAREWELL_S: Final = 0.05
"""From the last update to the disconnection: for updates and answers to be sent."""


class _Gone:
    """In place of a PV whose alarm is that of another one."""

    alarm_now: Final[Alarm] = (AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM)


_GONE: Final[Any] = _Gone()

Family = Callable[[str, str], Pv | None]


class Resources:
    """Makes the PVs SNAP:<id>:*, REF:*, JOB:<id>:* and HIST:*, and keeps them up to date.

    `disconnect` ends the channels that clients have to PVs. Each of `views` has histories of its own, of the
    snapshots that its LIST lets through.
    """

    def __init__(
        self,
        service: Service,
        feed: JobFeed,
        database: Database,
        restorer: Restorer,
        teller: Teller,
        disconnect: Callable[[Set[Pv]], None],
    ) -> None:
        self._database = database
        self._disconnect = disconnect
        self._tasks: Final = Tasks()
        self._index = StoreIndex(service.store)
        self._loader = Loader(service.store)
        reading = asyncio.Semaphore(_PARALLEL)
        self._context = Context(service, database, self._index, self._loader, self._tasks, reading, self._drop)
        self._snapshots = Snapshots(self._context, restorer, teller)
        self._reference = ReferenceValues(self._context)
        self._jobs = JobResources(self._context)
        self._histories = [Histories(self._context, f"{database.prefix}HIST:")]
        self._families: dict[str, Family] = {
            "SNAP": self._snapshots.resolve,
            "REF": self._reference.resolve,
            "JOB": self._jobs.resolve,
            "HIST": self._histories[0].resolve,
        }
        self._views: dict[str, Family] = {}
        self._index.on_changed = self._snapshots.changed
        self._index.on_gone = self._snapshots.gone
        self._index.on_reference = self._reference.follow
        self._index.on_job = self._jobs.stored
        self._stop_listening: Callable[[], None] = lambda: None
        feed.observe(self._jobs.changed)

    def add_view(self, view: str, listing: ListGroup) -> None:
        """A view, with its LIST."""
        histories = Histories(self._context, f"{self._database.prefix}{view}:HIST:", lambda: listing.filter)
        listing.filter_changed = histories.changed
        self._histories.append(histories)
        self._views[view] = histories.resolve

    async def start(self) -> None:
        """Learn what is stored, then answer."""
        self._stop_listening = self._context.service.store.listen(self._heard)
        await self._index.start()
        self._database.resolvers.append(self.resolve)

    async def stop(self) -> None:
        """Follow nothing any more."""
        self._stop_listening()
        await self._index.stop()
        await self._loader.stop()
        await self._tasks.stop()

    def resolve(self, pvname: str) -> Pv | None:
        """The PV of exactly this name; None when there is none, in microseconds."""
        head, colon, rest = pvname[len(self._database.prefix) :].partition(":")
        if not colon:
            return None
        family = self._families.get(head)
        if family is None and rest.startswith("HIST:"):
            family, rest = self._views.get(head), rest[5:]
        if family is None or len(self._tasks) + self._loader.waiting >= _MAX_UNDER_WAY:
            return None
        return family(pvname, rest)

    def _heard(self, event: StoreEvent) -> None:
        if event.kind in ("snapshot", RESYNC):
            for histories in self._histories:
                histories.changed()

    def _drop(self, pvs: Collection[Pv]) -> None:
        """There are no such PVs any more: clients are disconnected, and find what there is now.

        An alarm comes first, because a record does not process when its link is disconnected (EPICS base 7.0.10).
        """
        for pv in pvs:
            self._context.fetched(pv, good=False)
            pv.alarm_source = _GONE
            pv.post(pv.value)
        asyncio.get_running_loop().call_later(_FAREWELL_S, self._disconnect, set(pvs))
