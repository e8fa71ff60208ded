"""The schema: plain SQL files, applied once each, in their order.

`db/migrations/NNNN_name.sql`, numbered from 0001 without gaps. Forward only. Each file is one transaction; its number,
name and SHA-256 are kept in `schema_migration`, and a file that was changed after it was applied is refused. When
something was applied, the views in `db/views.sql` are made anew. pgqueuer upgrades its own tables.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from pgqueuer.adapters.persistence.queries import Queries

from squirrel_ioc.errors import StoreError
from squirrel_ioc.resources import migrations_dir, views_file
from squirrel_ioc.store.database import Connection
from squirrel_ioc.store.failures import translated

__all__ = ["Migration", "migrate", "pending", "prepare", "read_migrations"]

_OLDEST_SERVER: Final = 14
"""Major version of PostgreSQL: the migrations use what it introduced."""

_LOCK_KEY: Final = 0x5351_524C_0001
_LOCK_S: Final = 60.0
_STATEMENT_S: Final = 3600.0
_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

_MAKE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number  integer     PRIMARY KEY,
    name    text        NOT NULL,
    digest  text        NOT NULL,
    applied timestamptz NOT NULL DEFAULT now()
)
"""
_HAS_TABLE = "SELECT to_regclass('schema_migration') IS NOT NULL"
_APPLIED = "SELECT number, name, digest FROM schema_migration ORDER BY number"
_REMEMBER = "INSERT INTO schema_migration (number, name, digest) VALUES ($1, $2, $3)"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


async def prepare(connection: asyncpg.Connection, database: str, may_migrate: bool) -> None:
    """Check what the store relies on, and the schema."""
    with translated(database):
        encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StoreError(f"{database} has encoding {encoding}: it must be UTF8")
    server = connection.get_server_version()
    if server.major < _OLDEST_SERVER:
        raise StoreError(f"{database} is PostgreSQL {server.major}: it must be {_OLDEST_SERVER} or newer")
    migrations = read_migrations(migrations_dir())
    if may_migrate:
        await migrate(connection, migrations, views_file().read_text("utf-8"))
    elif missing := await pending(connection, migrations):
        raise StoreError(f"{database} lacks migration {missing[0]}: start the service, or migrate it")


def read_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder, in order. Raises StoreError for a bad name or a gap in the numbers."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise StoreError(f"{path}: the name of a migration is NNNN_name.sql")
        found.append(Migration(int(match[1]), path.stem, path.read_text(encoding="utf-8")))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise StoreError(f"{folder}: migrations are not numbered 0001 to {len(found):04}")
    return found


async def migrate(connection: asyncpg.Connection, migrations: Sequence[Migration], views: str = "") -> list[str]:
    """Bring the database up to date; the names of what was applied. `views` is the SQL that makes the views.

    Raises StoreError when the database was made by a newer program, when a file was changed after it was applied, or
    when one fails (nothing of it is left then).
    """
    applied = []
    async with _lock(connection):
        with translated("database migrations"):
            await connection.execute(_MAKE_TABLE)
        for migration in await _missing(connection, migrations):
            _log.info("database migration %s", migration.name)
            with translated(f"database migration {migration.name}"):
                async with connection.transaction():
                    await connection.execute(migration.sql, timeout=_STATEMENT_S)
                    await connection.execute(_REMEMBER, migration.number, migration.name, migration.digest)
            applied.append(migration.name)
        if applied and views:
            with translated("database views"):
                await connection.execute(views)
        with translated("tables of the job queue"):
            queue = Queries.from_asyncpg_connection(connection)
            if await queue.schema_is_installed():
                await queue.upgrade()
            else:
                await queue.install()
    return applied


async def pending(connection: Connection, migrations: Sequence[Migration]) -> list[str]:
    """The names of migrations not yet applied. Raises as `migrate` does, changes nothing."""
    with translated("database migrations"):
        if not await connection.fetchval(_HAS_TABLE):
            return [m.name for m in migrations]
    return [m.name for m in await _missing(connection, migrations)]


async def _missing(connection: Connection, migrations: Sequence[Migration]) -> Sequence[Migration]:
    with translated("database migrations"):
        rows = await connection.fetch(_APPLIED)
    if len(rows) > len(migrations):
        raise StoreError(
            f"the database is newer than this squirrel-ioc: it has migration {rows[-1]['name']}, "
            f"this program ends with {migrations[-1].name if migrations else 'none'}; install a newer squirrel-ioc"
        )
    for row, migration in zip(rows, migrations, strict=False):
        if (row["number"], row["digest"]) != (migration.number, migration.digest):
            raise StoreError(
                f"migration {migration.name} is not the one that made this database ({row['name']}): "
                "its file was changed after it was applied"
            )
    return migrations[len(rows) :]


@asynccontextmanager
async def _lock(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """One program migrates a database at a time."""
    with translated("lock of the database migrations"):
        try:
            await connection.execute("SET lock_timeout = 0")
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK_KEY, timeout=_LOCK_S)
        except TimeoutError:
            raise StoreError("another program has been migrating the database for too long") from None
    try:
        yield
    finally:
        if not connection.is_closed():
            with translated("lock of the database migrations"):
                await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK_KEY)
                await connection.execute("RESET lock_timeout")
