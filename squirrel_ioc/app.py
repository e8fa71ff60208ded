"""The composition root: the one place that puts the parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack

from squirrel_ioc.ca import Machine
from squirrel_ioc.config import Settings
from squirrel_ioc.formats.catalogue import load_catalogue
from squirrel_ioc.ioc import ControlIoc, Service
from squirrel_ioc.jobs import Jobs, LiveCatalogue
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.store import Store

__all__ = ["App"]

_NAMED = 10

log = logging.getLogger(__name__)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _more(count: int) -> str:
    return f" and {count - _NAMED} more" if count > _NAMED else ""


class App:
    """The service: store, catalogue, machine, jobs, control PVs; started in this order, stopped in the reverse."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def run(self, stop: asyncio.Event, *, wait_db: bool = False, ready: asyncio.Event | None = None) -> None:
        """Serve until `stop` is set. `ready` is set when the control PVs can be found.

        Raises CatalogueError, DatabaseDownError, StoreError, or ControlPvError when the CA port is taken.
        """
        entries = await asyncio.to_thread(self._read_catalogue)
        async with AsyncExitStack() as stack:
            store = await Store.open(self.settings.database, self.settings.state_dir, wait=wait_db)
            stack.push_async_callback(store.close)
            machine = Machine(self.settings.ca)
            await machine.start()
            stack.push_async_callback(machine.stop)

            keeper = LiveCatalogue(store, machine, self.settings.catalogue.files)
            stack.push_async_callback(keeper.stop)
            await keeper.start(entries)
            log.info("catalogue: %d setpoints, %d PVs", len(keeper.current), len(keeper.current.channels))

            jobs = Jobs(store, machine, lambda: keeper.current, self.settings)
            await jobs.start()
            stack.push_async_callback(jobs.stop)
            keeper.hold_for(jobs)

            service = Service(
                settings=self.settings,
                store=store,
                machine=machine,
                jobs=jobs,
                catalogue=lambda: keeper.current,
                keeper=keeper,
            )
            control = ControlIoc(service)
            await control.start()
            stack.push_async_callback(control.stop)
            log.info("control PVs %s* on port %d", self.settings.prefix, self.settings.port)
            connecting = asyncio.create_task(self._tell_connections(machine, keeper), name="connections")
            stack.push_async_callback(_cancelled, connecting)
            # What lives as long as the service need not be looked through again and again: a collection of 40,000
            # PVs' objects takes long enough for a client to notice.
            gc.collect()
            gc.freeze()
            if ready is not None:
                ready.set()
            await stop.wait()
            log.info("stopping")

    async def _tell_connections(self, machine: Machine, keeper: LiveCatalogue) -> None:
        """One line in the log when the machine is there, or what is missing of it."""
        settled = await machine.settled(self.settings.ca.connect_timeout_s)
        channels = keeper.current.channels
        if settled:
            log.info("all %d PVs are connected", len(channels))
            return
        missing = channels.array[~machine.live(channels).connected]
        some = ", ".join(missing[:_NAMED].tolist())
        log.warning("%d of %d PVs are not connected: %s%s", len(missing), len(channels), some, _more(len(missing)))

    def _read_catalogue(self) -> Sequence[Entry] | None:
        files = self.settings.catalogue.files
        return load_catalogue(files) if files else None
