"""Values of snapshots, fetched for the PVs that show them: those that are wanted at the same time in one go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from squirrel_ioc.errors import StoreError
from squirrel_ioc.ioc.ondemand.stored_pv import Stored
from squirrel_ioc.ioc.service import Store
from squirrel_ioc.ioc.tasks import Tasks
from squirrel_ioc.model.frame import Frame

__all__ = ["Loader", "Loaded"]

Loaded = Stored | StoreError | None
"""A value; why it cannot be had; None when the snapshot has no such channel."""

_PARALLEL: Final = 2
"""Snapshots that are read at a time."""

_SLICE_S: Final = 0.005

log = logging.getLogger(__name__)

Done = Callable[[Loaded], None]


class Loader:
    """Reads from a snapshot once for all who have asked while it was read the last time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted: dict[int, dict[str, list[Done]]] = {}
        self.waiting = 0
        """How often values are asked for that are not being read yet."""
        self._busy: set[int] = set()
        self._workers = 0
        self._tasks = Tasks()

    def load(self, snapshot_id: int, name: str, done: Done) -> None:
        """Fetch the value of a channel, and call back with it."""
        self._wanted.setdefault(snapshot_id, {}).setdefault(name, []).append(done)
        self.waiting += 1
        if self._workers < _PARALLEL and snapshot_id not in self._busy:
            self._workers += 1
            self._tasks.start(self._work(), "loading values")

    async def get(self, snapshot_id: int, name: str) -> Loaded:
        """The value of a channel."""
        future: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self.load(snapshot_id, name, lambda loaded: None if future.done() else future.set_result(loaded))
        return await future

    async def stop(self) -> None:
        """Fetch nothing more, and call nobody back."""
        await self._tasks.stop()

    async def _work(self) -> None:
        try:
            while (snapshot_id := next((i for i in self._wanted if i not in self._busy), None)) is not None:
                self._busy.add(snapshot_id)
                try:
                    names = self._wanted.pop(snapshot_id)
                    self.waiting -= sum(map(len, names.values()))
                    await self._fetch(snapshot_id, names)
                finally:
                    self._busy.discard(snapshot_id)
        finally:
            self._workers -= 1

    async def _fetch(self, snapshot_id: int, names: dict[str, list[Done]]) -> None:
        frame, trouble = None, None
        try:
            frame = await self._store.load_frame(snapshot_id, names.keys())
        except StoreError as error:
            trouble = error
            log.warning("%d values of snapshot %d cannot be shown: %s", len(names), snapshot_id, error)
        except Exception as error:  # who waits must hear of it, whatever it is
            trouble = StoreError(f"internal error: {error!r}")
            log.exception("%d values of snapshot %d cannot be shown", len(names), snapshot_id)
        begin = time.monotonic()
        for name, callbacks in names.items():
            loaded: Loaded = trouble if frame is None else _value(frame, name)
            for done in callbacks:
                self._call(done, loaded)
            if time.monotonic() - begin > _SLICE_S:  # clients want to be served, too
                await asyncio.sleep(0)
                begin = time.monotonic()

    def _call(self, done: Done, loaded: Loaded) -> None:
        try:
            done(loaded)
        except Exception:  # one PV's trouble is not to keep the others from their values
            log.exception("a stored value cannot be shown")


def _value(frame: Frame, name: str) -> Loaded:
    row = frame.channels.index.get(name)
    if row is None:
        return None
    try:
        return Stored.of(frame, row)
    except Exception as error:  # one odd value is not to keep the others from those who wait
        log.exception("the stored value of %s cannot be shown", name)
        return StoreError(f"internal error: {error!r}")
