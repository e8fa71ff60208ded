"""A real PostgreSQL for tests: one server a test process, and for every test a database of its own.

The databases are copies of one that has been migrated, which takes a fraction of the time of migrating each.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import pytest
from pydantic import SecretStr

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.store import EmbeddedServer, Store

TEMPLATE = "squirrel_template"

_numbers = itertools.count(1)


def settings_for(server: EmbeddedServer, database: str) -> DatabaseSettings:
    """Settings of a database on a server that is not the service's own."""
    where = server.connect_args
    query = urlencode({"host": where["host"], "port": where["port"]})
    return DatabaseSettings(
        dsn=SecretStr(f"postgresql://{where['user']}@/{database}?{query}"),
        pool_size=4,
        connect_timeout_s=10,
        command_timeout_s=20,
    )


async def execute(server: EmbeddedServer, sql: str) -> None:
    """Run a statement beside all databases under test."""
    connection = await asyncpg.connect(**server.connect_args, database="postgres")
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedServer]:
    """A running server. Not below pytest's folder for temporary files: that is closed to other users, and PostgreSQL
    does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    server = EmbeddedServer(folder, {"fsync": "off", "max_connections": "100"})
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: EmbeddedServer) -> EmbeddedServer:
    """The server, with a migrated database to copy."""

    async def make() -> None:
        await execute(postgres_server, f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 ENCODING 'UTF8'")
        store = await Store.open(settings_for(postgres_server, TEMPLATE), Path("unused"))
        await store.close()

    with asyncio.Runner() as runner:
        runner.run(make())
    return postgres_server


@pytest.fixture
async def database(postgres_template: EmbeddedServer) -> AsyncIterator[DatabaseSettings]:
    """Settings of a fresh, migrated database, which is dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    await execute(postgres_template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield settings_for(postgres_template, name)
    await execute(postgres_template, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def store(database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Store]:
    """A store on a fresh database."""
    opened = await Store.open(database, tmp_path)
    yield opened
    await opened.close()
