"""`squirrel-ioc pvs` beside the running service, which follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aioca
import pytest
from ca_helpers import random_prefix
from ioc_process import IocProcess
from running import Running, running

from squirrel_ioc.config import DatabaseSettings

P = random_prefix()


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    records = [f'record(ao, "{P}{i}") {{ field(VAL, "{i}") field(PINI, "YES") }}\n' for i in range(12)]
    with IocProcess("".join(records)) as process:
        yield process


@pytest.fixture
async def service(tmp_path: Path, database: DatabaseSettings, ioc: IocProcess) -> AsyncIterator[Running]:
    async with running(tmp_path, database, f"setpoint,Area\n{P}0,L1\n{P}1,L2\n", 2) as service:
        yield service


async def test_the_running_service_follows(service: Running) -> None:
    async def pvs(*arguments: str) -> str:
        code, out, err = await service.run_cli("pvs", *arguments)
        assert code == 0, err
        return out

    await pvs("add", f"{P}2", f"{P}3", "--tag", "Area=L1", "--atol", "100")
    await service.wait_for("PVS:CONNECTED", 4)
    assert (await service.text("PVS:MSG")).startswith("2 added, 0 removed, 0 changed (squirrel-ioc pvs add, ")
    assert await service.put("SNAP:NOW", "four", datatype=aioca.DBR_CHAR_STR)
    assert await service.get("SNAP:COUNT") == 4
    assert await service.put("SNAP:FILTER", "@L1", datatype=aioca.DBR_CHAR_STR)
    assert await service.put("SNAP:NOW", "part", datatype=aioca.DBR_CHAR_STR)
    assert await service.get("SNAP:COUNT") == 3
    await pvs("tag", "rename", "Area=L1", "Area=LI01")
    await pvs("set", f"{P}0", "--read-only")
    await service.wait_for("PVS:READONLY", 1)
    assert await service.put("SNAP:FILTER", "@L1", datatype=aioca.DBR_CHAR_STR)
    assert not await service.put("SNAP:NOW", "none of these any more", datatype=aioca.DBR_CHAR_STR)
    assert "matches no PV" in await service.text("SNAP:MSG")
    await pvs("remove", f"{P}1", f"{P}2")
    await service.wait_for("PVS:COUNT", 2)
    code, out, _ = await service.run_cli("snapshots", "show", "1", "--json", "--values")
    assert code == 0
    assert [value["value"] for value in json.loads(out)["values"]] == [0, 1, 2, 3]
    # The service has the last word of its files, and both agree on what was done by hand.
    assert await service.put("PVS:RELOAD", 1)
    assert await service.get("PVS:COUNT") == 2
    assert f"1 stay removed: {P}1" in await service.text("PVS:MSG")
    assert f"1 stay as changed by hand: {P}0" in await service.text("PVS:MSG")


async def test_all_at_once(service: Running) -> None:
    commands = [service.run_cli("pvs", "add", f"{P}{i}") for i in (4, 5)]
    puts = [service.put("PVS:ADD", f"{P}{i}", datatype=aioca.DBR_CHAR_STR) for i in (6, 7, 8)]
    done = await asyncio.gather(*commands, *puts, service.run_cli("pvs", "set", "-f", "", "--rtol", "0.5"))
    assert [d[0] if isinstance(d, tuple) else d for d in done] == [0, 0, True, True, True, 0]
    await service.wait_for("PVS:CONNECTED", 7)
