"""Import and export as jobs: progress, beside what else runs, restarts; and values whose types are not the PVs'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aioca
import pytest
from control_pvs import until
from file_rig import NAMES, FileRig, file_rig, ioc, live_values, set_before
from ioc_process import IocProcess

from squirrel_ioc.jobs import _progress, importing
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.job import ExportRequest, ImportRequest, JobInfo, JobStatus
from squirrel_ioc.model.snapshot import IMPORT, NewSnapshot
from squirrel_ioc.store import Store

ENTRIES = (*map(Entry, NAMES), Entry("F:SET", "F:GET", max_step=0.1, step_period=30.0))

HEADER = "PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ_ONLY\n"


@pytest.fixture(scope="module")
def records() -> Iterator[IocProcess]:
    yield from ioc()


@pytest.fixture
async def rig(records: IocProcess, store: Store, tmp_path: Path) -> AsyncIterator[FileRig]:
    async with file_rig(store, tmp_path, ENTRIES) as made:
        await set_before()
        yield made


def line(name: str, kind: str, value: str) -> str:
    """A line of a snapshot of Phoebus."""
    return f'{name},1,1741083300.0,NONE,NONE,{kind},"{value}",,"---",,0\n'


async def test_types_of_phoebus_that_are_not_those_of_the_pv(rig: FileRig) -> None:
    """What PVAccess or another IOC made of them: converted where nothing is lost, refused where something would be."""
    text = HEADER + "".join(
        [
            line("F:AO", "int", "3"),
            line("F:LONG", "double", "42.0"),
            line("F:MBBO", "string", "Run"),
            line("F:MODE", "int", "1"),
            line("F:TEXT", "double", "1.5"),
            line("F:WAVE", "int_array", "[1;2;3]"),
            line("F:CHARS", "string", "Hi"),
        ]
    )
    names = ("F:AO", "F:LONG", "F:MBBO", "F:MODE", "F:TEXT", "F:WAVE", "F:CHARS")
    assert await rig.do("IMPORT", rig.write("p.csv", text))
    snapshot_id = await rig.get("FILE:ID")
    assert await rig.put("RESTORE:ID", snapshot_id), await rig.text("RESTORE:BAD:REASONS:LONG")
    assert await rig.label("RESTORE:STATUS") == "OK"
    assert await live_values(*names) == [3, 42, 2, 1, "1.5", [1, 2, 3], list(b"Hi\0")]
    await rig.put("DIFF:A", snapshot_id)
    assert await rig.put("DIFF:B", 0)
    assert (await rig.get("DIFF:COMPARED"), await rig.get("DIFF:COUNT")) == (len(names), 0)

    bad = HEADER + line("F:LONG", "double", "42.5") + line("F:MBBO", "string", "Broken") + line("F:AO", "string", "x")
    assert await rig.do("IMPORT", rig.write("bad.csv", bad))
    assert not await rig.put("RESTORE:ID", await rig.get("FILE:ID"))
    assert await rig.label("RESTORE:STATUS") == "Failed"
    assert await rig.get("RESTORE:FAILED") == 3
    assert await live_values("F:LONG", "F:MBBO", "F:AO") == [42, 2, 3]


async def test_a_snapshot_of_the_machine_is_not_converted(rig: FileRig) -> None:
    """That a PV has another type than it had is refused as before: nothing says that it means the same."""
    assert await rig.do("IMPORT", rig.write("a.sav", "F:MBBO Run\n<END>\n"))
    frame = await rig.store.load_frame(await rig.get("FILE:ID"))
    text = await rig.store.save_snapshot(frame, NewSnapshot("as if it were read", taken=datetime.now(UTC)))
    assert await rig.put("RESTORE:ID", text.id)  # its value has the type already
    assert await rig.do("IMPORT", rig.write("b.csv", HEADER + line("F:MBBO", "string", "Off")))
    frame = await rig.store.load_frame(await rig.get("FILE:ID"))
    text = await rig.store.save_snapshot(frame, NewSnapshot("as if it were read", taken=datetime.now(UTC)))
    assert not await rig.put("RESTORE:ID", text.id)
    assert await rig.text("RESTORE:BAD:REASONS:LONG") == "its type was STRING, it is ENUM now"


async def test_progress_goes_on_while_a_long_file_is_read(rig: FileRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_TELL_S", 0.0)
    monkeypatch.setattr(_progress, "_PROGRESS_PERIOD_S", 0.0)
    rig.write("long.sav", "".join(f"F:{i} {i}\n" for i in range(20_000)) + "<END>\n")
    reports: list[JobInfo] = []
    rig.jobs.listen(reports.append)
    assert await rig.do("IMPORT", "long.sav")
    percents = [info.progress for info in reports]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert any("reading long.sav, line " in info.message for info in reports)
    assert await rig.get("JOB:DONE") == await rig.get("JOB:TOTAL") == 20_000
    assert await rig.label("JOB:KIND") == "Import"


async def test_files_do_not_wait_for_a_slow_ramp(rig: FileRig) -> None:
    assert await rig.put("SNAP:TRIGGER", 1)
    taken = await rig.get("SNAP:ID")
    await aioca.caput("F:SET", 9.0, wait=True)
    slow = asyncio.create_task(aioca.caput(rig.pv("RESTORE:ID"), taken, wait=True, timeout=60, throw=False))
    await until(lambda: any(i.status is JobStatus.IN_PROGRESS for i in rig.jobs.recent))
    await rig.put("FILE:ID", taken)
    assert await rig.do("EXPORT", "out.sav")
    assert await rig.do("IMPORT", "out.sav")
    # What is shown is the restore, and it is what JOB:ABORT stops.
    assert await rig.label("JOB:KIND") == "Restore"
    assert await rig.put("JOB:ABORT", 1)
    assert not (await slow).ok
    assert await rig.label("RESTORE:STATUS") == "Aborted"
    await rig.put("RESTORE:ENABLE", 1)


async def test_the_last_files_are_shown_again_after_a_restart(
    records: IocProcess, store: Store, tmp_path: Path
) -> None:
    async with file_rig(store, tmp_path, ENTRIES) as rig:
        assert await rig.do("IMPORT", rig.write("good.sav", "F:AO 2\nF:LONG high\n<END>\n"))
        before = [await rig.status(), await rig.errors(), await rig.get("FILE:ID")]
        assert before[0][0] == "Partial"
    async with file_rig(store, tmp_path, ENTRIES) as rig:
        assert [await rig.status(), await rig.errors(), await rig.get("FILE:ID")] == before
        assert not await rig.do("IMPORT", rig.write("bad.sav", "# autosave R5.3\nF:AO 2\n"))
        message = await rig.status()
    async with file_rig(store, tmp_path, ENTRIES) as rig:
        assert await rig.status() == message
        assert await rig.errors() == ["bad.sav:2: no <END>: the file was not written to its end"]
        assert await rig.get("FILE:ID") == before[2]


async def test_what_was_under_way_when_the_service_died(records: IocProcess, store: Store, tmp_path: Path) -> None:
    async def row(request: Any, status: JobStatus) -> int:
        job_id = await store.create_job(
            None, request.kind, request.__dict__, title="t", user="op", host="c", created=datetime.now(UTC)
        )
        await store.update_job(JobInfo(job_id, request.kind, status))
        return job_id

    async with file_rig(store, tmp_path, ENTRIES) as rig:
        assert await rig.put("SNAP:TRIGGER", 1)
        frame = await store.load_frame(1)
    stored = await row(ImportRequest("a.sav"), JobStatus.IN_PROGRESS)
    new = NewSnapshot("a", kind=IMPORT, origin="autosave:a.sav", job_id=stored)
    snapshot = await store.save_snapshot(frame, new)
    begun = await row(ImportRequest("b.sav"), JobStatus.IN_PROGRESS)
    waiting = await row(ExportRequest(1, "c.sav"), JobStatus.PENDING)
    async with file_rig(store, tmp_path, ENTRIES) as rig:
        ended = {i: await store.job(i) for i in (stored, begun, waiting)}
        told = [(i.status, i.message) for i in ended.values() if i is not None]
        assert told == [
            (JobStatus.COMPLETED, f"snapshot {snapshot.id} was stored before the service stopped"),
            (JobStatus.FAILED, "the service stopped before its end"),
            (JobStatus.FAILED, "the service stopped before it was started"),
        ]
        assert await rig.get("FILE:ID") == snapshot.id
        assert await store.unfinished_jobs() == []


async def test_an_empty_catalogue(records: IocProcess, store: Store, tmp_path: Path) -> None:
    async with file_rig(store, tmp_path, ()) as rig:
        assert await rig.do("IMPORT", rig.write("a.sav", "F:AO 2\n<END>\n"))
        await rig.keeper.add(["F:AO"], "test")
        await rig.all_known()
        assert await rig.put("RESTORE:ID", 1)
        assert await live_values("F:AO") == [2]


async def test_an_import_shares_the_catalogues_list_of_channels(rig: FileRig) -> None:
    """It is stored, and compared, as quickly as a snapshot of the machine."""
    assert await rig.put("SNAP:TRIGGER", 1)
    await rig.put("FILE:ID", 1)
    assert await rig.do("EXPORT", "all.jsonl")
    assert await rig.do("IMPORT", "all.jsonl")
    one, other = [await rig.store.snapshot(i) for i in (1, 2)]
    assert one is not None
    assert other is not None
    assert one.channel_list_id == other.channel_list_id
    assert replace(one, id=2, kind=IMPORT, origin="jsonl:all.jsonl", job_id=other.job_id, user=other.user) == other
