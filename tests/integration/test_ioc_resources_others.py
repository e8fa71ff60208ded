"""HIST:<pv> and JOB:<id> on a real database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aioca
import numpy as np
import pytest
from ioc_fakes import Control, control, until
from stored import NOON, save, shown

from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus, SnapshotRequest
from squirrel_ioc.model.snapshot import Snapshot, SnapshotChange
from squirrel_ioc.model.values import Dbf, Meta, State
from squirrel_ioc.store import Store

TIME = aioca.FORMAT_TIME
METAS = {"S": Meta(Dbf.STRING, 1), "Y:IDS": Meta(Dbf.DOUBLE, 1, "A", 1)}


@pytest.fixture
async def c(store: Store) -> AsyncIterator[Control]:
    async with control(store=store, views=("OP1",)) as c:  # type: ignore[arg-type]
        yield c


async def fill(c: Control, store: Store, count: int = 4) -> list[Snapshot]:
    saved = []
    for i in range(count):
        values: dict[str, Any] = {"X": State.TIMEOUT if i == 1 else i + 0.5, "S": "text", "Y": 1.0, "Y:IDS": 7.0}
        user = "adam" if i % 2 else "eve"
        saved.append(await save(store, values, METAS, taken=NOON + timedelta(hours=i), user=user))
    await shown(c, "LIST:TOTAL", count)
    return saved


async def test_history(c: Control, store: Store) -> None:
    saved = await fill(c, store)
    np.testing.assert_array_equal(await c.get("HIST:X"), [0.5, math.nan, 2.5, 3.5])
    np.testing.assert_array_equal(await c.get("HIST:X:EPOCHS"), [s.taken.timestamp() for s in saved])
    np.testing.assert_array_equal(await c.get("HIST:X:IDS"), [s.id for s in saved])
    info = await aioca.cainfo(c.pv("HIST:X:IDS"))
    assert (info.datatype, info.count, info.write) == (6, 1000, False)
    assert await c.get("HIST:X.EGU") == "mm"
    assert await c.get("HIST:X.PREC") == 3
    assert await c.get("HIST:X.NORD") == 4
    assert await c.get("HIST:X:EPOCHS.EGU") == "s"
    # What is no number has no history of numbers.
    assert all(math.isnan(x) for x in await c.get("HIST:S"))


async def test_a_pv_that_is_called_as_a_part(c: Control, store: Store) -> None:
    await fill(c, store, 2)
    np.testing.assert_array_equal(await c.get("HIST:Y:IDS"), [7.0, 7.0])
    np.testing.assert_array_equal(await c.get("HIST:Y:IDS:IDS"), np.sort(await c.get("LIST:IDS")))


async def test_a_pv_that_no_snapshot_has(c: Control, store: Store) -> None:
    saved = await fill(c, store, 1)
    assert len(await c.get("HIST:X")) == 1
    assert await c.put(f"SNAP:{saved[0].id}:DELETE", 1)
    assert len(await c.get("HIST:X")) == 0


async def test_who_reads_gets_what_is_new(c: Control, store: Store) -> None:
    await fill(c, store, 1)
    assert list(await c.get("HIST:X")) == [0.5]
    for i in range(3):
        saved = await save(store, {"X": 10.0 + i})
        await shown(c, "LIST:TOTAL", 2)
        assert 10.0 + i in list(await c.get("HIST:X"))
        await store.delete_snapshot(saved.id)
        await shown(c, "LIST:TOTAL", 1)
        assert list(await c.get("HIST:X")) == [0.5]


async def test_who_monitors_gets_what_is_new(c: Control, store: Store) -> None:
    await fill(c, store, 1)
    await c.watch("HIST:X", "HIST:X:IDS")
    saved = await save(store, {"X": 10.0}, taken=NOON + timedelta(days=1))
    await until(lambda: len(c.updates) == 2)
    await store.update_snapshot(saved.id, SnapshotChange(title="does not matter"))
    await shown(c, "LIST:TITLES", ["does not matter", "a title"])
    await store.delete_snapshot(saved.id)
    await until(lambda: len(c.updates) == 4)
    assert [(name, list(value)) for name, value in c.updates] == [
        ("HIST:X:IDS", [saved.id - 1, saved.id]),
        ("HIST:X", [0.5, 10.0]),
        ("HIST:X:IDS", [saved.id - 1]),
        ("HIST:X", [0.5]),
    ]


async def test_views_have_the_history_of_what_they_list(c: Control, store: Store) -> None:
    await fill(c, store)
    assert await c.put("OP1:LIST:USER", "adam", datatype=aioca.DBR_CHAR_STR)
    np.testing.assert_array_equal(await c.get("OP1:HIST:X"), [math.nan, 3.5])
    assert len(await c.get("HIST:X")) == 4
    await c.watch("OP1:HIST:X")
    assert await c.put("OP1:LIST:USER", "eve", datatype=aioca.DBR_CHAR_STR)
    await until(lambda: c.updates and list(c.updates[-1][1]) == [0.5, 2.5])


async def test_history_without_a_database(c: Control, store: Store) -> None:
    await fill(c, store, 2)
    assert len(await c.get("HIST:X")) == 2
    await store.pool.execute("ALTER TABLE snapshot_chunk RENAME TO elsewhere")
    await store.update_snapshot(1, SnapshotChange(title="a change"))
    await shown(c, "LIST:TITLES", ["a title", "a change"])
    read = await c.get("HIST:X", format=TIME)
    assert (len(read), read.severity, read.status) == (2, 3, 1)
    await store.pool.execute("ALTER TABLE elsewhere RENAME TO snapshot_chunk")
    read = await c.get("HIST:X", format=TIME)
    assert (len(read), read.severity) == (2, 0)


async def test_job_of_this_process(c: Control, store: Store) -> None:
    c.jobs.hold = True
    job_id = await store.create_job(None, JobKind.SNAPSHOT, {}, title="t", user="u", host="h")
    while job_id < 100:  # those of the stand-in begin there
        job_id = await store.create_job(None, JobKind.SNAPSHOT, {}, title="t", user="u", host="h")
    assert await c.jobs.submit(SnapshotRequest("a title"), user="eve", host="console3") == job_id
    name = f"JOB:{job_id}:"
    assert await c.label(f"{name}KIND") == "Snapshot"
    assert await c.label(f"{name}STATUS") == "PENDING"
    assert await c.get(f"{name}USER") == "eve"
    await c.watch(f"{name}STATUS", f"{name}PROGRESS", f"{name}MSG:S", f"{name}RESULT")
    c.jobs.begin(job_id)
    for done in range(1, 100):
        c.jobs.change(job_id, done=done)
    await until(lambda: len(c.updates) >= 3)
    assert await c.get(f"{name}PROGRESS") <= 99
    c.jobs.end(job_id)
    await until(lambda: (f"{name}STATUS", 3) in c.updates)
    assert len(c.updates) < 12
    assert [update[0].removeprefix(name) for update in c.updates[-4:]] == ["RESULT", "PROGRESS", "MSG:S", "STATUS"]
    assert await c.get(f"{name}RESULT") == 1
    assert await c.get(f"{name}PROGRESS") == 100
    assert "100 PVs stored" in await c.text(f"{name}MSG")


RESULT = {
    "backup_id": 12,
    "total": 7,
    "written": 4,
    "failed": 1,
    "bad_names": ["A:SP"],
    "bad_reasons": ["disconnected before completion; it may have taken effect"],
}


async def test_job_of_long_ago_or_of_another_process(c: Control, store: Store) -> None:
    asked = {"title": "t", "user": "adam", "host": "h"}
    job_id = await store.create_job(None, JobKind.RESTORE, {}, **asked)
    name = f"JOB:{job_id}:"
    async with asyncio.timeout(30):
        await aioca.connect(c.pv(f"{name}STATUS"))
    assert await c.label(f"{name}STATUS") == "PENDING"
    await c.watch(f"{name}STATUS", f"{name}RESULT")
    info = JobInfo(job_id, JobKind.RESTORE, JobStatus.FAILED, message="it went wrong", finished=datetime.now(UTC))
    await store.update_job(JobInfo(job_id, JobKind.RESTORE, JobStatus.IN_PROGRESS))
    await until(lambda: (f"{name}STATUS", 2) in c.updates)
    await store.update_job(JobInfo(**{**vars(info), "result": RESULT}))
    await until(lambda: (f"{name}STATUS", 4) in c.updates)
    status = await c.get(f"{name}STATUS", format=TIME)
    assert (int(status), status.severity) == (4, 2)
    assert await c.get(f"{name}RESULT") == 12
    counts = [await c.get(f"{name}{count}") for count in ("TOTAL", "WRITTEN", "FAILED", "MISSING")]
    assert counts == [7, 4, 1, 0]
    assert list(await c.get(f"{name}BAD:NAMES")) == ["A:SP"]
    assert await c.text(f"{name}BAD:REASONS:LONG") == "disconnected before completion; it may have taken effect"
    assert await c.get(f"{name}MSG:S") == "it went wrong"
    assert await c.get(f"{name}USER") == "adam"
    missing = [c.pv(f"JOB:{job_id + 1}:STATUS"), c.pv(f"{name}NOPE"), c.pv(f"{name}USER:S")]
    assert not any(one.ok for one in await aioca.connect(missing, timeout=0.5, throw=False))
