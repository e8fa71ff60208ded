"""Workers for areas: one snapshot, one restore, however many processes do it; and whatever happens to one of them."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aioca
import numpy as np
import pytest
from postgres import execute
from workers import SLOW, SLOW_S, Site, show_logs, site

NO_WORKER = "no worker of its area answers"
NOT_WRITTEN = f"not written: {NO_WORKER}"
LOST = "its worker does not answer any more; it may have been written"


@pytest.fixture(scope="module")
def place() -> Iterator[Site]:
    with site(services=2) as made:
        yield made


@pytest.fixture
async def s(place: Site) -> AsyncIterator[Site]:
    """Everything runs, however the test before has left it; nothing is left over at the end."""
    aioca.purge_channel_caches()
    try:
        await place.up()
        yield place
        await place.up()
        await place.check_whole()
        for name in place.members:
            assert "Traceback" not in place.log(name)
    finally:
        show_logs(place)  # pytest does when something is wrong


async def test_one_snapshot_of_all_areas(s: Site) -> None:
    waves = {f"{w}:WF": np.array([1.5, math.nan, -0.0, i]) for i, w in enumerate("ABC")}
    texts = {f"{w}:WS": [f"{w}1", "", "äö"] for w in "ABC"}
    await s.turn(waves | texts)
    number = await s.snapshot()
    assert await s.get("SNAP:COUNT") == len(s.names)
    stored = await s.values(number)
    rows = await s.sql("SELECT pv FROM snapshot_value WHERE snapshot_id = $1", number)
    assert [row["pv"] for row in rows] == s.names, "in the order of the catalogue"
    assert {row["state"] for row in stored.values()} == {"value"}
    for w in "ABC":
        p = f"{s.r}{w}:"
        assert [stored[f"{p}F{i}"]["number"] for i in range(20)] == list(range(20))
        assert stored[p + "STR"]["text"] == f"{p}äöü"
        assert stored[p + "EN"]["type"] == "enum"
        assert stored[p + "EN"]["label"] == f"{p}One"
        assert math.isnan(stored[p + "NAN"]["number"])
        assert (stored[p + "LONG"]["type"], stored[p + "LONG"]["number"]) == ("long", -(2**31))
        np.testing.assert_array_equal(stored[p + "WF"]["numbers"], waves[f"{w}:WF"])
        assert stored[p + "WS"]["texts"] == texts[f"{w}:WS"]
        assert (stored[p + "SP:RB"]["role"], stored[p + "SP:RB"]["number"]) == ("readback", 5)
        assert stored[p + "WF"]["severity"] == 0
    hosts = (await s.text("IOCS:HOSTS:LONG")).split("\n")
    assert {host.split(":")[1] for host in hosts} > {str(s.a.port), str(s.b.port)}
    assert sum((await s.get("IOCS:COUNTS")).tolist()) == len(s.names)


async def test_part_of_it_and_what_differs(s: Site) -> None:
    number = await s.snapshot("*:F[12]")
    assert list(await s.values(number)) == s.pvs(*(f"{w}:F{i}" for w in "ABC" for i in (1, 2)))
    await s.turn({"B:F2": 20})
    await s.snapshot(f"{s.r}B:*,{s.r}C:SP")
    assert await s.put("DIFF:A", number)
    assert await s.put("DIFF:TRIGGER", 1)
    assert (await s.text("DIFF:NAMES:LONG")).split("\n") == s.pvs("B:F2")
    await s.turn({"B:F2": 2})


async def test_restore_what_has_changed_and_undo(s: Site) -> None:
    number = await s.snapshot("*:F*,*:STR,*:EN,*:WF,*:LIMITED,*:REFUSED,*:READONLY")
    total = int(await s.get("SNAP:COUNT"))
    changed: dict[str, Any] = {f"{w}:F{i}": 50 + i for w in "ABC" for i in (1, 2)}
    changed |= {"A:STR": "x", "B:EN": 2, "C:WF": [7.0], "A:REFUSED": 9, "A:LIMITED": 50, "A:READONLY": 3}
    await s.turn(changed)
    await s.turn({"A:LIMITED.DRVL": 5, "A:REFUSED.DISP": 1})
    assert not await s.restore(number)
    assert await s.label("RESTORE:STATUS") == "Partial"
    counts = await s.counts()
    assert (counts["WRITTEN"], counts["FAILED"], counts["MISMATCH"]) == (9, 1, 1), counts
    assert counts["SKIPPED"] == 1
    assert counts["UNCHANGED"] == total - 12
    bad = await s.bad()
    assert bad[f"{s.r}A:REFUSED"] == "write refused by the IOC"
    assert "reads back" in bad[f"{s.r}A:LIMITED"]
    assert await s.live("A:F1", "B:F2", "C:F1", "B:EN", "A:READONLY") == [1, 2, 1, 1, 3]
    await s.turn({"A:LIMITED.DRVL": -100, "A:REFUSED.DISP": 0})
    assert await s.put("RESTORE:UNDO", 1)
    assert await s.live("A:F1", "B:F2", "C:F1", "B:EN", "A:LIMITED") == [51, 52, 51, 2, 50]
    assert await aioca.caget(f"{s.r}A:STR") == "x"
    await s.turn({"A:REFUSED": 1, "A:READONLY": 1})
    assert await s.restore(number, mode=1)
    assert (await s.counts())["WRITTEN"] == total - 1
    assert await aioca.caget(f"{s.r}A:STR") == f"{s.r}A:äöü"


async def test_in_the_order_of_the_catalogue_across_areas(s: Site) -> None:
    number = await s.snapshot("*:FIRST.A,*:F0")
    begin = time.time()
    assert await s.restore(number, mode=1)
    first, second, third = await aioca.caget(s.pvs("A:FIRST", "B:F0", "C:F0"), format=aioca.FORMAT_TIME)
    assert second.timestamp >= begin + 0.8, "the record of the other area was still being written"
    assert third.timestamp >= second.timestamp >= first.timestamp


async def test_labels_of_states_are_read_again(s: Site) -> None:
    """The worker's are what counts: an index must mean what it meant."""
    number = await s.snapshot("*:EN")
    await s.turn({"A:EN.ONST": "Other", "A:EN": 2, "B:EN": 2})
    try:
        assert not await s.restore(number, mode=1)
        assert (await s.live("A:EN", "B:EN")) == [2, 1]
        assert list(await s.bad()) == s.pvs("A:EN")
    finally:
        await s.turn({"A:EN.ONST": f"{s.r}A:One", "A:EN": 1, "B:EN": 1})


async def test_a_ramp_is_stopped(s: Site) -> None:
    number = await s.snapshot("*:RAMP,*:F*")
    await s.turn({"A:RAMP": 500.0, "B:F3": 33})
    restoring = asyncio.create_task(s.restore(number))

    async def on_its_way() -> bool:
        return (await s.live("A:RAMP"))[0] < 495

    await s.until_it_is(on_its_way)
    begin = time.monotonic()
    assert await s.put("RESTORE:ABORT", 1)
    assert not await restoring
    assert time.monotonic() - begin < 30
    (stands,) = await s.live("A:RAMP")
    assert 0 < stands < 495
    assert await s.label("RESTORE:STATUS") == "Aborted"
    counts = await s.counts()
    assert (counts["WRITTEN"], counts["FAILED"]) == (1, 1)
    assert (await s.bad())[f"{s.r}A:RAMP"].startswith(f"ramp stopped at {stands:g} on the way to 0")
    await s.turn({"A:RAMP": 500.0})
    assert await s.put("RESTORE:UNDO", 1)
    assert await s.live("A:RAMP", "B:F3") == [500, 33]
    await s.turn({"A:RAMP": 0.0, "B:F3": 3})


async def test_a_write_is_aborted(s: Site) -> None:
    async with s.slow_restore() as task:
        begin = time.monotonic()
        assert await s.put("RESTORE:ABORT", 1)
        assert not await task
        took = time.monotonic() - begin
    print(f"aborted after {took:.2f} s")
    assert took < 60
    await asyncio.sleep(2 * SLOW_S)
    assert await s.label("RESTORE:STATUS") == "Aborted"
    counts, now = await s.counts(), await s.slow_now()
    assert counts == {"WRITTEN": now.count(1.0), "SKIPPED": now.count(2.0)}
    await s.undone()


async def test_workers_are_killed_in_a_read(s: Site) -> None:
    """One has another beside it, who repeats the read; one is the only one of its area, for a while."""
    number = await s.snapshot("*:F*")
    await s.turn({"A:F5": 55, "B:F5": 55})
    of_b = [name for name in s.names if name.startswith(f"{s.r}B:")]
    s.work("a2")
    await s.until_it_is(s.are_there, 20)
    await s.workers([2, 1])
    assert await s.say("SNAP:FILTER", "")
    s.a.pause()
    s.b.pause()
    try:
        reading = asyncio.create_task(s.put("SNAP:TRIGGER", 1))
        await claimed(s, "read", "a")
        await claimed(s, "read", "b")
        ((pid,),) = await s.sql(
            "SELECT split_part(process, ' ', 2)::int FROM area_worker JOIN area_part ON worker_id = area_worker.id"
            " WHERE area_part.area = 'a'"
        )
        (name,) = [n for n, process in s.members.items() if process.pid == pid]
        s.kill(name)
        s.kill("b")
        begin = time.monotonic()
        s.a.resume()
        await reading
    finally:
        s.a.resume()
        s.b.resume()
    if name == "a":
        s.members["a"] = s.members.pop("a2")
        (s.folder / "a2.log").rename(s.folder / "a.log")
    took = [time.monotonic() - begin]
    await check_missing(s, of_b)
    await s.workers([1, 0])
    await s.becomes("PVS:CONNECTED", len(s.names) - len(of_b))
    assert await s.get("AREAS:DOWN") == 1
    begin = time.monotonic()
    await s.put("SNAP:TRIGGER", 1)
    took.append(time.monotonic() - begin)
    await check_missing(s, of_b)
    print("partial after", took)
    assert took[0] < 60
    assert took[1] < 30
    assert not await s.restore(number)
    assert await s.live("A:F5", "B:F5") == [5, 55]
    bad = await s.bad()
    assert set(bad) == set(s.pvs(*(f"B:F{i}" for i in range(20))))
    assert set(bad.values()) == {NO_WORKER}
    s.work("b")
    await s.becomes("PVS:CONNECTED", len(s.names))
    await s.snapshot()
    assert await s.restore(number)
    assert await s.live("B:F5") == [5]


async def test_a_worker_that_reaches_less_lets_another_one_go_first(s: Site) -> None:
    number = await s.snapshot("*:F*")
    assert await s.say("SNAP:FILTER", "")
    s.work("a2", SQUIRREL_CA__ADDR_LIST=s.b.address)
    await s.workers([2, 1])
    for _ in range(8):
        await s.snapshot()
    assert await s.get("PVS:CONNECTED") == len(s.names)
    await s.turn({f"A:F{i}": 77 for i in range(5)})
    assert await s.restore(number)
    assert await s.live("A:F0", "A:F4") == [0, 4]
    # Without the other one it does what it can, and says what it cannot.
    s.kill("a")
    assert await s.put("SNAP:TRIGGER", 1)
    await s.workers([1, 1])
    assert await s.put("SNAP:TRIGGER", 1)
    assert await s.label("SNAP:STATUS") == "Partial"
    assert "disconnected" in await s.text("SNAP:MSG")
    s.kill("a2")


async def check_missing(s: Site, names: list[str]) -> None:
    """The last snapshot has all but these, and says why."""
    assert await s.label("SNAP:STATUS") == "Partial"
    assert (await s.text("SNAP:MISSING:NAMES:LONG")).split("\n") == names
    assert NO_WORKER in await s.text("SNAP:MSG")
    stored = await s.values(int(await s.get("SNAP:ID")))
    assert {name for name, row in stored.items() if row["state"] == "no worker"} == set(names)
    assert {row["state"] for name, row in stored.items() if name not in names} == {"value"}


async def claimed(s: Site, kind: str, area: str) -> None:
    """Wait until a worker has taken a part."""

    async def taken() -> bool:
        sql = "SELECT FROM area_part WHERE kind = $1 AND area = $2 AND worker_id IS NOT NULL"
        return bool(await s.sql(sql, kind, area))

    await s.until_it_is(taken)


async def test_workers_are_killed_or_stand_still_in_a_write(s: Site) -> None:
    """One that goes on after it has been given up writes no more."""
    async with s.slow_restore("A:", "B:") as task:
        s.kill("a")
        s.members["b"].send_signal(signal.SIGSTOP)
        try:
            begin = time.monotonic()
            assert not await task
            took = time.monotonic() - begin
            await s.workers([0, 0])
            given_up = await s.slow_now()
        finally:
            s.members["b"].send_signal(signal.SIGCONT)
        await s.workers([0, 1])
        await asyncio.sleep(2 * SLOW_S)
        assert await s.slow_now() == given_up
    print(f"given up after {took:.2f} s")
    assert took < 60
    assert await s.label("RESTORE:STATUS") == "Failed"
    assert await s.counts() == {"FAILED": 2 * SLOW}
    assert set((await s.bad()).values()) == {LOST}
    for half in (given_up[:SLOW], given_up[SLOW:]):
        assert 0 < half.count(1.0) < SLOW
    await s.up()
    await s.undone()


async def test_the_service_is_killed_in_a_write(s: Site) -> None:
    async with s.slow_restore() as task:
        s.kill("service")
        task.cancel()
        aioca.purge_channel_caches()
        s.begin("service", "run")
        await s.says("service", "control PVs")
        serves = await s.slow_now()
        assert serves.count(2.0) > SLOW // 10, "the worker had nothing to do any more"
        await asyncio.sleep(2 * SLOW_S)
        assert await s.slow_now() == serves
    aioca.purge_channel_caches()
    assert await s.label("RESTORE:STATUS") == "Failed"
    assert "interrupted after" in await s.text("RESTORE:MSG")
    assert await s.get("RESTORE:BACKUP:ID") > 0
    await s.becomes("PVS:CONNECTED", len(s.names))
    await s.undone()


async def test_a_worker_stops_writing_by_itself(s: Site) -> None:
    """The service is killed, and nobody starts it again."""
    async with s.slow_restore() as task:
        s.kill("service")
        task.cancel()

        async def given_up() -> bool:
            return bool(await s.sql("SELECT FROM area_part WHERE finished"))

        begin = time.monotonic()
        await s.until_it_is(given_up, 8)
        print(f"no more after {time.monotonic() - begin:.2f} s")
        now = await s.slow_now()
        assert now.count(2.0) > SLOW // 10
        await asyncio.sleep(2 * SLOW_S)
        assert await s.slow_now() == now


async def test_a_worker_is_told_to_stop_in_a_write(s: Site) -> None:
    pid = s.members["a"].pid
    async with s.slow_restore() as task:
        code, took = await s.end("a")
        assert not await task
    print(f"stopped after {took:.2f} s")
    assert code == 0
    assert took < 20
    assert await s.sql(f"SELECT FROM area_worker WHERE process LIKE 'squirrel-ioc {pid} on%'") == []
    now = await s.slow_now()
    assert 0 < now.count(1.0) < SLOW
    # What it has written nobody can read back now.
    assert await s.counts() == {"MISMATCH": now.count(1.0), "FAILED": now.count(2.0)}
    reasons = list((await s.bad()).values())
    assert reasons.count(NOT_WRITTEN) == now.count(2.0)
    print(set(reasons))
    assert "Traceback" not in s.log("a")
    assert "ERROR" not in s.log("a")


async def test_all_connections_to_the_database_are_killed(s: Site) -> None:
    assert await s.say("SNAP:FILTER", "")
    s.b.pause()
    try:
        reading = asyncio.create_task(s.put("SNAP:TRIGGER", 1))
        await claimed(s, "read", "b")
        await s.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'squirrel-ioc%'"
        )
    finally:
        s.b.resume()
    await reading
    print(await s.label("SNAP:STATUS"), await s.text("SNAP:MSG"))
    assert await s.label("SNAP:STATUS") in ("OK", "Partial")
    await s.becomes("DB:STATUS", 0)
    await s.workers([1, 1])
    await s.becomes("PVS:CONNECTED", len(s.names))
    await s.snapshot()


async def test_the_database_crashes(s: Site) -> None:
    """What the workers have told of themselves is gone then."""

    async def whole_snapshot() -> bool:
        return await s.put("SNAP:TRIGGER", 1) and await s.label("SNAP:STATUS") == "OK"

    for _ in range(2):
        await asyncio.to_thread(s.server._pg_ctl, "-w", "-m", "immediate", "stop")
        await s.becomes("DB:STATUS", 1)
        await asyncio.to_thread(s.server.ensure_running)
        await s.becomes("DB:STATUS", 0)
        await s.workers([1, 1])
        await s.becomes("PVS:CONNECTED", len(s.names))
        await s.until_it_is(whole_snapshot, 30)


async def test_the_catalogue_changes(s: Site) -> None:
    new = f"{s.r}A:NEW"
    assert await s.say("PVS:ADD", new)
    number = await s.snapshot()
    assert (await s.values(number))[new]["number"] == 77, "at once"
    assert (await s.get("AREAS:COUNTS")).tolist() == await sizes(s)
    assert await s.say("PVS:REMOVE", new)
    assert await s.snapshot() > number
    assert await s.get("SNAP:COUNT") == len(s.names)
    before = await sizes(s)
    await cli(s, "pvs", "tag", "add", "Area=b", "--filter", f"{s.r}C:*")

    async def moved() -> bool:
        return (await sizes(s))[1] == before[1] + 28

    await s.until_it_is(moved)
    await s.becomes("PVS:CONNECTED", len(s.names))
    number = await s.snapshot()
    await s.turn({"C:F7": 70, "C:SP": 5})
    assert await s.restore(number)
    assert await s.live("C:F7", "C:SP") == [7, 4]
    await cli(s, "pvs", "tag", "remove", "Area=b", "--filter", f"{s.r}C:*")

    async def back() -> bool:
        return await sizes(s) == before

    await s.until_it_is(back)
    await s.becomes("PVS:CONNECTED", len(s.names))
    await s.turn({"C:F7": 70})
    assert await s.restore(number)
    assert await s.live("C:F7") == [7]


async def sizes(s: Site) -> list[int]:
    rows = await s.sql("SELECT cardinality(string_to_array(names, E'\\n')) AS size FROM area ORDER BY position")
    return [row["size"] for row in rows]


async def cli(s: Site, *arguments: str) -> None:
    s.begin("cli", *arguments)
    process = s.members.pop("cli")
    assert await asyncio.to_thread(process.wait, 30) == 0, s.log("cli")


async def test_an_area_that_there_is_not(s: Site) -> None:
    s.work("x")
    await s.says("x", "the service has no area x; it has: a, b")
    await s.snapshot()
    code, took = await s.end("x", by=signal.SIGINT)
    assert code == 0
    assert took < 20
    assert "Traceback" not in s.log("x")
    assert await s.sql("SELECT id FROM area_worker WHERE area = 'x'") == []


async def test_before_the_service_has_ever_run(s: Site) -> None:
    await execute(s.server, "CREATE DATABASE empty")
    s.database = "empty"
    s.write_settings()
    try:
        s.work("early", "a")
        process = s.members.pop("early")
        assert await asyncio.to_thread(process.wait, 30) == 1
        assert "start the service" in s.log("early")
        assert "Traceback" not in s.log("early")
    finally:
        s.database = "squirrel"
        s.write_settings()
        (s.folder / "early.log").unlink()


async def test_another_service_takes_over_in_a_write(s: Site) -> None:
    """What the old one has asked for ends, and the new one goes on with the same workers."""
    await s.end("service")
    aioca.purge_channel_caches()
    s.write_settings(standby=True)
    s.begin("service", "run")
    await s.says("service", "control PVs")
    s.begin("second", "run", port=s.ports[1])
    await s.says("second", "standing by")
    await s.up()
    try:
        async with s.slow_restore() as task:
            s.members["service"].send_signal(signal.SIGSTOP)
            task.cancel()
            aioca.purge_channel_caches()
            await s.says("second", "control PVs")
            serves = await s.slow_now()
            s.members["service"].send_signal(signal.SIGCONT)
            await asyncio.sleep(3 * SLOW_S)
            assert await s.slow_now() == serves
            assert serves.count(2.0) > SLOW // 10
        await s.says("service", "standing by")
        assert await s.label("RESTORE:STATUS") == "Failed"
        assert "interrupted after" in await s.text("RESTORE:MSG")
        await s.becomes("PVS:CONNECTED", len(s.names))
        await s.undone()
        await s.snapshot()
        assert "Traceback" not in s.log("service") + s.log("second")
    finally:
        for name in ("service", "second"):
            await s.end(name)
        aioca.purge_channel_caches()
        s.write_settings()
