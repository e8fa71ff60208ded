"""The catalogue of the running service: which one is in force, and how it is changed.

Whoever changes it, in this process or in another one (the database tells), the service goes over to it without a
restart: its channels are held, then it is in force, then all who listen are told. Channels that have left it are
dropped once no running job has started with them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from squirrel_ioc.errors import CatalogueError, RefusedError, StoreError
from squirrel_ioc.formats.catalogue.catalogue import load_catalogue
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.inventory import Edit, Inventory, Summary, few
from squirrel_ioc.store import RESYNC, Store, StoredCatalogue, StoreEvent

__all__ = ["CatalogueChange", "CatalogueUsers", "LiveCatalogue", "Watcher"]

_RETRY_S: Final = 2.0

_MANY: Final = 2_000
"""Entries that are new in one change."""

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Holds channels: `squirrel_ioc.ca.Machine`."""

    async def watch(self, channels: ChannelList) -> None:
        """Hold exactly these from now on; connecting goes on in the background."""
        ...


class CatalogueUsers(Protocol):
    """Those who go on with the catalogue they have started with: `squirrel_ioc.jobs.Jobs`."""

    def catalogues_in_use(self) -> Collection[Catalogue]:
        """Which ones."""
        ...

    def listen_release(self, callback: Callable[[], None]) -> None:
        """Call back, in the loop, when there may be fewer."""
        ...


@dataclass(frozen=True, eq=False)
class CatalogueChange:
    """What is in force now, which of its channels were not watched before, and what has happened, in words.

    `elsewhere`: it was not this process that changed it.
    """

    catalogue: Catalogue
    new: ChannelList
    message: str
    elsewhere: bool = False


class LiveCatalogue:
    """The catalogue in force. All methods belong to the event loop's thread.

    Changes wait for each other. When one returns, it is in force, its channels are held and all listeners told.
    `by` is who wants it.
    """

    def __init__(
        self,
        store: Store,
        machine: Watcher,
        files: Sequence[Path] = (),
        *,
        assign: Callable[[Catalogue], bool] | None = None,
    ) -> None:
        """`assign` is called, in a thread, before the channels of a catalogue are to be held. It says whether the
        machine must be told, even if all are held already.
        """
        self.current = Catalogue.of(())
        self.inventory = Inventory()
        self._store = store
        self._machine = machine
        self._files = tuple(files)
        self._assign = assign
        self._held = self.current.channels
        self._users: CatalogueUsers | None = None
        self._listeners: list[Callable[[CatalogueChange], None]] = []
        self._changing = asyncio.Lock()
        self._stale = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stop_listening: Callable[[], object] = lambda: None

    def listen(self, callback: Callable[[CatalogueChange], None]) -> Callable[[], None]:
        """Call back, in the loop, when another catalogue is in force; returns what ends it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    async def start(self, entries: Sequence[Entry] | None = None) -> None:
        """Put in force what is in the database and, where given, the entries of the catalogue files.

        From then on follow what other processes make of it. Raises StoreError.
        """
        self._stop_listening = self._store.listen(self._stored)
        if entries is None:
            stored = await self._store.load_inventory()
        else:
            stored, _ = await self._store.change_catalogue(_files_read(entries), made_by="start of the service")
        await self._adopt(stored)
        self._task = asyncio.create_task(self._follow(), name="catalogue")

    async def stop(self) -> None:
        """Follow no more."""
        self._stop_listening()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def hold_for(self, users: CatalogueUsers) -> None:
        """Do not drop channels that these may still need."""
        self._users = users
        users.listen_release(self._wake.set)

    # Changes by hand

    def check_add(self, names: Sequence[str]) -> None:
        """Raises RefusedError when these cannot be added, as things stand."""
        self.inventory.with_added(names, {})

    def check_remove(self, names: Collection[str]) -> None:
        """Raises RefusedError when these cannot be removed, as things stand."""
        self.inventory.without(names)

    async def add(self, names: Sequence[str], by: str) -> CatalogueChange:
        """Take up PVs; those that were here before come back as they were. Raises RefusedError, StoreError."""
        return await self._change(
            lambda inventory, former: inventory.with_added(names, former),
            f"PVS:ADD, {by}",
            lambda _: f"{_pvs(len(names))} added by {by}: {few(names)}",
            names,
        )

    async def remove(self, names: Sequence[str], by: str) -> CatalogueChange:
        """Take PVs out; old snapshots keep their values. Raises RefusedError, StoreError."""
        return await self._change(
            lambda inventory, _: inventory.without(names),
            f"PVS:REMOVE, {by}",
            lambda _: f"{_pvs(len(names))} removed by {by}: {few(names)}",
        )

    def check_reload(self) -> None:
        """Raises RefusedError when there are no catalogue files."""
        if not self._files:
            raise RefusedError("there are no catalogue files in the settings")

    async def reload(self, by: str) -> CatalogueChange:
        """Read the catalogue files again. Raises CatalogueError, StoreError; then nothing changes."""
        with _no_collections():
            try:
                entries = await asyncio.to_thread(load_catalogue, self._files)
            except CatalogueError as error:
                log.warning("%s wants the catalogue files read again, but they are wrong:\n%s", by, error)
                raise CatalogueError([self._without_folders(problem) for problem in error.problems]) from error
            return await self._change(
                _files_read(entries),
                f"PVS:RELOAD, {by}",
                lambda summary: f"{_pvs(len(entries))} in the catalogue files: {summary}{self.inventory.by_hand()}",
            )

    def _without_folders(self, text: str) -> str:
        for folder in {path.parent for path in self._files}:
            text = text.removeprefix(f"{folder}/")
        return text

    async def _change(
        self, edit: Edit, made_by: str, message: Callable[[Summary], str], names: Collection[str] = ()
    ) -> CatalogueChange:
        async with self._changing:
            stored, summary = await self._store.change_catalogue(edit, made_by=made_by, names=names)
            new = await self._adopt(stored)
            change = CatalogueChange(self.current, new, message(summary))
            log.info("catalogue: %s", change.message)
            self._tell(change)
        return change

    # What is in force

    async def _adopt(self, stored: StoredCatalogue) -> ChannelList:
        """Go over to it, and return its channels that were not held so far."""
        catalogue = stored.catalogue
        both, new, made = await asyncio.to_thread(_prepare, self._held, self.current, catalogue)
        moved = self._assign is not None and await asyncio.to_thread(self._assign, catalogue)
        if moved or len(new):
            await self._machine.watch(both)
            self._held = both
        # From here on nobody starts a job with what was in force so far.
        before = self.current, self.inventory
        self.current, self.inventory = catalogue, stored.inventory
        await asyncio.sleep(0)  # each of these takes the loop its time, with many PVs
        del before
        await asyncio.sleep(0)
        await self._let_go()
        await asyncio.sleep(0)
        if made > _MANY:
            gc.freeze()  # as after the start: what lives long need not be looked through again and again
        return new

    async def _let_go(self) -> None:
        """Drop the channels that nobody needs any more."""
        users = self._users.catalogues_in_use() if self._users is not None else ()
        wanted = {catalogue.channels: None for catalogue in (self.current, *users)}
        channels = self.current.channels if len(wanted) == 1 else await asyncio.to_thread(_union, wanted)
        if channels is not self._held and len(channels) < len(self._held):
            await self._machine.watch(channels)
            self._held = channels

    def _tell(self, change: CatalogueChange) -> None:
        for callback in tuple(self._listeners):
            callback(change)

    # What others make of it

    def _stored(self, event: StoreEvent) -> None:
        if event.kind == RESYNC or (event.kind == "catalogue" and event.id != self.current.version):
            self._stale = True
            self._wake.set()

    async def _follow(self) -> None:
        """Does what cannot be done by those who tell of it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                async with self._changing:
                    if self._stale:
                        await self._refresh()
                    await self._let_go()
            except StoreError as error:
                log.warning("the catalogue was changed elsewhere, but cannot be loaded: %s", error)
                self._stale = True
                self._wake.set()
                await asyncio.sleep(_RETRY_S)
            except Exception:  # the boundary of the task: it has to go on
                log.exception("going over to another catalogue")

    async def _refresh(self) -> None:
        self._stale = False
        with _no_collections():
            stored = await self._store.load_inventory()
            if stored.catalogue.version == self.current.version:
                return
            new = await self._adopt(stored)
        change = CatalogueChange(self.current, new, f"{stored.summary} ({stored.made_by})", elsewhere=True)
        log.info("catalogue: %s", change.message)
        self._tell(change)


@contextmanager
def _no_collections() -> Iterator[None]:
    """While 40,000 entries are made, the garbage collector would look at them again and again: the loop would wait."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _files_read(entries: Sequence[Entry]) -> Edit:
    return lambda inventory, _: inventory.with_files(entries)


def _pvs(count: int) -> str:
    return f"{count} PV{'s' if count != 1 else ''}"


def _prepare(held: ChannelList, before: Catalogue, catalogue: Catalogue) -> tuple[ChannelList, ChannelList, int]:
    """The channels of both, those that are not `held`, and how many entries are new or other ones than before.

    In a thread: so is what jobs will ask of the catalogue.
    """
    channels = catalogue.channels
    _ = channels.array, channels.setpoint_list, catalogue.is_setpoint, catalogue.atol, catalogue.rtol
    _ = catalogue.read_only, catalogue.order, catalogue.max_step, catalogue.step_period
    _ = catalogue.completion, catalogue.verify
    made = len({id(e) for e in catalogue.entries}.difference(map(id, before.entries)))
    if channels is held:
        return held, ChannelList.of(()), made
    new = ChannelList.of(name for name in channels.names if name not in held.index)
    return _union((held, channels)), new, made


def _union(lists: Iterable[ChannelList]) -> ChannelList:
    return ChannelList.of(dict.fromkeys(name for channels in lists for name in channels.names))
