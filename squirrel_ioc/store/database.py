"""The database as the modules of the store see it: where it is, its connections, and its errors translated."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.dsn import describe_dsn
from squirrel_ioc.errors import DatabaseDownError, NotActiveError, StoreError
from squirrel_ioc.store.embedded import EmbeddedServer
from squirrel_ioc.store.failures import DISK, UNREACHABLE, fault, translated

__all__ = ["Target", "Database", "Connection", "APPLICATION", "id_or_none"]

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""A connection, from the pool or of its own."""

APPLICATION: Final = f"squirrel-ioc {os.getpid()} on {socket.gethostname()}"[:63]
"""How this process appears in pg_stat_activity."""

_DATABASE: Final = "squirrel"
_MAKE_DATABASE: Final = "CREATE DATABASE squirrel TEMPLATE template0 ENCODING 'UTF8'"
_WAIT_FIRST_S: Final = 0.5
_WAIT_MOST_S: Final = 10.0

_LOCK_S: Final = 10.0
"""To wait for what somebody else has locked; less where a statement may not take that long."""

_BUSY_S: Final = 2.0
_BUSY_PAUSE_S: Final = 0.1
_RELEASE_S: Final = 2.0
_LET_GO_S: Final = 0.5

_SESSION: Final = {"application_name": APPLICATION, "jit": "off", "timezone": "UTC"}

_log = logging.getLogger(__name__)


def id_or_none(value: int) -> int:
    """A number that may be that of a row; 0, which no row has, for one that cannot be."""
    return value if 0 < value < 2**31 else 0


class Target:
    """Where the database is: a server somebody else runs (`dsn`), or the embedded one."""

    def __init__(self, settings: DatabaseSettings, embedded: EmbeddedServer | None) -> None:
        self._settings = settings
        self._embedded = embedded
        self._dsn = None if settings.dsn is None else settings.dsn.get_secret_value()

    @property
    def description(self) -> str:
        """For messages: host, port and database, never the password."""
        return "the embedded database" if self._dsn is None else describe_dsn(self._dsn)

    @property
    def connect_args(self) -> dict[str, Any]:
        """Arguments of `asyncpg.connect` and `asyncpg.create_pool`."""
        where: dict[str, Any] = (
            {"dsn": self._dsn} if self._embedded is None else {**self._embedded.connect_args, "database": _DATABASE}
        )
        return {
            **where,
            "timeout": self._settings.connect_timeout_s,
            "command_timeout": self._settings.command_timeout_s,
            "server_settings": {**_SESSION, "lock_timeout": f"{1000 * self._lock_s:.0f}"},
        }

    @property
    def _lock_s(self) -> float:
        return min(_LOCK_S, 0.8 * self._settings.command_timeout_s)

    async def connect(self) -> asyncpg.Connection:
        """A connection of its own. Raises DatabaseDownError, or StoreError for what waiting would not mend."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s + 1):
                return await asyncpg.connect(**self.connect_args)
        except asyncpg.InvalidCatalogNameError as exc:
            if self._embedded is None:
                raise StoreError(f"{self.description}: {exc}") from None
            return await self._make_database()
        except asyncpg.InvalidAuthorizationSpecificationError as exc:
            raise StoreError(f"{self.description}: {exc}") from None
        except asyncpg.exceptions.ClientConfigurationError:
            raise StoreError(self._not_understood) from None
        except UNREACHABLE as exc:
            raise DatabaseDownError(f"{self.description} {fault(exc)}") from None
        except ValueError:
            raise StoreError(self._not_understood) from None
        except asyncpg.PostgresError as exc:
            raise DatabaseDownError(f"{self.description} {fault(exc) or f'refuses: {exc}'}") from None

    @property
    def _not_understood(self) -> str:
        # Without asyncpg's own words: they may quote parts of the dsn, and so of the password.
        return f"{self.description}: database.dsn is not understood"

    async def connect_waiting(self) -> asyncpg.Connection:
        """A connection, however long it takes for the server to come up."""
        wait_s = _WAIT_FIRST_S
        while True:
            try:
                return await self.connect()
            except DatabaseDownError as exc:
                _log.warning("%s; next try in %.1f s", exc, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _WAIT_MOST_S)

    async def _make_database(self) -> asyncpg.Connection:
        with translated("making the embedded database"):
            connection = await asyncpg.connect(**{**self.connect_args, "database": "postgres"})
            try:
                await connection.execute(_MAKE_DATABASE)
            except asyncpg.DuplicateDatabaseError:
                pass
            finally:
                await connection.close()
            return await asyncpg.connect(**self.connect_args)


class _Use:
    """Somebody who waits for a connection, or uses one."""

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self.connection: Connection | None = None
        self.more_than_that = False
        """What is done with the connection is not all that is done, and the rest goes on without it."""

    def cut(self) -> None:
        """Have it fail now. Not by asking the server to cancel: it does not answer."""
        wait_s = 0.0
        if self.connection is not None:
            self.connection.terminate()
            wait_s = _LET_GO_S
        if not self.more_than_that:
            self._limit.reschedule(asyncio.get_running_loop().time() + wait_s)


class Database:
    """The pool, with every wait bounded and every error translated.

    `trouble` says what is known to be wrong, so that nobody waits for a database that is not there, and
    `write_trouble` also what only keeps it from being written; `on_down` is called when somebody finds out first,
    `on_disk` when it was the server's disk. `acts` says whether this process may change anything, and `fence` is the
    last statement of every transaction, which raises NotActiveError when it may not any more.
    """

    def __init__(self, pool: asyncpg.Pool, target: Target, connect_timeout_s: float) -> None:
        self.pool = pool
        self._target = target
        self._connect_timeout_s = connect_timeout_s
        self._uses: set[_Use] = set()
        self.on_down: Callable[[], None] = lambda: None
        self.on_disk: Callable[[str], None] = lambda _: None
        self.trouble: Callable[[], str] = lambda: ""
        self.write_trouble: Callable[[], str] = lambda: ""
        self.acts: Callable[[], bool] = lambda: True
        self.fence: Callable[[Connection, str], Awaitable[None]] | None = None

    @classmethod
    async def open(cls, target: Target, settings: DatabaseSettings) -> Database:
        """A pool of connections. Raises as `Target.connect` does."""
        with translated(target.description):
            pool = await asyncpg.create_pool(
                **target.connect_args, min_size=1, max_size=settings.pool_size, max_inactive_connection_lifetime=600
            )
        return cls(pool, target, settings.connect_timeout_s)

    @asynccontextmanager
    async def connection(self, doing: str) -> AsyncIterator[Connection]:
        """A connection from the pool. Errors say `doing` what; DatabaseDownError when none answers in time."""
        if trouble := self.trouble():
            raise DatabaseDownError(f"{doing}: {trouble}")
        async with self._in_use(doing) as use:
            connection = await self._acquire()
            use.connection = connection
            try:
                yield connection
            finally:
                # What was done is done, and a connection that cannot be used again is not put back.
                with suppress(*UNREACHABLE, asyncpg.PostgresError):
                    await self.pool.release(connection, timeout=min(_RELEASE_S, self._connect_timeout_s))

    async def _acquire(self) -> asyncpg.pool.PoolConnectionProxy:
        """When others have taken all connections of the server, wait a little for one of our own to get free."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _BUSY_S
        while True:
            try:
                return await self.pool.acquire(timeout=self._connect_timeout_s)
            except asyncpg.TooManyConnectionsError:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(_BUSY_PAUSE_S)

    @asynccontextmanager
    async def own_connection(self, doing: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection beside the pool, for the queue; closed, or cut, at the end of the block.

        Raises NotActiveError when this process may not act: who takes over ends the connections that are there then.
        """
        if trouble := self.trouble() or self.write_trouble():
            raise DatabaseDownError(f"{doing}: {trouble}")
        async with self._in_use(doing) as use:
            use.connection = connection = await self._target.connect()
            use.more_than_that = True  # jobs run that have begun
            try:
                if not self.acts():
                    raise NotActiveError(f"{doing}: this service is not the active one")
                yield connection
            finally:
                with suppress(*UNREACHABLE, asyncpg.PostgresError):
                    await connection.close(timeout=min(_RELEASE_S, self._connect_timeout_s))

    @asynccontextmanager
    async def _in_use(self, doing: str) -> AsyncIterator[_Use]:
        use = None
        try:
            with translated(doing):
                async with asyncio.timeout(None) as limit:
                    use = _Use(limit)
                    self._uses.add(use)
                    try:
                        yield use
                    finally:
                        self._uses.discard(use)
        except DatabaseDownError as exc:
            if isinstance(exc.__cause__, DISK):
                self.on_disk(fault(exc.__cause__))
            self.on_down()
            raise

    def cut(self) -> None:
        """End all that is under way: the server does not answer, and may not for long."""
        for use in tuple(self._uses):
            use.cut()

    @asynccontextmanager
    async def transaction(self, doing: str, existing: Connection | None = None) -> AsyncIterator[Connection]:
        """A transaction; inside that of `existing` when given, which its owner commits."""
        if existing is not None:
            with translated(doing):
                yield existing
            return
        if not self.acts():
            raise NotActiveError(f"{doing}: this service is not the active one")
        if trouble := self.write_trouble():
            raise DatabaseDownError(f"{doing}: {trouble}")
        async with self.connection(doing) as connection, connection.transaction():
            yield connection
            if self.fence is not None:
                await self.fence(connection, doing)

    async def close(self) -> None:
        """Close every connection, waiting only so long for those in use."""
        try:
            await asyncio.wait_for(self.pool.close(), self._connect_timeout_s)
        except UNREACHABLE:
            self.pool.terminate()
