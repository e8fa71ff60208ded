"""What a restore does when somebody else writes meanwhile, when it is undone, and when it is not all that it may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from ioc_process import IocProcess
from jobs_rig import Rig, jobs_rig, put, until, values

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.jobs.restore.ledger import Touched
from squirrel_ioc.model.catalogue import Entry, Verify
from squirrel_ioc.model.job import (
    CompareRequest,
    JobInfo,
    JobStatus,
    Outcome,
    RestoreMode,
    RestoreRequest,
    RestoreResult,
    SnapshotRequest,
    Undo,
)
from squirrel_ioc.store import Store

DATABASE = (
    "".join(f'record(ao, "R:{n}") {{ field(VAL, "1") field(PINI, "YES") }}\n' for n in "ABCDEF")
    + """
record(ao, "R:MOTOR") { field(VAL, "0") field(PINI, "YES") field(FLNK, "R:DELAY") }
record(calcout, "R:DELAY") { field(INPA, "R:MOTOR") field(CALC, "A") field(ODLY, "0.5") field(OUT, "R:RBV PP") }
record(ao, "R:RBV") { }
record(calcout, "R:SLOW") { field(CALC, "A+1") field(ODLY, "5") field(OUT, "R:OTHER PP") }
record(calcout, "R:LATE") { field(CALC, "A") field(ODLY, "30") }
record(calcout, "R:STUCK") { field(CALC, "A") field(ODLY, "30") }
record(ao, "R:OTHER") { }
record(ao, "R:GUARDED") { field(ASG, "GUARDED") field(PINI, "YES") }
record(bo, "R:PERMIT") { field(VAL, "1") field(PINI, "YES") }
"""
)

ACCESS = """
ASG(DEFAULT) { RULE(1, READ) RULE(1, WRITE) }
ASG(GUARDED) { INPA("R:PERMIT") RULE(1, READ) RULE(1, WRITE) { CALC("A=1") } }
"""


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    with IocProcess(DATABASE, ACCESS) as process:
        yield process


@pytest.fixture
async def rig(ioc: IocProcess, store: Store, tmp_path: Path) -> AsyncIterator[Rig]:
    async with jobs_rig(store, tmp_path, readback_timeout_s=5.0, max_ramp_s=60.0) as made:
        yield made


async def at(rig: Rig, *entries: Entry, **wanted: float) -> int:
    """A snapshot of these PVs with these values, R:A=1 as A=1."""
    await rig.use(*entries)
    for name, value in wanted.items():
        await put(f"R:{name}", value)
    return await rig.snapshot()


async def restore(rig: Rig, snapshot_id: int, **kwargs: Any) -> RestoreResult:
    result: RestoreResult = (await rig.run(RestoreRequest(snapshot_id, **kwargs))).result
    return result


async def begin_ramp(rig: Rig, snapshot_id: int, name: str, until_value: float) -> int:
    """A restore under way, whose ramp has come to this value."""
    job_id = await rig.jobs.submit(RestoreRequest(snapshot_id), user="op", host="console")

    async def there() -> bool:
        return bool(await values(name) == [until_value])

    await until(there)
    return job_id


async def ended(rig: Rig, job_id: int) -> JobInfo:
    async with asyncio.timeout(30):
        return await rig.jobs.wait(job_id)


# Somebody else writes meanwhile


async def test_a_ramp_ends_where_somebody_moves_its_pv(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", max_step=1, step_period=0.5), A=5)
    await put("R:A", 1)
    job_id = await begin_ramp(rig, snapshot_id, "R:A", 2)
    await put("R:A", 80)
    info = await ended(rig, job_id)
    assert info.result.outcome is Outcome.FAILED
    (reason,) = info.result.bad_reasons
    assert reason == "ramp stopped at 2 on the way to 5: moved by somebody else: it has 80, the ramp had written 2"
    assert await values("R:A") == [80]


async def test_what_was_unchanged_and_moves_during_the_restore_is_a_mismatch(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", max_step=1, step_period=0.3), Entry("R:B"), A=4, B=7)
    await put("R:A", 1)
    job_id = await begin_ramp(rig, snapshot_id, "R:A", 2)
    await put("R:B", 8)
    result = (await ended(rig, job_id)).result
    assert (result.outcome, result.written, result.mismatch) == (Outcome.PARTIAL, 1, 1)
    assert result.bad_names == ("R:B",)
    assert result.bad_reasons == ("unchanged before the restore: 7, reads back 8",)


# Undo


async def test_undo_brings_back_what_was_written(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A"), Entry("R:B"), A=1, B=1)
    await put("R:A", 5)
    done = await restore(rig, snapshot_id)
    info = await rig.run(RestoreRequest(done.backup_id, undo=Undo.WRITTEN))
    assert (info.result.outcome, info.result.total, info.result.written) == (Outcome.OK, 1, 1)
    assert info.message.startswith(f"undo of the restore of snapshot {snapshot_id} by op@console at ")
    assert await values("R:A", "R:B") == [5, 1]


async def test_undo_after_an_abort_leaves_what_was_never_written(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", max_step=1, step_period=0.5), Entry("R:B", order=1), A=9, B=9)
    await put("R:A", 1)
    await put("R:B", 1)
    job_id = await begin_ramp(rig, snapshot_id, "R:A", 2)
    assert await rig.jobs.abort(job_id, "op")
    aborted = (await ended(rig, job_id)).result
    await put("R:B", 4)
    result = await restore(rig, aborted.backup_id, undo=Undo.WRITTEN)
    assert (result.outcome, result.total) == (Outcome.OK, 1)
    assert await values("R:A", "R:B") == [1, 4]


async def test_undo_leaves_and_names_what_somebody_has_moved_since(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A"), Entry("R:B"), A=1, B=1)
    await put("R:A", 5)
    await put("R:B", 6)
    done = await restore(rig, snapshot_id)
    await put("R:B", 7)
    result = await restore(rig, done.backup_id, undo=Undo.WRITTEN)
    assert (result.outcome, result.written, result.skipped) == (Outcome.PARTIAL, 1, 1)
    assert result.skipped_names == ("R:B",)
    assert result.skipped_reasons == ("moved since: it has 7, the restore wrote 1",)
    assert await values("R:A", "R:B") == [5, 7]
    everything = await restore(rig, done.backup_id, undo=Undo.ALL)
    assert (everything.outcome, everything.written) == (Outcome.OK, 1)
    assert await values("R:A", "R:B") == [5, 6]


async def test_undo_of_a_killed_restore_takes_every_pv_for_written(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A"), Entry("R:B"), A=1, B=1)
    await put("R:A", 5)
    await put("R:B", 6)
    done = await restore(rig, snapshot_id)
    assert await rig.store.backups.touched(done.backup_id) == bytes([Touched.YES, Touched.YES])
    async with rig.store.transaction() as connection:
        await connection.execute("DELETE FROM restore_touched")
    await put("R:B", 7)
    result = await restore(rig, done.backup_id, undo=Undo.WRITTEN)
    assert (result.outcome, result.written) == (Outcome.OK, 2)
    assert await values("R:A", "R:B") == [5, 6]


async def test_undo_of_what_wrote_nothing_or_is_no_backup_is_refused(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A"), A=1)
    info = await rig.run(RestoreRequest(snapshot_id, undo=Undo.WRITTEN))
    assert info.status is JobStatus.FAILED
    assert info.message == f"snapshot {snapshot_id} is no backup of a restore: there is nothing to undo"


async def test_the_backup_that_undo_needs_cannot_be_deleted(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A"), A=1)
    await put("R:A", 2)
    first = await restore(rig, snapshot_id)
    await put("R:A", 3)
    second = await restore(rig, snapshot_id)
    with pytest.raises(RefusedError, match="is the backup of the last restore: UNDO needs it"):
        await rig.store.delete_snapshot(second.backup_id)
    assert await rig.store.backups.last() == second.backup_id
    await rig.store.delete_snapshot(first.backup_id)
    flags = {s.id: s.flags for s in (await rig.store.snapshots())[0]}
    assert flags == {snapshot_id: "", second.backup_id: "AU"}


# Not all that it may be


async def test_nothing_that_could_be_written_is_a_failure(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A"), A=1)
    await rig.use(Entry("R:A", read_only=True))
    result = await restore(rig, snapshot_id)
    assert (result.outcome, result.skipped) == (Outcome.FAILED, 1)
    assert result.skipped_reasons == ("read-only in the catalogue",)


async def test_a_pv_locked_at_run_time_fails_unless_it_has_its_value(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:GUARDED"), GUARDED=5)
    channels = rig.catalogue.channels
    await put("R:GUARDED", 6)
    for value, outcome in ((6, Outcome.FAILED), (5, Outcome.OK)):
        await put("R:GUARDED", value)
        await put("R:PERMIT", 0)
        await until(lambda: not rig.machine.live(channels).writable.any())
        result = await restore(rig, snapshot_id)
        await put("R:PERMIT", 1)
        await until(lambda: bool(rig.machine.live(channels).writable.all()))
        assert result.outcome is outcome
        assert result.bad_reasons == (("no write access",) if outcome is Outcome.FAILED else ())


async def test_pvs_without_a_saved_value_make_it_partial_and_are_named(rig: Rig) -> None:
    await rig.use(Entry("R:A"), Entry("J:ABSENT"), Entry("R:B", read_only=True))
    snapshot_id = await rig.snapshot()
    result = await restore(rig, snapshot_id)
    assert (result.outcome, result.unchanged, result.skipped) == (Outcome.PARTIAL, 1, 2)
    assert result.skipped_names == ("J:ABSENT", "R:B")
    assert result.skipped_reasons == ("no value saved: disconnected", "read-only in the catalogue")
    assert "2 skipped (J:ABSENT: no value saved: disconnected)" in result.summary()


async def test_a_ramp_that_would_take_too_long_is_not_begun(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", max_step=0.001, step_period=1), Entry("R:B"), A=1, B=1)
    await put("R:A", 5)
    await put("R:B", 5)
    result = await restore(rig, snapshot_id)
    assert (result.outcome, result.written, result.failed) == (Outcome.PARTIAL, 1, 1)
    assert result.bad_reasons == ("its ramp would take 3999 s, more than restore.max_ramp_s 60",)
    assert await values("R:A") == [5]


async def test_a_dry_run_says_how_long_the_ramps_will_take(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", max_step=1, step_period=5), Entry("R:B"), A=1, B=1)
    await put("R:A", 5)
    result = await restore(rig, snapshot_id, mode=RestoreMode.DRY_RUN)
    assert result.ramp_s == 15
    assert result.summary().endswith("ramps would take 15 s")
    assert await values("R:A") == [5]


# How writes complete, and what verifies them


async def test_a_slow_completion_delays_nothing_when_nobody_waits_for_it(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:SLOW.A", completion=0.0, order=-1), Entry("R:A"), A=1)
    await put("R:A", 2)
    result = await restore(rig, snapshot_id, mode=RestoreMode.ALL)
    assert (result.outcome, result.written) == (Outcome.OK, 2)
    assert await values("R:OTHER") == [0]  # its record is still at work


async def test_a_write_that_does_not_complete_in_its_time_fails_and_is_named_meanwhile(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:LATE.A", completion=2.0), Entry("R:A"), A=1)
    told: list[str] = []
    rig.jobs.listen(lambda info: told.append(info.message))
    result = await restore(rig, snapshot_id, mode=RestoreMode.ALL)
    assert dict(zip(result.bad_names, result.bad_reasons, strict=True)) == {
        "R:LATE.A": "no completion in time; it may still take effect"
    }
    assert any(message.endswith("waiting for R:LATE.A to complete") for message in told)


async def test_an_earlier_write_that_has_not_completed_costs_a_second(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:STUCK.A", completion=1.5), A=1)
    assert (await restore(rig, snapshot_id, mode=RestoreMode.ALL)).failed == 1
    result = await restore(rig, snapshot_id, mode=RestoreMode.ALL)
    assert result.bad_reasons == ("not written: an earlier write has not completed",)


async def test_a_readback_that_follows_late_is_waited_for(rig: Rig) -> None:
    entry = Entry("R:MOTOR", "R:RBV", verify=Verify.READBACK)
    snapshot_id = await at(rig, entry, MOTOR=3)
    await put("R:MOTOR", 8)
    result = await restore(rig, snapshot_id)
    assert result.outcome is Outcome.OK
    assert await values("R:RBV") == [3]


async def test_a_readback_that_does_not_follow_is_a_mismatch(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", "R:F", verify=Verify.READBACK), A=1, F=1)
    await put("R:A", 2)
    await put("R:F", 4)
    result = await restore(rig, snapshot_id)
    assert (result.outcome, result.mismatch) == (Outcome.FAILED, 1)
    assert result.bad_reasons == ("wrote 1, its readback R:F reads back 4",)


async def test_what_is_not_verified_is_not_read(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", verify=Verify.NO), Entry("R:B"), A=1, B=1)
    await put("R:A", 2)
    await put("R:B", 2)
    result = await restore(rig, snapshot_id)
    assert (result.outcome, result.written) == (Outcome.OK, 2)


# Jobs that do not wait for a ramp


async def test_a_snapshot_and_a_comparison_do_not_wait_for_a_ramp_and_say_so(rig: Rig) -> None:
    snapshot_id = await at(rig, Entry("R:A", max_step=1, step_period=20), Entry("R:B"), A=4, B=1)
    await put("R:A", 1)
    job_id = await begin_ramp(rig, snapshot_id, "R:A", 2)
    during = f"during the restore of snapshot {snapshot_id} (job {job_id})"
    compared = await rig.run(CompareRequest(snapshot_id, 0))
    assert compared.message.endswith(f"read {during}")
    taken = await rig.run(SnapshotRequest(comment="Shift start"))
    assert taken.message.endswith(f"taken {during}")
    stored = await rig.store.snapshot(taken.result.snapshot_id)
    assert stored is not None
    assert stored.comment == f"Shift start\nTaken {during}."
    assert rig.jobs.current is not None
    assert rig.jobs.current.id == job_id
    await rig.jobs.abort(job_id, "op")
    await ended(rig, job_id)
    assert "during" not in (await rig.run(SnapshotRequest())).message
