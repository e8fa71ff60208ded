"""What can happen to the database while the service runs: nothing is lost, nothing hangs, and a status never lies.

One service for all of them: each leaves it as well as it was.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aioca
import asyncpg
import pytest
import pytest_asyncio
from control_pvs import until
from database_faults import Site, own_server, site

pytestmark = pytest.mark.asyncio(loop_scope="module")

RETRYING = 5
FAILED = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def s() -> AsyncIterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    with own_server() as server:
        async with site(folder, server) as running:
            assert await running.get(f"SNAP:1:VAL:{running.r}B") == 2
            yield running
    shutil.rmtree(folder)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def put_back(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """One that fails does not bring down those after it."""
    yield
    if "s" in request.fixturenames:
        await request.getfixturevalue("s").put_back()


async def in_the_middle_of_a_snapshot(s: Site, by: asyncpg.Connection) -> tuple[asyncio.Task[bool], int]:
    """One that is being stored: the task of who waits for it, and its connection."""
    waiting = asyncio.create_task(s.ends_well("SNAP:TRIGGER", 1))
    return waiting, await s.storing(by)


async def in_the_middle_of_a_restore(s: Site) -> asyncio.Task[bool]:
    """One that ramps A from 0 to 40, which takes 2 s: the task of who waits for it."""
    a = s.r + "A"
    await aioca.caput(a, 40, wait=True)
    number = await s.snapshot()
    await aioca.caput(a, 0, wait=True)
    waiting = asyncio.create_task(s.ends_well("RESTORE:ID", number))
    reached = asyncio.Event()
    monitor = aioca.camonitor(a, lambda now: reached.set() if 5 <= now < 40 else None)
    async with asyncio.timeout(30):
        await reached.wait()
    monitor.close()
    return waiting


async def check_restored(s: Site, waiting: asyncio.Task[bool]) -> None:
    """It has gone on to its end, and tells of it."""
    assert await waiting, await s.text("RESTORE:MSG")
    assert await aioca.caget(s.r + "A") == 40
    assert await s.label("RESTORE:STATUS") == "OK"
    assert [await s.get(f"RESTORE:{n}") for n in ("TOTAL", "WRITTEN", "UNCHANGED", "FAILED")] == [2, 1, 1, 0]


async def check_stored(s: Site) -> None:
    """What a restore has told stands in the database, and it can be undone."""
    await s.no_rows("SELECT id, status FROM job WHERE finished IS NULL")
    (row,) = await s.sql("SELECT result ->> 'written' AS written FROM job WHERE kind = 2 ORDER BY id DESC LIMIT 1")
    assert row["written"] == "1"
    assert await s.put("RESTORE:UNDO", 1)
    assert await aioca.caget(s.r + "A") == 0


async def test_it_is_restarted_and_crashes(s: Site) -> None:
    """In the middle of storing a snapshot, which is stored after all, once."""
    assert await s.get(f"SNAP:1:VAL:{s.r}B") == 2
    for how in ("fast", "immediate"):
        async with s.hold() as by:
            waiting, _ = await in_the_middle_of_a_snapshot(s, by)
            await s.stop_server(how)
        await s.down("no server is running there")
        await s.refused("RESTORE:ID", 1, "does not answer")
        assert await s.get(f"SNAP:1:VAL:{s.r}B") == 2, "what is known stays readable"
        await s.becomes("JOB:STATUS", RETRYING)
        await s.start_server()
        assert await waiting
        await s.was_stored()
        await s.well()


async def test_it_is_away_for_longer(s: Site) -> None:
    """A restore goes on with what it has begun, and is stored later; a snapshot fails, and stays failed."""
    restoring = await in_the_middle_of_a_restore(s)
    await s.put("SNAP:TRIGGER", 1, wait=False)  # it waits for the restore
    await s.becomes("JOB:QUEUED", 1)
    await s.stop_server("immediate")
    await s.down("no server is running there")
    await check_restored(s, restoring)
    await s.becomes("SNAP:STATUS", FAILED, 30)
    assert "does not answer" in await s.text("SNAP:MSG")
    failed = await s.get("JOB:ID")
    await s.start_server()
    await s.becomes("DB:STATUS", 0)
    await check_stored(s)
    await s.well()
    assert await s.sql("SELECT id FROM snapshot WHERE job_id = $1", int(failed)) == []


async def test_it_hangs(s: Site) -> None:
    """In the middle of storing a snapshot. Who has asked for something before that is known waits a few seconds."""
    async with s.hold() as by:
        waiting, _ = await in_the_middle_of_a_snapshot(s, by)
        with s.suspended():
            await s.refused("RESTORE:ID", 1, "does not answer", within_s=20)
            await s.down("does not answer")
            await s.refused("RESTORE:ID", 1, "does not answer")
            await s.becomes("JOB:STATUS", RETRYING)
    assert await waiting
    await s.was_stored()
    await s.well()


async def test_single_connections_are_killed(s: Site) -> None:
    async with s.hold() as by:
        waiting, pid = await in_the_middle_of_a_snapshot(s, by)
        await s.kill([pid])
        await s.becomes("JOB:STATUS", RETRYING)
    assert await waiting
    await s.was_stored()
    # The one that listens, the one of the queue, those of the pool; all of them.
    for like, lost in (
        ("SELECT current_setting%", 1),
        ("%pgqueuer%", 0),
        ("%", 1),
    ):
        await s.kill(await s.backends(like))
        if lost:
            await until(lambda: "does not answer: the connection is lost" in s.log.read_text())
        await s.well()


async def test_it_is_read_only(s: Site) -> None:
    """Old values can be read, nothing is begun, and what has begun ends and is stored later."""
    restoring = await in_the_middle_of_a_restore(s)
    await s.set("default_transaction_read_only", "on")
    await s.down("can be read, but not written: its server is set to read-only")
    await s.refused("SNAP:TRIGGER", 1, "its server is set to read-only")
    await check_restored(s, restoring)
    await s.refused("RESTORE:ID", 1, "its server is set to read-only")
    number = max(s.stored)
    assert await s.get(f"SNAP:{number}:VAL:{s.r}A") == 40, "it is read now"
    await s.set("default_transaction_read_only", None)
    await s.becomes("DB:STATUS", 0)
    await check_stored(s)
    await s.well()


async def test_it_is_a_replica_for_a_while(s: Site) -> None:
    await s.stop_server("fast")
    await s.start_server(replica=True)
    await s.down("can be read, but not written: its server is a replica")
    await s.refused("SNAP:TRIGGER", 1, "its server is a replica")
    number = max(s.stored)
    assert await s.get(f"SNAP:{number}:VAL:{s.r}B") == 2, "it is read now"
    await s.control("-w", "promote")
    await s.well()
    assert "another server has taken the place" in s.log.read_text()


async def test_its_disk_is_full(s: Site) -> None:
    """That is not asked for, it is noticed; and then tried until it is over."""
    async with s.full_disk():
        assert not await s.put("SNAP:TRIGGER", 1)
        assert await s.label("SNAP:STATUS") == "Failed"
        assert "no space left" in await s.text("SNAP:MSG")
        await s.down("it has a full disk (no space left)")
        await s.refused("SNAP:TRIGGER", 1, "it has a full disk")
    await s.well()


async def test_others_take_all_its_connections(s: Site) -> None:
    async with s.all_connections():
        # Those that it had are lost, and there are no others.
        await s.refused("SNAP:TRIGGER", 1, "has no connection left", "does not answer", within_s=20)
        await s.refused("RESTORE:ID", 1, "has no connection left", "does not answer", within_s=20)
        assert await s.get(f"SNAP:1:VAL:{s.r}B") == 2
    await s.well()


async def test_a_table_is_locked(s: Site) -> None:
    other = await s.connect()
    await other.execute("BEGIN; LOCK TABLE snapshot_chunk")
    assert not await s.put("RESTORE:ID", 1)
    assert await s.label("RESTORE:STATUS") == "Failed"
    message = await s.text("RESTORE:MSG")
    # PostgreSQL has a bound for it, and the service one for any answer.
    assert "waits for somebody else who has locked a table" in message or "no answer in time" in message
    other.terminate()
    await s.well()


async def test_the_password_is_changed(s: Site) -> None:
    await s.sql("ALTER ROLE squirrel PASSWORD 'another'")
    await s.snapshot()
    await s.kill(await s.backends())
    await s.down("password authentication failed")
    await s.refused("SNAP:TRIGGER", 1, "password authentication failed")
    await s.sql("ALTER ROLE squirrel PASSWORD 's3cret'")
    await s.well()


async def test_it_is_replaced_by_an_empty_one(s: Site) -> None:
    name, aside = s.database, f"{s.database}_aside"

    async def swap(*statements: str) -> None:
        connection = await asyncpg.connect(**s.server.connect_args, database="postgres")
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    away = (
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS false",
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    await swap(*away, f"ALTER DATABASE {name} RENAME TO {aside}", f"CREATE DATABASE {name} OWNER squirrel")
    await s.down("is empty now")
    await s.refused("SNAP:TRIGGER", 1, "is empty now")
    assert await s.sql("SELECT FROM pg_tables WHERE schemaname = 'public'") == []
    await swap(
        *away,
        f"DROP DATABASE {name}",
        f"ALTER DATABASE {aside} RENAME TO {name}",
        f"ALTER DATABASE {name} ALLOW_CONNECTIONS true",
    )
    await s.well()


async def test_the_embedded_one_crashes(folder: Path) -> None:
    """It is started again by the service itself."""
    async with site(folder, None) as s:
        async with s.hold() as by:
            waiting, _ = await in_the_middle_of_a_snapshot(s, by)
            assert s.server.pid is not None
            os.kill(s.server.pid, signal.SIGKILL)
        assert await waiting
        await s.was_stored()
        await s.well()
