"""SNAP: commands, results, their order, and refusals, seen by a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import aioca
import pytest
from ioc_fakes import TAKEN, Control, FakeJobs, control, snapshot_result, until

from squirrel_ioc.errors import DatabaseDownError
from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus, SnapshotRequest, SnapshotResult


@pytest.fixture
async def c() -> AsyncIterator[Control]:
    async with control() as c:
        yield c


async def test_before_any_run(c: Control) -> None:
    assert await c.label("SNAP:STATUS") == "None"
    assert await c.get("SNAP:ID") == 0
    assert await c.get("SNAP:TIME") == ""
    assert await c.text("SNAP:MSG") == ""
    assert await c.get("SNAP:TRIGGER") == 0
    assert len(await c.get("SNAP:MISSING:NAMES")) == 0
    assert (await c.get("SNAP:MISSING", format=aioca.FORMAT_TIME)).severity == 0


async def test_everything_is_published_in_order_before_the_put_is_answered(c: Control) -> None:
    c.jobs.result = lambda request: snapshot_result(7, missing=("Q1:SP", "Q2:RB"))
    results = ("COUNT", "MISSING", "MISSING:NAMES", "MISSING:NAMES:LONG", "TIME", "EPOCH", "ID")
    await c.watch(*(f"SNAP:{name}" for name in (*results, "MSG", "MSG:S", "STATUS", "TRIGGER")), "JOB:STATUS")
    assert await c.put("SNAP:TRIGGER", 1)
    seen = list(c.updates)  # nothing may come after the answer
    await asyncio.sleep(0.1)
    assert c.updates == seen
    states = [(name, int(value)) for name, value in seen if name in ("SNAP:STATUS", "SNAP:TRIGGER", "JOB:STATUS")]
    assert states == [
        ("JOB:STATUS", JobStatus.PENDING),
        ("SNAP:STATUS", 1),
        ("SNAP:TRIGGER", 1),
        ("JOB:STATUS", JobStatus.IN_PROGRESS),
        ("SNAP:STATUS", 3),
        ("JOB:STATUS", JobStatus.COMPLETED),
        ("SNAP:TRIGGER", 0),
    ]
    order = [name for name, _ in seen]
    end = order.index("JOB:STATUS", order.index("SNAP:ID"))
    assert set(order[order.index("SNAP:TRIGGER") + 2 : end - 3]) == {f"SNAP:{name}" for name in results}
    assert order[end - 3 :] == ["SNAP:MSG", "SNAP:MSG:S", "SNAP:STATUS", "JOB:STATUS", "SNAP:TRIGGER"]


async def test_all_of_one_result_has_one_time_stamp(c: Control) -> None:
    assert await c.put("SNAP:TRIGGER", 1)
    names = (
        "TRIGGER",
        "ID",
        "TIME",
        "EPOCH",
        "STATUS",
        "MSG",
        "MSG:S",
        "COUNT",
        "MISSING",
        "MISSING:NAMES",
        "DURATION",
    )
    values = [await c.get(f"SNAP:{name}", format=aioca.FORMAT_TIME) for name in names]
    values.append(await c.get("JOB:STATUS", format=aioca.FORMAT_TIME))
    assert len({value.raw_stamp for value in values}) == 1


async def test_result_of_a_partial_snapshot(c: Control) -> None:
    missing = ("Q1:SP", "A" * 60, "ÄÖ:" + "x" * 40)
    c.jobs.result = lambda request: snapshot_result(7, missing=missing, count=97)
    assert await c.put("SNAP:TRIGGER", 1)
    status = await c.get("SNAP:STATUS", format=aioca.FORMAT_TIME)
    assert (int(status), status.severity) == (3, 1)
    count = await c.get("SNAP:MISSING", format=aioca.FORMAT_TIME)
    assert (int(count), count.severity, count.status) == (3, 1, 4)
    assert await c.get("SNAP:COUNT") == 97
    assert await c.get("SNAP:ID") == 7
    names = await c.get("SNAP:MISSING:NAMES")
    assert names[0] == "Q1:SP"
    assert names[1] == "A" * 39
    assert names[2].encode() == missing[2].encode()[:39]
    assert await c.text("SNAP:MISSING:NAMES:LONG") == "\n".join(missing)
    assert await c.get("SNAP:EPOCH") == TAKEN.timestamp()
    assert datetime.fromisoformat(await c.get("SNAP:TIME")) == TAKEN
    assert 0 < await c.get("SNAP:DURATION") < 5
    assert "97 PVs stored" in await c.text("SNAP:MSG")
    # ... and none of it is left when the next one is whole.
    c.jobs.result = lambda request: snapshot_result(8)
    assert await c.put("SNAP:TRIGGER", 1)
    assert await c.label("SNAP:STATUS") == "OK"
    assert (await c.get("SNAP:MISSING", format=aioca.FORMAT_TIME)).severity == 0
    assert len(await c.get("SNAP:MISSING:NAMES")) == 0
    assert await c.text("SNAP:MISSING:NAMES:LONG") == ""


async def test_parameters_go_into_the_request(c: Control) -> None:
    for name, value in {
        "TITLE": " Before the shift ",
        "COMMENT": "two\nlines",
        "LABELS": "golden, night ,,golden",
        "FILTER": "Q1:*",
    }.items():
        assert await c.put(f"SNAP:{name}", value)
    assert await c.put("SNAP:TRIGGER", "Snapshot")
    assert list(c.jobs.requests.values()) == [
        SnapshotRequest("Before the shift", "two\nlines", ("golden", "night"), "Q1:*")
    ]
    ((user, host),) = c.jobs.asked_by
    assert (await c.get("JOB:USER"), await c.get("JOB:HOST")) == (user, host[:39])
    assert user
    assert host


@pytest.mark.parametrize("name", ["SNAP:NOW", "SNAP:NOW:S"])
async def test_writing_a_title_takes_a_snapshot(c: Control, name: str) -> None:
    await c.watch("SNAP:NOW:S", "SNAP:TRIGGER", "SNAP:STATUS")
    assert await c.put(name, "Quick, please")
    assert [(n, str(v)) for n, v in c.updates] == [
        ("SNAP:NOW:S", "Quick, please"),
        ("SNAP:STATUS", "1"),
        ("SNAP:TRIGGER", "1"),
        ("SNAP:STATUS", "2"),
        ("SNAP:TRIGGER", "0"),
    ]
    assert c.jobs.requests[100] == SnapshotRequest("Quick, please")
    assert (await c.text("SNAP:NOW"), await c.text("SNAP:TITLE")) == ("Quick, please", "")


async def test_second_trigger_is_refused_and_the_first_goes_on(c: Control) -> None:
    c.jobs.hold = True
    first = asyncio.create_task(c.put("SNAP:TRIGGER", 1))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    c.jobs.change(100, done=40)
    await c.watch("SNAP:STATUS", "SNAP:TRIGGER", "SNAP:ID", "SNAP:TITLE:S", "SNAP:NOW:S")
    assert not await c.put("SNAP:TRIGGER", 1)
    message = await c.text("SNAP:MSG")
    assert "is running: 40 of 100" in message
    assert "@" in message
    assert not await c.put("SNAP:NOW", "me too")
    assert not await c.put("SNAP:TRIGGER", 0)
    assert "SNAP:TRIGGER runs" in await c.text("SNAP:MSG")
    assert await c.get("SNAP:TRIGGER") == 1
    assert c.updates == []
    assert len(c.jobs.requests) == 1
    assert not first.done()
    c.jobs.end(100)
    assert await first
    assert await c.label("SNAP:STATUS") == "OK"
    assert await c.put("SNAP:TRIGGER", 0)


async def test_two_triggers_at_once_give_one_snapshot(c: Control) -> None:
    c.jobs.hold = True
    c.jobs.submit_gate = asyncio.Event()
    puts = [asyncio.create_task(c.put("SNAP:TRIGGER", 1)) for _ in range(2)]
    done, _ = await asyncio.wait(puts, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [False]
    c.jobs.submit_gate.set()
    await until(lambda: c.jobs.requests)
    c.jobs.run(100)
    assert sorted([await put for put in puts]) == [False, True]
    assert len(c.jobs.requests) == 1


@pytest.mark.parametrize("error", [DatabaseDownError("the database does not answer")])
async def test_refused_by_the_service(c: Control, error: Exception) -> None:
    c.jobs.refuse = error
    await c.watch("SNAP:TRIGGER", "SNAP:STATUS", "SNAP:ID", "SNAP:TITLE:S", "SNAP:NOW:S")
    assert not await c.put("SNAP:TRIGGER", 1)
    assert not await c.put("SNAP:NOW", "a title")
    assert [(n, int(v), v.severity) for n, v in c.updates] == [("SNAP:STATUS", 5, 1)]
    assert await c.text("SNAP:MSG") == str(error)
    # It is latched until the next run.
    c.jobs.refuse = None
    assert await c.put("SNAP:TRIGGER", 1)
    assert await c.label("SNAP:STATUS") == "OK"


async def test_failed_and_aborted_jobs_answer_putfail(c: Control) -> None:
    c.jobs.hold = True
    for status, label, severity in ((JobStatus.FAILED, "Failed", 2), (JobStatus.ABORTED, "Aborted", 1)):
        put = asyncio.create_task(c.put("SNAP:TRIGGER", 1))
        await until(lambda: c.jobs.board.unfinished())
        (info,) = c.jobs.board.unfinished()
        c.jobs.begin(info.id)
        c.jobs.end(info.id, status, f"{label}: the disk is full")
        assert not await put
        shown = await c.get("SNAP:STATUS", format=aioca.FORMAT_TIME)
        assert shown.severity == severity
        assert await c.label("SNAP:STATUS") == label
        assert await c.text("SNAP:MSG") == f"{label}: the disk is full"
        assert await c.get("SNAP:TRIGGER") == 0
        assert await c.get("SNAP:ID") == 0


async def test_job_that_ends_before_submit_returns_is_in_order_all_the_same(c: Control) -> None:
    c.jobs.end_before_submit_returns = True
    await c.watch("SNAP:ID", "SNAP:STATUS", "SNAP:TRIGGER", "JOB:STATUS")
    assert await c.put("SNAP:TRIGGER", 1)
    assert [(n, int(v)) for n, v in c.updates if not (n == "JOB:STATUS" and int(v) < 3)] == [
        ("SNAP:STATUS", 1),
        ("SNAP:TRIGGER", 1),
        ("SNAP:ID", 1),
        ("SNAP:STATUS", 2),
        ("JOB:STATUS", 3),
        ("SNAP:TRIGGER", 0),
    ]


async def test_put_without_waiting_is_seen_by_the_next_get_of_the_client(c: Control) -> None:
    c.jobs.hold = True
    await aioca.connect([c.pv("SNAP:TRIGGER"), c.pv("SNAP:STATUS")])
    await c.put("SNAP:TRIGGER", 1, wait=False)
    assert int(await c.get("SNAP:TRIGGER")) == 1
    assert await c.label("SNAP:STATUS") == "Running"
    c.jobs.run(100)
    await until(lambda: not c.jobs.board.unfinished())
    assert await c.label("SNAP:STATUS") == "OK"


async def test_proc_is_writing_one(c: Control) -> None:
    assert await c.put("SNAP:TRIGGER.PROC", 1)
    assert await c.get("SNAP:ID") == 1
    c.jobs.refuse = DatabaseDownError("gone")
    assert not await c.put("SNAP:TRIGGER.PROC", 0)
    assert await c.label("SNAP:STATUS") == "Refused"


async def test_internal_error_is_told_and_does_not_stick(c: Control, caplog: pytest.LogCaptureFixture) -> None:
    c.jobs.refuse = RuntimeError("a bug")
    assert not await c.put("SNAP:TRIGGER", 1)
    assert "internal error" in await c.text("SNAP:MSG")
    assert "a bug" in await c.text("SNAP:MSG")
    assert any(record.exc_info for record in caplog.records)
    c.jobs.refuse = None
    assert await c.put("SNAP:TRIGGER", 1)


async def test_refusal_is_one_line_in_the_log(c: Control, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert not await c.put("SNAP:FILTER", "~(")
    lines = [record for record in caplog.records if "refused" in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].exc_info is None
    assert lines[0].levelname == "INFO"
    text = lines[0].getMessage()
    assert c.pv("SNAP:FILTER") in text
    assert "position" in text
    assert "@" in text


async def test_last_results_are_shown_after_a_restart() -> None:
    jobs = FakeJobs()
    finished = datetime(2024, 5, 17, 14, 0, 0, tzinfo=UTC)

    def ended(job_id: int, status: JobStatus, result: SnapshotResult | None, message: str) -> JobInfo:
        json: Any = result and {**asdict(result), "taken": result.taken.isoformat()}
        return JobInfo(job_id, JobKind.SNAPSHOT, status, message=message, finished=finished, result=json)

    jobs.board.load(
        [
            ended(1, JobStatus.COMPLETED, snapshot_result(41, ("Q1:SP",)), "snapshot 41"),
            ended(2, JobStatus.FAILED, None, "the disk is full"),
        ]
    )
    async with control(jobs=jobs) as c:
        shown = await c.get("SNAP:ID", format=aioca.FORMAT_TIME)
        assert (int(shown), shown.severity) == (0, 3)
        assert list(await c.get("SNAP:MISSING:NAMES")) == []
        assert await c.label("SNAP:STATUS") == "Failed"
        assert await c.text("SNAP:MSG") == "the disk is full"
        shown = await c.get("SNAP:STATUS", format=aioca.FORMAT_TIME)
        assert shown.timestamp == finished.timestamp()
        assert await c.label("JOB:STATUS") == "FAILED"


async def test_result_that_cannot_be_shown_ends_as_failed(c: Control, caplog: pytest.LogCaptureFixture) -> None:
    c.jobs.result = lambda request: {"taken": "never"}
    c.jobs.hold = True
    put = asyncio.create_task(c.put("SNAP:TRIGGER", 1))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    c.jobs.end(100, JobStatus.COMPLETED, "fine", {"taken": "never"})
    assert not await put
    assert await c.label("SNAP:STATUS") == "Failed"
    assert "cannot be shown" in await c.text("SNAP:MSG")
    assert await c.get("SNAP:TRIGGER") == 0


async def test_parameters_apply_once_unless_they_are_sticky(c: Control) -> None:
    for sticky in (0, 1):
        assert await c.put("SNAP:STICKY", sticky)
        assert await c.put("SNAP:FILTER", "Q1:*")
        assert await c.put("SNAP:LABELS", "night")
        assert await c.put("SNAP:NOW", "first")
        assert await c.put("SNAP:NOW", "second")
        filters = [(r.selection, r.labels) for r in list(c.jobs.requests.values())[-2:]]
        assert filters == [("Q1:*", ("night",)), ("Q1:*", ("night",)) if sticky else ("", ())]


async def test_all_of_a_snapshot_in_one_write(c: Control) -> None:
    assert await c.put("SNAP:FILTER", "Q2:*")
    assert await c.say("SNAP:DO", '"Before the shift" comment="two words" labels=a,b filter=Q1:*')
    assert c.jobs.requests[100] == SnapshotRequest("Before the shift", "two words", ("a", "b"), "Q1:*")
    assert not await c.say("SNAP:DO", "Before the shift")
    assert "one word too many" in await c.text("SNAP:MSG")


async def test_after_a_refusal_there_is_no_snapshot_that_a_script_could_take_for_its_own(c: Control) -> None:
    assert await c.put("SNAP:NOW", "good")
    assert await c.get("SNAP:ID") > 0
    assert not await c.say("SNAP:DO", "title filter=~(")
    shown = await c.get("SNAP:ID", format=aioca.FORMAT_TIME)
    assert (int(shown), shown.severity) == (0, 3)
    assert "SNAP:DO" in await c.text("SNAP:REFUSED")
