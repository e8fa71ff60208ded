"""RESTORE:ENABLE: one switch for all copies of the group, kept across restarts."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from squirrel_ioc.errors import DatabaseDownError
from squirrel_ioc.ioc.kinds.arrays import Text
from squirrel_ioc.ioc.kinds.scalars import Binary
from squirrel_ioc.ioc.protocol.client import current_client
from squirrel_ioc.ioc.service import Service
from squirrel_ioc.ioc.tasks import Tasks
from squirrel_ioc.jobs.restore import ENABLE_SETTING
from squirrel_ioc.model.job import JobKind

__all__ = ["RestoreSwitch"]

log: Final = logging.getLogger(__name__)


class RestoreSwitch:
    """Whether restores are allowed."""

    def __init__(self) -> None:
        self._service: Service | None = None
        self._pvs: list[tuple[Binary, Text]] = []
        self._tasks = Tasks()
        self._saving = asyncio.Lock()
        self._unsaved = False

    def show_in(self, enable: Binary, msg: Text) -> None:
        """This PV shows and sets it; what goes wrong is told in this MSG."""
        enable.on_put = self._set
        self._pvs.append((enable, msg))

    async def start(self, service: Service) -> None:
        """Take the value that was kept. Only the first call does something."""
        if self._service is not None:
            return
        self._service = service
        try:
            kept = await service.store.get_setting(ENABLE_SETTING)
        except DatabaseDownError as error:
            log.warning("RESTORE:ENABLE is not known, restores are enabled: %s", error)
        else:
            self._show(1 if kept is None else int(bool(kept)))

    async def stop(self) -> None:
        """End what still saves."""
        await self._tasks.stop()

    def store_changed(self, *_: Any) -> None:
        """Keep what could not be kept before."""
        if self._unsaved and self._service is not None and self._service.store.status.connected:
            self._unsaved = False
            self._tasks.start(self._save(), "save RESTORE:ENABLE")

    def _show(self, value: int) -> None:
        for enable, _ in self._pvs:
            enable.post(value)

    async def _set(self, value: int) -> None:
        # It has effect at once, also when the database cannot keep it.
        self._show(value)
        log.info("RESTORE:ENABLE %d: %s", value, current_client())
        if not value:
            await self._abort_all()
        await self._save()

    async def _abort_all(self) -> None:
        """What waits does not begin any more; what runs stops before its next write."""
        assert self._service is not None  # noqa: S101 - PVs are written after the start
        jobs = self._service.jobs
        for info in list(jobs.recent):
            if info.kind is JobKind.RESTORE and not info.status.terminal:
                await jobs.abort(info.id, f"RESTORE:ENABLE 0 of {current_client()}")

    async def _save(self) -> None:
        assert self._service is not None  # noqa: S101
        async with self._saving:
            value = bool(self._pvs[0][0].value)
            try:
                await self._service.store.set_setting(ENABLE_SETTING, value)
            except DatabaseDownError as error:
                self._unsaved = True
                problem = f"RESTORE:ENABLE is {value:d}, but not kept for a restart yet: {error}"
                log.warning("%s", problem)
                for _, msg in self._pvs:
                    msg.post(problem)
            else:
                self._unsaved = False
