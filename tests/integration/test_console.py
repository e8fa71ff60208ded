"""What an operator reads back at a console: the whole service, one IOC, and a second client beside."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aioca
import pytest
import yaml
from ioc_process import IocProcess
from live_service import Live, serving
from raw_ca import raw_client
from running import environment

from squirrel_ioc.config import DatabaseSettings

DATABASE = "".join(f'record(ao, "K:{n}") {{ field(VAL, "1") field(PINI, "YES") }}\n' for n in "AB")


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    with IocProcess(DATABASE) as process:
        yield process


@pytest.fixture
async def s(ioc: IocProcess, database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Live]:
    (tmp_path / "pvs.csv").write_text("setpoint\nK:A\nK:B\n")
    async with serving(tmp_path, database, tmp_path / "pvs.csv") as service:
        await service.wait_for("PVS:CONNECTED", 2)
        await turn(1.0)
        yield service


async def turn(a: float) -> None:
    await aioca.caput("K:A", a, wait=True, timeout=30)


async def snapshot(s: Live, title: str) -> int:
    assert await s.say("SNAP:DO", f'"{title}"')
    return await s.count("SNAP:ID")


async def test_a_dry_run_lists_what_it_would_write(s: Live) -> None:
    await snapshot(s, "golden")
    await turn(5.0)
    assert await s.say("RESTORE:DO", "title=golden dry=yes")
    assert await s.names("RESTORE:PLAN:NAMES") == ["K:A"]
    assert list(await s.get("RESTORE:PLAN:FROM")) == ["5"]
    assert list(await s.get("RESTORE:PLAN:TO")) == ["1"]
    assert (await s.count("RESTORE:PLAN:COUNT"), await s.count("RESTORE:WRITTEN")) == (1, 0)
    assert "dry run" in (await s.text("RESTORE:MSG")).lower()
    assert await aioca.caget("K:A", timeout=30) == 5.0


async def test_restores_by_title_and_of_the_reference(s: Live) -> None:
    first, golden = await snapshot(s, "other"), await snapshot(s, "golden")
    await turn(5.0)
    assert await s.say("RESTORE:DO", "title=golden")
    assert await s.count("RESTORE:LAST:ID") == golden
    assert await aioca.caget("K:A", timeout=30) == 1.0
    assert not await s.say("RESTORE:DO", "title=gold"), "a part of a title is none"

    assert await s.put(f"SNAP:{first}:REFERENCE", 1)
    await s.wait_for("REF:ID", first)
    assert await s.text("REF:TITLE") == "other"
    await turn(5.0)
    assert await s.put("RESTORE:ID", -1)
    assert await s.count("RESTORE:LAST:ID") == first
    assert await aioca.caget("K:A", timeout=30) == 1.0


async def test_a_parameter_that_somebody_else_has_just_set_is_told(s: Live) -> None:
    number = await snapshot(s, "golden")
    async with raw_client(s.settings.port) as other:
        await other.hello("ann", "console7")
        channel = await other.channel(s.pv("RESTORE:MODE"))
        other.send(channel.write([1]))
        await s.wait_for("RESTORE:MODE", 1)
    assert await s.put("RESTORE:ID", number)
    assert "RESTORE:MODE was set by ann@console7" in await s.text("RESTORE:MSG")


async def test_a_pv_that_has_left_the_catalogue_is_not_called_disconnected(s: Live) -> None:
    number = await snapshot(s, "golden")
    assert await s.say("PVS:REMOVE", "K:B")
    assert await s.say("DIFF:DO", f"{number} 0 show=missing")
    assert list(await s.get("DIFF:NAMES")) == ["K:B"]
    assert list(await s.get("DIFF:B:STR")) == ["not read"]
    assert await s.say("PVS:ADD", "K:B")


async def test_the_list_of_snapshots_on_a_terminal_of_80_columns(s: Live, tmp_path: Path) -> None:
    await snapshot(s, "before the access")
    assert s.settings.database.dsn is not None
    settings = {"database": {"dsn": s.settings.database.dsn.get_secret_value()}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "squirrel_ioc", "snapshots", "list", "--config", str(tmp_path / "settings.yaml")),
        env=environment() | {"COLUMNS": "80"},
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    lines = out.decode().splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if "before the access" in line]
    assert re.search(r" 1 .* \d{4}-\d\d-\d\d \d\d:\d\d:\d\d .* before the access .* 2 ", row), row
