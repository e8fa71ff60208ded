"""How far a job is: told while it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from squirrel_ioc.errors import StoreError
from squirrel_ioc.jobs._state import JobBoard
from squirrel_ioc.model.job import JobInfo
from squirrel_ioc.store import Store

__all__ = ["JobProgress"]

_PROGRESS_PERIOD_S = 0.2
_ROW_PERIOD_S = 0.5

log = logging.getLogger(__name__)


class JobProgress:
    """Passes a job's reports on: to the control PVs at most five times a second, to its row twice."""

    def __init__(self, store: Store, board: JobBoard, info: JobInfo, partial: Callable[[], Any]) -> None:
        self.info = info
        self._partial = partial
        self._store = store
        self._board = board
        self._published = 0.0
        self._stored = time.monotonic()
        self._to_publish = self._to_store = False
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def report(self, done: int, total: int, message: str, percent: float) -> None:
        percent = max(percent, self.info.percent or 0.0)
        if total == self.info.total:
            done = max(done, self.info.done)
        self.info = replace(self.info, done=done, total=total, message=message, percent=min(percent, 99.0))
        self._to_publish = self._to_store = True
        self._pass_on()

    def _pass_on(self) -> None:
        """What is due now; the rest when it is, also when nothing else is reported meanwhile."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        if self._to_publish and now - self._published >= _PROGRESS_PERIOD_S:
            self._published, self._to_publish = now, False
            self._board.publish(replace(self.info, result=self._partial()))
        idle = self._store.status.ok and (self._writing is None or self._writing.done())
        if self._to_store and idle and now - self._stored >= _ROW_PERIOD_S:
            self._stored, self._to_store = now, False
            self._writing = asyncio.create_task(self._write(replace(self.info, result=self._partial())))
        if self._to_publish or self._to_store:
            self._timer = asyncio.get_running_loop().call_later(_PROGRESS_PERIOD_S, self._pass_on)

    async def _write(self, info: JobInfo) -> None:
        try:
            await self._store.update_job(info)
        except StoreError as error:
            log.warning("job %d: its progress could not be stored: %s", info.id, error)

    async def close(self) -> None:
        """No progress is told or written after this, so that none can overwrite the job's end."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await self._writing
