"""A part of a job, from claim to answer, at the worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.areas._held_lists import Held
from squirrel_ioc.areas._pack import pack, pack_frame, unpack, unpack_frame
from squirrel_ioc.areas._parts import STALE_S, Part
from squirrel_ioc.areas._worker_sql import Taken
from squirrel_ioc.ca import Machine
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.job import running_job
from squirrel_ioc.store import boot_clock

__all__ = ["Run", "carry_out"]

CONFIRM_S: Final = 0.5
"""Between two questions whether the part is still wanted."""

_STATEMENT_S: Final = 1.5
_TELL_S: Final = 0.2
_ANSWER_S: Final = 10.0

_log = logging.getLogger(__name__)


class Run:
    """One part. `cancelled` may be set at any time."""

    def __init__(self, parts: Taken, part_id: UUID, worker_id: int, stopping: Callable[[], bool]) -> None:
        self.id = part_id
        self.cancelled = False
        self._parts = parts
        self._worker_id = worker_id
        self._stopping = stopping
        self._confirmed = boot_clock()
        self._told = 0.0
        self._telling: asyncio.Task[None] | None = None

    def abort(self) -> bool:
        """Whether nothing more may be written. From any thread."""
        return self.cancelled or boot_clock() - self._confirmed > STALE_S

    async def claim(self) -> Part | None:
        """Take it; None when it is not to be had."""
        self._confirmed = boot_clock()
        return None if self._stopping() else await self._parts.claim(self.id, self._worker_id)

    async def leave_to_another(self) -> None:
        """Put it back into the queue, if that is why it is not to be had."""
        if not self._stopping():
            await self._parts.leave_to_another(self.id, self._worker_id)

    async def confirm(self) -> None:
        """Ask again and again whether it is still wanted, and say that it goes on."""
        while True:
            await asyncio.sleep(CONFIRM_S)
            asked = boot_clock()
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_STATEMENT_S):
                    if await self._parts.go_on(self.id, self._worker_id):
                        self._confirmed = asked
                    else:
                        self.cancelled = True

    def progress(self, done: int, total: int) -> None:
        """Tell who asked, now and then."""
        now = time.monotonic()
        if done < total and now - self._told >= _TELL_S and (self._telling is None or self._telling.done()):
            self._told = now
            self._telling = asyncio.create_task(self._tell(done))

    async def _tell(self, done: int) -> None:
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_STATEMENT_S):
                await self._parts.further(self.id, done)

    async def answer(self, done: int, error: str, result: bytes) -> None:
        """Tell how it ended. Once it is given up, nobody waits for that."""
        if self._telling is not None:
            await self._telling
        deadline = boot_clock() + _ANSWER_S
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    await self._parts.answer(self.id, done, error, result)
                    return
            except (StoreError, TimeoutError) as failure:
                if boot_clock() > deadline:
                    _log.error("part %s: its answer could not be stored: %s", self.id, failure)
                    return
            await asyncio.sleep(_TELL_S)


async def carry_out(run: Run, machine: Machine, held: Held, tell: Callable[[], Awaitable[None]]) -> None:
    """Do a part that the queue has delivered. What could not be begun says why; what breaks on the way says nothing,
    and so counts as lost. `tell` tells the service what is known of the channels.
    """
    part = await run.claim()
    if part is None:
        await run.leave_to_another()
        return
    confirming = asyncio.create_task(run.confirm(), name=f"part {part.id}")
    try:
        try:
            columns = await asyncio.to_thread(unpack, part.body)
            running_job.set(_job(columns))  # in the context of this delivery
            channels = await held.channels(part.area, part.version, columns.get("rows"))
            values = unpack_frame(columns, channels) if part.kind == "write" else None
        except StoreError as error:
            _log.warning("a %s of area %s is not begun: %s", part.kind, part.area, error)
            await run.answer(0, str(error), b"")
            return
        begin = time.perf_counter()
        if values is not None:
            outcome = await machine.write(
                values,
                timeout_s=part.timeout_s,
                progress=run.progress,
                abort=run.abort,
                retry=bool(columns.get("retry", True)),
            )
            result = pack({"outcome": outcome})
        elif part.kind == "read":
            frame = await machine.read(channels, timeout_s=part.timeout_s, progress=run.progress, abort=run.abort)
            result = await asyncio.to_thread(pack_frame, frame)
        else:
            await machine.refresh(channels, abort=run.abort)
            await tell()
            result = pack({})
        _log.debug("%s of %d PVs of %s: %.3f s", part.kind, len(channels), part.area, time.perf_counter() - begin)
        await run.answer(len(channels), "", result)
    finally:
        confirming.cancel()


def _job(columns: Mapping[str, NDArray[Any]]) -> int:
    """The job that a part belongs to, for the log; 0: none."""
    job = columns.get("job")
    return int(job) if job is not None and job.shape == () and job.dtype == np.int64 else 0
