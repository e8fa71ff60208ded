"""Snapshot and restore jobs: real records, real Postgres, the real queue."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aioca
import asyncpg
import pytest
from ioc_process import IocProcess
from jobs_rig import Rig, jobs_rig, put, until, values

from squirrel_ioc.config import DatabaseSettings, RestoreSettings
from squirrel_ioc.errors import DatabaseDownError, RefusedError
from squirrel_ioc.jobs import Jobs
from squirrel_ioc.jobs.restore import ENABLE_SETTING
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.job import (
    CompareRequest,
    JobInfo,
    JobStatus,
    Outcome,
    RestoreMode,
    RestoreRequest,
    RestoreResult,
    SnapshotRequest,
)
from squirrel_ioc.model.snapshot import BACKUP
from squirrel_ioc.store import Store

DATABASE = """
record(ao, "J:A") { field(VAL, "1") field(PINI, "YES") field(PREC, "3") field(EGU, "A") }
record(ao, "J:B") { field(VAL, "2") field(PINI, "YES") }
record(ao, "J:LIMITED") { field(VAL, "3") field(DRVH, "5") field(DRVL, "-5") field(PINI, "YES") }
record(ao, "J:LOCKED") { field(VAL, "4") field(PINI, "YES") field(DISP, "1") }
record(calcout, "J:SLOW") { field(VAL, "0") field(A, "1") field(CALC, "A") field(ODLY, "30") field(PINI, "NO") }
record(mbbo, "J:MODE") { field(ZRST, "Off") field(ONST, "Standby") field(TWST, "Run")
    field(VAL, "2") field(PINI, "YES") }
record(stringout, "J:TEXT") { field(VAL, "hello") field(PINI, "YES") }
record(waveform, "J:WAVE") { field(FTVL, "DOUBLE") field(NELM, "8") }
record(longout, "J:RAMP") { field(VAL, "10") field(PINI, "YES") }
record(ao, "J:FIRST") { field(VAL, "1") field(PINI, "YES") field(FLNK, "J:SEQ1") }
record(ao, "J:SECOND") { field(VAL, "1") field(PINI, "YES") field(FLNK, "J:SEQ2") }
record(calc, "J:COUNTER") { field(CALC, "VAL+1") }
record(calc, "J:SEQ1") { field(INPA, "J:COUNTER PP") field(CALC, "A") }
record(calc, "J:SEQ2") { field(INPA, "J:COUNTER PP") field(CALC, "A") }
record(ao, "J:SET") { field(VAL, "7") field(PINI, "YES") field(FLNK, "J:GET") }
record(ai, "J:GET") { field(INP, "J:SET") }
"""

ENTRIES = {
    e.setpoint: e
    for e in (
        Entry("J:A"),
        Entry("J:B"),
        Entry("J:LIMITED"),
        Entry("J:LOCKED"),
        Entry("J:MODE"),
        Entry("J:TEXT"),
        Entry("J:WAVE"),
        Entry("J:RAMP", max_step=3, step_period=0.05),
        Entry("J:FIRST", order=-1),
        Entry("J:SECOND", order=2),
        Entry("J:SET", "J:GET"),
        Entry("J:ABSENT"),
        Entry("J:READONLY", read_only=True),
    )
}


@pytest.fixture
def ioc() -> Any:
    with IocProcess(DATABASE) as process:
        yield process


@pytest.fixture
async def rig(ioc: IocProcess, store: Store, tmp_path: Path) -> AsyncIterator[Rig]:
    async with jobs_rig(store, tmp_path) as made:
        yield made


async def test_snapshot_and_restore_bring_every_type_back(rig: Rig) -> None:
    names = ("J:A", "J:MODE", "J:TEXT", "J:WAVE", "J:SET")
    await rig.use(*(ENTRIES[n] for n in names))
    await put("J:WAVE", [1.5, -2.0, 3.0])
    before = await values(*names)
    snapshot_id = await rig.snapshot(title="good", labels=("a", "b"))
    stored = await rig.store.snapshot(snapshot_id)
    assert stored is not None
    assert (stored.title, stored.labels, stored.count, stored.user) == ("good", ("a", "b"), 6, "op")

    for name, value in zip(names, (9.0, 0, "changed", [5.0], 99.0), strict=True):
        await put(name, value)
    info = await rig.run(RestoreRequest(snapshot_id))
    result = info.result
    assert (info.status, result.outcome) == (JobStatus.COMPLETED, Outcome.OK)
    assert (result.total, result.written, result.unchanged) == (5, 5, 0)
    assert await values(*names) == before

    backup = await rig.store.snapshot(result.backup_id)
    assert backup is not None
    assert (backup.kind, backup.count) == (BACKUP, 5)
    undone = await rig.run(RestoreRequest(result.backup_id))
    assert undone.result.written == 5
    assert await values(*names) == [9.0, 0, "changed", [5.0], 99.0]


async def test_changed_writes_only_what_differs(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"])
    snapshot_id = await rig.snapshot()
    await put("J:B", 20)
    dry = (await rig.run(RestoreRequest(snapshot_id, RestoreMode.DRY_RUN))).result
    assert (dry.planned, dry.written, dry.unchanged, dry.backup_id) == (1, 0, 1, 0)
    assert (dry.plan_names, dry.plan_from, dry.plan_to) == (("J:B",), ("20",), ("2",))
    assert dry.summary().startswith(f"DRY RUN, nothing is written: snapshot {snapshot_id}: 1 of 2 PVs would be written")
    assert await values("J:B") == [20]
    changed = (await rig.run(RestoreRequest(snapshot_id))).result
    assert (changed.written, changed.unchanged) == (1, 1)
    backup = await rig.store.load_frame(changed.backup_id)
    assert backup.channels.names == ("J:B",)
    assert backup.value(0) == 20
    everything = (await rig.run(RestoreRequest(snapshot_id, RestoreMode.ALL))).result
    assert (everything.written, everything.unchanged) == (2, 0)


async def test_every_pv_ends_in_exactly_one_verdict(rig: Rig) -> None:
    await rig.use(*(ENTRIES[n] for n in ("J:A", "J:B", "J:LIMITED", "J:LOCKED", "J:ABSENT")))
    await put("J:LIMITED.DRVH", 100)
    await put("J:LIMITED", 50)
    snapshot_id = await rig.snapshot()
    await put("J:LIMITED.DRVH", 5)
    await put("J:LIMITED", 1)
    await put("J:LOCKED.DISP", 0)
    await put("J:LOCKED", 40)
    await put("J:LOCKED.DISP", 1)
    await put("J:A", 100)
    info = await rig.run(RestoreRequest(snapshot_id))
    result = info.result
    assert info.status is JobStatus.COMPLETED
    assert result.outcome is Outcome.PARTIAL
    verdicts = (result.written, result.unchanged, result.skipped, result.failed, result.mismatch)
    assert verdicts == (1, 1, 1, 1, 1)
    assert sum(verdicts) == result.total == 5
    reasons = dict(zip(result.bad_names, result.bad_reasons, strict=True))
    assert reasons["J:LOCKED"] == "write refused by the IOC"
    assert reasons["J:LIMITED"] == "wrote 50, reads back 5"


async def test_a_snapshot_names_what_is_missing(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:ABSENT"])
    result = (await rig.run(SnapshotRequest())).result
    assert (result.count, result.missing, result.outcome) == (1, 1, Outcome.PARTIAL)
    assert result.missing_names == ("J:ABSENT",)
    assert result.missing_reasons == ("disconnected",)


async def test_read_only_and_retired_pvs_are_skipped(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"])
    snapshot_id = await rig.snapshot()
    await put("J:A", 11)
    await put("J:B", 22)
    await rig.use(Entry("J:A", read_only=True))
    result = (await rig.run(RestoreRequest(snapshot_id, RestoreMode.ALL))).result
    assert (result.skipped, result.written, result.backup_id) == (2, 0, 0)
    assert await values("J:A", "J:B") == [11, 22]


async def test_ascending_order(rig: Rig) -> None:
    await rig.use(ENTRIES["J:SECOND"], ENTRIES["J:FIRST"])
    snapshot_id = await rig.snapshot()
    await put("J:FIRST", 5)
    await put("J:SECOND", 5)
    await rig.run(RestoreRequest(snapshot_id))
    first, second = await values("J:SEQ1", "J:SEQ2")
    assert first < second


async def test_ramp_in_steps(rig: Rig) -> None:
    await rig.use(ENTRIES["J:RAMP"])
    snapshot_id = await rig.snapshot()
    await put("J:RAMP", 21)
    seen: list[int] = []
    monitor = aioca.camonitor("J:RAMP", lambda v: seen.append(int(v)), all_updates=True)
    await until(lambda: seen == [21])
    result = (await rig.run(RestoreRequest(snapshot_id))).result
    await until(lambda: seen[-1] == 10)
    monitor.close()
    assert seen == [21, 18, 15, 12, 10]
    assert result.written == 1


async def test_a_ramp_does_not_jump_from_nowhere(rig: Rig) -> None:
    await rig.use(replace(ENTRIES["J:A"], max_step=0.1), ENTRIES["J:B"])
    snapshot_id = await rig.snapshot()
    await put("J:A", float("nan"))
    await put("J:B", 5)
    result = (await rig.run(RestoreRequest(snapshot_id))).result
    assert (result.written, result.failed) == (1, 1)
    assert result.bad_reasons == ("there are no steps from nan to 1",)


async def test_progress_moves_in_a_ramp(rig: Rig) -> None:
    await rig.use(ENTRIES["J:RAMP"])
    snapshot_id = await rig.snapshot()
    await put("J:RAMP", 40)
    seen: list[float] = []
    rig.jobs.listen(lambda info: seen.append(info.progress))
    await rig.run(RestoreRequest(snapshot_id))
    assert seen == sorted(seen)
    assert len({p for p in seen if 10 < p < 80}) >= 1


async def test_abort_in_a_ramp_tells_where_it_stopped(rig: Rig) -> None:
    slow = replace(ENTRIES["J:RAMP"], step_period=30.0)
    await rig.use(slow, ENTRIES["J:SECOND"])
    snapshot_id = await rig.snapshot()
    await put("J:RAMP", 21)
    await put("J:SECOND", 5)
    job_id = await rig.jobs.submit(RestoreRequest(snapshot_id), user="op", host="console")
    await until(lambda: _is(values("J:RAMP"), [18]))
    with pytest.raises(RefusedError, match=r"restore of snapshot \d+ \(job \d+, op@console\) is running"):
        await rig.jobs.submit(RestoreRequest(snapshot_id), user="other", host="console")
    assert await rig.jobs.abort(job_id, "op@console")
    async with asyncio.timeout(30):
        info = await rig.jobs.wait(job_id)
    assert info.status is JobStatus.ABORTED
    half_way = "0 of 2 PVs written, 1 failed (J:RAMP: ramp stopped at 18 on the way to 10"
    assert info.message.startswith(f"aborted by op@console: {half_way}")
    result = info.result
    assert (result.outcome, result.failed, result.skipped) == (Outcome.ABORTED, 1, 1)
    assert result.bad_reasons[0].startswith("ramp stopped at 18 on the way to 10")
    assert (await rig.run(RestoreRequest(result.backup_id))).result.outcome is Outcome.OK
    assert await values("J:RAMP", "J:SECOND") == [21, 5]


async def test_abort_does_not_wait_for_the_delay_before_the_readback(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"])
    snapshot_id = await rig.snapshot()
    await put("J:A", 9)
    await rig.jobs.stop()
    slow = rig.settings.model_copy(update={"restore": RestoreSettings(verify_delay_s=60.0)})
    rig.jobs = Jobs(rig.store, rig.machine, lambda: rig.catalogue, slow)
    await rig.jobs.start()
    job_id = await rig.jobs.submit(RestoreRequest(snapshot_id), user="op", host="console")
    await until(lambda: _is(values("J:A"), [1]))
    await until(lambda: rig.jobs.job(job_id).message.startswith("verifying"))  # type: ignore[union-attr]
    assert await rig.jobs.abort(job_id, "op@console")
    async with asyncio.timeout(30):
        info = await rig.jobs.wait(job_id)
    assert (info.status, info.message) == (JobStatus.ABORTED, "aborted by op@console: 1 of 1 PVs written")


async def _is(coroutine: Any, wanted: Any) -> bool:
    return bool(await coroutine == wanted)


async def test_selection_and_names(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"], ENTRIES["J:SET"])
    only = await rig.snapshot(selection="J:A,J:B")
    frame = await rig.store.load_frame(only)
    assert frame.channels.names == ("J:A", "J:B")
    for name in ("J:A", "J:B"):
        await put(name, 50)
    assert (await rig.run(RestoreRequest(only, selection="J:A"))).result.total == 1
    assert await values("J:A", "J:B") == [1, 50]
    assert (await rig.run(RestoreRequest(only, names=("J:B",)))).result.total == 1
    assert await values("J:A", "J:B") == [1, 2]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (SnapshotRequest(selection="X*"), "selection 'X\\*' matches no PV of the catalogue"),
        (SnapshotRequest(selection="[A"), "selection '\\[A'.*position"),
        (CompareRequest(0, 0), "the live machine cannot be compared with itself"),
        (CompareRequest(-1, 0), "there is no reference snapshot"),
        (CompareRequest(77, 0), "snapshot 77 does not exist"),
    ],
)
async def test_what_cannot_be_done_fails_with_the_reason(rig: Rig, request_: Any, reason: str) -> None:
    await rig.use(ENTRIES["J:A"])
    try:
        info = await rig.run(request_)
    except RefusedError as error:
        message = str(error)
    else:
        assert info.status is JobStatus.FAILED
        message = info.message
    import re

    assert re.search(reason, message), message


async def test_an_ioc_restarts_between_the_look_and_the_first_write(
    rig: Rig, ioc: IocProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.use(*(ENTRIES[f"J:{x}"] for x in ("A", "B", "MODE", "TEXT", "RAMP")))
    snapshot_id = await rig.snapshot()
    for name, value in (("J:A", 50), ("J:B", 60), ("J:MODE", 0), ("J:TEXT", "other"), ("J:RAMP", 13)):
        await put(name, value)
    other = DATABASE.replace('field(ZRST, "Off") field(ONST, "Standby") field(TWST, "Run")', 'field(TWST, "Stop")')
    other = other.replace('record(stringout, "J:TEXT") { field(VAL, "hello")', 'record(ao, "J:TEXT") { field(VAL, "8")')
    other = other.replace(
        'record(longout, "J:RAMP") { field(VAL, "10")', 'record(longout, "J:RAMP") { field(VAL, "500")'
    )
    read = rig.machine.read

    async def restarted_meanwhile(channels: Any, **kwargs: Any) -> Any:
        frame = await read(channels, **kwargs)
        monkeypatch.setattr(rig.machine, "read", read)
        await asyncio.to_thread(ioc.restart, other)
        assert await rig.machine.settled(25)
        return frame

    monkeypatch.setattr(rig.machine, "read", restarted_meanwhile)
    info = await rig.run(RestoreRequest(snapshot_id))
    result = info.result
    assert (result.outcome, result.written, result.failed, result.mismatch) == (Outcome.PARTIAL, 2, 3, 0)
    # The backup holds what stood before the restart.
    assert (await rig.store.load_frame(result.backup_id)).value(0) == 50
    changed = "its type, size or state labels have changed since it was read"
    assert dict(zip(result.bad_names, result.bad_reasons, strict=True)) == {
        "J:MODE": changed,
        "J:TEXT": changed,
        "J:RAMP": "disconnected since its value was read: a step from there may be a jump",
    }
    assert await values("J:A", "J:B", "J:MODE", "J:TEXT", "J:RAMP") == [1, 2, 2, 8, 500]


async def test_disabled_after_it_was_asked_for(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"])
    snapshot_id = await rig.snapshot()
    await put("J:A", 50)
    # RESTORE:ENABLE was looked at before the job was queued, perhaps by another process.
    await rig.store.set_setting(ENABLE_SETTING, False)
    info = await rig.run(RestoreRequest(snapshot_id))
    assert (info.status, info.message) == (JobStatus.FAILED, "restores are disabled: RESTORE:ENABLE is 0")
    assert await values("J:A") == [50]
    await rig.store.set_setting(ENABLE_SETTING, True)
    assert (await rig.run(RestoreRequest(snapshot_id))).result.written == 1


async def test_disabled_before_its_first_write(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.use(ENTRIES["J:A"])
    snapshot_id = await rig.snapshot()
    await put("J:A", 50)
    read = rig.machine.read

    async def disabled_meanwhile(*args: Any, **kwargs: Any) -> Any:
        await rig.store.set_setting(ENABLE_SETTING, False)
        return await read(*args, **kwargs)

    monkeypatch.setattr(rig.machine, "read", disabled_meanwhile)
    info = await rig.run(RestoreRequest(snapshot_id))
    assert (info.status, info.message) == (JobStatus.FAILED, "restores are disabled: RESTORE:ENABLE is 0")
    result = info.result
    assert (result.written, result.skipped) == (0, 1)
    assert await values("J:A") == [50]


async def test_restore_of_an_unknown_snapshot_is_refused(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"])
    with pytest.raises(RefusedError, match="snapshot 12345 does not exist"):
        await rig.jobs.submit(RestoreRequest(12345), user="op", host="console")


async def test_compare_with_the_live_machine(rig: Rig) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"], ENTRIES["J:ABSENT"])
    snapshot_id = await rig.snapshot()
    await put("J:B", 2.5)
    result = (await rig.run(CompareRequest(snapshot_id, 0))).result
    assert (result.different, result.compared, result.missing, result.unread) == (1, 2, 0, 1)
    comparison = result.comparison
    row = comparison.channels.index["J:B"]
    assert comparison.delta[row] == 0.5


async def test_a_dead_ioc_in_a_restore(rig: Rig, ioc: IocProcess) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"])
    snapshot_id = await rig.snapshot()
    ioc.pause()
    try:
        info = await rig.run(RestoreRequest(snapshot_id, RestoreMode.ALL))
    finally:
        ioc.resume()
    assert info.status is JobStatus.FAILED
    assert info.result.failed == 2
    assert info.result.backup_id == 0
    assert "could not be read for the backup" in info.result.bad_reasons[0]


async def test_interrupted_jobs_are_settled_at_start(rig: Rig, database: DatabaseSettings) -> None:
    await rig.use(ENTRIES["J:A"])
    snapshot_id = await rig.snapshot()
    await rig.jobs.stop()
    store = rig.store

    async def row(request: Any, status: JobStatus, **changes: Any) -> int:
        job_id = await store.create_job(
            None, request.kind, request.__dict__, title="t", user="op", host="c", created=datetime.now(UTC)
        )
        await store.update_job(replace(JobInfo(job_id, request.kind, status), **changes))
        return job_id

    running = await row(RestoreRequest(snapshot_id), JobStatus.IN_PROGRESS, done=3, total=10)
    waiting = await row(RestoreRequest(snapshot_id), JobStatus.PENDING)
    snapshot = await row(SnapshotRequest(title="again"), JobStatus.IN_PROGRESS)

    rig.jobs = Jobs(store, rig.machine, lambda: rig.catalogue, rig.settings)
    await rig.jobs.start()
    async with asyncio.timeout(30):
        ended = {i: await rig.jobs.wait(i) for i in (running, waiting, snapshot)}
    assert ended[running].status is JobStatus.FAILED
    assert ended[running].message.endswith(": interrupted before the first write")
    assert ended[waiting].status is JobStatus.FAILED
    assert ended[snapshot].status is JobStatus.COMPLETED
    assert ended[snapshot].attempt == 2
    assert await store.unfinished_jobs() == []


async def _ramp_under_way(rig: Rig) -> tuple[int, int]:
    """A snapshot, and a job that restores it, which has come to its second step."""
    await rig.use(replace(ENTRIES["J:RAMP"], step_period=30.0), ENTRIES["J:A"])
    snapshot_id = await rig.snapshot()
    await put("J:RAMP", 21)
    job_id = await rig.jobs.submit(RestoreRequest(snapshot_id), user="op", host="console")
    await until(lambda: _is(values("J:RAMP"), [18]))
    return snapshot_id, job_id


async def _delivered(rig: Rig, count: int) -> None:
    """So many jobs have been taken from the queue and have not ended."""

    async def picked() -> bool:
        async with rig.store.transaction() as connection:
            query = "SELECT count(*) FROM pgqueuer WHERE status = 'picked'"
            return bool(await connection.fetchval(query) == count)

    await until(picked)


async def test_a_restore_that_waits_does_not_begin_when_the_service_stops(rig: Rig, ioc: IocProcess) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"])
    snapshot_id = await rig.snapshot()
    await put("J:B", 20)
    ioc.pause()  # the next snapshot takes its time
    snapshot = await rig.jobs.submit(SnapshotRequest(), user="op", host="console")
    await until(lambda: rig.jobs.job(snapshot).status is JobStatus.IN_PROGRESS)  # type: ignore[union-attr]
    waits = await rig.jobs.submit(RestoreRequest(snapshot_id, RestoreMode.ALL), user="op", host="console")
    await _delivered(rig, 2)
    stopping = asyncio.create_task(rig.jobs.stop())
    await asyncio.sleep(0)
    ioc.resume()
    await stopping
    assert await values("J:B") == [20]
    assert rig.jobs.job(waits).status is JobStatus.PENDING  # type: ignore[union-attr]


async def test_a_job_that_is_aborted_while_it_waits_never_begins(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    _, restore = await _ramp_under_way(rig)
    waits = await rig.jobs.submit(SnapshotRequest(title="never"), user="op", host="console")
    await _delivered(rig, 2)
    update_job = rig.store.update_job

    async def its_turn_comes_first(info: JobInfo, connection: Any = None) -> bool:
        if info.id == waits and info.status is JobStatus.ABORTED:
            await rig.jobs.abort(restore, "op@console")
            await rig.jobs.wait(restore)
            await asyncio.sleep(0.2)
        return await update_job(info, connection)

    monkeypatch.setattr(rig.store, "update_job", its_turn_comes_first)
    assert await rig.jobs.abort(waits, "op@console")
    await rig.jobs.stop()
    assert rig.jobs.job(waits).status is JobStatus.ABORTED  # type: ignore[union-attr]
    assert await rig.store.snapshot_of_job(waits) is None


def _verdicts(result: Any) -> int:
    return int(result.written + result.unchanged + result.skipped + result.failed + result.mismatch)


async def test_abort_while_reading_accounts_for_every_pv(rig: Rig, ioc: IocProcess) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"], Entry("J:FIRST", read_only=True))
    snapshot_id = await rig.snapshot()
    ioc.pause()
    job_id = await rig.jobs.submit(RestoreRequest(snapshot_id), user="op", host="console")
    await until(lambda: rig.jobs.job(job_id).total == 3)  # type: ignore[union-attr]
    assert await rig.jobs.abort(job_id, "op@console")
    info = await rig.jobs.wait(job_id)
    ioc.resume()
    assert (info.status, info.message) == (JobStatus.ABORTED, "aborted by op@console: 0 of 3 PVs written")
    assert (info.result.total, info.result.skipped) == (3, 3)


async def test_a_restore_that_fails_half_way_accounts_for_every_pv(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:FIRST"], ENTRIES["J:SECOND"])
    snapshot_id = await rig.snapshot()
    for name in ("J:A", "J:FIRST", "J:SECOND"):
        await put(name, 50)
    write = rig.machine.write

    async def breaks(values: Any, **kwargs: Any) -> Any:
        if "J:A" in values.channels.names:
            raise RuntimeError("broken")
        return await write(values, **kwargs)

    monkeypatch.setattr(rig.machine, "write", breaks)
    info = await rig.run(RestoreRequest(snapshot_id))
    result = info.result
    assert info.status is JobStatus.FAILED
    told = f"snapshot {snapshot_id}: interrupted after 1 of 3 PVs were written; snapshot {result.backup_id} holds"
    assert info.message.startswith(told)
    assert (result.written, result.failed, result.skipped, _verdicts(result)) == (1, 1, 1, result.total)
    assert (result.bad_names, result.bad_reasons) == (("J:A",), ("interrupted: it may have been written",))


@pytest.mark.parametrize("noted", [True, False])
async def test_a_restore_whose_service_was_killed_tells_no_more_than_is_known(rig: Rig, noted: bool) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:B"])
    snapshot_id = await rig.snapshot()
    await put("J:B", 20)
    ended = await rig.run(RestoreRequest(snapshot_id))
    await rig.jobs.stop()
    store = rig.store
    # As if it had been killed when one was unchanged, and the other about to be written.
    row = ended.result.to_json() | {"written": 0}
    async with store.transaction() as connection:
        await connection.execute(
            "UPDATE job SET status = $2, finished = NULL, done = 1, result = $3 WHERE id = $1",
            ended.id,
            int(JobStatus.IN_PROGRESS),
            json.dumps(row) if noted else None,
        )
    rig.jobs = Jobs(store, rig.machine, lambda: rig.catalogue, rig.settings)
    await rig.jobs.start()
    info = await rig.jobs.wait(ended.id)
    total, unchanged, failed = (2, 1, 1) if noted else (2, 0, 2)
    told = f": interrupted after at least 0 of {total} PVs were written; snapshot {ended.result.backup_id} holds"
    assert told in info.message
    result = RestoreResult(**info.result)
    assert (result.total, result.unchanged, result.failed) == (total, unchanged, failed)
    assert (result.backup_id, _verdicts(result)) == (ended.result.backup_id, total)
    assert tuple(result.bad_names) == (("J:B",) if noted else ())
    assert tuple(result.bad_reasons) == (("interrupted: it may have been written",) if noted else ())


async def test_the_log_tells_how_a_job_ended(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "squirrel_ioc.jobs")
    await rig.use(ENTRIES["J:A"])
    snapshot_id = await rig.snapshot(title="morning")
    assert f"job 1 (morning): COMPLETED: snapshot {snapshot_id}: 1 PVs stored" in caplog.messages


async def test_a_snapshot_that_lost_the_database_is_tried_again_soon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.use(ENTRIES["J:A"])
    save, job_request = rig.store.save_snapshot, rig.store.job_request
    lost = [job_request, save]

    def lost_once(function: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if function in lost:
                lost.remove(function)
                # Its connection is the queue's as well.
                async with rig.store.transaction() as connection:
                    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pgqueuer%'"
                    with suppress(asyncpg.PostgresError, OSError):
                        await connection.execute(f"{query} AND pid <> pg_backend_pid()")
                raise DatabaseDownError("gone")
            return await function(*args, **kwargs)

        return call

    monkeypatch.setattr(rig.store, "save_snapshot", lost_once(save))
    monkeypatch.setattr(rig.store, "job_request", lost_once(job_request))
    began = time.monotonic()
    info = await rig.run(SnapshotRequest(title="again"))
    assert (info.status, info.attempt) == (JobStatus.COMPLETED, 3)
    assert time.monotonic() - began < 60


async def test_a_restore_whose_request_cannot_be_read_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.use(ENTRIES["J:A"])
    snapshot_id = await rig.snapshot()

    async def gone(job_id: int) -> Any:
        raise DatabaseDownError("gone")

    with monkeypatch.context() as lost:
        lost.setattr(rig.store, "job_request", gone)
        info = await rig.run(RestoreRequest(snapshot_id))
    assert (info.status, info.message) == (JobStatus.FAILED, "gone")
    assert (await rig.run(RestoreRequest(snapshot_id))).status is JobStatus.COMPLETED


@pytest.mark.parametrize("mode", [RestoreMode.CHANGED, RestoreMode.ALL, RestoreMode.DRY_RUN])
async def test_a_state_that_was_renamed_is_not_written(rig: Rig, mode: RestoreMode) -> None:
    await rig.use(ENTRIES["J:A"], ENTRIES["J:MODE"])
    snapshot_id = await rig.snapshot()
    await put("J:MODE", 0)
    await put("J:MODE.TWST", "Ramp down")  # no connection is lost by it
    result = (await rig.run(RestoreRequest(snapshot_id, mode))).result
    assert (result.bad_names, result.bad_reasons) == (("J:MODE",), ("state 2 was 'Run', it is 'Ramp down' now",))
    assert await values("J:MODE") == [0]
    await put("J:MODE.TWST", "Run")
    assert (await rig.run(RestoreRequest(snapshot_id, RestoreMode.ALL))).result.written == 2
