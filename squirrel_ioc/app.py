"""The composition root: the one place that puts the parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from squirrel_ioc.areas import Fleet, no_areas
from squirrel_ioc.ca import Machine
from squirrel_ioc.config import Settings
from squirrel_ioc.errors import DatabaseDownError, NotActiveError
from squirrel_ioc.formats.catalogue.catalogue import load_catalogue
from squirrel_ioc.ioc import ControlIoc, Service
from squirrel_ioc.jobs import AwayList, Jobs, LiveCatalogue
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.reach import Reach
from squirrel_ioc.store import Lease, ReachWatch, Store

__all__ = ["App"]

_NAMED = 10
_PAUSE_S = 1.0

_HOLD_OFF_S: Final = 5.0
"""Who has handed over leaves the other one so long to take over, and then is active again if nobody is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Parts:
    """What goes on whether this service works or stands by."""

    store: Store
    machine: Machine | Fleet
    keeper: LiveCatalogue
    away: AwayList
    reach: ReachWatch | None


async def _done_before(work: Coroutine[Any, Any, None], end: asyncio.Event) -> bool:
    """Do this, or give it up when `end` is set: then False."""
    tasks = [asyncio.create_task(work), asyncio.create_task(end.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    if tasks[0].cancelled():
        return False
    tasks[0].result()
    return True


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _more(count: int) -> str:
    return f" and {count - _NAMED} more" if count > _NAMED else ""


class App:
    """The service: store, catalogue, machine, jobs, control PVs; started in this order, stopped in the reverse.

    With `standby`, the jobs and the control PVs are there only while the service holds the lease of the store.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def run(self, stop: asyncio.Event, *, wait_db: bool = False, ready: asyncio.Event | None = None) -> None:
        """Serve until `stop` is set. `ready` is set when the control PVs can be found, or when it stands by.

        Raises CatalogueError, DatabaseDownError, StoreError, or ControlPvError when the CA port is taken.
        """
        entries = await asyncio.to_thread(self._read_catalogue)
        async with AsyncExitStack() as stack:
            store = await Store.open(
                self.settings.database, self.settings.state_dir, wait=wait_db, standby=self.settings.standby
            )
            stack.push_async_callback(store.close)
            if store.lease is not None:
                await store.lease.try_take()
            machine: Machine | Fleet
            machine = here = Machine(self.settings.ca)
            await here.start()
            stack.push_async_callback(here.stop)
            assign = None
            if self.settings.areas:
                machine = fleet = Fleet(here, store, self.settings.areas)
                await fleet.start()
                stack.push_async_callback(fleet.stop)
                assign = fleet.assign

            keeper = LiveCatalogue(store, machine, self.settings.catalogue.files, assign=assign)
            stack.push_async_callback(keeper.stop)
            # Who stands by, and takes over later, goes on with the catalogue that is in force then.
            await keeper.start(entries if store.acts() else None)
            log.info("catalogue: %d setpoints, %d PVs", len(keeper.current), len(keeper.current.channels))
            away = AwayList(store)
            stack.push_async_callback(away.stop)
            await away.start()
            connecting = asyncio.create_task(self._tell_connections(machine, keeper), name="connections")
            stack.push_async_callback(_cancelled, connecting)

            reach = None if self.settings.areas else self._reach_watch(store, here, keeper)
            if reach is not None:
                stack.push_async_callback(reach.stop)
                await reach.start()

            parts = _Parts(store, machine, keeper, away, reach)
            ready = ready or asyncio.Event()
            if store.lease is None:
                await self._serve(parts, stop, ready)
            else:
                await self._take_turns(parts, store.lease, stop, ready)
            log.info("stopping")

    async def _take_turns(self, parts: _Parts, lease: Lease, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Stand by until the lease is ours, serve until it is lost, and so on; when stopped, let the other one on.

        Also when the other one reaches clearly more of the machine.
        """
        while not stop.is_set():
            if not lease.held:
                ready.set()
                if not await _done_before(lease.take(), stop):
                    break
            served = False
            try:
                await parts.store.check_schema()
                served = await _done_before(self._serve(parts, stop, ready), lease.lost)
                if not served:
                    log.warning("the control PVs are off the network")
            except (DatabaseDownError, NotActiveError) as error:
                log.warning("could not go on as the active one: %s", error)
                await asyncio.sleep(_PAUSE_S)
            finally:
                gives_way = served and not stop.is_set()
                await lease.give_back(gives_way=gives_way)
            if gives_way:
                await _done_before(asyncio.sleep(_HOLD_OFF_S), stop)

    async def _serve(self, parts: _Parts, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """Do the work, until `stop` is set, another service had better do it, or this is cancelled."""
        store, machine, keeper = parts.store, parts.machine, parts.keeper
        async with AsyncExitStack() as stack:
            if isinstance(machine, Fleet):
                stack.callback(machine.hand_over)
                await machine.take_over()
            else:
                await no_areas(store)
            jobs = Jobs(store, machine, lambda: keeper.current, self.settings, lambda: parts.away.current)
            stack.push_async_callback(jobs.stop)
            await jobs.start()
            keeper.hold_for(jobs)

            service = Service(
                settings=self.settings,
                store=store,
                machine=machine,
                jobs=jobs,
                catalogue=lambda: keeper.current,
                keeper=keeper,
                away=parts.away,
                acts=store.acts,
                areas=lambda: machine.areas if isinstance(machine, Fleet) else (),
            )
            control = ControlIoc(service)
            await control.start()
            stack.push_async_callback(control.stop)
            log.info("control PVs %s* on port %d", self.settings.prefix, self.settings.port)
            # What lives as long as the service need not be looked through again and again: a collection of 40,000
            # PVs' objects takes long enough for a client to notice.
            gc.collect()
            gc.freeze()
            ready.set()
            if parts.reach is None:
                await stop.wait()
            else:
                await _done_before(parts.reach.until_better(lambda: jobs.idle), stop)

    def _reach_watch(self, store: Store, machine: Machine, keeper: LiveCatalogue) -> ReachWatch | None:
        def reach() -> Reach:
            channels = keeper.current.channels
            return Reach(int(np.count_nonzero(machine.live(channels).connected)), len(channels))

        return store.reach_watch(self.settings.standby_prefer_s, reach)

    async def _tell_connections(self, machine: Machine | Fleet, keeper: LiveCatalogue) -> None:
        """One line in the log when the machine is there, or what is missing of it."""
        await machine.settled(self.settings.ca.connect_timeout_s)
        channels = keeper.current.channels
        missing = channels.array[~machine.live(channels).connected]
        if not len(missing):
            log.info("all %d PVs are connected", len(channels))
            return
        some = ", ".join(missing[:_NAMED].tolist())
        log.warning("%d of %d PVs are not connected: %s%s", len(missing), len(channels), some, _more(len(missing)))

    def _read_catalogue(self) -> Sequence[Entry] | None:
        files = self.settings.catalogue.files
        return load_catalogue(files) if files else None
