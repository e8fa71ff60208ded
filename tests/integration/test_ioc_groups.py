"""JOB, PVS, IOCS, HEALTH."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import aioca
import pytest
from ioc_fakes import Control, FakeMachine, catalogue, control, until

from squirrel_ioc import __version__
from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus


@pytest.fixture
async def c() -> AsyncIterator[Control]:
    async with control() as c:
        yield c


async def test_job_before_any(c: Control) -> None:
    assert await c.label("JOB:STATUS") == "IDLE"
    assert await c.label("JOB:KIND") == "None"
    assert await c.get("JOB:ID") == 0
    assert not await c.put("JOB:ABORT", 1)
    assert await c.text("JOB:MSG") == "no job is running"


async def test_job_moves_while_it_runs_and_never_backwards(c: Control) -> None:
    c.jobs.hold = True
    put = asyncio.create_task(c.put("SNAP:TRIGGER", 1))
    await until(lambda: c.jobs.requests)
    await c.watch("JOB:PROGRESS", "JOB:DONE", "JOB:ELAPSED")
    c.jobs.begin(100)
    c.jobs.change(100, done=60)
    await until(lambda: ("JOB:DONE", 60) in [(n, int(v)) for n, v in c.updates])
    # Another try starts again, and has more to do.
    c.jobs.change(100, status=JobStatus.RETRYING, attempt=1)
    assert (await c.get("JOB:STATUS", format=aioca.FORMAT_TIME)).severity == 1
    c.jobs.change(100, status=JobStatus.IN_PROGRESS, attempt=2, done=10, total=200)
    await asyncio.sleep(0.2)
    assert await c.get("JOB:ATTEMPT") == 2
    assert await c.get("JOB:PROGRESS") == 60.0
    assert await c.get("JOB:DONE") == 60
    c.jobs.end(100)
    assert await put
    assert await c.get("JOB:PROGRESS") == 100.0
    for name in ("JOB:PROGRESS", "JOB:DONE", "JOB:ELAPSED"):
        values = [float(v) for n, v in c.updates if n == name]
        assert values == sorted(values)


async def test_elapsed_moves_every_half_second_though_nothing_is_heard_of_the_job(c: Control) -> None:
    c.jobs.hold = True
    put = asyncio.create_task(c.put("SNAP:TRIGGER", 1))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    await c.watch("JOB:ELAPSED")
    await asyncio.sleep(1.3)
    stamps = [v.timestamp for _, v in c.updates]
    assert len(stamps) >= 3
    assert max(b - a for a, b in itertools.pairwise(stamps)) <= 0.5
    c.jobs.end(100)
    assert await put
    count = len(c.updates)
    await asyncio.sleep(0.6)
    assert len(c.updates) == count


async def test_progress_does_not_flood_clients(c: Control) -> None:
    c.jobs.hold = True
    put = asyncio.create_task(c.put("SNAP:TRIGGER", 1))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100, total=10_000)
    await c.watch("JOB:DONE")
    begun = asyncio.get_running_loop().time()
    for done in range(1, 10_000):
        c.jobs.change(100, done=done)
        if done % 1000 == 0:
            await asyncio.sleep(0.02)
    c.jobs.end(100)
    assert await put
    took_s = asyncio.get_running_loop().time() - begun
    assert len(c.updates) <= 3 + 10 * took_s  # of 10,000 changes


async def test_job_that_runs_is_shown_and_not_the_one_that_waits(c: Control) -> None:
    c.jobs.hold = True
    puts = [asyncio.create_task(c.put("SNAP:TRIGGER", 1))]
    await until(lambda: c.jobs.requests)
    assert await c.label("JOB:STATUS") == "PENDING"
    assert await c.get("JOB:QUEUED") == 1
    c.jobs.begin(100)
    puts.append(asyncio.create_task(c.put("RESTORE:ID", 12)))
    await until(lambda: len(c.jobs.requests) == 2)
    assert (await c.get("JOB:ID"), await c.label("JOB:KIND")) == (100, "Snapshot")
    assert await c.label("JOB:STATUS") == "IN_PROGRESS"
    assert await c.get("JOB:QUEUED") == 1
    c.jobs.end(100)
    assert await c.get("JOB:ID") == 100
    c.jobs.begin(101)
    assert (await c.get("JOB:ID"), await c.label("JOB:KIND")) == (101, "Restore")
    assert await c.get("JOB:QUEUED") == 0
    assert await c.get("JOB:DONE") == 0
    c.jobs.end(101)
    assert await asyncio.gather(*puts) == [True, True]
    assert list(await c.get("JOB:RECENT:IDS")) == [101, 100]
    assert list(await c.get("JOB:RECENT:STATUSES")) == ["COMPLETED", "COMPLETED"]
    assert list(await c.get("JOB:RECENT:OUTCOMES")) == ["OK", "OK"]
    assert all("@" in who for who in await c.get("JOB:RECENT:USERS"))
    assert await c.text("JOB:RECENT:TITLES:LONG") == "restore of snapshot 12\nsnapshot"
    assert all(datetime.fromisoformat(t).tzinfo for t in await c.get("JOB:RECENT:TIMES"))


async def test_recent_jobs_are_fifty_and_all_arrays_are_of_one_length(c: Control) -> None:
    for _ in range(60):
        assert await c.put("SNAP:TRIGGER", 1)
    lengths = [len(await c.get(f"JOB:RECENT:{n}")) for n in ("IDS", "OUTCOMES", "USERS", "TIMES", "TITLES")]
    assert lengths == [50] * 5
    assert (await c.get("JOB:RECENT:IDS"))[0] == 159


async def test_job_abort_aborts_whoever_has_asked(c: Control) -> None:
    now = datetime.now(UTC)
    info = JobInfo(7, JobKind.COMPARE, JobStatus.IN_PROGRESS, "compare", "somebody", "elsewhere", started=now)
    c.jobs.board.publish(info)
    assert await c.label("JOB:KIND") == "Compare"
    assert (await c.get("JOB:USER"), await c.get("JOB:HOST")) == ("somebody", "elsewhere")
    assert await c.put("JOB:ABORT", 1)
    shown = await c.get("JOB:STATUS", format=aioca.FORMAT_TIME)
    assert (int(shown), shown.severity) == (6, 1)
    assert "aborted by" in await c.text("JOB:MSG")
    assert not await c.put("JOB:ABORT", 1)


async def test_elapsed_of_a_job_that_has_ended(c: Control) -> None:
    start = datetime.now(UTC) - timedelta(seconds=100)
    info = JobInfo(7, JobKind.OTHER, JobStatus.IN_PROGRESS, started=start)
    c.jobs.board.publish(info)
    c.jobs.board.publish(replace(info, status=JobStatus.FAILED, finished=start + timedelta(seconds=2.5)))
    assert await c.get("JOB:ELAPSED") == pytest.approx(2.5)
    assert (await c.get("JOB:STATUS", format=aioca.FORMAT_TIME)).severity == 2


async def test_watched_pvs(c: Control) -> None:
    assert await c.get("PVS:COUNT") == 20
    assert await c.get("PVS:CONNECTED") == 20
    assert await c.get("PVS:READONLY") == 1
    assert len(await c.get("PVS:DISCONNECTED:NAMES")) == 0
    await c.watch("PVS:DISCONNECTED", "PVS:DISCONNECTED:NAMES", "PVS:COUNT")
    c.machine.missing = {"Q1:SP", "Q2:RB"}
    c.machine.read_only = {"Q3:SP", "Q4:RB"}
    c.machine.changed()
    shown = await c.get("PVS:DISCONNECTED", format=aioca.FORMAT_TIME)
    assert (int(shown), shown.severity) == (2, 1)
    assert list(await c.get("PVS:DISCONNECTED:NAMES")) == ["Q1:SP", "Q2:RB"]
    assert await c.text("PVS:DISCONNECTED:NAMES:LONG") == "Q1:SP\nQ2:RB"
    assert await c.get("PVS:CONNECTED") == 18
    assert await c.get("PVS:READONLY") == 2
    assert [n for n, _ in c.updates] == ["PVS:DISCONNECTED:NAMES", "PVS:DISCONNECTED"]


async def test_no_catalogue_at_all() -> None:
    async with control(entries=catalogue(0)) as c:
        assert await c.get("PVS:COUNT") == 0
        assert (await c.get("PVS:DISCONNECTED", format=aioca.FORMAT_TIME)).severity == 0


async def test_iocs() -> None:
    machine = FakeMachine()
    machine.ioc_states = [0, 1, 2, 3]
    async with control(machine=machine) as c:
        assert list(await c.get("IOCS:HOSTS")) == [f"ioc{i}:5064" for i in range(4)]
        assert list(await c.get("IOCS:COUNTS")) == [5, 6, 7, 8]
        assert list(await c.get("IOCS:STATES")) == ["OK", "Slow", "Open", "Down"]
        shown = await c.get("IOCS:OPEN", format=aioca.FORMAT_TIME)
        assert (int(shown), shown.severity) == (1, 1)
        await c.watch("IOCS:RESET", "IOCS:OPEN")
        assert await c.put("IOCS:RESET", 1)
        assert machine.resets == 1
        assert [(n, int(v)) for n, v in c.updates] == [("IOCS:RESET", 1), ("IOCS:OPEN", 0), ("IOCS:RESET", 0)]
        assert await c.put("IOCS:RESET.PROC", 1)
        assert machine.resets == 2


async def test_health(c: Control) -> None:
    assert await c.get("VERSION") == __version__
    assert await c.label("ROLE") == "Active"
    assert await c.label("DB:STATUS") == "Connected"
    assert await c.get("DB:LATENCY") >= 0
    started = datetime.fromisoformat(await c.get("STARTTOD"))
    assert abs((datetime.now(UTC) - started).total_seconds()) < 30
    assert await c.get("MEM_USED") > 1e6
    assert 0 <= await c.get("SYS_CPU_LOAD") <= 100
    c.store.turn(connected=False)
    shown = await c.get("DB:STATUS", format=aioca.FORMAT_TIME)
    assert (int(shown), shown.severity) == (1, 2)
    c.store.turn(connected=True)
    assert (await c.get("DB:STATUS", format=aioca.FORMAT_TIME)).severity == 0


async def test_heartbeat_beats_and_nothing_else_is_posted_while_idle(c: Control) -> None:
    names = [n.removeprefix(c.prefix) for n in c.ioc.database if "." not in n]
    await c.watch(*names)
    # The client's own channels are counted at the next beat.
    await until(lambda: "HEARTBEAT" in [n for n, _ in c.updates])
    c.updates.clear()
    await asyncio.sleep(2.2)
    others = {n for n, _ in c.updates} - {"HEARTBEAT", "CA_CONN_CNT", "CA_CLNT_CNT"}
    assert others == set()
    beats = [int(v) for n, v in c.updates if n == "HEARTBEAT"]
    assert len(beats) >= 2
    assert beats == list(range(beats[0], beats[0] + len(beats)))
    assert await c.get("CA_CLNT_CNT") == 1
    assert await c.get("CA_CONN_CNT") >= len(names)


async def test_uptime_is_fresh_when_read(c: Control) -> None:
    before = await c.get("UPTIME")
    await asyncio.sleep(1.1)
    later = await c.get("UPTIME", format=aioca.FORMAT_TIME)
    assert "00:00:00" <= before < later < "00:01:00"
    assert abs(datetime.now(UTC).timestamp() - later.timestamp) < 10
