"""The catalogue is changed while the service runs: over Channel Access, by its files, by other processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aioca
import pytest
from ca_helpers import random_prefix
from control_pvs import until
from ioc_process import IocProcess
from live_service import Live, serving
from postgres import execute

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.values import State
from squirrel_ioc.store import EmbeddedServer, Store

P = random_prefix()
PRESENT = 30
CATALOGUE = f"setpoint,readback,atol,Area\n{P}0,{P}1,0.5,L1\n{P}2,,,L1\n{P}3,,,L2\n"


@pytest.fixture(scope="module", autouse=True)
def ioc() -> Iterator[IocProcess]:
    records = [f'record(ao, "{P}{i}") {{ field(VAL, "{i}") field(PINI, "YES") }}\n' for i in range(PRESENT)]
    with IocProcess("".join(records)) as process:
        yield process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A catalogue file with 0 (readback 1), 2 and 3."""
    path = tmp_path / "pvs.csv"
    path.write_text(CATALOGUE)
    return path


@pytest.fixture
async def live(tmp_path: Path, database: DatabaseSettings, file: Path) -> AsyncIterator[Live]:
    async with serving(tmp_path, database, file) as service:
        await connected(service, 4)
        yield service


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


async def connected(service: Live, count: int) -> None:
    await service.wait_for("PVS:CONNECTED", count)


@asynccontextmanager
async def another_process(database: DatabaseSettings) -> AsyncIterator[Store]:
    store = await Store.open(database, Path("unused"), exclusive=False)
    try:
        yield store
    finally:
        await store.close()


async def snapshot(service: Live, title: str) -> tuple[int, int]:
    """Its id and how many values it has."""
    assert await service.say("SNAP:NOW", title), await service.text("SNAP:MSG")
    return await service.count("SNAP:ID"), await service.count("SNAP:COUNT")


async def test_added_is_connected_and_in_the_next_snapshot(live: Live) -> None:
    await live.watch("PVS:COUNT", "PVS:MSG", "PVS:ADD")
    assert await live.say("PVS:ADD", f"{P}10")
    assert await live.count("PVS:COUNT") == 5
    assert await live.count("PVS:CONNECTED") == 5
    message = await live.text("PVS:MSG")
    assert message.startswith("1 PV added by ")
    assert message.endswith(f": {P}10")
    assert await live.text("PVS:ADD") == f"{P}10"
    assert [name for name, _ in live.updates] == ["PVS:COUNT", "PVS:MSG", "PVS:ADD"]
    assert (await snapshot(live, "with it"))[1] == 5
    assert await live.get(f"SNAP:1:VAL:{P}10") == 10


async def test_added_as_people_write_lists(live: Live) -> None:
    assert await live.say("PVS:ADD", f"  {P}10, {P}11\n{P}12\t{P}13,\n\n{P}14 ")
    assert await live.count("PVS:CONNECTED") == 9
    assert (await live.text("PVS:MSG")).startswith("5 PVs added by ")
    assert await live.put("PVS:ADD:S", f"{P}15")  # as a string link does
    assert await live.count("PVS:CONNECTED") == 10


async def test_added_and_not_there(live: Live) -> None:
    assert await live.say("PVS:ADD", f"{P}10 {P}ABSENT")
    assert await live.count("PVS:COUNT") == 6
    assert (await live.text("PVS:MSG")).endswith(f"; not connected yet: {P}ABSENT")
    assert await live.names("PVS:DISCONNECTED:NAMES") == [f"{P}ABSENT"]
    assert (await live.get("PVS:DISCONNECTED", format=aioca.FORMAT_TIME)).severity == 1


@pytest.mark.parametrize(
    ("pv", "written", "reason"),
    [
        ("ADD", f"{P}10 {P}2", f"in the catalogue already: {P}2"),
        ("ADD", f"{P}1", f"watched already, as readback: {P}1 (of {P}0)"),
        ("ADD", f"{P}10,{P}10", f"named more than once: {P}10"),
        ("ADD", f"{P}10 a'b", """"a'b" is no name of a PV"""),
        ("ADD", f"{P}10 pva://{P}11", "only Channel Access"),
        ("ADD", f"{P}10 {'x' * 200}", "longer than 100 characters"),
        ("ADD", " \n,", "no names are given"),
        ("ADD", "", "no names are given"),
        ("REMOVE", f"{P}0 {P}10", f"no setpoint of the catalogue: {P}10"),
        ("REMOVE", f"{P}1", f"{P}1 (the readback of {P}0)"),
        ("REMOVE", "", "no names are given"),
        ("FIND", f"{P}* @", "PVS:FIND: "),
    ],
    ids=lambda text: text.replace(P, "")[:20],
)
async def test_refused_and_nothing_changed(live: Live, pv: str, written: str, reason: str) -> None:
    await live.watch("PVS:COUNT", f"PVS:{pv}", "PVS:FOUND:NAMES")
    assert not await live.say(f"PVS:{pv}", written)
    assert reason in await live.text("PVS:MSG")
    assert live.updates == []
    assert await live.text(f"PVS:{pv}") == ""


async def test_a_list_as_long_as_it_can_be(live: Live) -> None:
    # libca itself refuses more than the PV has room for.
    names = [f"{P}{i:0{63 - len(P)}}" for i in range(1024)]
    written = "\n".join(names)
    assert len(written) == 65_535
    assert await live.say("PVS:ADD", written)
    assert await live.count("PVS:COUNT") == 1028
    assert await live.text("PVS:ADD") == written
    assert await live.names("PVS:DISCONNECTED:NAMES") == names
    assert await live.say("PVS:REMOVE", written)
    assert await live.count("PVS:COUNT") == 4


async def test_removed_is_gone_and_its_past_is_not(live: Live, database: DatabaseSettings) -> None:
    before, count = await snapshot(live, "before")
    assert count == 4
    assert await live.say("PVS:REMOVE", f"{P}0 {P}2")
    assert await live.count("PVS:COUNT") == 1
    assert await live.text("PVS:REMOVE") == f"{P}0 {P}2"
    await live.wait_for("IOCS:COUNTS", [1])
    after, count = await snapshot(live, "after")
    assert count == 1
    assert [await live.get(f"SNAP:{before}:VAL:{P}{i}") for i in range(4)] == [0, 1, 2, 3]
    assert (await live.get(f"HIST:{P}2")).tolist() == [2]
    async with another_process(database) as store:
        assert (await store.load_frame(after)).channels.names == (f"{P}3",)
        frame = await store.load_frame(before)
        assert frame.state.tolist() == [State.VALUE] * 4
    # Restoring the old snapshot leaves alone what is not ours any more.
    assert await live.put("RESTORE:ID", before)
    assert await live.count("RESTORE:SKIPPED") == 2


async def test_by_hand_outlives_the_files_and_a_restart(tmp_path: Path, database: DatabaseSettings, file: Path) -> None:
    async with serving(tmp_path, database, file) as live:
        assert await live.say("PVS:ADD", f"{P}10")
        assert await live.say("PVS:REMOVE", f"{P}0")
        assert await live.put("PVS:RELOAD", 1)
        assert await live.label("PVS:RELOAD") == "Done"
        message = await live.text("PVS:MSG")
        assert message == (
            f"3 PVs in the catalogue files: 0 added, 0 removed, 0 changed; 1 beside them; 1 stay removed: {P}0"
        )
        assert await live.count("PVS:COUNT") == 3
    async with serving(tmp_path, database, file) as live:
        await connected(live, 3)
        await live.wait_for("PVS:FOUND:NAMES", [f"{P}2", f"{P}3", f"{P}10"])
        assert await live.say("PVS:ADD", f"{P}0")
        assert await live.say("PVS:REMOVE", f"{P}10")
        await live.wait_for("PVS:FOUND:NAMES", [f"{P}2", f"{P}3", f"{P}0", f"{P}1"])
    async with another_process(database) as store:
        entries = (await store.load_catalogue()).entries
        assert entries[2] == Entry(f"{P}0", f"{P}1", atol=0.5, tags={"Area": ("L1",)})
    async with serving(tmp_path, database) as live:  # without its files
        await connected(live, 4)
        assert not await live.put("PVS:RELOAD", 1)
        assert "no catalogue files" in await live.text("PVS:MSG")


async def test_files_are_read_again(live: Live, file: Path) -> None:
    rewrite(file, f"setpoint,readback,read_only\n{P}5,{P}6,\n{P}3,,\n{P}2,,yes\n")
    await live.watch("PVS:COUNT", "PVS:MSG", "PVS:RELOAD")
    assert await live.put("PVS:RELOAD", 1)
    await live.wait_for("PVS:FOUND:NAMES", [f"{P}5", f"{P}3", f"{P}2", f"{P}6"])
    assert await live.count("PVS:CONNECTED") == 4
    assert await live.count("PVS:READONLY") == 1
    assert await live.text("PVS:MSG") == "3 PVs in the catalogue files: 1 added, 1 removed, 2 changed"
    # COUNT is what it was; the result comes before the command is back.
    assert [(n, v if n == "PVS:RELOAD" else None) for n, v in live.updates] == [
        ("PVS:RELOAD", 1),
        ("PVS:MSG", None),
        ("PVS:RELOAD", 0),
    ]


async def test_wrong_files_change_nothing(live: Live, file: Path) -> None:
    rewrite(file, f"{CATALOGUE}{P}9,,x,\n{P}2,,,\n")
    await live.watch("PVS:COUNT", "PVS:MSG", "PVS:RELOAD", "PVS:FOUND:NAMES")
    assert not await live.put("PVS:RELOAD", 1)
    message = await live.text("PVS:MSG")
    assert "pvs.csv:5: atol: 'x' is not a number" in message
    assert "2 problems" in message
    assert str(file.parent) not in message
    assert [n for n, _ in live.updates] == ["PVS:RELOAD", "PVS:MSG", "PVS:RELOAD"]
    rewrite(file, "")
    assert not await live.put("PVS:RELOAD", 1)
    assert "pvs.csv" in await live.text("PVS:MSG")
    rewrite(file, CATALOGUE)
    assert await live.put("PVS:RELOAD", 1)
    assert await live.count("PVS:COUNT") == 4


async def test_what_another_process_makes_of_it(live: Live, database: DatabaseSettings) -> None:
    async with another_process(database) as store:
        await store.change_catalogue(
            lambda inventory, former: inventory.with_added([f"{P}20", f"{P}21"], former), made_by="somebody else"
        )
        await connected(live, 6)
        assert await live.text("PVS:MSG") == "2 added, 0 removed, 0 changed (somebody else)"
        assert (await snapshot(live, "theirs"))[1] == 6
        # And the other way round: neither overwrites what the other has done.
        assert await live.say("PVS:ADD", f"{P}22")
        await store.change_catalogue(lambda inventory, _: inventory.without([f"{P}20"]))
        await connected(live, 6)
        assert (await store.load_catalogue()).channels.names == (
            *(f"{P}{i}" for i in (0, 2, 3, 21, 22)),
            f"{P}1",
        )


async def test_what_was_changed_while_nobody_listened(live: Live, database: DatabaseSettings) -> None:
    async with another_process(database) as store:
        await store.pool.execute("ALTER TABLE catalogue_version DISABLE TRIGGER squirrel_event")
        await store.change_catalogue(lambda inventory, former: inventory.with_added([f"{P}20"], former))
        await store.pool.execute("ALTER TABLE catalogue_version ENABLE TRIGGER squirrel_event")
        assert await live.count("PVS:COUNT") == 4
        # What may have been missed is looked for when the connection comes back.
        await store.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connected(live, 5)


async def test_without_its_database(live: Live, database: DatabaseSettings, postgres_server: EmbeddedServer) -> None:
    assert database.dsn is not None
    name = urlsplit(database.dsn.get_secret_value()).path.lstrip("/")
    await execute(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await execute(postgres_server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    await live.wait_for("DB:STATUS", 1)
    assert not await live.say("PVS:ADD", f"{P}10")
    assert "storing the catalogue" in await live.text("PVS:MSG")
    assert not await live.put("PVS:RELOAD", 1)
    assert await live.label("PVS:RELOAD") == "Done"
    assert await live.count("PVS:CONNECTED") == 4
    await execute(postgres_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await live.wait_for("DB:STATUS", 0)
    assert await live.say("PVS:ADD", f"{P}10")
    assert await live.count("PVS:CONNECTED") == 5


async def test_two_at_once(live: Live) -> None:
    done = await asyncio.gather(
        live.say("PVS:ADD", f"{P}10 {P}11"),
        live.say("PVS:ADD", f"{P}12"),
        live.say("PVS:REMOVE", f"{P}2"),
        live.put("PVS:RELOAD", 1),
        live.say("PVS:ADD", f"{P}13"),
    )
    assert done == [True] * 5
    assert await live.count("PVS:COUNT") == 7
    same = await asyncio.gather(live.say("PVS:ADD", f"{P}14"), live.say("PVS:ADD", f"{P}14 {P}15"))
    assert sorted(same) == [False, True]


async def test_reload_once_at_a_time(live: Live) -> None:
    both = await asyncio.gather(live.put("PVS:RELOAD", 1), live.put("PVS:RELOAD", 1))
    assert sorted(both) == [False, True]
    assert await live.label("PVS:RELOAD") == "Done"


async def test_find(live: Live, database: DatabaseSettings) -> None:
    assert await live.count("PVS:FOUND") == 4
    assert await live.say("PVS:FIND", "@L1 !~1$")
    assert await live.text("PVS:FIND") == "@L1 !~1$"
    assert await live.count("PVS:FOUND") == 2
    assert list(await live.get("PVS:FOUND:NAMES")) == [f"{P}0", f"{P}2"]
    async with another_process(database) as store:
        await store.change_catalogue(
            lambda inventory, _: inventory.with_changed({f"{P}3": Entry(f"{P}3", tags={"Area": ("L1",)})})
        )
    await live.wait_for("PVS:FOUND", 3)
    assert await live.say("PVS:FIND", "%missing")
    assert await live.count("PVS:FOUND") == 0
    assert await live.say("PVS:ADD", f"{P}ABSENT")
    await live.wait_for("PVS:FOUND", 1)
    await live.wait_for("PVS:FOUND:NAMES", [f"{P}ABSENT"])


async def test_a_running_job_keeps_its_list(tmp_path: Path, database: DatabaseSettings) -> None:
    path = tmp_path / "ramp.csv"
    rewrite(path, f"setpoint,max_step,step_period,order\n{P}25,1,0.1,0\n{P}26,1,0.1,1\n{P}27,,,2\n")
    async with serving(tmp_path, database, path) as live:
        await connected(live, 3)
        taken, _ = await snapshot(live, "to go back to")
        await aioca.caput([f"{P}{i}" for i in (25, 26, 27)], [30.0, 30.0, 0.0], wait=True)
        restore = asyncio.create_task(live.put("RESTORE:ID", taken))
        seen: list[float] = []
        monitor = aioca.camonitor(f"{P}25", seen.append)
        await until(lambda: any(29 > value > 25 for value in seen))
        # The ramp is under way. Everything it still has to write leaves the catalogue.
        assert await live.say("PVS:REMOVE", f"{P}25 {P}26 {P}27")
        assert not restore.done()
        assert await live.count("PVS:COUNT") == 0
        assert (await live.get("IOCS:COUNTS")).tolist() == [3]
        assert await restore, await live.text("RESTORE:MSG")
        monitor.close()
        assert await live.label("RESTORE:STATUS") == "OK"
        assert await live.count("RESTORE:WRITTEN") == 3
        assert [float(v) for v in await aioca.caget([f"{P}{i}" for i in (25, 26, 27)])] == [25, 26, 27]
        # Only now they are dropped.
        await live.wait_for("IOCS:COUNTS", [])
        assert not await live.say("SNAP:NOW", "of nothing")
        assert "the catalogue is empty" in await live.text("SNAP:MSG")
        assert await live.say("PVS:ADD", f"{P}25")
        assert (await snapshot(live, "again"))[1] == 1
