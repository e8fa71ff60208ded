"""RESTORE: parameters, refusals, abort, undo, results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aioca
import pytest
from ioc_fakes import Control, FakeJobs, FakeStore, control, restore_result, until

from squirrel_ioc.ioc.groups.restore import ENABLE_SETTING
from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus, Outcome, RestoreMode, RestoreRequest, Undo


@pytest.fixture
async def c() -> AsyncIterator[Control]:
    async with control() as c:
        yield c


async def test_writing_an_id_restores_and_trigger_does_it_again(c: Control) -> None:
    await c.watch("RESTORE:ID", "RESTORE:STATUS", "RESTORE:TRIGGER")
    assert await c.put("RESTORE:ID", 12)
    assert [(n, int(v)) for n, v in c.updates] == [
        ("RESTORE:ID", 12),
        ("RESTORE:STATUS", 1),
        ("RESTORE:TRIGGER", 1),
        ("RESTORE:STATUS", 2),
        ("RESTORE:TRIGGER", 0),
    ]
    assert await c.put("RESTORE:TRIGGER", 1)
    assert list(c.jobs.requests.values()) == [RestoreRequest(12), RestoreRequest(12)]


async def test_parameters_go_into_the_request(c: Control) -> None:
    assert await c.put("RESTORE:MODE", "Dry run")
    assert await c.put("RESTORE:FILTER", "Q1:* @Magnet")
    assert await c.put("RESTORE:VERIFY", 0)
    assert await c.put("RESTORE:ID", 12)
    assert c.jobs.requests[100] == RestoreRequest(12, RestoreMode.DRY_RUN, "Q1:* @Magnet", verify=False)


async def test_parameters_apply_once_unless_they_are_sticky(c: Control) -> None:
    for sticky, mode in ((0, RestoreMode.CHANGED), (1, RestoreMode.ALL)):
        assert await c.put("RESTORE:STICKY", sticky)
        assert await c.put("RESTORE:MODE", "All")
        assert await c.put("RESTORE:FILTER", "Q1:*")
        assert await c.put("RESTORE:ID", 12)
        assert list(c.jobs.requests.values())[-1] == RestoreRequest(12, RestoreMode.ALL, "Q1:*")
        assert await c.get("RESTORE:MODE") == mode
        assert await c.put("RESTORE:TRIGGER", 1)
        assert list(c.jobs.requests.values())[-1] == RestoreRequest(12, mode, "Q1:*" if sticky else "")


async def test_refused_restores_leave_the_parameters(c: Control) -> None:
    assert await c.put("RESTORE:FILTER", "Q1:*")
    assert not await c.put("RESTORE:ID", 17)
    assert await c.text("RESTORE:FILTER") == "Q1:*"


async def test_all_of_a_restore_in_one_write(c: Control) -> None:
    assert await c.put("RESTORE:FILTER", "Q2:*")
    assert await c.say(
        "RESTORE:DO", '12 filter="Q1:* @Magnet" mode=all verify=no invalid=write comment="after the trip"'
    )
    assert c.jobs.requests[100] == RestoreRequest(
        12, RestoreMode.ALL, "Q1:* @Magnet", verify=False, comment="after the trip", invalid=True
    )
    assert await c.get("RESTORE:ID") == 12
    assert await c.text("RESTORE:FILTER") == "Q2:*", "nobody's parameters have a say, or are used up"
    assert await c.say("RESTORE:DO", "12 dry=yes")
    assert c.jobs.requests[101] == RestoreRequest(12, RestoreMode.DRY_RUN)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12 fitler=X", "fitler is no option"),
        ("12 dry_run=yes", "dry_run is no option"),
        ("12 filter=", "filter: it has no value"),
        ('12 filter=" "', "filter: it has no value"),
        ("title=", "title: it has no value"),
        ('12 mode="dry run" dry=no', "dry=no contradicts"),
        ("title=none", "there is no snapshot with title=none"),
        ("filter=X", "say which snapshot"),
        ("12 title=X", "say which snapshot"),
        ("reference", "there is no reference snapshot"),
        ("label=none", "there is no snapshot with label=none"),
    ],
)
async def test_what_is_wrong_in_one_write_starts_nothing(c: Control, text: str, reason: str) -> None:
    assert not await c.say("RESTORE:DO", text)
    assert reason in await c.text("RESTORE:MSG")
    assert await c.label("RESTORE:STATUS") == "Refused"
    assert not c.jobs.requests


async def test_a_full_string_may_have_been_cut_and_is_refused(c: Control) -> None:
    text = '12 filter="Q1:*" comment="cut here" dry=yes'[:39]
    for name in ("RESTORE:DO", "RESTORE:DO:S", "RESTORE:FILTER"):
        assert not await c.put(name, text)
        assert "may have been cut" in await c.text("RESTORE:MSG")
    assert not c.jobs.requests


async def test_a_refusal_stays_readable_while_another_restore_runs(c: Control) -> None:
    c.jobs.hold = True
    first = asyncio.create_task(c.put("RESTORE:ID", 12))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    assert not await c.put("RESTORE:ID", 1)
    c.jobs.end(100)
    assert await first
    assert "is running" not in await c.text("RESTORE:MSG")
    user, host = c.jobs.asked_by[0]
    assert f"{user}@{host}, RESTORE:ID: restore of snapshot 12" in await c.text("RESTORE:REFUSED")


async def test_what_was_restored_last_is_told_to_all_also_of_an_undo() -> None:
    async with control(views=("OP1",)) as c:
        assert await c.put("OP1:RESTORE:ID", 12)
        assert [await c.get(f"{v}RESTORE:LAST:ID") for v in ("", "OP1:")] == [12, 12]
        assert [await c.get(f"{v}RESTORE:UNDO:ID") for v in ("", "OP1:")] == [900, 900]
        assert [await c.label(f"{v}RESTORE:STATUS") for v in ("", "OP1:")] == ["None", "OK"]
        assert await c.put("RESTORE:UNDO", 1)
        assert [await c.get(f"{v}RESTORE:LAST:ID") for v in ("", "OP1:")] == [900, 900]


async def test_views_have_parameters_of_their_own_and_one_switch() -> None:
    async with control(views=("OP1",)) as c:
        assert await c.put("OP1:RESTORE:FILTER", "Q1:*")
        assert await c.put("RESTORE:ID", 12)
        assert await c.put("OP1:RESTORE:ID", 12)
        assert list(c.jobs.requests.values()) == [RestoreRequest(12), RestoreRequest(12, selection="Q1:*")]
        assert await c.put("OP1:RESTORE:ENABLE", 0)
        assert await c.get("RESTORE:ENABLE") == 0
        assert not await c.put("RESTORE:ID", 12)
        assert c.store.settings == {ENABLE_SETTING: False}


async def test_result_of_a_partial_restore(c: Control) -> None:
    names = ("Q1:SP", "Q2:SP", "N" * 50)
    reasons = ("write refused by the IOC", "wrote 1.0, reads back 0.5 which is more than is allowed", "disconnected")
    c.jobs.result = lambda request: restore_result(
        12, outcome=Outcome.PARTIAL, failed=2, mismatch=1, skipped=3, bad_names=names, bad_reasons=reasons
    )
    assert await c.put("RESTORE:ID", 12)
    expected = {"TOTAL": 10, "WRITTEN": 6, "UNCHANGED": 4, "SKIPPED": 3, "FAILED": 2, "MISMATCH": 1, "BACKUP:ID": 900}
    for name, value in expected.items():
        assert await c.get(f"RESTORE:{name}") == value, name
    for name, severity in (("FAILED", 1), ("MISMATCH", 1), ("SKIPPED", 0), ("STATUS", 1)):
        assert (await c.get(f"RESTORE:{name}", format=aioca.FORMAT_TIME)).severity == severity, name
    assert await c.label("RESTORE:STATUS") == "Partial"
    assert len(await c.get("RESTORE:BAD:NAMES")) == len(await c.get("RESTORE:BAD:REASONS")) == 3
    assert await c.text("RESTORE:BAD:NAMES:LONG") == "\n".join(names)
    assert await c.text("RESTORE:BAD:REASONS:LONG") == "\n".join(reasons)
    assert "Q1:SP: write refused" in await c.text("RESTORE:MSG")


async def test_unknown_id_is_refused_and_leaves_everything(c: Control) -> None:
    assert await c.put("RESTORE:ID", 12)
    await c.watch("RESTORE:ID", "RESTORE:TRIGGER", "RESTORE:TOTAL", "JOB:ID")
    assert not await c.put("RESTORE:ID", 17)
    assert await c.text("RESTORE:MSG") == "snapshot 17 does not exist"
    assert await c.label("RESTORE:STATUS") == "Refused"
    assert await c.get("RESTORE:ID") == 12
    assert c.updates == []


async def test_while_a_restore_runs_all_ways_to_start_one_are_refused(c: Control) -> None:
    c.jobs.hold = True
    first = asyncio.create_task(c.put("RESTORE:ID", 12))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    c.jobs.change(100, done=4)
    await c.watch("RESTORE:STATUS", "RESTORE:ID", "RESTORE:TRIGGER", "RESTORE:UNDO")
    user, host = c.jobs.asked_by[0]
    for name, value in (("ID", 1), ("TRIGGER", 1), ("ID", 12)):
        assert not await c.put(f"RESTORE:{name}", value)
        message = await c.text("RESTORE:MSG")
        assert message == f"restore of snapshot 12 ({user}@{host}) is running: 4 of 100 done"
    assert not await c.put("RESTORE:UNDO", 1)
    assert c.updates == []
    # A snapshot may be asked for: it waits for its turn.
    snapshot = asyncio.create_task(c.put("SNAP:TRIGGER", 1))
    await until(lambda: len(c.jobs.requests) == 2)
    assert await c.label("SNAP:STATUS") == "Running"
    assert await c.get("JOB:ID") == 100
    c.jobs.end(100)
    c.jobs.run(101)
    assert await first
    assert await snapshot


async def test_enable(c: Control) -> None:
    assert await c.put("RESTORE:ENABLE", 0)
    assert c.store.settings == {ENABLE_SETTING: False}
    for name, value in (("ID", 12), ("TRIGGER", 1), ("UNDO", 1)):
        assert not await c.put(f"RESTORE:{name}", value)
        assert await c.text("RESTORE:MSG") == "restores are disabled: RESTORE:ENABLE is 0"
    assert not c.jobs.requests
    assert await c.get("RESTORE:ID") == 0
    assert await c.put("RESTORE:ENABLE", "Enabled")
    assert await c.put("RESTORE:ID", 12)


async def test_enable_survives_a_restart() -> None:
    store = FakeStore()
    async with control(store=store) as c:
        assert await c.get("RESTORE:ENABLE") == 1
        assert await c.put("RESTORE:ENABLE", "Disabled")
    async with control(store=store) as c:
        assert await c.get("RESTORE:ENABLE") == 0


async def test_enable_has_effect_without_a_database_and_is_kept_when_it_is_back(c: Control) -> None:
    c.store.turn(connected=False)
    assert await c.put("RESTORE:ENABLE", 0)
    assert await c.get("RESTORE:ENABLE") == 0
    assert "not kept for a restart yet" in await c.text("RESTORE:MSG")
    assert not await c.put("RESTORE:ID", 12)
    c.store.turn(connected=True)
    await until(lambda: c.store.settings == {ENABLE_SETTING: False})


async def test_put_of_enable_without_waiting_counts_for_the_next_put_of_the_client(c: Control) -> None:
    await aioca.connect([c.pv("RESTORE:ENABLE"), c.pv("RESTORE:ID")])
    await c.put("RESTORE:ENABLE", 0, wait=False)
    assert not await c.put("RESTORE:ID", 12)
    assert not c.jobs.requests


async def test_undo(c: Control) -> None:
    assert not await c.put("RESTORE:UNDO", 1)
    assert await c.text("RESTORE:MSG") == "there is nothing to undo: RESTORE:UNDO:ID is 0"
    assert await c.put("RESTORE:MODE", "All")
    assert await c.put("RESTORE:FILTER", "Q1:*")
    assert await c.put("RESTORE:ID", 12)
    assert await c.get("RESTORE:BACKUP:ID") == await c.get("RESTORE:UNDO:ID") == 900
    c.jobs.snapshots.add(901)
    c.jobs.result = lambda request: restore_result(request.snapshot_id, backup_id=901)
    await c.watch("RESTORE:UNDO", "RESTORE:TRIGGER", "RESTORE:ID", "RESTORE:UNDO:ID", "RESTORE:STATUS")
    assert await c.put("RESTORE:UNDO", 1)
    # All that was written, whatever filter and mode are; and the undo can be undone.
    assert c.jobs.requests[101] == RestoreRequest(900, undo=Undo.WRITTEN)
    assert [(n, int(v)) for n, v in c.updates] == [
        ("RESTORE:STATUS", 1),
        ("RESTORE:UNDO", 1),
        ("RESTORE:UNDO:ID", 901),
        ("RESTORE:STATUS", 2),
        ("RESTORE:UNDO", 0),
    ]


async def test_undo_all_takes_back_what_was_moved_since_too(c: Control) -> None:
    assert await c.put("RESTORE:ID", 12)
    assert await c.put("RESTORE:UNDO:ALL", 1)
    assert c.jobs.requests[101] == RestoreRequest(900, undo=Undo.ALL)


async def test_undo_of_takes_back_what_the_client_has_seen_and_nothing_else(c: Control) -> None:
    assert await c.put("RESTORE:ID", 12)
    assert not await c.put("RESTORE:UNDO:OF", 899)
    assert await c.text("RESTORE:MSG") == "899 is not what UNDO restores: RESTORE:UNDO:ID is 900"
    assert await c.put("RESTORE:UNDO:OF", 900)
    assert c.jobs.requests[101] == RestoreRequest(900, undo=Undo.WRITTEN)


async def test_what_writes_nothing_leaves_the_way_back_alone(c: Control) -> None:
    assert await c.put("RESTORE:ID", 12)
    # Neither a dry run nor a restore that had nothing to write, as the second of two by a nervous finger.
    for result in (restore_result(1, mode=RestoreMode.DRY_RUN, backup_id=0), restore_result(1, backup_id=0)):
        c.jobs.result = lambda request, result=result: result
        assert await c.put("RESTORE:ID", 1)
        assert await c.get("RESTORE:BACKUP:ID") == 0
        assert await c.get("RESTORE:UNDO:ID") == 900
    assert await c.put("RESTORE:UNDO", 1)
    undo = list(c.jobs.requests.values())[-1]
    assert isinstance(undo, RestoreRequest)
    assert undo.snapshot_id == 900


async def test_what_was_skipped_has_names_and_reasons(c: Control) -> None:
    names, reasons = ("Q1:SP", "N" * 50), ("no value saved: disconnected", "read-only in the catalogue")
    c.jobs.result = lambda request: restore_result(12, skipped=2, skipped_names=names, skipped_reasons=reasons)
    assert await c.put("RESTORE:ID", 12)
    assert await c.text("RESTORE:SKIPPED:NAMES:LONG") == "\n".join(names)
    assert await c.text("RESTORE:SKIPPED:REASONS:LONG") == "\n".join(reasons)
    assert len(await c.get("RESTORE:SKIPPED:NAMES")) == len(await c.get("RESTORE:SKIPPED:REASONS")) == 2


async def test_a_restore_that_fails_at_once_shows_no_counts_of_another(c: Control) -> None:
    assert await c.put("RESTORE:ID", 12)
    assert await c.get("RESTORE:TOTAL") > 0
    c.jobs.hold = True
    second = asyncio.create_task(c.put("RESTORE:TRIGGER", 1))
    await until(lambda: len(c.jobs.requests) == 2)
    job_id = list(c.jobs.requests)[-1]
    c.jobs.begin(job_id)
    c.jobs.end(job_id, JobStatus.FAILED, "selection 'X' matches no setpoint of snapshot 12")
    assert not await second
    for counter in ("TOTAL", "WRITTEN", "UNCHANGED", "SKIPPED", "FAILED", "MISMATCH"):
        assert await c.get(f"RESTORE:{counter}") == 0
    assert await c.get("RESTORE:BACKUP:ID") == 0
    assert await c.get("RESTORE:UNDO:ID") == 900


async def test_the_counters_follow_the_restore_that_runs_and_msg_says_how_long_its_ramps_take(c: Control) -> None:
    assert await c.put("RESTORE:ID", 12)
    c.jobs.hold = True
    second = asyncio.create_task(c.put("RESTORE:ID", 1))
    await until(lambda: len(c.jobs.requests) == 2)
    job_id = list(c.jobs.requests)[-1]
    c.jobs.begin(job_id)
    so_far = restore_result(1, total=8, written=0, unchanged=2, skipped=1, backup_id=0, ramp_s=90.0)
    c.jobs.change(job_id, result=so_far)
    assert (await c.text("RESTORE:MSG")).endswith("; its ramps take 90 s")
    assert [await c.get(f"RESTORE:{name}") for name in ("TOTAL", "WRITTEN", "UNCHANGED", "SKIPPED")] == [8, 0, 2, 1]
    assert await c.label("RESTORE:STATUS") == "Running"
    c.jobs.end(job_id)
    assert await second
    assert await c.get("RESTORE:TOTAL") == 10


async def test_abort_is_answered_when_the_job_has_ended(c: Control) -> None:
    assert not await c.put("RESTORE:ABORT", 1)
    assert await c.text("RESTORE:MSG") == "no restore is running"
    assert await c.label("RESTORE:STATUS") == "None"
    c.jobs.hold = True
    restore = asyncio.create_task(c.put("RESTORE:ID", 12))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    await c.watch("RESTORE:ABORT", "RESTORE:STATUS", "RESTORE:TRIGGER", "JOB:STATUS")
    assert await c.put("RESTORE:ABORT", 1)
    assert [(n, int(v)) for n, v in c.updates] == [
        ("RESTORE:ABORT", 1),
        ("RESTORE:STATUS", 6),
        ("JOB:STATUS", 6),
        ("RESTORE:TRIGGER", 0),
        ("RESTORE:ABORT", 0),
    ]
    assert not await restore
    user, host = c.jobs.asked_by[0]
    assert await c.text("RESTORE:MSG") == f"aborted by {user}@{host}"
    assert (await c.get("RESTORE:STATUS", format=aioca.FORMAT_TIME)).severity == 1


async def test_disabling_restores_ends_one_that_waits(c: Control) -> None:
    c.jobs.hold = True
    restore = asyncio.create_task(c.put("RESTORE:ID", 12))
    await until(lambda: c.jobs.requests)
    assert await c.put("RESTORE:ENABLE", 0)
    assert not await asyncio.wait_for(restore, 5)
    user, host = c.jobs.asked_by[0]
    assert await c.text("RESTORE:MSG") == f"aborted by RESTORE:ENABLE 0 of {user}@{host}"
    assert await c.label("RESTORE:STATUS") == "Aborted"


async def test_disabling_restores_stops_one_that_runs(c: Control) -> None:
    c.jobs.hold = True
    restore = asyncio.create_task(c.put("RESTORE:ID", 12))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    assert await c.put("RESTORE:ENABLE", 0)
    assert not await asyncio.wait_for(restore, 20)
    assert await c.label("RESTORE:STATUS") == "Aborted"


async def test_aborted_restore_shows_what_it_has_written(c: Control) -> None:
    c.jobs.hold = True
    restore = asyncio.create_task(c.put("RESTORE:ID", 12))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    c.jobs.end(100, JobStatus.ABORTED, "aborted", restore_result(12, outcome=Outcome.ABORTED, written=3, skipped=3))
    assert not await restore
    assert await c.get("RESTORE:WRITTEN") == 3
    assert await c.get("RESTORE:BACKUP:ID") == 900
    c.jobs.hold = False
    assert await c.put("RESTORE:UNDO", 1)


async def test_bad_filter_is_refused_with_its_position(c: Control) -> None:
    assert await c.put("RESTORE:FILTER", "Q1:*")
    await c.watch("RESTORE:FILTER", "RESTORE:FILTER:S", "RESTORE:STATUS")
    for name in ("RESTORE:FILTER", "RESTORE:FILTER:S"):
        assert not await c.put(name, "Q1:* ~(")
        message = await c.text("RESTORE:MSG")
        assert "RESTORE:FILTER" in message
        assert "position 5" in message or "position 6" in message
    assert await c.text("RESTORE:FILTER") == "Q1:*"
    assert c.updates == []


async def test_backup_of_a_restore_that_was_interrupted_is_there_after_the_restart() -> None:
    def ended(job_id: int, status: JobStatus, result: Any, message: str) -> JobInfo:
        return JobInfo(job_id, JobKind.RESTORE, status, message=message, result=result)

    jobs = FakeJobs()
    partial = restore_result(12, outcome=Outcome.FAILED, written=2, backup_id=33).to_json()
    dry = restore_result(1, mode=RestoreMode.DRY_RUN, backup_id=0).to_json()
    jobs.board.load(
        [
            ended(5, JobStatus.FAILED, partial, "interrupted after 2 of 10 writes"),
            ended(6, JobStatus.COMPLETED, dry, "dry"),
        ]
    )
    store = FakeStore()
    store.backup = 33
    async with control(jobs=jobs, store=store) as c:
        assert await c.get("RESTORE:UNDO:ID") == 33
        assert await c.label("RESTORE:STATUS") == "OK"
        assert await c.text("RESTORE:MSG") == "dry"
