"""SIGTERM at every stage: what runs is finished or aborted within a bound, and told; no process is left."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator, Iterator

import aioca
import pytest
from control_pvs import until
from restarts import PUT_TIMEOUT_S, Site, site, whole

from squirrel_ioc.model.job import JobKind, JobStatus

# The administrator's guide: 5 s more than the longest wait for an IOC. And what the process needs beside other tests.
BOUND_S = PUT_TIMEOUT_S + 5.0 + 5.0
COMMIT = "LOCK TABLE snapshot_chunk IN SHARE MODE"


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
async def s(place: Site) -> AsyncIterator[Site]:
    """The service, which serves. The test stops it; what is to be seen after that, it sees after another start."""
    async with whole(place):
        yield place


async def stopped(s: Site, *signals: int, within_s: float = BOUND_S) -> None:
    """Stop it: in time, in order, and nothing is left."""
    code, took_s = await s.stop(*signals)
    print(f"stopped after {took_s:.2f} s")
    assert code == 0
    assert took_s < within_s
    assert s.processes() == []
    assert "Traceback" not in s.log.read_text()


async def prepared(s: Site, **after: float) -> int:
    """A snapshot, and a machine that has changed since: these, and the first PV of all."""
    assert await s.put("SNAP:TRIGGER", 1)
    first = float(await aioca.caget(s.fast[0])) + 1
    await s.turn({s.r + name: value for name, value in after.items()} | {s.fast[0]: first})
    return int(await s.get("SNAP:ID"))


async def until_written(s: Site) -> None:
    """Until the first PV has been restored."""
    before = float(await aioca.caget(s.fast[0]))

    async def written() -> bool:
        return float(await aioca.caget(s.fast[0])) != before

    await s.until_it_is(written)


@pytest.mark.parametrize("signals", [1, 2])
async def test_while_it_makes_the_database(place: Site, signals: int) -> None:
    aioca.purge_channel_caches()
    if place.runs:
        await stopped(place)
    state = place.folder / "state"
    if state.exists():
        shutil.rmtree(state)
    place.start()
    await until(lambda: (state / "postgres" / "global").exists() or not place.runs, 20)
    await stopped(place, *[signal.SIGTERM] * signals)
    await place.up()
    await place.check_whole()


async def test_while_it_starts(s: Site) -> None:
    for sign in ("starting the embedded database", "catalogue:"):
        await stopped(s)
        s.start()
        await s.says(sign)
    await stopped(s)


async def test_while_a_snapshot_waits_for_a_hung_ioc(s: Site) -> None:
    with s.hung():
        await s.put("SNAP:TRIGGER", 1, wait=False)
        job_id = await s.job(JobKind.SNAPSHOT)
        await stopped(s)
    await s.up()
    row = await s.ended(job_id)
    assert (row["status"], row["message"]) == (JobStatus.ABORTED, "aborted by the service stopping")
    assert (await s.get("JOB:ID"), await s.label("JOB:STATUS")) == (job_id, "ABORTED")
    assert await s.label("SNAP:STATUS") == "Aborted"


async def test_while_a_snapshot_is_committed(s: Site) -> None:
    """That is finished."""
    async with s.holding(COMMIT):
        await s.put("SNAP:TRIGGER", 1, wait=False)
        job_id = await s.job(JobKind.SNAPSHOT)
        await s.until_blocked()
        stopping = asyncio.create_task(stopped(s))
        await s.says(f"waiting for job {job_id}")
    await stopping
    await s.up()
    assert (await s.row(job_id))["status"] == JobStatus.COMPLETED
    assert await s.label("SNAP:STATUS") == "OK"


async def test_twice_does_not_wait(s: Site) -> None:
    """For a database that does not go on."""
    async with s.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(COMMIT)
        await s.put("SNAP:TRIGGER", 1, wait=False)
        job_id = await s.job(JobKind.SNAPSHOT)
        await s.until_blocked()
        await stopped(s, signal.SIGTERM, signal.SIGTERM, within_s=PUT_TIMEOUT_S + 4.0)
    await s.up()
    row = await s.ended(job_id)
    assert (row["status"], row["message"]) == (JobStatus.FAILED, "interrupted")
    assert await s.label("SNAP:STATUS") == "Failed"


async def test_in_a_ramp_with_a_job_that_waits(s: Site) -> None:
    saved = await prepared(s, RAMP=500.0)
    await s.put("RESTORE:ID", saved, wait=False)
    restore = await s.job(JobKind.RESTORE)
    await s.put("SNAP:TRIGGER", 1, wait=False)
    waiting = await s.job(JobKind.SNAPSHOT, JobStatus.PENDING)
    reached = asyncio.Event()
    monitor = aioca.camonitor(s.r + "RAMP", lambda now: reached.set() if now < 495 else None)
    async with asyncio.timeout(30):
        await reached.wait()
    monitor.close()
    await stopped(s)
    value = float(await aioca.caget(s.r + "RAMP"))
    assert 0 < value < 495

    await s.up()
    row = await s.ended(restore)
    assert row["status"] == JobStatus.ABORTED
    assert row["message"].startswith(f"aborted by the service stopping: 1 of {len(s.names)} PVs written, 1 failed (")
    assert await s.label("RESTORE:STATUS") == "Aborted"
    assert await s.get("RESTORE:WRITTEN") == 1
    assert await s.get("RESTORE:FAILED") == 1
    assert f"ramp stopped at {value:g}" in await s.text("RESTORE:BAD:REASONS:LONG")
    row = await s.ended(waiting)
    assert (row["status"], row["attempt"]) == (JobStatus.COMPLETED, 1)
    await s.turn({s.r + "RAMP": 500.0})
    assert await s.put("RESTORE:UNDO", 1)
    assert await s.label("RESTORE:STATUS") == "OK"


async def test_while_a_restore_waits_for_a_hung_ioc(s: Site) -> None:
    saved = await prepared(s, H3=33.0, RAMP=400.0)
    try:
        async with s.holding(COMMIT):
            await s.put("RESTORE:ID", saved, wait=False)
            job_id = await s.job(JobKind.RESTORE)
            await s.until_blocked()
            s.other.pause()
        await until_written(s)
        await stopped(s)
    finally:
        s.other.resume()
    await s.up()
    row = await s.ended(job_id)
    assert row["status"] == JobStatus.ABORTED
    assert row["message"].startswith(f"aborted by the service stopping: 1 of {len(s.names)} PVs written, 1 failed (")
    assert await s.label("RESTORE:STATUS") == "Aborted"
    assert await s.get("RESTORE:FAILED") == 1
    assert await s.text("RESTORE:BAD:NAMES:LONG") == s.hanging[3]
    assert await aioca.caget(s.r + "RAMP") == 400.0
    assert await s.put("RESTORE:UNDO", 1)
    assert await s.label("RESTORE:STATUS") == "OK"
    assert await aioca.caget(s.hanging[3]) == 33.0
