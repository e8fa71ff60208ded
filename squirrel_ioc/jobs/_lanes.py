"""Which jobs run at the same time: one restore, one snapshot, one comparison, one import or export.

A restore and a snapshot take turns, since a snapshot of a machine that is being written is of little use. But a restore
may ramp for an hour: a snapshot, or a comparison with the live machine, waits a moment for it and then runs beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from squirrel_ioc.model.job import JobInfo, JobKind

__all__ = ["Lanes"]

BESIDE_AFTER_S: Final = 1.0
"""A snapshot or comparison waits so long for a restore."""


class Lanes:
    """Gives each job its turn."""

    def __init__(self) -> None:
        files = asyncio.Lock()
        self._lanes = {kind: asyncio.Lock() for kind in JobKind} | {JobKind.IMPORT: files, JobKind.EXPORT: files}
        self._machine = asyncio.Lock()
        self._restore = ""
        self._no_restore = asyncio.Event()
        self._no_restore.set()

    @asynccontextmanager
    async def turn(self, info: JobInfo) -> AsyncIterator[str]:
        """Wait for the job's turn, and hold it. Gives the restore that runs at the same time, "" when there is none."""
        async with self._lanes[info.kind], AsyncExitStack() as held:
            if info.kind is JobKind.RESTORE:
                await held.enter_async_context(self._machine)
                self._restore = f"{info.title} (job {info.id})"
                self._no_restore.clear()
                held.callback(self._restore_ended)
                yield ""
                return
            if info.kind is JobKind.SNAPSHOT:
                while not await _within(BESIDE_AFTER_S, self._machine.acquire()):
                    if self._restore:
                        break
                else:
                    held.callback(self._machine.release)
            elif info.kind is JobKind.COMPARE:
                await _within(BESIDE_AFTER_S, self._no_restore.wait())
            yield self._restore

    def _restore_ended(self) -> None:
        self._restore = ""
        self._no_restore.set()


async def _within(seconds: float, wait: Awaitable[object]) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wait
            return True
    return False
