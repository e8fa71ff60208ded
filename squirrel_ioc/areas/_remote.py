"""The service's side of a part of a job: ask an area's workers, wait with a bound, and know what can have happened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from squirrel_ioc.areas._parts import LOST_S, STALE_S, Part
from squirrel_ioc.areas._service_sql import Asked, PartState
from squirrel_ioc.errors import StoreError

__all__ = ["Answer", "Remote"]

CLAIM_S: Final = 2.0
"""For a worker to begin."""

LOOK_S: Final = 0.5
_POLL_S: Final = 0.05
_STATEMENT_S: Final = 2.0
_TRANSFER_S: Final = 10.0
"""For a statement with the columns of many PVs."""

_FETCHES: Final = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a part: its `result`, or None, and then whether it can have begun."""

    result: bytes | None
    begun: bool = False
    reason: str = ""
    worker: int | None = None
    """Who has begun it, where that is known."""


class Remote:
    """Asks for parts. `told` is to be called with what the workers tell of them."""

    def __init__(self, parts: Asked) -> None:
        self._parts = parts
        self._waiting: dict[UUID, asyncio.Event] = {}

    def told(self, part_id: str) -> None:
        """A worker says that it is further, or has ended."""
        event = self._waiting.get(UUID(hex=part_id))
        if event is not None:
            event.set()

    async def ask(self, part: Part, progress: Callable[[int], None], abort: Callable[[], bool]) -> Answer:
        """Have a part done. `progress` is called with the rows that are done. Once `abort` says True, it ends before
        its next write, and the answer says what was done.

        An answer comes as soon as it is there, or it is clear that none will: after CLAIM_S when no worker begins,
        after LOST_S when the one that has is not heard of, or the database.
        """
        event = self._waiting[part.id] = asyncio.Event()
        try:
            wait = _Wait(self._parts, part, event, progress, abort)
            try:
                async with asyncio.timeout(_TRANSFER_S):
                    await self._parts.ask(part)
            except (StoreError, TimeoutError) as error:
                # It may have been stored all the same.
                reason = f"the database does not answer: {error}" if str(error) else "no answer in time"
                answer = Answer(None, not await wait.withdraw(), reason)
            else:
                answer = await wait.answer()
        finally:
            del self._waiting[part.id]
        if answer.result is None:
            _log.warning("area %s: no %s: %s", part.area, part.kind, answer.reason)
        return answer


class _Wait:
    def __init__(
        self,
        parts: Asked,
        part: Part,
        event: asyncio.Event,
        progress: Callable[[int], None],
        abort: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._id = part.id
        self._writes = part.kind == "write"
        self._fetches = 0
        self._event = event
        self._progress = progress
        self._abort = abort

    async def answer(self) -> Answer:
        loop = asyncio.get_running_loop()
        begin = heard = loop.time()
        look_at = begin + LOOK_S
        cancelled = False
        while True:
            told = await self._wait()
            now = loop.time()
            if self._abort() and not cancelled:
                cancelled, _ = await self._bounded(self._parts.cancel(self._id))
            elif not told and now < look_at:
                continue
            look_at = now + LOOK_S
            looked, state = await self._bounded(self._parts.look(self._id))
            if not looked:
                # The worker may have had its last yes just now, and goes on for as long as that holds.
                if now - heard > LOST_S + STALE_S:
                    return Answer(None, True, "the database does not answer")
                continue
            heard = loop.time()
            ended = await self._judge(state, cancelled or now - begin > CLAIM_S)
            if ended is not None:
                return ended

    async def _wait(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await self._event.wait()
        told = self._event.is_set()
        self._event.clear()
        return told

    async def _judge(self, state: PartState | None, overdue: bool) -> Answer | None:
        """What to make of it; None to wait on."""
        if state is None:
            if self._writes:
                await asyncio.sleep(STALE_S)  # its worker has noticed by then
            return Answer(None, True, "the database server has lost it")
        if state.finished:
            fetched, answer = await self._bounded(self._parts.fetch(self._id), _TRANSFER_S)
            if not fetched or answer is None:
                self._fetches += 1
                return None if self._fetches < _FETCHES else Answer(None, True, "its answer does not arrive")
            error, result = answer
            return Answer(None, False, error) if error else Answer(result)
        self._progress(state.done)
        if state.worker_id is None:
            if overdue and await self.withdraw():
                return Answer(None, False, "no worker has begun")
        elif not state.alive:
            await self._bounded(self._parts.drop(self._id))
            return Answer(None, True, "its worker does not answer any more", state.worker_id)
        return None

    async def withdraw(self) -> bool:
        """Take it back, if it can be known that it has not begun."""
        _, withdrawn = await self._bounded(self._parts.withdraw(self._id))
        return bool(withdrawn)

    async def _bounded(self, statement: Any, timeout_s: float = _STATEMENT_S) -> tuple[bool, Any]:
        """Whether the database has answered, and what."""
        try:
            async with asyncio.timeout(timeout_s):
                return True, await statement
        except (StoreError, TimeoutError):
            return False, None
