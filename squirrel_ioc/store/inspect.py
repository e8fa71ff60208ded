"""A look at the database from outside, which changes nothing in it: for `squirrel-ioc doctor`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.reach import Reach
from squirrel_ioc.resources import migrations_dir
from squirrel_ioc.store.database import Target
from squirrel_ioc.store.embedded import EmbeddedServer
from squirrel_ioc.store.failures import translated
from squirrel_ioc.store.lease import active_service
from squirrel_ioc.store.migrations import pending, read_migrations
from squirrel_ioc.store.reach import reaches
from squirrel_ioc.store.watch import HOLDER, SERVICE_KEY

__all__ = ["DatabaseReport", "inspect"]

_ABOUT: Final = """
SELECT current_setting('server_version') AS version, current_setting('server_encoding') AS encoding,
    pg_database_size(current_database()) AS size, pg_is_in_recovery() AS replica
"""


@dataclass(frozen=True)
class DatabaseReport:
    """What there is. `pending` are the names of migrations that it lacks; `services` run on it, `active` works.

    `reaches`: how much of the machine, for those of the services that have told it.
    """

    description: str
    version: str
    major: int
    encoding: str
    replica: bool
    latency_s: float
    size_bytes: int
    pending: tuple[str, ...]
    services: tuple[str, ...]
    active: str
    reaches: Mapping[str, Reach]


async def inspect(settings: DatabaseSettings, state_dir: Path) -> DatabaseReport:
    """Look. An embedded server that does not run is started, and stopped again.

    Raises DatabaseDownError, StoreError; also when the schema is newer than this program.
    """
    embedded = EmbeddedServer(state_dir) if settings.dsn is None else None
    if embedded is not None:
        await asyncio.to_thread(embedded.start)
    try:
        target = Target(settings, embedded)
        connection = await target.connect()
        try:
            return await _report(connection, target.description)
        finally:
            connection.terminate()
    finally:
        if embedded is not None:
            await asyncio.to_thread(embedded.stop)


async def _report(connection: asyncpg.Connection, description: str) -> DatabaseReport:
    missing = await pending(connection, read_migrations(migrations_dir()))
    with translated(description):
        begin = time.perf_counter()
        (about,) = await connection.fetch(_ABOUT)
        latency_s = time.perf_counter() - begin
        services = await connection.fetch(HOLDER, SERVICE_KEY)
    names = tuple(row["name"] for row in services)
    return DatabaseReport(
        description=description,
        version=about["version"],
        major=connection.get_server_version().major,
        encoding=about["encoding"],
        replica=about["replica"],
        latency_s=latency_s,
        size_bytes=about["size"],
        pending=tuple(missing),
        services=names,
        active=await active_service(connection) or (names[0] if len(names) == 1 else ""),
        reaches={} if missing else await reaches(connection),
    )
