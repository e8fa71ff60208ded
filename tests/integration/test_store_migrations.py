"""The schema: made once, checked always."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from pgqueuer.adapters.persistence.queries import Queries
from postgres import execute, settings_for

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.resources import migrations_dir
from squirrel_ioc.store import EmbeddedServer, Store
from squirrel_ioc.store.migrations import Migration, migrate, pending, read_migrations

MIGRATIONS = read_migrations(migrations_dir())
TABLES = "SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace"


@pytest.fixture
async def empty(postgres_server: EmbeddedServer) -> AsyncIterator[DatabaseSettings]:
    """A database without anything in it."""
    await execute(postgres_server, "CREATE DATABASE empty TEMPLATE template0 ENCODING 'UTF8'")
    yield settings_for(postgres_server, "empty")
    await execute(postgres_server, "DROP DATABASE empty WITH (FORCE)")


@pytest.fixture
async def connection(empty: DatabaseSettings) -> AsyncIterator[asyncpg.Connection]:
    connected = await asyncpg.connect(empty.dsn.get_secret_value())
    yield connected
    await connected.close()


def test_the_files_are_in_order() -> None:
    assert [m.number for m in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert len(MIGRATIONS) >= 3


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["0001_a.sql", "0003_b.sql"], "not numbered 0001 to 0002"),
        (["0001_a.sql", "0001_b.sql"], "not numbered 0001 to 0002"),
        (["0002_a.sql"], "not numbered"),
        (["1_a.sql"], "1_a.sql: the name of a migration"),
        (["0001_A b.sql"], "the name of a migration"),
    ],
)
def test_bad_names(tmp_path: Path, names: list[str], problem: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(StoreError, match=problem):
        read_migrations(tmp_path)


async def test_twice_is_once(connection: asyncpg.Connection) -> None:
    assert await pending(connection, MIGRATIONS) == [m.name for m in MIGRATIONS]
    assert await connection.fetchval(TABLES) is None
    assert await migrate(connection, MIGRATIONS) == [m.name for m in MIGRATIONS]
    tables = await connection.fetchval(TABLES)
    assert {"snapshot", "snapshot_value", "pgqueuer", "schema_migration"} <= set(tables)
    assert await migrate(connection, MIGRATIONS) == []
    assert await pending(connection, MIGRATIONS) == []
    assert await connection.fetchval(TABLES) == tables
    kept = await connection.fetch("SELECT number, name, digest FROM schema_migration ORDER BY number")
    assert [tuple(row) for row in kept] == [(m.number, m.name, m.digest) for m in MIGRATIONS]


async def test_two_at_once(empty: DatabaseSettings) -> None:
    both = [await asyncpg.connect(empty.dsn.get_secret_value()) for _ in range(2)]
    try:
        applied = await asyncio.gather(*(migrate(c, MIGRATIONS) for c in both))
    finally:
        for c in both:
            await c.close()
    assert sorted(map(len, applied)) == [0, len(MIGRATIONS)]


async def test_a_file_changed_afterwards_is_refused(connection: asyncpg.Connection) -> None:
    await migrate(connection, MIGRATIONS)
    changed = [*MIGRATIONS[:-1], replace(MIGRATIONS[-1], sql=MIGRATIONS[-1].sql + "\n")]
    with pytest.raises(StoreError, match=f"migration {changed[-1].name} is not the one .* changed after"):
        await migrate(connection, changed)


async def test_a_newer_database_is_refused(connection: asyncpg.Connection) -> None:
    newer = [*MIGRATIONS, Migration(len(MIGRATIONS) + 1, "0099_future", "CREATE TABLE future ()")]
    await migrate(connection, newer)
    with pytest.raises(StoreError, match=f"0099_future, this program ends with {MIGRATIONS[-1].name}"):
        await migrate(connection, MIGRATIONS)


async def test_nothing_is_left_of_one_that_fails(connection: asyncpg.Connection) -> None:
    bad = Migration(len(MIGRATIONS) + 1, "0099_bad", "CREATE TABLE half (); SELECT 1 / 0")
    with pytest.raises(StoreError, match="database migration 0099_bad: division by zero"):
        await migrate(connection, [*MIGRATIONS, bad])
    assert "half" not in await connection.fetchval(TABLES)
    assert await pending(connection, [*MIGRATIONS, bad]) == ["0099_bad"]


async def test_again_keeps_what_is_in_it(connection: asyncpg.Connection) -> None:
    await migrate(connection, MIGRATIONS)
    await connection.execute("INSERT INTO setting VALUES ('a', '1')")
    await Queries.from_asyncpg_connection(connection).enqueue("job", b"1")
    await migrate(connection, MIGRATIONS)
    assert await connection.fetchval("SELECT count(*) FROM setting") == 1
    assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 1


async def test_one_name_for_one_channel_where_no_other_one_has_it(connection: asyncpg.Connection) -> None:
    await migrate(connection, MIGRATIONS[:9])
    before = ["A.VAL", "ca://B", "ca://C.VAL", "D", "D.VAL", "E", "ca://E", "F.VALUE", ".VAL", "ca://"]
    await connection.executemany("INSERT INTO channel (name) VALUES ($1)", [(name,) for name in before])
    await migrate(connection, MIGRATIONS)
    after = await connection.fetch("SELECT name FROM channel ORDER BY id")
    assert [row["name"] for row in after] == ["A", "B", "C", "D", "D.VAL", "E", "ca://E", "F.VALUE", ".VAL", "ca://"]


CATALOGUE_OF_0003 = """
INSERT INTO channel (name) VALUES ('A'), ('A:RB'), ('GONE');
INSERT INTO channel_list (digest, size, setpoints) VALUES ('x', 2, 1);
INSERT INTO channel_list_chunk VALUES (1, 0, 1, 1, 2, '{1,2}');
INSERT INTO pv VALUES (1, 2, '', '', '{"Area": ["L1"]}', 0.5, NULL, false, 0, NULL, 1, 0, NULL),
    (3, NULL, '', '', '{}', NULL, NULL, false, 0, NULL, 1, 1, now());
INSERT INTO catalogue_version (digest, size, list_id) VALUES ('y', 1, 1);
"""


async def test_a_catalogue_from_before_it_could_be_changed(
    connection: asyncpg.Connection, empty: DatabaseSettings
) -> None:
    await migrate(connection, MIGRATIONS[:3])
    await connection.execute(CATALOGUE_OF_0003)
    store = await Store.open(empty, Path("unused"))
    try:
        stored = await store.load_inventory()
        entry = Entry("A", "A:RB", atol=0.5, tags={"Area": ("L1",)})
        assert stored.catalogue.entries == (entry,)
        assert stored.catalogue.channels.names == ("A", "A:RB")
        assert stored.catalogue.channels.ids.tolist() == [1, 2]
        assert not stored.inventory.added
        again, summary = await store.change_catalogue(lambda inventory, _: inventory.with_files([entry]))
        assert again.catalogue.version == stored.catalogue.version
        assert not summary.changed
        back, _ = await store.change_catalogue(
            lambda inventory, former: inventory.with_added(["GONE"], former), names=["GONE"]
        )
        assert back.inventory.added == {"GONE"}
    finally:
        await store.close()


async def test_only_the_service_migrates(empty: DatabaseSettings) -> None:
    with pytest.raises(StoreError, match=f"lacks migration {MIGRATIONS[0].name}"):
        await Store.open(empty, Path("unused"), exclusive=False)
    service = await Store.open(empty, Path("unused"))
    looker = await Store.open(empty, Path("unused"), exclusive=False)
    assert await looker.snapshots() == ([], 0)
    await looker.close()
    await service.close()


async def test_another_encoding_is_refused(postgres_server: EmbeddedServer) -> None:
    await execute(postgres_server, "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        with pytest.raises(StoreError, match="has encoding LATIN1: it must be UTF8"):
            await Store.open(settings_for(postgres_server, "latin"), Path("unused"))
    finally:
        await execute(postgres_server, "DROP DATABASE latin WITH (FORCE)")
