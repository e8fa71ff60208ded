"""DIFF: comparing, rows, pages, selection, and restoring a selection; seen by a client that is not caproto."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import aioca
import pytest
from ioc_fakes import Control, FakeJobs, FakeStore, control, restore_result, until

from squirrel_ioc.errors import DatabaseDownError, RefusedError
from squirrel_ioc.model.compare import compare
from squirrel_ioc.model.difftable import LIVE, REFERENCE, Show, tabulate
from squirrel_ioc.model.display import STRING_LIMIT
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.job import (
    CompareRequest,
    CompareResult,
    JobInfo,
    JobKind,
    JobStatus,
    Outcome,
    Request,
    RestoreMode,
    RestoreRequest,
)
from squirrel_ioc.model.values import Dbf, Meta, State

AMPERE = Meta(Dbf.DOUBLE, 1, units="A", precision=3)
SWITCH = Meta(Dbf.ENUM, 1, labels=("Off", "On"))
LONG_NAME = "L" * 60

ARRAYS = ("NAMES", "A:VAL", "B:VAL", "DELTA", "A:STR", "B:STR", "SEVR", "ROLE")
COUNTS = ("COMPARED", "MISSING", "COUNT")
REFERENCE_ID = 900


def frame(values: Mapping[str, Any], readbacks: int = 1) -> Frame:
    """Setpoints, then readbacks. Whole numbers are switches."""
    builder = FrameBuilder()
    for name, value in values.items():
        if isinstance(value, State):
            builder.add_missing(name, value, AMPERE)
        else:
            builder.add(name, value, SWITCH if isinstance(value, int) else AMPERE, severity=1 if name == "Q1" else 0)
    return builder.build(ChannelList.of(values, len(values) - readbacks))


class Machine:
    """What the stand-in compares: change `b` to change what is found."""

    def __init__(self) -> None:
        self.a: dict[str, Any] = {"Q1": 1.0, "Q2": 2.0, "SW": 0, LONG_NAME: 4.0, "OLD": 5.0, "RB": 6.0}
        self.b: dict[str, Any] = {"Q1": 1.5, "Q2": 2.0, "SW": 1, LONG_NAME: math.nan, "RB": 6.5}
        self.unread = 0

    def many(self, count: int) -> None:
        """That many setpoints that differ, and a readback that does."""
        self.a = {f"M{i:03d}": float(i) for i in range(count)} | {"RB": 0.0}
        self.b = {name: value + 1.0 for name, value in self.a.items()}

    def answer(self, request: Request) -> Any:
        if isinstance(request, RestoreRequest):
            return restore_result(request.snapshot_id)
        assert isinstance(request, CompareRequest)
        found = compare(frame(self.a), frame(self.b), request.atol, request.rtol)
        ids = [REFERENCE_ID if side == REFERENCE else side for side in (request.a, request.b)]
        return CompareResult(
            request.a, request.b, ids[0], ids[1], found, tabulate(found, request.show, STRING_LIMIT), self.unread
        )


class Store(FakeStore):
    """... with a reference."""

    reference_id: int | None = REFERENCE_ID

    async def reference(self) -> Any:
        self._check()
        return (
            None
            if self.reference_id is None
            else SimpleNamespace(id=self.reference_id, title="Reference", taken=datetime.now(UTC))
        )


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def jobs(machine: Machine) -> FakeJobs:
    made = FakeJobs()
    made.snapshots |= {7}
    made.result = machine.answer
    return made


@pytest.fixture
async def c(jobs: FakeJobs) -> AsyncIterator[Control]:
    async with control(jobs=jobs, store=Store(), views=("OP1", "OP2")) as c:
        yield c


def rows(*values: Any) -> list[Any]:
    return [v.tolist() if hasattr(v, "tolist") else v for v in values]


async def compared(c: Control, a: int = 7, b: int = 0, view: str = "") -> None:
    assert await c.put(f"{view}DIFF:A", a)
    assert await c.put(f"{view}DIFF:B", b)


async def test_before_any_comparison(c: Control) -> None:
    assert await c.label("DIFF:STATUS") == "None"
    assert [await c.get(f"DIFF:{name}") for name in ("A", "B", *COUNTS, "SELECTED")] == [0] * 6
    assert [len(await c.get(f"DIFF:{name}")) for name in ARRAYS] == [0] * 8
    assert (await c.get("DIFF:PAGE"), await c.get("DIFF:PAGES")) == (1, 1)
    assert await c.label("DIFF:SHOW") == "Different"
    assert await c.get("DIFF:ROW20:NAME") == ""
    assert (await c.get("DIFF:COUNT", format=aioca.FORMAT_TIME)).severity == 0


async def test_writing_b_compares_and_trigger_does_it_again(c: Control) -> None:
    await c.watch("DIFF:B", "DIFF:STATUS", "DIFF:TRIGGER")
    assert await c.put("DIFF:A", 7)
    assert c.jobs.requests == {}
    assert await c.put("DIFF:B", -1)
    assert [(n, int(v)) for n, v in c.updates] == [
        ("DIFF:B", -1),
        ("DIFF:STATUS", 1),
        ("DIFF:TRIGGER", 1),
        ("DIFF:STATUS", 2),
        ("DIFF:TRIGGER", 0),
    ]
    assert await c.put("DIFF:TRIGGER", 1)
    assert list(c.jobs.requests.values()) == [CompareRequest(7, REFERENCE)] * 2


async def test_parameters_go_into_the_request(c: Control) -> None:
    assert await c.put("DIFF:FILTER", "Q* @Magnet")
    assert await c.put("DIFF:ATOL", 0.25)
    assert await c.put("DIFF:RTOL", 1e-3)
    assert await c.put("DIFF:SHOW", "All")
    await compared(c, 12, 7)
    assert c.jobs.requests[100] == CompareRequest(12, 7, "Q* @Magnet", 0.25, 1e-3, Show.ALL)


async def test_the_arrays(c: Control) -> None:
    await compared(c)
    values = {name: await c.get(f"DIFF:{name}") for name in ARRAYS}
    assert rows(values["NAMES"]) == [["Q1", "SW", "L" * 39, "RB"]]
    assert await c.text("DIFF:NAMES:LONG") == f"Q1\nSW\n{LONG_NAME}\nRB"
    assert rows(values["A:VAL"]) == [[1.0, 0.0, 4.0, 6.0]]
    assert values["B:VAL"][:2].tolist() == [1.5, 1.0]
    assert math.isnan(values["B:VAL"][2])
    assert values["DELTA"][[0, 1, 3]].tolist() == [0.5, 1.0, 0.5]
    assert list(values["A:STR"]) == ["1.000 A", "Off", "4.000 A", "6.000 A"]
    assert list(values["B:STR"]) == ["1.500 A", "On", "nan A", "6.500 A"]
    assert list(values["SEVR"]) == [1, 0, 0, 0]
    assert list(values["ROLE"]) == ["setpoint", "setpoint", "setpoint", "readback"]
    assert [await c.get(f"DIFF:{name}") for name in COUNTS] == [5, 1, 4]
    alarms = [await c.get(f"DIFF:{name}", format=aioca.FORMAT_TIME) for name in (*COUNTS, "STATUS")]
    assert [value.severity for value in alarms] == [0, 1, 1, 0]
    assert await c.text("DIFF:MSG") == "snapshot 7 and live: 4 of 5 PVs differ, 1 on one side only"
    assert await c.label("JOB:KIND") == "Compare"


async def test_element_types(c: Control) -> None:
    await compared(c)
    types = {name: (await aioca.cainfo(c.pv(f"DIFF:{name}"))).datatype for name in (*ARRAYS, "ROW01:A", "ROW01:SEL")}
    assert types == {
        "NAMES": aioca.DBR_STRING,
        "A:VAL": aioca.DBR_DOUBLE,
        "B:VAL": aioca.DBR_DOUBLE,
        "DELTA": aioca.DBR_DOUBLE,
        "A:STR": aioca.DBR_STRING,
        "B:STR": aioca.DBR_STRING,
        "SEVR": aioca.DBR_SHORT,
        "ROLE": aioca.DBR_STRING,
        "ROW01:A": aioca.DBR_STRING,
        "ROW01:SEL": aioca.DBR_ENUM,
    }


async def test_everything_is_published_in_order_before_the_put_is_answered(c: Control) -> None:
    results = (*ARRAYS, "NAMES:LONG", "PAGES", "ROW01:NAME", "ROW01:DELTA", *COUNTS)
    c.jobs.result = lambda request: replace(Machine().answer(request))
    assert await c.put("DIFF:A", 7)
    await c.watch(*(f"DIFF:{name}" for name in (*results, "MSG", "STATUS", "TRIGGER")), "JOB:STATUS")
    assert await c.put("DIFF:B", 0)
    seen = [name for name, _ in c.updates]
    await asyncio.sleep(0.1)
    assert [name for name, _ in c.updates] == seen  # nothing comes after the answer
    end = len(seen) - 4
    assert seen[end:] == ["DIFF:MSG", "DIFF:STATUS", "JOB:STATUS", "DIFF:TRIGGER"]
    start = seen.index("DIFF:TRIGGER")
    unchanged = {"PAGES"}
    assert {n for n in seen[start:end] if n.startswith("DIFF:")} == {
        "DIFF:TRIGGER",
        *(f"DIFF:{name}" for name in set(results) - unchanged),
    }


async def test_all_of_one_result_has_one_time_stamp(c: Control) -> None:
    await compared(c)
    names = (*ARRAYS, *COUNTS, "MSG", "STATUS", "TRIGGER", "PAGE", "PAGES", "ROW01:NAME", "ROW20:SEL", "SELECTED")
    values = [await c.get(f"DIFF:{name}", format=aioca.FORMAT_TIME) for name in names]
    values.append(await c.get("JOB:STATUS", format=aioca.FORMAT_TIME))
    assert len({value.raw_stamp for value in values}) == 1


async def test_the_same_again_posts_nothing_but_that_it_ran(c: Control) -> None:
    await compared(c)
    results = (*ARRAYS, *COUNTS, "PAGE", "PAGES", "ROW01:A", "SELECT", "SELECTED", "NAMES:LONG")
    await c.watch(*(f"DIFF:{name}" for name in (*results, "STATUS")))
    assert await c.put("DIFF:TRIGGER", 1)
    assert [name for name, _ in c.updates] == ["DIFF:STATUS", "DIFF:STATUS"]


async def test_fewer_rows_are_fewer_elements(c: Control, machine: Machine) -> None:
    await compared(c)
    machine.b = dict(machine.a) | {"Q2": 2.5}
    await c.watch(*(f"DIFF:{name}" for name in ARRAYS))
    assert await c.put("DIFF:TRIGGER", 1)
    assert {len(value) for _, value in c.updates} == {1}
    assert [await c.get(f"DIFF:ROW0{n}:NAME") for n in (1, 2)] == ["Q2", ""]
    machine.b = dict(machine.a)
    assert await c.put("DIFF:TRIGGER", 1)
    assert [len(await c.get(f"DIFF:{name}")) for name in ARRAYS] == [0] * 8
    assert (await c.get("DIFF:COUNT", format=aioca.FORMAT_TIME)).severity == 0
    assert await c.get("DIFF:ROW01:NAME") == ""
    assert await c.get("DIFF:PAGES") == 1


async def test_unread_pvs_of_the_live_machine_make_it_partial(c: Control, machine: Machine) -> None:
    machine.b["Q2"], machine.unread = State.TIMEOUT, 1
    await compared(c)
    assert await c.label("DIFF:STATUS") == "Partial"
    assert await c.get("DIFF:MISSING") == 2
    assert "could not be read" in await c.text("DIFF:MSG")
    assert await c.put("DIFF:SHOW", "Missing")
    assert list(await c.get("DIFF:NAMES")) == ["Q2", "OLD"]
    assert list(await c.get("DIFF:B:STR")) == [State.TIMEOUT.reason, "not in the list"]
    assert list(await c.get("DIFF:SEVR")) == [3, 3]


async def test_show_lists_anew_without_comparing_again(c: Control) -> None:
    await compared(c)
    await c.watch("DIFF:NAMES", "DIFF:ROLE", "DIFF:SHOW", "DIFF:STATUS", "DIFF:COUNT", "JOB:ID", "DIFF:TRIGGER")
    assert await c.put("DIFF:SHOW", "All")
    assert [(n, len(v) if n != "DIFF:SHOW" else int(v)) for n, v in c.updates] == [
        ("DIFF:NAMES", 6),
        ("DIFF:ROLE", 6),
        ("DIFF:SHOW", 2),
    ]
    assert len(c.jobs.requests) == 1
    stamps = {(await c.get(f"DIFF:{n}", format=aioca.FORMAT_TIME)).raw_stamp for n in (*ARRAYS, "SHOW", "ROW03:A")}
    assert len(stamps) == 1
    assert await c.put("DIFF:SHOW", "Missing")
    assert list(await c.get("DIFF:NAMES")) == ["OLD"]
    c.updates.clear()
    assert await c.put("DIFF:SHOW", "Missing")
    assert c.updates == []
    assert not await c.put("DIFF:SHOW", "Some")
    assert await c.label("DIFF:SHOW") == "Missing"


async def test_show_while_comparing_waits_for_the_rows(c: Control) -> None:
    await compared(c)
    c.jobs.hold = True
    comparing = asyncio.create_task(c.put("DIFF:TRIGGER", 1))
    await until(lambda: len(c.jobs.requests) == 2)
    c.jobs.begin(101)
    await c.watch("DIFF:SHOW", "DIFF:NAMES", "DIFF:STATUS", "DIFF:TRIGGER")
    showing = asyncio.create_task(c.put("DIFF:SHOW", "All"))
    again = asyncio.create_task(c.put("DIFF:SHOW", "Missing"))
    await until(lambda: c.jobs.requests[101] == CompareRequest(7, 0))
    assert await c.label("DIFF:SHOW") == "Different"
    assert not showing.done()
    c.jobs.end(101)
    assert all(await asyncio.gather(comparing, showing, again))
    assert [n for n, _ in c.updates] == ["DIFF:STATUS", "DIFF:TRIGGER", *["DIFF:NAMES", "DIFF:SHOW"] * 2]
    assert await c.label("DIFF:SHOW") == "Missing"
    assert list(await c.get("DIFF:NAMES")) == ["OLD"]


async def test_panel_walks_the_pages(c: Control, machine: Machine) -> None:
    machine.many(44)
    await compared(c)
    assert await c.get("DIFF:PAGES") == 3
    seen: list[str] = []
    for page in (1, 2, 3):
        assert await c.put("DIFF:PAGE", page)
        for n in range(1, 21):
            cells = [await c.get(f"DIFF:ROW{n:02d}:{name}") for name in ("NAME", "A", "B", "DELTA")]
            if cells[0]:
                seen.append(str(cells[0]))
                number = 0 if cells[0] == "RB" else int(cells[0][1:])
                assert cells[1:] == [f"{number}.000 A", f"{number + 1}.000 A", "+1.000 A"]
            else:
                assert cells == [""] * 4
    assert seen == list(await c.get("DIFF:NAMES"))
    assert await c.get("DIFF:PAGE") == 3
    for page in (0, 4, -1, "two", "1.5"):
        assert not await c.put("DIFF:PAGE", page)
        assert await c.get("DIFF:PAGE") == 3
    assert await c.get("DIFF:ROW05:NAME") == "RB"
    assert await c.label("DIFF:STATUS") == "OK"
    # A new comparison begins at the first page.
    assert await c.put("DIFF:TRIGGER", 1)
    assert await c.get("DIFF:PAGE") == 1
    assert await c.get("DIFF:ROW01:NAME") == "M000"


async def test_selection_of_rows(c: Control, machine: Machine) -> None:
    machine.many(44)
    await compared(c)
    assert await c.put("DIFF:PAGE", 2)
    assert await c.put("DIFF:SELECT", "Page")
    assert await c.get("DIFF:SELECTED") == 20
    assert [int(await c.get(f"DIFF:ROW{n:02d}:SEL")) for n in (1, 20)] == [1, 1]
    assert await c.put("DIFF:PAGE", 3)
    assert await c.label("DIFF:SELECT") == "Page"
    assert int(await c.get("DIFF:ROW01:SEL")) == 0
    assert await c.put("DIFF:ROW02:SEL", 1)
    assert await c.get("DIFF:SELECTED") == 21
    assert not await c.put("DIFF:ROW06:SEL", 1)
    assert "no row 6 on page 3" in await c.text("DIFF:MSG")
    assert int(await c.get("DIFF:ROW06:SEL")) == 0
    assert await c.put("DIFF:PAGE", 2)
    assert int(await c.get("DIFF:ROW20:SEL")) == 1
    assert await c.put("DIFF:SELECT", "All")
    assert await c.get("DIFF:SELECTED") == 45
    assert await c.put("DIFF:SELECT", 0)
    assert await c.get("DIFF:SELECTED") == 0
    # What is picked belongs to the rows.
    for change in (("DIFF:SHOW", "All"), ("DIFF:TRIGGER", 1)):
        assert await c.put("DIFF:SELECT", "All")
        assert await c.put(*change)
        assert (await c.get("DIFF:SELECTED"), await c.label("DIFF:SELECT")) == (0, "None")
        assert int(await c.get("DIFF:ROW01:SEL")) == 0


async def test_no_rows_no_selection(c: Control, machine: Machine) -> None:
    assert not await c.put("DIFF:SELECT", "All")
    assert not await c.put("DIFF:ROW01:SEL", 1)
    assert not await c.put("DIFF:PAGE", 2)
    assert await c.put("DIFF:PAGE", 1)
    machine.b = dict(machine.a)
    await compared(c)
    assert not await c.put("DIFF:SELECT", "All")
    assert await c.label("DIFF:SELECT") == "None"
    assert "no rows to select" in await c.text("DIFF:MSG")


async def test_restore_of_selected_rows(c: Control, machine: Machine) -> None:
    machine.many(44)
    await compared(c)
    assert await c.put("RESTORE:FILTER", "NOTHING*")
    assert await c.put("RESTORE:MODE", "All")
    assert await c.put("DIFF:ROW02:SEL", 1)
    assert await c.put("DIFF:PAGE", 3)
    assert await c.put("DIFF:ROW05:SEL", 1)  # the readback
    assert await c.put("DIFF:ROW01:SEL", 1)
    await c.watch(
        "DIFF:RESTORE", "DIFF:MSG", "DIFF:STATUS", "RESTORE:STATUS", "RESTORE:WRITTEN", "RESTORE:TRIGGER", "JOB:STATUS"
    )
    assert await c.put("DIFF:RESTORE", 1)
    assert c.jobs.requests[101] == RestoreRequest(7, RestoreMode.ALL, names=("M001", "M040"))
    assert [(n, int(v)) for n, v in c.updates if n not in ("DIFF:MSG", "JOB:STATUS")] == [
        ("RESTORE:STATUS", 1),
        ("DIFF:RESTORE", 1),
        ("RESTORE:WRITTEN", 6),
        ("RESTORE:STATUS", 2),
        ("DIFF:RESTORE", 0),
    ]
    assert [n for n, _ in c.updates][-3:] == ["JOB:STATUS", "DIFF:MSG", "DIFF:RESTORE"]
    assert await c.text("DIFF:MSG") == await c.text("RESTORE:MSG")
    assert await c.label("DIFF:STATUS") == "OK"
    # The rows are as they were, and can be restored again.
    assert await c.get("DIFF:SELECTED") == 3
    assert await c.put("DIFF:RESTORE", 1)


async def test_rows_left_out_of_a_restore_are_named(c: Control, machine: Machine) -> None:
    machine.many(3)
    await compared(c)
    assert await c.put("DIFF:SELECT", "All")
    c.jobs.hold = True
    restoring = asyncio.create_task(c.put("DIFF:RESTORE", 1))
    await until(lambda: 101 in c.jobs.requests)
    c.jobs.begin(101)
    await until(lambda: c.jobs.current.id == 101)
    message = await c.text("DIFF:MSG")
    assert "3 PVs of snapshot 7" in message
    assert "1 selected rows are readbacks" in message
    assert not await c.put("DIFF:RESTORE", 1)
    assert not await c.put("RESTORE:ID", 12)
    assert not await c.put("OP1:DIFF:RESTORE", 1)
    # Comparing goes on beside it.
    c.jobs.hold = False
    assert await c.put("DIFF:TRIGGER", 1)
    assert await c.label("DIFF:STATUS") == "OK"
    assert await c.get("DIFF:RESTORE") == 1
    c.jobs.end(101)
    assert await restoring


async def test_restore_that_fails(c: Control) -> None:
    await compared(c)
    assert await c.put("DIFF:SELECT", "All")
    c.jobs.result = lambda request: restore_result(7, outcome=Outcome.FAILED, failed=2)
    c.jobs.hold = True
    restoring = asyncio.create_task(c.put("DIFF:RESTORE", 1))
    await until(lambda: 101 in c.jobs.requests)
    c.jobs.begin(101)
    c.jobs.end(101, JobStatus.FAILED, "no IOC answers", restore_result(7, outcome=Outcome.FAILED, failed=2))
    assert not await restoring
    assert await c.text("DIFF:MSG") == await c.text("RESTORE:MSG") == "no IOC answers"
    assert await c.label("RESTORE:STATUS") == "Failed"
    assert await c.label("DIFF:STATUS") == "OK"
    assert await c.get("DIFF:RESTORE") == 0


async def refused(c: Control, reason: str, *, name: str = "DIFF:RESTORE", value: Any = 1) -> None:
    """... and nothing has been started or changed."""
    before = len(c.jobs.requests)
    c.updates.clear()
    assert not await c.put(name, value)
    assert reason in await c.text("DIFF:MSG")
    assert len(c.jobs.requests) == before
    assert [n for n, _ in c.updates if n not in ("DIFF:MSG", "DIFF:STATUS")] == []


async def test_restores_that_are_refused(c: Control, machine: Machine) -> None:
    await c.watch("DIFF:RESTORE", "RESTORE:STATUS", "DIFF:SELECTED", "DIFF:A", "DIFF:B")
    await refused(c, "nothing has been compared")
    await compared(c)
    await refused(c, "no row is selected")
    assert await c.put("DIFF:ROW04:SEL", 1)
    await refused(c, "they are readbacks, or have no value in A")
    assert await c.put("DIFF:ROW01:SEL", 1)
    assert await c.put("RESTORE:ENABLE", 0)
    await refused(c, "restores are disabled")
    assert await c.put("RESTORE:ENABLE", 1)
    c.jobs.refuse = RefusedError("snapshot 7 does not exist")
    await refused(c, "snapshot 7 does not exist")
    c.jobs.refuse = None
    assert await c.label("DIFF:STATUS") == "OK"  # that is how the comparison ended
    assert await c.put("DIFF:RESTORE", 1)


async def test_live_machine_cannot_be_restored_from(c: Control) -> None:
    await compared(c, LIVE, 7)
    assert await c.put("DIFF:SELECT", "All")
    await refused(c, "A is the live machine")


async def test_rows_of_another_comparison_cannot_be_restored(c: Control) -> None:
    await compared(c)
    assert await c.put("DIFF:SELECT", "All")
    assert await c.put("DIFF:A", 12)
    await refused(c, "the rows compare snapshot 7 and live, but A and B are snapshot 12 and live")
    assert await c.put("DIFF:A", 7)
    # What has no part in A's value does not matter.
    assert await c.put("DIFF:FILTER", "Q*")
    assert await c.put("DIFF:ATOL", 100)
    assert await c.put("DIFF:RESTORE", 1)


async def test_rows_are_not_restored_while_comparing_or_after_a_failure(c: Control) -> None:
    await compared(c)
    assert await c.put("DIFF:SELECT", "All")
    c.jobs.hold = True
    comparing = asyncio.create_task(c.put("DIFF:TRIGGER", 1))
    await until(lambda: 101 in c.jobs.requests)
    c.jobs.begin(101)
    await refused(c, "a comparison is running")
    c.jobs.end(101, JobStatus.FAILED, "the database does not answer")
    assert not await comparing
    await refused(c, "did not succeed")
    # A refusal is no comparison.
    c.jobs.hold = False
    await compared(c)
    assert await c.put("DIFF:SELECT", "All")
    c.jobs.refuse = RefusedError("snapshot 99 does not exist")
    assert not await c.put("DIFF:B", 99)
    c.jobs.refuse = None
    assert await c.label("DIFF:STATUS") == "Refused"
    assert await c.put("DIFF:RESTORE", 1)


async def test_restore_of_the_reference_is_that_which_was_compared(c: Control) -> None:
    store = c.store
    assert isinstance(store, Store)
    await compared(c, REFERENCE, 0)
    assert "reference 900" in await c.text("DIFF:MSG")
    assert await c.put("DIFF:SELECT", "All")
    store.reference_id = 12
    await refused(c, "the rows show snapshot 900, the reference is snapshot 12 now")
    store.reference_id = None
    await refused(c, "the reference is none now")
    store.reference_id = REFERENCE_ID
    store.turn(connected=False)
    await refused(c, "the database does not answer")
    store.turn(connected=True)
    assert await c.put("DIFF:RESTORE", 1)
    request = c.jobs.requests[101]
    assert isinstance(request, RestoreRequest)
    assert request.snapshot_id == REFERENCE_ID


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("DIFF:A", -2, "not between -1"),
        ("DIFF:A", "seven", "no number"),
        ("DIFF:ATOL", -1e-9, "not between 0"),
        ("DIFF:RTOL", -0.5, "not between 0"),
        ("DIFF:ATOL", math.nan, "no number"),
        ("DIFF:RTOL", math.inf, "no number"),
        ("DIFF:FILTER", "~(", "position"),
        ("DIFF:FILTER", "%nonsense", "position"),
        ("DIFF:B", -2, "not between -1"),
        ("DIFF:B", "1.5", "no whole number"),
    ],
)
async def test_bad_input_leaves_everything(c: Control, name: str, value: Any, reason: str) -> None:
    await compared(c)
    before = await c.get(name)
    await c.watch(name, "DIFF:COUNT", "DIFF:NAMES", "DIFF:TRIGGER")
    await refused(c, reason, name=name, value=value)
    assert str(await c.get(name)) == str(before)


@pytest.mark.parametrize("error", [RefusedError("snapshot 99 does not exist"), DatabaseDownError("gone")])
async def test_refused_comparison_leaves_everything(c: Control, error: Exception) -> None:
    await compared(c)
    await c.watch("DIFF:B", "DIFF:COUNT", "DIFF:NAMES", "DIFF:TRIGGER", "DIFF:STATUS")
    c.jobs.refuse = error
    assert not await c.put("DIFF:B", 99)
    assert [(n, int(v), v.severity) for n, v in c.updates] == [("DIFF:STATUS", 5, 1)]
    assert await c.text("DIFF:MSG") == str(error)
    assert await c.get("DIFF:B") == 0


async def test_second_comparison_is_refused_and_the_first_goes_on(c: Control) -> None:
    assert await c.put("DIFF:A", 7)
    c.jobs.hold = True
    first = asyncio.create_task(c.put("DIFF:B", 12))
    await until(lambda: c.jobs.requests)
    assert not await c.put("DIFF:B", 0)
    assert not await c.put("DIFF:TRIGGER", 1)
    assert await c.get("DIFF:B") == 12
    assert await c.get("DIFF:TRIGGER") == 1
    assert len(c.jobs.requests) == 1
    c.jobs.run(100)
    assert await first


async def test_views_have_their_own_state(c: Control, machine: Machine) -> None:
    await compared(c, 7, 0)
    machine.many(30)
    assert await c.put("OP1:DIFF:SHOW", "All")
    await compared(c, 12, 0, view="OP1:")
    assert await c.put("OP1:DIFF:PAGE", 2)
    assert await c.put("OP1:DIFF:SELECT", "Page")
    assert [await c.get(f"{v}DIFF:A") for v in ("", "OP1:", "OP2:")] == [7, 12, 0]
    assert [await c.get(f"{v}DIFF:COUNT") for v in ("", "OP1:", "OP2:")] == [4, 31, 0]
    assert [await c.get(f"{v}DIFF:PAGE") for v in ("", "OP1:", "OP2:")] == [1, 2, 1]
    assert [await c.get(f"{v}DIFF:SELECTED") for v in ("", "OP1:", "OP2:")] == [0, 11, 0]
    assert [await c.label(f"{v}DIFF:SHOW") for v in ("", "OP1:", "OP2:")] == ["Different", "All", "Different"]
    assert [await c.label(f"{v}DIFF:STATUS") for v in ("", "OP1:", "OP2:")] == ["OK", "OK", "None"]
    assert await c.put("OP1:DIFF:RESTORE", 1)
    assert c.jobs.requests[102] == RestoreRequest(12, names=tuple(f"M{i:03d}" for i in range(20, 30)))
    assert await c.text("OP1:DIFF:MSG") == await c.text("OP1:RESTORE:MSG")
    assert "snapshot 7 and live" in await c.text("DIFF:MSG")
    # Two views may compare at a time.
    c.jobs.hold = True
    puts = [asyncio.create_task(c.put(f"{v}DIFF:TRIGGER", 1)) for v in ("", "OP1:")]
    await until(lambda: len(c.jobs.requests) == 5)
    c.jobs.run(104)
    c.jobs.run(103)
    assert all(await asyncio.gather(*puts))


async def test_comparison_does_not_hide_the_restore_beside_it(c: Control) -> None:
    await compared(c)
    c.jobs.hold = True
    restoring = asyncio.create_task(c.put("RESTORE:ID", 12))
    await until(lambda: 101 in c.jobs.requests)
    c.jobs.begin(101)
    c.jobs.change(101, done=50)
    await until(lambda: c.jobs.current.id == 101)
    await c.watch("JOB:ID", "JOB:KIND")
    c.jobs.hold = False
    assert await c.put("DIFF:TRIGGER", 1)
    assert c.updates == []
    assert await c.get("JOB:ID") == 101
    assert (await c.get("JOB:RECENT:IDS"))[0] == 102
    c.jobs.end(101)
    assert await restoring


async def test_comparisons_before_a_restart_are_not_shown() -> None:
    jobs = FakeJobs()
    result = {"a": 7, "b": 0, "different": 3, "missing": 0, "compared": 10, "unread": 0, "duration_s": 0.1}
    jobs.board.load([JobInfo(1, JobKind.COMPARE, JobStatus.COMPLETED, message="3 differ", result=result)])
    async with control(jobs=jobs) as c:
        assert await c.label("DIFF:STATUS") == "None"
        assert await c.get("DIFF:COUNT") == 0
        assert not await c.put("DIFF:RESTORE", 1)


async def test_proc_of_its_commands(c: Control) -> None:
    assert await c.put("DIFF:A", 7)
    assert await c.put("DIFF:TRIGGER.PROC", 1)
    assert await c.get("DIFF:COUNT") == 4
    assert await c.put("DIFF:SELECT", 2)
    assert await c.put("DIFF:RESTORE.PROC", 1)
    assert isinstance(c.jobs.requests[101], RestoreRequest)


async def test_rows_are_restored_only_as_they_were_seen(c: Control) -> None:
    await compared(c, 12, 0)
    seen = await c.get("DIFF:REV")
    assert await c.put("DIFF:SELECT", "All")
    assert not await c.put("DIFF:RESTORE:AT", seen - 1)
    assert f"DIFF:REV is {seen}, not {seen - 1}" in await c.text("DIFF:MSG")
    assert await c.put("DIFF:RESTORE:AT", seen)
    assert await c.get("DIFF:STALE") == 1
    assert await c.put("DIFF:TRIGGER", 1)
    assert (await c.get("DIFF:REV"), await c.get("DIFF:STALE")) == (seen + 1, 0)


async def test_all_of_a_comparison_in_one_write(c: Control) -> None:
    assert await c.say("DIFF:DO", "12 0 filter=Q1:* show=all atol=0.5")
    request = c.jobs.requests[100]
    assert isinstance(request, CompareRequest)
    assert (request.a, request.b, request.selection, request.atol, request.show) == (12, 0, "Q1:*", 0.5, Show.ALL)
    assert (await c.get("DIFF:A"), await c.get("DIFF:B"), await c.label("DIFF:SHOW")) == (12, 0, "All")
    for text, reason in (("12", "say what is compared"), ("12 x", "no whole number"), ("12 0 atol=-1", "no tolerance")):
        assert not await c.say("DIFF:DO", text)
        assert reason in await c.text("DIFF:MSG")
