"""Which of two services may act: a lease in the database, for a limited time, extended as long as its holder lives.

A lock of a session would not do: a service that is stopped, or cut from the database, keeps its session for long, and
one that has lost it may not know. A lease ends by itself, and its holder knows when: it counts from before it asked for
the extension, and ends a margin before the database does. Its clock goes on while the process is stopped and while the
computer sleeps. What is committed is safe beyond that: a transaction holds the generation of the lease in place, and
fails when there is a newer one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import asyncpg

from squirrel_ioc.errors import NotActiveError, StoreError
from squirrel_ioc.store.database import APPLICATION, Connection, Target
from squirrel_ioc.store.failures import UNREACHABLE, reason, translated

__all__ = ["Lease", "LEASE_S", "active_service", "boot_clock"]

LEASE_S: Final = 3.0
"""For so long the database lets nobody else take over."""

MARGIN_S: Final = 0.5
"""The holder stops so long before that: for clocks that do not run alike, and for what is just being sent."""

RENEW_S: Final = 1.0
_RETRY_S: Final = 0.2
_ANSWER_S: Final = 1.0
_LOOK_S: Final = 1.0
_GRAIN_S: Final = 0.02

_CHANNEL: Final = "squirrel_lease"

_LOOK = """
SELECT generation, holder, extract(epoch FROM expires - clock_timestamp())::float8 AS remaining FROM service_lease
"""
# Nobody else may take it or extend it meanwhile; but transactions that hold its generation in place can end.
_CLAIM = """
SELECT holder FROM service_lease WHERE generation = $1 AND expires <= clock_timestamp() FOR NO KEY UPDATE
"""
_NOT_FOR_LONG = "SET LOCAL idle_in_transaction_session_timeout = '2s'"
_END_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()
"""
_TAKE = """
UPDATE service_lease
SET generation = generation + 1, holder = $2, expires = clock_timestamp() + $3 * interval '1 second'
WHERE generation = $1 RETURNING generation
"""
_RENEW = """
UPDATE service_lease SET expires = clock_timestamp() + $2 * interval '1 second' WHERE generation = $1 RETURNING true
"""
_GIVE_BACK = """
WITH given AS (
    UPDATE service_lease
    SET holder = '', expires = 'epoch', handed_over = CASE WHEN $2 THEN clock_timestamp() ELSE handed_over END
    WHERE generation = $1 RETURNING true
)
SELECT pg_notify('squirrel_lease', '') FROM given
"""
_FENCE = "SELECT true FROM service_lease WHERE generation = $1 FOR KEY SHARE"

_HAS_TABLE = "SELECT to_regclass('service_lease') IS NOT NULL"
_HOLDER = "SELECT holder FROM service_lease WHERE expires > clock_timestamp()"

_log = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds; goes on while the process is stopped, and while the computer sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def active_service(connection: Connection) -> str:
    """The active one of services that share the database; empty when none is, or it is not shared."""
    with translated("lease of the service"):
        if not await connection.fetchval(_HAS_TABLE):
            return ""
        return str(await connection.fetchval(_HOLDER) or "")


class Lease:
    """Taken, kept and given back by one service; `held` may be asked anywhere and at any time.

    `lost` is set when a lease that was taken has ended otherwise than by `give_back`. It is not taken again before
    somebody asks for it, so that everything begun under the old one can end first.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: asyncpg.Connection | None = None
        self._generation = -1
        self._until = 0.0
        self._keeping: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._told = ""
        self._seen: str | None = None
        self.lost = asyncio.Event()
        self.may_take: Callable[[], bool] = lambda: True
        """Whether one that stands by could work at all."""

    @property
    def held(self) -> bool:
        """Whether this service may act on the outside, now. From any thread; costs nothing."""
        return boot_clock() < self._until

    async def fence(self, connection: Connection, doing: str) -> None:
        """The last statement of a transaction: nobody takes over before it is committed.

        Raises NotActiveError when somebody has already.
        """
        if not self.held or not await connection.fetchval(_FENCE, self._generation):
            raise NotActiveError(f"{doing}: this service is not the active one any more")

    async def take(self) -> None:
        """Stand by until the lease is ours. Errors of the database are waited out."""
        while True:
            try:
                wait_s = await self.try_take() if self.may_take() else _RETRY_S
            except StoreError as error:
                self._tell(str(error))
                wait_s = _RETRY_S
            else:
                self._told = ""
            if self.held:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._told = trouble
            _log.warning("standing by, without knowing of the other service: %s", trouble)

    async def try_take(self) -> float:
        """Take the lease if it is free; else return after how many seconds to try again. Raises StoreError."""
        doing = f"lease of {self._target.description}"
        try:
            with translated(doing):
                async with asyncio.timeout(2 * _ANSWER_S):
                    connection = await self._connected()
                    ((generation, holder, remaining),) = await connection.fetch(_LOOK)
                    if remaining > 0:
                        self._stand_by(holder)
                        return min(float(remaining) + _GRAIN_S, _LOOK_S)
                    async with connection.transaction():
                        sent = boot_clock()
                        taken = await self._claim(connection, generation)
                    if taken is not None:
                        self._begin(taken, sent, holder)
        except BaseException:
            self._disconnect()
            raise
        return _GRAIN_S

    async def _claim(self, connection: asyncpg.Connection, last: int) -> int | None:
        """The generation that is ours once this is committed; None when another one was quicker."""
        await connection.execute(_NOT_FOR_LONG)
        before = await connection.fetchval(_CLAIM, last)
        if before is None:
            return None
        if before not in ("", APPLICATION):
            # It may hang in the middle of something. What it has begun must end before ours begins.
            await connection.fetchval(_END_SESSIONS, before)
        generation: int = await connection.fetchval(_TAKE, last, APPLICATION, LEASE_S)
        return generation

    def _begin(self, generation: int, sent: float, before: str) -> None:
        self._generation, self._until = generation, sent + LEASE_S - MARGIN_S
        self._seen = None
        self.lost.clear()
        self._keeping = asyncio.create_task(self._keep(), name="lease")
        gone = f"{before} does not answer any more" if before not in ("", APPLICATION) else "nobody else is"
        _log.warning("this service is the active one now: %s", gone)

    def _stand_by(self, holder: str) -> None:
        if self._seen != holder:
            self._seen = holder
            _log.info("standing by: %s is the active one", holder)

    async def give_back(self, *, gives_way: bool = False) -> None:
        """Let the other one take over at once. Nothing, when the lease is lost. Bounded.

        `gives_way` to one that reaches more of the machine: when that was is kept.
        """
        if self._keeping is not None:
            async with self._asking:
                self._keeping.cancel()
            await asyncio.wait([self._keeping])
            self._keeping = None
        held, self._until = self.held, 0.0
        if not held:
            return
        try:
            async with asyncio.timeout(_ANSWER_S):
                await (await self._connected()).execute(_GIVE_BACK, self._generation, gives_way)
        except (*UNREACHABLE, asyncpg.PostgresError, StoreError) as exc:
            self._disconnect()
            _log.warning("the lease could not be given back, it runs out in %g s: %s", LEASE_S, reason(exc))
        else:
            _log.info("the lease is given back")

    async def close(self) -> None:
        """Give the lease back and end the connection."""
        await self.give_back()
        self._disconnect()

    async def _keep(self) -> None:
        try:
            why = await self._extend()
        except Exception as error:
            _log.exception("the lease is not extended any more")
            why = f"internal error: {error!r}"
        self._until = 0.0
        _log.error("this service is not the active one any more: %s", why)
        self.lost.set()

    async def _extend(self) -> str:
        """Extend the lease until that fails; returns why."""
        wait_s, trouble = RENEW_S, "it stood still for too long"
        while True:
            await asyncio.sleep(min(wait_s, max(0.0, self._until - boot_clock())))
            sent = boot_clock()
            if not self.held:
                return trouble
            try:
                async with self._asking, asyncio.timeout(min(_ANSWER_S, max(0.0, self._until - sent))):
                    extended = await (await self._connected()).fetchval(_RENEW, self._generation, LEASE_S)
            except (*UNREACHABLE, asyncpg.PostgresError, StoreError) as exc:
                self._disconnect()
                trouble, wait_s = f"the lease cannot be extended: {reason(exc)}", _RETRY_S
            else:
                if not extended:
                    return "another one has taken over"
                # Once it has run out it stays so: somebody may have seen it, and stopped in the middle of something.
                if self.held:
                    self._until, wait_s = sent + LEASE_S - MARGIN_S, RENEW_S
                    trouble = "it stood still for too long"

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._target.connect()
            await self._connection.add_listener(_CHANNEL, lambda *_: self._wake.set())
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
