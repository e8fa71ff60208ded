"""The list of PVs that are known to be away, as the running service has it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.away import AWAY_SETTING, Away, away_from_json, with_added, without_removed
from squirrel_ioc.store import RESYNC, Store, StoreEvent

__all__ = ["AwayList"]

log = logging.getLogger(__name__)


class AwayList:
    """Follows what any process writes. All methods belong to the event loop's thread."""

    def __init__(self, store: Store) -> None:
        self.current: Mapping[str, Away] = {}
        self._store = store
        self._listeners: list[Callable[[], None]] = []
        self._stop_listening: Callable[[], object] = lambda: None
        self._reading: asyncio.Task[None] | None = None
        self._again = False

    async def start(self) -> None:
        """Read it, and follow. Raises StoreError."""
        self._stop_listening = self._store.listen(self._stored)
        self._take(await self._store.get_setting(AWAY_SETTING))

    async def stop(self) -> None:
        """Follow no more."""
        self._stop_listening()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, in the loop, when the list has changed; returns what ends it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    async def add(self, names: Sequence[str], reason: str, user: str) -> None:
        """Put these on the list. Raises RefusedError, StoreError."""
        new = Away(reason, user, datetime.now(UTC))
        self._take(
            await self._store.change_setting(AWAY_SETTING, lambda kept: with_added(kept, dict.fromkeys(names, new)))
        )

    async def remove(self, names: Sequence[str]) -> None:
        """Take these off. Raises RefusedError when one is not on it, StoreError."""
        self._take(await self._store.change_setting(AWAY_SETTING, lambda kept: without_removed(kept, names)))

    def _take(self, kept: Any) -> None:
        current = away_from_json(kept)
        if current != self.current:
            self.current = current
            for callback in tuple(self._listeners):
                callback()

    def _stored(self, event: StoreEvent) -> None:
        if event.kind == RESYNC or (event.kind == "setting" and event.id == AWAY_SETTING):
            self._again = True
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read(), name="PVs that are away")

    async def _read(self) -> None:
        while self._again:
            self._again = False
            try:
                self._take(await self._store.get_setting(AWAY_SETTING))
            except StoreError as error:  # a RESYNC follows when the database is back
                log.debug("which PVs are away cannot be read: %s", error)
