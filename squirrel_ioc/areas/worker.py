"""A worker: holds the channels of some areas, reads and writes them when the service asks, and tells what it knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final
from uuid import UUID

import numpy as np
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import PgqException
from pgqueuer.domain.models import Job as Delivery

from squirrel_ioc.areas._held_lists import Held
from squirrel_ioc.areas._pack import pack_live
from squirrel_ioc.areas._parts import CHANNEL, entrypoint, message
from squirrel_ioc.areas._run import Run, carry_out
from squirrel_ioc.areas._worker_sql import Taken
from squirrel_ioc.ca import Machine
from squirrel_ioc.config import Settings
from squirrel_ioc.errors import DatabaseDownError, StoreError
from squirrel_ioc.jobs import queue_queries
from squirrel_ioc.store import APPLICATION, Store

__all__ = ["Worker"]

RENEW_S: Final = 1.0
"""Between two signs of life."""

TELL_S: Final = 0.5
"""Between two accounts of the channels, at least."""

STOP_S: Final = 10.0
"""For the parts under way to end, when the worker is told to stop."""

_RETRY_S: Final = 1.0
_ANSWER_S: Final = 3.0

_log = logging.getLogger(__name__)


class Worker:
    """Takes the parts of some areas. Several workers may have the same area: each part goes to one of them."""

    def __init__(self, settings: Settings, areas: Sequence[str]) -> None:
        self._settings = settings
        self._areas = tuple(dict.fromkeys(areas))
        self._ids: dict[str, int] = {}
        self._runs: set[Run] = set()
        self._manager: QueueManager | None = None
        self._stopping = False
        self._dirty = asyncio.Event()
        self._stale = asyncio.Event()
        self._told: dict[str, tuple[int, int, bytes, tuple[Any, ...]]] = {}

    async def run(self, stop: asyncio.Event, *, wait_db: bool = False, ready: asyncio.Event | None = None) -> None:
        """Work until `stop` is set. `ready` is set when it takes parts.

        Raises DatabaseDownError or StoreError when it cannot begin; later losses of the database are waited out.
        """
        async with AsyncExitStack() as stack:
            store = await Store.open(self._settings.database, self._settings.state_dir, wait=wait_db, exclusive=False)
            stack.push_async_callback(store.close)
            self._store, self._parts = store, Taken(store)
            self._machine = Machine(self._settings.ca)
            await self._machine.start()
            stack.push_async_callback(self._machine.stop)
            self._held = Held(self._machine)
            stack.callback(self._machine.listen(self._dirty.set))
            tasks = [
                asyncio.create_task(self._forever(work, name), name=name)
                for work, name in (
                    (self._renew, "signs of life"),
                    (self._tell, "account of the channels"),
                    (self._follow, "lists of the areas"),
                )
            ]
            tasks.append(asyncio.create_task(self._take(ready or asyncio.Event()), name="parts"))
            stack.push_async_callback(_ended, tasks)
            await stop.wait()
            _log.info("stopping")
            await self._stop(tasks)

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Begin nothing any more, end what is under way before its next write, answer, and leave."""
        self._stopping = True
        for run in self._runs:
            run.cancelled = True
        if self._manager is not None:
            self._manager.shutdown.set()
        _, late = await asyncio.wait(tasks[-1:], timeout=STOP_S)
        if late:
            _log.error("a part did not end within %g s", STOP_S)
        # All of them: who renews what has left would enrol again.
        await _ended(tasks)
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_ANSWER_S):
                await self._parts.leave(list(self._ids.values()))

    async def _forever(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        while True:
            try:
                await work()
            except DatabaseDownError:
                pass  # told by the store
            except StoreError as error:
                _log.warning("%s: %s", name, error)
            except Exception:  # the boundary of the task: it has to go on
                _log.exception("%s", name)
            else:
                continue
            await asyncio.sleep(_RETRY_S)

    # Taking parts

    async def _take(self, ready: asyncio.Event) -> None:
        while not self._stopping:
            try:
                async with self._store.own_connection() as connection:
                    await connection.add_listener(CHANNEL, self._heard)
                    connection.add_termination_listener(self._connection_lost)
                    await self._enrol()
                    self._stale.set()
                    manager = self._manager = QueueManager(queue_queries(connection))
                    for area in self._areas:
                        manager.entrypoint(entrypoint(area))(self._deliver)
                    _log.info("takes parts of %s", ", ".join(self._areas))
                    ready.set()
                    await manager.run(shutdown_on_listener_failure=True)
            except DatabaseDownError:
                pass  # told by the store
            except (StoreError, PgqException) as error:
                _log.warning("the queue has lost the database: %s", error)
            except Exception:  # the boundary of the task: it has to go on
                _log.exception("taking parts")
            finally:
                self._manager = None
            if not self._stopping:
                await asyncio.sleep(_RETRY_S)

    def _connection_lost(self, _connection: object) -> None:
        if self._manager is not None:
            self._manager.shutdown.set()

    async def _deliver(self, delivery: Delivery) -> None:
        """What pgqueuer calls with a part. Nothing leaves here: it would only be written down."""
        try:
            part_id = UUID(bytes=delivery.payload)
            area = delivery.entrypoint.removeprefix(entrypoint(""))
            run = Run(self._parts, part_id, self._ids[area], lambda: self._stopping)
            self._runs.add(run)  # a part may be delivered again before the delivery before has ended
            try:
                await carry_out(run, self._machine, self._held, self._tell_all)
            finally:
                self._runs.discard(run)
            self._dirty.set()
        except Exception:
            _log.exception("a part")

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            told = message(payload)
        except StoreError as error:
            _log.warning("%s", error)
            return
        match told["kind"]:
            case "areas":
                self._stale.set()
            case "reset":
                self._machine.reset_iocs()
            case "cancel":
                for run in self._runs:
                    if told.get("id") in ("", run.id.hex):
                        run.cancelled = True

    # What is held, and what is known of it

    async def _follow(self) -> None:
        """Hold the channels that the service says belong to the areas."""
        await self._stale.wait()
        self._stale.clear()
        try:
            lists = await self._parts.lists(self._areas)
            for name in set(self._areas).difference(area.name for area in lists):
                known = ", ".join(await self._parts.area_names()) or "none"
                _log.warning("the service has no area %s; it has: %s", name, known)
            await self._held.hold(lists)
        except BaseException:
            self._stale.set()
            raise
        self._dirty.set()

    async def _enrol(self) -> None:
        self._ids = await self._parts.enrol(self._areas, APPLICATION, tuple(self._ids.values()))
        self._told.clear()
        self._dirty.set()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            if self._ids and not await self._parts.renew(list(self._ids.values())):
                _log.warning("the database has lost this worker: it enrols again")
                await self._enrol()

    async def _tell(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._tell_all()
            except BaseException:
                self._dirty.set()
                raise
            await asyncio.sleep(TELL_S)

    async def _tell_all(self) -> None:
        for area, worker_id in tuple(self._ids.items()):
            await self._tell_area(area, worker_id)

    async def _tell_area(self, area: str, worker_id: int) -> None:
        held = self._held.newest(area)
        if held is None:
            return
        version, channels = held
        known = self._machine.live(channels)
        live = await asyncio.to_thread(pack_live, known)
        iocs, connected = tuple(self._machine.iocs()), int(np.count_nonzero(known.connected))
        now = worker_id, version, live, iocs
        if self._told.get(area) != now and await self._parts.tell_live(worker_id, version, live, iocs, connected):
            self._told[area] = now


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
