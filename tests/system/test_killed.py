"""kill -9 at every stage: the next start finds nothing half, ends what was interrupted, and tells about it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import aioca
import pytest
from control_pvs import until
from restarts import Site, site, whole

from squirrel_ioc.model.job import JobKind, JobStatus

COMMIT = "LOCK TABLE snapshot_chunk IN SHARE MODE"
JOB_ROW = "SELECT FROM job WHERE id = $1 FOR NO KEY UPDATE"


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
async def s(place: Site) -> AsyncIterator[Site]:
    """The service as the test before has left it: it serves, and everything is whole."""
    async with whole(place):
        yield place


async def snapshot(s: Site) -> int:
    assert await s.put("SNAP:TRIGGER", 1)
    return int(await s.get("SNAP:ID"))


async def prepared(s: Site, **more: float) -> tuple[int, dict[str, float]]:
    """A snapshot, and what stands on the machine when it is to be restored: so much more of these, and of all fast."""
    saved = await snapshot(s)
    now = await s.live()
    changed = {name: now[name] + 1 for name in s.fast} | {s.r + n: now[s.r + n] + value for n, value in more.items()}
    await s.turn(changed)
    return saved, now | changed


async def check_taken_again(s: Site, job_id: int) -> None:
    """The interrupted snapshot exists once, and whoever looks sees it."""
    row = await s.ended(job_id)
    assert (row["status"], row["attempt"]) == (JobStatus.COMPLETED, 2), row
    assert await s.value("SELECT count(*) FROM snapshot WHERE job_id = $1", job_id) == 1
    await s.up()
    await s.check_whole()
    assert "the service stopped; trying again" in s.log.read_text()
    assert await s.label("SNAP:STATUS") == "OK"
    assert await s.get("SNAP:ID") == json.loads(row["result"])["snapshot_id"]
    assert (await s.get("JOB:ID"), await s.label("JOB:STATUS")) == (job_id, "COMPLETED")
    assert await s.get("JOB:ATTEMPT") == 2


async def check_interrupted(s: Site, job_id: int, before: dict[str, float], written: int) -> None:
    """The interrupted restore has ended, tells what is known, and is taken back."""
    row = await s.ended(job_id)
    assert row["status"] == JobStatus.FAILED
    assert await s.label("RESTORE:STATUS") == "Failed"
    assert await s.label("JOB:STATUS") == "FAILED"
    assert (await s.get("JOB:ID"), await s.label("JOB:KIND")) == (job_id, "Restore")
    backup = int(await s.get("RESTORE:BACKUP:ID"))
    assert backup == await s.value("SELECT id FROM snapshot WHERE job_id = $1", job_id)
    message = await s.text("RESTORE:MSG")
    assert message == await s.text("JOB:MSG")
    restored = await s.value("SELECT request->>'snapshot_id' FROM job WHERE id = $1", job_id)
    assert message.startswith(f"snapshot {restored}: interrupted after at least")
    assert message.endswith(f"snapshot {backup} holds what stood before")
    counts = {name: int(await s.get(f"RESTORE:{name}")) for name in ("WRITTEN", "UNCHANGED", "SKIPPED", "FAILED")}
    print(message, counts)
    assert sum(counts.values()) == await s.get("RESTORE:TOTAL") == len(s.names)
    assert counts["WRITTEN"] >= written

    assert await s.put("RESTORE:UNDO", 1)
    assert await s.label("RESTORE:STATUS") == "OK"
    assert await s.live() == before


async def test_while_the_database_is_made(place: Site) -> None:
    """The first of this module: there is no database yet."""
    aioca.purge_channel_caches()
    unfinished = place.folder / "state" / "postgres.unfinished"
    if not unfinished.parent.exists():
        place.start()
        await until(lambda: (place.folder / "state" / "postgres" / "global").exists() or not place.runs, 30)
        assert unfinished.exists()
        place.kill()
        place.start()
        server = place.folder / "state" / "postgres" / "postmaster.pid"
        await until(lambda: server.exists() or not place.runs, 30)
        place.kill()
    await place.up()
    assert not unfinished.exists()
    await place.check_whole()


async def test_while_the_catalogue_is_written(s: Site) -> None:
    s.kill()
    s.write_catalogue(s.r + "NEW")
    async with s.holding("LOCK TABLE pv IN SHARE MODE"):
        s.start()
        await s.until_blocked()
        s.kill()
        assert await s.value("SELECT count(*) FROM pv WHERE retired_at IS NULL") == len(s.names)
    s.start()
    await s.says("catalogue:")  # channels connect
    s.kill()
    await s.up(connected=False)
    await s.check_whole([*s.names, s.r + "NEW"])
    s.kill()
    s.write_catalogue()


async def test_in_the_read_of_a_snapshot(s: Site) -> None:
    with s.hung():
        await s.put("SNAP:TRIGGER", 1, wait=False)
        job_id = await s.job(JobKind.SNAPSHOT)
        s.kill()
    await s.up()
    await check_taken_again(s, job_id)


async def test_in_the_commit_of_a_snapshot(s: Site) -> None:
    async with s.holding(COMMIT):
        await s.put("SNAP:TRIGGER", 1, wait=False)
        job_id = await s.job(JobKind.SNAPSHOT)
        await s.until_blocked()
        s.kill()
    await s.up()
    await check_taken_again(s, job_id)


async def test_between_the_commit_of_a_snapshot_and_its_status(s: Site) -> None:
    async with AsyncExitStack() as held:
        with s.hung():
            await s.put("SNAP:TRIGGER", 1, wait=False)
            job_id = await s.job(JobKind.SNAPSHOT)
            await held.enter_async_context(s.holding(JOB_ROW, job_id))
        await s.until_it_is(lambda: s.value("SELECT id FROM snapshot WHERE job_id = $1", job_id))
        await s.until_blocked()
        s.kill()
    await s.up()
    row = await s.ended(job_id)
    made = await s.value("SELECT id FROM snapshot WHERE job_id = $1", job_id)
    assert (row["status"], row["attempt"]) == (JobStatus.COMPLETED, 1)
    assert row["message"] == f"snapshot {made} was stored before the service stopped"
    assert await s.label("SNAP:STATUS") == "OK"
    assert await s.get("SNAP:ID") == made
    assert await s.get("SNAP:COUNT") == len(s.names)
    assert await s.get(f"JOB:{job_id}:RESULT") == made
    assert (await s.get("JOB:ID"), await s.label("JOB:STATUS")) == (job_id, "COMPLETED")


async def test_in_the_backup_of_a_restore(s: Site) -> None:
    saved, before = await prepared(s)
    backup = await s.get("RESTORE:BACKUP:ID")
    async with s.holding(COMMIT):
        await s.put("RESTORE:ID", saved, wait=False)
        job_id = await s.job(JobKind.RESTORE)
        await s.until_blocked()
        s.kill()
    await s.up()
    row = await s.ended(job_id)
    assert row["status"] == JobStatus.FAILED
    assert row["message"] == f"snapshot {saved}: interrupted before the first write"
    assert await s.label("RESTORE:STATUS") == "Failed"
    assert await s.text("RESTORE:MSG") == row["message"]
    assert await s.get("RESTORE:WRITTEN") == 0
    assert await s.get("RESTORE:BACKUP:ID") == backup
    assert await s.live() == before


async def test_while_a_restore_waits_for_a_slow_record(s: Site) -> None:
    saved, before = await prepared(s, **{"SLOW.A": 1})
    await slow(s, 2.0)
    await s.put("RESTORE:ID", saved, wait=False)
    job_id = await s.job(JobKind.RESTORE)
    await s.until_it_is(lambda: began(s, before))
    s.kill()
    await slow(s, 0.0)
    await s.up()
    await check_interrupted(s, job_id, before, 0)


async def slow(s: Site, delay_s: float) -> None:
    """How long its write takes. What it does now it does not finish later."""
    await aioca.caput(s.r + "SLOW.ODLY", delay_s, wait=True)


async def began(s: Site, before: dict[str, float]) -> bool:
    return float(await aioca.caget(s.r + "SLOW.A")) != before[s.r + "SLOW.A"]


async def test_while_a_restore_waits_for_a_hung_ioc(s: Site) -> None:
    saved, before = await prepared(s, H3=1)
    async with s.holding("LOCK TABLE snapshot_chunk IN SHARE MODE"):
        await s.put("RESTORE:ID", saved, wait=False)
        job_id = await s.job(JobKind.RESTORE)
        await s.until_blocked()
        s.other.pause()
    try:
        await s.until_it_is(lambda: fast_written(s, before))
        s.kill()
    finally:
        s.other.resume()
    await s.up()
    await check_interrupted(s, job_id, before, 0)


async def settled(s: Site) -> bool:
    return not await aioca.caget(s.r + "SLOW.DLYA")


async def fast_written(s: Site, before: dict[str, float]) -> bool:
    return all(float(v) != before[n] for n, v in zip(s.fast, await aioca.caget(s.fast), strict=True))


async def test_in_a_ramp(s: Site) -> None:
    saved, before = await prepared(s, RAMP=500)
    await s.put("RESTORE:ID", saved, wait=False)
    job_id = await s.job(JobKind.RESTORE)
    # Long enough for what is known to be written down.
    await s.until_it_is(lambda: s.value("SELECT (result->>'written')::integer > 0 FROM job WHERE id = $1", job_id))
    s.kill()
    assert 0 < before[s.r + "RAMP"] - float(await aioca.caget(s.r + "RAMP")) < 500
    await s.up()
    await s.turn({s.r + "RAMP": before[s.r + "RAMP"]})  # somebody has brought it back by hand
    await check_interrupted(s, job_id, before, len(s.fast))


async def test_in_the_verification(s: Site) -> None:
    await s.turn({s.r + "LIMITED": 50.0})
    saved, before = await prepared(s, LIMITED=-49)
    await aioca.caput(s.r + "LIMITED.DRVH", 5, wait=True)
    await s.put("RESTORE:ID", saved, wait=False)
    job_id = await s.job(JobKind.RESTORE)
    sql = "SELECT message LIKE 'verifying%' AND result IS NOT NULL FROM job WHERE id = $1"
    await s.until_it_is(lambda: s.value(sql, job_id))
    s.kill()
    await aioca.caput(s.r + "LIMITED.DRVH", 100, wait=True)
    await s.up()
    await check_interrupted(s, job_id, before, len(s.fast))


async def test_between_the_end_of_a_restore_and_its_status(s: Site) -> None:
    saved, before = await prepared(s, **{"SLOW.A": 1})
    await slow(s, 1.0)
    await s.put("RESTORE:ID", saved, wait=False)
    job_id = await s.job(JobKind.RESTORE)
    await s.until_it_is(lambda: began(s, before))
    async with s.holding(JOB_ROW, job_id):
        await s.until_it_is(lambda: settled(s))
        await s.until_blocked()
        await asyncio.sleep(0.2)  # to verify; its end is what nobody can see
        s.kill()
    await slow(s, 0.0)
    await s.up()
    await check_interrupted(s, job_id, before, 0)


async def test_with_jobs_that_wait(s: Site) -> None:
    saved, before = await prepared(s, RAMP=500)
    await s.put("RESTORE:ID", saved, wait=False)
    restore = await s.job(JobKind.RESTORE)
    await s.put("SNAP:TRIGGER", 1, wait=False)
    taken = await s.job(JobKind.SNAPSHOT, JobStatus.PENDING)
    await s.until_it_is(lambda: fast_written(s, before))
    s.kill()
    await s.up()
    row = await s.ended(taken)
    # It had not begun: this is its first try.
    assert (row["status"], row["attempt"]) == (JobStatus.COMPLETED, 1)
    assert await s.value("SELECT count(*) FROM snapshot WHERE job_id = $1", taken) == 1
    assert await s.label("RESTORE:STATUS") == "Failed"
    assert "interrupted after" in (await s.row(restore))["message"]
    await s.turn({s.r + "RAMP": before[s.r + "RAMP"]})
    assert await s.put("RESTORE:UNDO", 1)
    assert await s.live() == before


async def test_in_an_import_and_an_export(s: Site) -> None:
    saved = await snapshot(s)
    assert await s.put("FILE:ID", saved)
    assert await s.put("FILE:EXPORT", f"{saved}.jsonl", datatype=aioca.DBR_CHAR_STR)
    present = os.listdir(s.exchange)  # noqa: PTH208
    snapshots = await s.value("SELECT count(*) FROM snapshot")
    jobs = {}
    for kind, pv, lock in (
        (JobKind.EXPORT, "FILE:EXPORT", "LOCK TABLE snapshot_chunk IN ACCESS EXCLUSIVE MODE"),
        (JobKind.IMPORT, "FILE:IMPORT", COMMIT),
    ):
        await s.put("FILE:ID", saved)
        name = f"{saved}.jsonl" if kind is JobKind.IMPORT else "new.jsonl"
        async with s.holding(lock):
            await s.put(pv, name, wait=False, datatype=aioca.DBR_CHAR_STR)
            jobs[kind] = await s.job(kind)
            await s.until_blocked()
            s.kill()
        await s.up()
        assert await s.label("FILE:STATUS") == "Failed"
        assert await s.text("FILE:MSG") == "the service stopped before its end"
    assert [(await s.row(job_id))["status"] for job_id in jobs.values()] == [JobStatus.FAILED] * 2
    assert await s.value("SELECT count(*) FROM snapshot") == snapshots
    assert os.listdir(s.exchange) == present  # noqa: PTH208


async def test_after_all_of_it_a_stop_leaves_nothing(s: Site) -> None:
    assert (await s.stop())[0] == 0
    assert s.processes() == []
    await asyncio.sleep(0)
