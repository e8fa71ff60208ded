"""The connection that stands by: is the database there, what changed in it, and who else runs on it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import asyncpg

from squirrel_ioc.errors import DatabaseDownError, SquirrelError, StoreError
from squirrel_ioc.store.database import Target
from squirrel_ioc.store.events import RESYNC, DbStatus, Listeners, StoreEvent
from squirrel_ioc.store.failures import UNREACHABLE, fault

__all__ = ["Watch", "SERVICE_KEY", "HOLDER"]

_CHANNEL: Final = "squirrel_event"
SERVICE_KEY: Final = 0x5351_524C_0000
_PERIOD_S: Final = 2.0
_PING_S: Final = 2.0
_GRACE_S: Final = 1.0
_SILENT_S: Final = 2.0
_TRY_DISK_S: Final = 5.0
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)

_TAKE = "SELECT pg_try_advisory_lock($1)"
_SHARE = "SELECT pg_try_advisory_lock_shared($1)"
HOLDER = """
SELECT pid, coalesce(nullif(application_name, ''), 'a process of its server') AS name
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND datname = current_database() AND database = datid
  AND (classid::bigint << 32) + objid::bigint = $1
"""

_LOOK = "SELECT current_setting('transaction_read_only') = 'on' AS read_only, pg_is_in_recovery() AS replica"
_WHO = """
SELECT (SELECT system_identifier FROM pg_control_system()) AS server, oid AS database,
    to_regclass('snapshot_chunk') IS NULL AS empty,
    CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline
FROM pg_database WHERE datname = current_database()
"""
# As much as a snapshot of 40,000 PVs takes, and nothing that can be compressed. To be taken back.
_TRY_DISK = """
INSERT INTO snapshot_chunk SELECT 0, 0, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
    (SELECT decode(string_agg(md5(i::text), ''), 'hex') FROM generate_series(1, 50000) AS i)
"""
_TERMINATE = "SELECT pg_terminate_backend($1, 2000)"

_log = logging.getLogger(__name__)


class Watch:
    """Holds a connection of its own, pings it, listens on it, and makes it anew when it breaks.

    `exclusive` takes the lock of the service, `shared` with others who share it, and then settle among themselves who
    works.
    """

    def __init__(
        self, target: Target, exclusive: bool, restart: Callable[[], None] | None, *, shared: bool = False
    ) -> None:
        self._target = target
        self._exclusive = exclusive
        self._shared = shared
        self._restart = restart
        self._connection: asyncpg.Connection | None = None
        self._server_pid = 0
        self._listening = False
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._who: tuple[int, int] | None = None
        self._timeline = ""
        self._disk_trouble = ""
        self._silent: asyncio.TimerHandle | None = None
        self.on_silent: Callable[[], None] = lambda: None
        """Called when the database has been away for so long that nobody should wait for its answer any more."""
        self.on_other_timeline: Callable[[], None] = lambda: None
        """Called when a server has taken the place of another: it may lack the last of what that had committed."""
        self.status = DbStatus(False, 0.0, "not connected yet")
        self.on_status: Listeners[DbStatus] = Listeners()
        self.on_event: Listeners[StoreEvent] = Listeners()

    async def claim(self, connection: asyncpg.Connection) -> None:
        """Take over a connection. Raises StoreError when another service runs on the database."""
        self._connection = connection
        await self._prepare(connection)

    async def start(self) -> None:
        """Begin to watch over the claimed connection; nobody else may use it from now on."""
        if self._connection is not None:
            await self._ping(self._connection)
        self._task = asyncio.create_task(self._run(), name="database watch")

    async def stop(self) -> None:
        """End the task and the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._heard()
        if self._connection is not None:
            # In order, so that the lock is free for the next when this returns.
            try:
                await self._connection.close(timeout=_PING_S)
            except (*UNREACHABLE, asyncpg.PostgresError):
                self._connection.terminate()
            self._connection = None

    async def answers(self, within_s: float) -> bool:
        """Wait for the database to answer, if it does not."""
        there = asyncio.Event()
        remove = self.on_status.add(lambda status: there.set() if status.connected else None)
        try:
            if not self.status.connected:
                async with asyncio.timeout(within_s):
                    await there.wait()
        except TimeoutError:
            return False
        finally:
            remove()
        return True

    def hurry(self) -> None:
        """Somebody had an error: look now instead of at the next turn."""
        self._wake.set()

    def disk_trouble(self, problem: str) -> None:
        """Somebody could not write for want of space: until a try goes well, the database cannot be written."""
        self._disk_trouble = problem

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                if self._connection is None:
                    await self._reconnect()
                else:
                    await self._ping(self._connection)
                failures = 0
                wait_s = _PERIOD_S
            except SquirrelError as exc:
                self._lost(str(exc))
                wait_s = _RETRY_S[min(failures, len(_RETRY_S) - 1)]
                failures += 1
            except Exception as exc:
                _log.exception("watching the database failed")
                self._lost(repr(exc))
                wait_s = _RETRY_S[-1]
            if self.status.connected:
                await self._sleep(wait_s)
            else:
                await asyncio.sleep(wait_s)

    async def _sleep(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _ping(self, connection: asyncpg.Connection) -> None:
        start = time.perf_counter()
        try:
            async with asyncio.timeout(_PING_S):
                (look,) = await connection.fetch(_LOOK)
        except (*UNREACHABLE, asyncpg.PostgresError) as exc:
            raise DatabaseDownError(f"{self._target.description} {fault(exc) or exc}") from None
        latency_s = time.perf_counter() - start
        if not self._listening and not look["replica"]:
            raise DatabaseDownError(f"{self._target.description} is no replica any more")
        problem = await self._write_problem(connection, look["read_only"], look["replica"])
        message = f"{self._target.description} can be read, but not written: {problem}" if problem else ""
        self._set(DbStatus(True, latency_s, message, not problem))

    async def _write_problem(self, connection: asyncpg.Connection, read_only: bool, replica: bool) -> str:
        if replica:
            return "its server is a replica"
        if read_only:
            return "its server is set to read-only"
        if self._disk_trouble:
            try:
                async with asyncio.timeout(_TRY_DISK_S):
                    attempt = connection.transaction()
                    await attempt.start()
                    try:
                        await connection.execute(_TRY_DISK)
                    finally:
                        await attempt.rollback()
            except asyncpg.PostgresError as exc:
                self._disk_trouble = fault(exc) or str(exc)
            except UNREACHABLE as exc:
                raise DatabaseDownError(f"{self._target.description} {fault(exc) or exc}") from None
            else:
                self._disk_trouble = ""
        return self._disk_trouble and f"it {self._disk_trouble}"

    async def _reconnect(self) -> None:
        if self._restart is not None:
            await asyncio.to_thread(self._restart)
        connection = await self._target.connect()
        try:
            await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        await self._ping(connection)
        _log.info("%s answers again", self._target.description)
        self.on_event.call(StoreEvent(RESYNC, 0, RESYNC))

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        try:
            if self._exclusive:
                await self._be_alone(connection)
            await self._recognise(connection)
            self._server_pid = connection.get_server_pid()
            # A replica cannot be listened to.
            (look,) = await connection.fetch(_LOOK)
            self._listening = not look["replica"]
            if self._listening:
                await connection.add_listener(_CHANNEL, self._notified)
            connection.add_termination_listener(lambda _: self.hurry())
        except (*UNREACHABLE, asyncpg.PostgresError) as exc:
            raise DatabaseDownError(f"{self._target.description} {fault(exc) or exc}") from None

    async def _recognise(self, connection: asyncpg.Connection) -> None:
        """Another database in the place of the first: what is known of that would be wrong, or be written into it."""
        (row,) = await connection.fetch(_WHO)
        who = row["server"], row["database"]
        if self._who is None:
            self._who = who
        elif who != self._who or row["empty"]:
            what = "is empty now" if row["empty"] else "is not the one that this service was started with"
            raise StoreError(f"{self._target.description} {what}: bring the right one back, or start the service again")
        if row["timeline"] is not None and row["timeline"] != self._timeline:
            if self._timeline:
                _log.warning("%s: another server has taken the place of the one before", self._target.description)
                self.on_other_timeline()
            self._timeline = row["timeline"]

    async def _be_alone(self, connection: asyncpg.Connection) -> None:
        """Take the lock of the service. One that was killed a moment ago may hold it still, so try for a while."""
        deadline = time.monotonic() + _GRACE_S
        while not await connection.fetchval(_SHARE if self._shared else _TAKE, SERVICE_KEY):
            holder = await connection.fetchrow(HOLDER, SERVICE_KEY)
            if time.monotonic() > deadline:
                name = "unknown" if holder is None else holder["name"]
                both = "; `standby: true` must be in the settings of both" if self._shared else ""
                raise StoreError(f"another squirrel-ioc runs on {self._target.description}: {name}{both}")
            if holder is not None and holder["pid"] == self._server_pid:
                # Our own old connection: the server has not noticed yet that it is lost.
                await connection.execute(_TERMINATE, self._server_pid)
            else:
                await asyncio.sleep(0.1)

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            data = json.loads(str(payload))
            event = StoreEvent(data["kind"], data["id"], data["op"])
        except (ValueError, KeyError, TypeError):
            _log.warning("not understood on channel %s: %s", _CHANNEL, payload)
            return
        self.on_event.call(event)

    def _lost(self, message: str) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        if self.status.connected:
            _log.error("%s", message)
        if self._silent is None:
            self._silent = asyncio.get_running_loop().call_later(_SILENT_S, self.on_silent)
        self._set(DbStatus(False, 0.0, message))

    def _heard(self) -> None:
        if self._silent is not None:
            self._silent.cancel()
            self._silent = None

    def _set(self, status: DbStatus) -> None:
        if status.connected:
            self._heard()
        changed = (status.connected, status.message) != (self.status.connected, self.status.message)
        if status.connected and status.message and changed:
            _log.error("%s", status.message)
        elif status.ok and self.status.connected and not self.status.writable:
            _log.info("%s can be written again", self._target.description)
        self.status = status
        if changed:
            self.on_status.call(status)
