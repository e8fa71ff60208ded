"""What is in the database, known without asking it: which snapshots, channels and jobs there are."""

from __future__ import annotations

import asyncio
import logging
from array import array
from bisect import bisect_left
from collections.abc import Callable, Set
from typing import Final

from squirrel_ioc.errors import StoreError
from squirrel_ioc.ioc.service import Store
from squirrel_ioc.ioc.tasks import Tasks
from squirrel_ioc.store import RESYNC, StoreEvent

__all__ = ["StoreIndex"]

_RETRY_S: Final = 1.0
_MAX_WANTED: Final = 100
_WARM_CHANNELS: Final = 500_000
"""Channels of the lists that are read when the service starts, those of the newest snapshots first."""

log = logging.getLogger(__name__)


class StoreIndex:
    """Follows the database. Questions are answered at once, from memory.

    `on_changed` is called with snapshots that were added or changed, `on_gone` with those that were deleted,
    `on_reference` when another snapshot has become the reference, `on_job` with a job that was added or changed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.snapshots: dict[int, int] = {}
        """The channel list of each snapshot."""
        self.reference = 0
        """The reference snapshot; 0 when there is none."""
        self.names: frozenset[str] = frozenset()
        """Every channel ever seen."""
        self.on_changed: Callable[[Set[int]], None] = lambda ids: None
        self.on_gone: Callable[[Set[int]], None] = lambda ids: None
        self.on_reference: Callable[[], None] = lambda: None
        self.on_job: Callable[[int], None] = lambda job_id: None
        self._jobs = array("i")
        self._all = True
        self._names_wanted = True
        self._changed: set[int] = set()
        self._gone: set[int] = set()
        self._wanted_lists: dict[int, None] = {}
        self._warm_lists: list[int] = []
        self._warm_left = _WARM_CHANNELS
        self._wake = asyncio.Event()
        self._tasks = Tasks()
        self._stop_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Learn what there is, and follow. Without a database, as soon as it comes back."""
        self._stop_listening = self._store.listen(self._heard)
        try:
            await self._catch_up()
        except StoreError as error:
            log.warning("not known what is stored: %s", error)
        self._warm_lists = list(dict.fromkeys(self.snapshots.values()))
        self._wake.set()
        self._tasks.start(self._run(), "index of what is stored")

    async def stop(self) -> None:
        """Follow no more."""
        self._stop_listening()
        await self._tasks.stop()

    # Questions

    def has_value(self, snapshot_id: int, name: str) -> bool:
        """Whether a snapshot has this channel. Not yet, when its list has to be read first: ask again."""
        list_id = self.snapshots.get(snapshot_id)
        if list_id is None or name not in self.names:
            return False
        channels = self._store.keys.known_list(list_id)
        if channels is None:
            self._want_list(list_id)
            return False
        return name in channels.index

    def has_job(self, job_id: int) -> bool:
        """Whether there is such a job."""
        place = bisect_left(self._jobs, job_id)
        return place < len(self._jobs) and self._jobs[place] == job_id

    # Following

    def _heard(self, event: StoreEvent) -> None:
        number = event.id if isinstance(event.id, int) else 0
        if event.kind == RESYNC:
            self._all = self._names_wanted = True
        elif event.kind == "catalogue":
            self._names_wanted = True
        elif event.kind == "job":
            self._heard_of_job(number)
            return
        elif event.kind == "snapshot" and event.op == "delete":
            self._gone.add(number)
            self._forget({number})
            return
        elif event.kind == "snapshot":
            self._changed.add(number)
        else:
            return
        self._wake.set()

    def _heard_of_job(self, job_id: int) -> None:
        if not self._jobs or job_id > self._jobs[-1]:
            self._jobs.append(job_id)
        elif not self.has_job(job_id):
            self._jobs.insert(bisect_left(self._jobs, job_id), job_id)
        self.on_job(job_id)

    def _forget(self, ids: Set[int]) -> None:
        gone = {i for i in ids if self.snapshots.pop(i, None) is not None}
        if gone:
            self.on_gone(gone)
        if self.reference in gone:
            self.reference = 0
            self.on_reference()

    def _want_list(self, list_id: int) -> None:
        if len(self._wanted_lists) < _MAX_WANTED:
            self._wanted_lists[list_id] = None
            self._wake.set()

    async def _run(self) -> None:
        failed = False
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._catch_up()
                if self._wanted_lists or self._warm_lists:
                    await self._read_list()
                    self._wake.set()
                failed = False
            except StoreError as error:
                if not failed:
                    log.warning("what is stored is not known up to date: %s", error)
                failed = True
                await asyncio.sleep(_RETRY_S)
                self._wake.set()

    async def _catch_up(self) -> None:
        if self._all:
            await self._read_all()
        if self._changed:
            await self._read_changed()
        if self._names_wanted:
            self._names_wanted = False
            try:
                self.names = await self._store.keys.channel_names(len(self.names)) or self.names
            except StoreError:
                self._names_wanted = True
                raise

    async def _read_all(self) -> None:
        self._gone.clear()
        keys = await self._store.keys.snapshots()
        jobs = await self._store.keys.jobs()
        jobs.extend(i for i in self._jobs if not jobs or i > jobs[-1])  # heard of meanwhile
        self._jobs = jobs
        self._all = False
        present = {i: list_id for i, list_id in keys.lists.items() if i not in self._gone}
        self._forget(self.snapshots.keys() - present.keys())
        self.snapshots = present
        self.on_changed(present.keys())
        self._now_reference(keys.reference)

    async def _read_changed(self) -> None:
        wanted, self._changed = self._changed, set()
        self._gone.clear()
        try:
            keys = await self._store.keys.snapshots(wanted)
        except StoreError:
            self._changed |= wanted
            raise
        # What has been deleted while the question was under way stays deleted.
        found = {i: list_id for i, list_id in keys.lists.items() if i not in self._gone}
        known = set(self.snapshots.values())
        self.snapshots.update(found)
        for list_id in set(found.values()) - known:
            self._names_wanted = True
            self._want_list(list_id)
        self.on_changed(wanted & found.keys())
        self._now_reference(keys.reference)

    def _now_reference(self, snapshot_id: int) -> None:
        snapshot_id = snapshot_id if snapshot_id in self.snapshots else 0
        if snapshot_id != self.reference:
            self.reference = snapshot_id
            self.on_reference()

    async def _read_list(self) -> None:
        """Read a list that somebody has asked for, or may ask for: of the newest snapshots, as many as are kept."""
        if self._wanted_lists:
            list_id = next(iter(self._wanted_lists))
            del self._wanted_lists[list_id]
        else:
            list_id = self._warm_lists.pop()
        if list_id in self.snapshots.values():
            channels = await self._store.keys.channel_list(list_id)
            # What `has_value` looks into; in a thread, because it takes a while to build.
            await asyncio.to_thread(getattr, channels, "index")
            self._warm_left -= len(channels)
            if self._warm_left <= 0:
                self._warm_lists.clear()
