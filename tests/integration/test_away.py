"""PVs that are known to be away are named, counted on their own, and no reason for Partial."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aioca
import pytest
from ioc_process import IocProcess
from live_service import Live, serving

from squirrel_ioc.config import DatabaseSettings

DATABASE = 'record(ao, "W:A") { field(VAL, "1") field(PINI, "YES") }\n'


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    with IocProcess(DATABASE) as process:
        yield process


@pytest.fixture
async def s(ioc: IocProcess, database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Live]:
    (tmp_path / "pvs.csv").write_text("setpoint\nW:A\nW:GONE\nW:LOST\n")
    async with serving(tmp_path, database, tmp_path / "pvs.csv") as service:
        await service.wait_for("PVS:CONNECTED", 1, 30)
        yield service


async def test_what_is_away_is_told_and_does_not_make_a_snapshot_or_a_restore_partial(s: Live) -> None:
    assert await s.say("PVS:AWAY:ADD", "W:GONE, W:LOST: the vacuum IOC is being replaced")
    assert [await s.count(f"PVS:{name}") for name in ("AWAY", "DISCONNECTED", "AWAY:BACK")] == [2, 0, 0]
    assert await s.names("PVS:AWAY:NAMES") == ["W:GONE", "W:LOST"]
    assert all(r.startswith("the vacuum IOC is being replaced (") for r in await s.names("PVS:AWAY:REASONS"))

    assert await s.put("SNAP:TRIGGER", 1)
    assert await s.label("SNAP:STATUS") == "OK"
    assert [await s.count(f"SNAP:{name}") for name in ("COUNT", "MISSING", "AWAY")] == [1, 0, 2]
    assert (await s.text("SNAP:MSG")).endswith("1 PVs stored, 2 known to be away")
    snapshot_id = await s.count("SNAP:ID")

    await aioca.caput("W:A", 5, wait=True)
    assert await s.put("RESTORE:ID", snapshot_id)
    assert await s.label("RESTORE:STATUS") == "OK"
    assert await s.names("RESTORE:SKIPPED:NAMES") == ["W:GONE", "W:LOST"]
    assert set(await s.names("RESTORE:SKIPPED:REASONS")) == {"no value saved: away"}

    assert await s.put("DIFF:A", snapshot_id)
    assert await s.put("DIFF:B", 0)
    assert await s.label("DIFF:STATUS") == "OK"
    assert (await s.text("DIFF:MSG")).endswith("2 known to be away")


async def test_what_is_not_on_the_list_still_makes_it_partial(s: Live) -> None:
    assert await s.say("PVS:AWAY:ADD", "W:GONE W:LOST: repair")
    assert await s.say("PVS:AWAY:REMOVE", "W:LOST")
    assert await s.put("SNAP:TRIGGER", 1)
    assert await s.label("SNAP:STATUS") == "Partial"
    assert await s.names("SNAP:MISSING:NAMES") == ["W:LOST"]


async def test_a_pv_that_is_back_is_read_and_told(s: Live) -> None:
    assert await s.say("PVS:AWAY:ADD", "W:A: repair")
    assert (await s.get("PVS:AWAY:BACK", format=aioca.FORMAT_TIME)).severity == 1
    await s.put("SNAP:TRIGGER", 1)
    assert await s.count("SNAP:COUNT") == 1


@pytest.mark.parametrize(
    ("pv", "written", "reason"),
    [
        ("ADD", "W:GONE", "write the names, a colon and a reason"),
        ("ADD", "W:GONE: ", "write the names, a colon and a reason"),
        ("ADD", "W:NONE: repair", "not in the catalogue: W:NONE"),
        ("REMOVE", "W:GONE", "W:GONE is not on the list of PVs that are away"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(s: Live, pv: str, written: str, reason: str) -> None:
    assert not await s.say(f"PVS:AWAY:{pv}", written)
    assert reason in await s.text("PVS:MSG")
    assert await s.count("PVS:AWAY") == 0


async def test_the_list_outlives_a_restart_and_follows_other_processes(
    s: Live, database: DatabaseSettings, tmp_path: Path
) -> None:
    from squirrel_ioc.model.away import AWAY_SETTING, without_removed
    from squirrel_ioc.store import Store

    assert await s.say("PVS:AWAY:ADD", "W:GONE: repair")
    store = await Store.open(database, tmp_path, exclusive=False)
    try:
        assert list(await store.get_setting(AWAY_SETTING)) == ["W:GONE"]
        await store.change_setting(AWAY_SETTING, lambda kept: without_removed(kept, ["W:GONE"]))
    finally:
        await store.close()
    await asyncio.wait_for(s.wait_for("PVS:AWAY", 0, 30), 35)
