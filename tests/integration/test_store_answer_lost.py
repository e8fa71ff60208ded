"""The database commits, and nobody hears of it: what was refused is not done after all, and what is done stays done."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import pytest
from postgres import settings_for
from pydantic import SecretStr
from standby import Proxy

from squirrel_ioc.config import DatabaseSettings, Settings
from squirrel_ioc.errors import DatabaseDownError
from squirrel_ioc.jobs import Jobs
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.job import JobStatus, SnapshotRequest
from squirrel_ioc.store import EmbeddedServer, Store

HELD = 4712

FUNCTION = f"""
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared({HELD}); RETURN NULL; END $$
"""
TRIGGER = """
CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON job DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hold()
"""
WAITS = f"SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {HELD} AND NOT granted)"


@pytest.fixture
async def proxy(postgres_server: EmbeddedServer) -> AsyncIterator[Proxy]:
    where, folder = postgres_server.connect_args, Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    way = Proxy(folder, f"{where['host']}/.s.PGSQL.{where['port']}")
    await way.open()
    yield way
    await way.refuse()
    shutil.rmtree(folder)


async def becomes(connection: asyncpg.Connection, query: str, wanted: Any) -> None:
    deadline = time.monotonic() + 30
    while (found := await connection.fetchval(query)) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


async def test_a_refused_job_is_not_run_after_all(
    database: DatabaseSettings, postgres_server: EmbeddedServer, proxy: Proxy
) -> None:
    assert database.dsn is not None
    name = urlsplit(database.dsn.get_secret_value()).path.lstrip("/")
    by_proxy = settings_for(postgres_server, name).model_copy(
        update={"dsn": SecretStr(f"postgresql://postgres@/{name}?host={proxy.folder}")}
    )
    holder = await asyncpg.connect(**postgres_server.connect_args, database=name)
    store = await Store.open(by_proxy, Path("unused"))
    # Nothing is read from the machine: no job begins.
    jobs = Jobs(store, cast(Any, None), lambda: Catalogue(()), Settings(database=by_proxy))
    await jobs.start()
    try:
        await holder.execute(FUNCTION)
        await holder.execute(TRIGGER)
        await holder.execute("SELECT pg_advisory_lock($1)", HELD)
        asking = asyncio.create_task(jobs.submit(SnapshotRequest(), user="op", host="console"))
        await becomes(holder, WAITS, True)
        await proxy.refuse()
        with pytest.raises(DatabaseDownError):
            await asking
        await holder.execute("SELECT pg_advisory_unlock($1)", HELD)
        await becomes(holder, "SELECT status FROM job", JobStatus.PENDING)
        await proxy.open()
        await becomes(holder, "SELECT status FROM job", JobStatus.ABORTED)
        assert "it was refused" in await holder.fetchval("SELECT message FROM job")
    finally:
        await jobs.stop()
        await store.close()
        await holder.close()
