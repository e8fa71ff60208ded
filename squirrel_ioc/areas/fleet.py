"""The machine in parts: what belongs to an area is read and written by its workers, the rest by the service itself."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.areas._bulk import Abort, Bulk, Progress
from squirrel_ioc.areas._directory import Directory
from squirrel_ioc.areas._merge import Columns, iocs_together
from squirrel_ioc.areas._parts import CHANNEL, LOST_S, AreaList, message
from squirrel_ioc.areas._remote import Remote
from squirrel_ioc.areas._service_sql import Asked
from squirrel_ioc.areas._split import Assignment, Shares
from squirrel_ioc.ca import IocState, Live, Machine
from squirrel_ioc.errors import DatabaseDownError, NotActiveError, StoreError
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.store import Store

__all__ = ["Fleet", "no_areas"]

LOOK_S: Final = 1.0
"""Between two looks at who works, when nobody tells anything."""

_RETRY_S: Final = 1.0
_VERSIONS: Final = 3

_log = logging.getLogger(__name__)


class Fleet:
    """Stands where a `Machine` does, and uses one for what belongs to no area."""

    def __init__(self, machine: Machine, store: Store, areas: Mapping[str, str]) -> None:
        self._machine = machine
        self._store = store
        self._parts = Asked(store)
        self._remote = Remote(self._parts)
        self._directory = Directory(self._parts)
        self._assignment = Assignment(areas)
        self._shares = Shares(self._assignment)
        self._bulk = Bulk(machine, self._shares, self._directory, self._remote)
        self._lists: dict[str, dict[int, ChannelList]] = {name: {} for name in areas}
        self._held = ChannelList.of(())
        self._serving = False
        self._unpublished = True
        self._reset_wanted = False
        self._listeners: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        machine.listen(self._tell)

    @property
    def areas(self) -> list[tuple[str, int, int]]:
        """Name, channels, and living workers of each area."""
        lists = self._shares.lists
        return [
            (name, len(lists[name][1]) if name in lists else 0, self._directory.count(name))
            for name in self._assignment.names
        ]

    async def start(self) -> None:
        """Follow the workers."""
        self._task = asyncio.create_task(self._follow(), name="areas")

    async def stop(self) -> None:
        """Follow them no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def take_over(self) -> None:
        """This service works from now on: end what an earlier one has begun, and tell the workers their channels.

        Raises StoreError.
        """
        self._serving = True
        running = await self._parts.cancel_all()
        deadline = asyncio.get_running_loop().time() + LOST_S
        while running and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
            running = await self._parts.cancel_all()
        await self._parts.drop_all()
        await self._publish()
        await self._directory.look(self._lists)

    def hand_over(self) -> None:
        """This service does not work any more."""
        self._serving = False

    # Who holds which channels

    def assign(self, catalogue: Catalogue) -> bool:
        """Settle where the channels of a catalogue belong, before they are watched; whether any has moved."""
        return self._assignment.assign(catalogue)

    async def watch(self, channels: ChannelList) -> None:
        """Hold exactly these from now on, here or in the areas."""
        self._held = channels
        self._unpublished = True
        self._shares.forget()
        await self._machine.watch(self._shares.of(channels).here_of(channels))
        if self._serving:
            try:
                await self._publish()
            except StoreError as error:
                _log.warning("the workers do not know their channels yet: %s", error)
                self._wake.set()

    async def _publish(self) -> None:
        held = self._held
        names = self._assignment.names_of(held)
        versions = await self._parts.publish(names)
        self._unpublished = held is not self._held
        lists = {}
        for name, version in versions.items():
            known = self._lists[name]
            if version not in known:
                known[version] = ChannelList.of(names[name])
                for old in sorted(known)[:-_VERSIONS]:
                    del known[old]
            lists[name] = AreaList(name, version, names[name]), known[version]
        self._shares.set(lists)
        self._tell()

    async def _follow(self) -> None:
        while True:
            try:
                async with self._store.own_connection() as connection:
                    await connection.add_listener(CHANNEL, self._told)
                    connection.add_termination_listener(lambda _: self._wake.set())
                    await self._parts.forget_workers()
                    while not connection.is_closed():
                        if self._serving and self._unpublished:
                            await self._publish()
                        if self._reset_wanted:
                            await self._parts.reset()
                            self._reset_wanted = False
                        if await self._directory.look(self._lists):
                            self._tell()
                        with suppress(TimeoutError):
                            async with asyncio.timeout(LOOK_S):
                                await self._wake.wait()
                        self._wake.clear()
            except NotActiveError:
                pass  # stands by
            except DatabaseDownError:
                pass  # told by the store
            except StoreError as error:
                _log.warning("the workers are not heard of: %s", error)
            except Exception:  # the boundary of the task: it has to go on
                _log.exception("following the workers")
            await asyncio.sleep(_RETRY_S)

    def _told(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            told = message(payload)
            if told["kind"] == "part":
                self._remote.told(str(told.get("id")))
            elif told["kind"] == "worker":
                self._wake.set()
        except (StoreError, ValueError) as error:
            _log.warning("%s", error)

    def _tell(self) -> None:
        self._moved.set()
        for callback in tuple(self._listeners):
            callback()

    # What is known of them

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """As `Machine.listen`; also called when a worker comes, goes or tells something."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def live(self, channels: ChannelList) -> Live:
        """As `Machine.live`. A channel of an area without a worker is not connected."""
        known = self._shares.of(channels)
        if not known.shares:
            return self._machine.live(channels)
        columns = Columns(len(channels))
        columns.put(known.here, self._machine.live(known.here_of(channels)))
        for share in known.shares:
            best = self._directory.best(share.area.name)
            if best is None:
                columns.missing(share.rows)
            elif best.version == share.area.version:
                columns.put(share.rows, best.live, share.places)
            elif (old := self._lists[share.area.name].get(best.version)) is not None:
                places = old.find(channels.take(np.sort(share.rows)))
                columns.put(np.sort(share.rows)[places >= 0], best.live, places[places >= 0])
        return columns.live()

    def iocs(self) -> list[IocState]:
        """As `Machine.iocs`, those of all areas together."""
        best = [self._directory.best(name) for name in self._assignment.names]
        return iocs_together([self._machine.iocs(), *(known.iocs for known in best if known is not None)])

    def reset_iocs(self) -> None:
        """As `Machine.reset_iocs`, in all areas."""
        self._machine.reset_iocs()
        self._reset_wanted = True
        self._wake.set()

    async def settled(self, timeout_s: float) -> bool:
        """As `Machine.settled`, in all areas."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._machine.settled(math.inf)
                while not self.live(self._held).connected.all():
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    # Bulk access

    async def refresh(self, channels: ChannelList, *, abort: Abort | None = None) -> None:
        """As `Machine.refresh`."""
        await self._bulk.refresh(channels, abort)
        if await self._directory.look(self._lists):
            self._tell()

    async def read(
        self,
        channels: ChannelList,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        abort: Abort | None = None,
    ) -> Frame:
        """As `Machine.read`: every area at the same time. A channel of an area that does not answer is NO_WORKER."""
        return await self._bulk.read(channels, timeout_s, progress, abort)

    async def write(
        self,
        values: Frame,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        abort: Abort | None = None,
        retry: bool = True,
        waiting: Callable[[str, int], None] | None = None,
    ) -> NDArray[np.uint8]:
        """As `Machine.write`: every area at the same time; returns when all have ended."""
        return await self._bulk.write(values, timeout_s, progress, abort, retry, waiting)


async def no_areas(store: Store) -> None:
    """This service has none: who works for one that had lets go of its channels. Raises StoreError."""
    await Asked(store).publish({})
