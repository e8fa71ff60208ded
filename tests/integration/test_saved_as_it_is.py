"""A snapshot holds what the machine had, and says what it could not hold: real records, the whole service."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import pytest
import pytest_asyncio
from ca_helpers import random_prefix
from ioc_process import IocProcess
from live_service import Live, serving
from postgres import TEMPLATE, execute, settings_for

from squirrel_ioc.store import EmbeddedServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

P = random_prefix()

DATABASE = f"""
record(ao, "{P}UDFAO") {{ field(PREC, "2") field(HIHI, "9") }}
record(ao, "{P}BY:FILE") {{ field(VAL, "7") }}
record(ao, "{P}LIMIT") {{ field(VAL, "7") field(PINI, "YES") field(HIGH, "6") field(HSV, "INVALID") }}
"""
PVS = ("UDFAO", "UDFAO.HIHI", "BY:FILE", "LIMIT")


@dataclass
class Rig:
    """A service, and the IOC it looks after."""

    s: Live
    ioc: IocProcess

    async def snapshot(self, selection: str = "", label: str = "OK") -> int:
        assert await self.s.say("SNAP:FILTER", selection)
        assert await self.s.put("SNAP:TRIGGER", 1)
        assert await self.s.label("SNAP:STATUS") == label, await self.s.text("SNAP:MSG")
        return await self.s.count("SNAP:ID")

    async def restore(self, snapshot_id: int, well: bool = True) -> str:
        """MSG."""
        assert await self.s.put("RESTORE:ID", snapshot_id) is well
        return await self.s.text("RESTORE:MSG")


async def put(name: str, value: Any, **options: Any) -> None:
    await aioca.caput(P + name, value, wait=True, timeout=10, **options)


async def get(name: str, **options: Any) -> Any:
    return await aioca.caget(P + name, timeout=10, **options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(postgres_template: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    folder: Path = tmp_path_factory.mktemp("service")
    (folder / "pvs.csv").write_text("Setpoint\n" + "".join(f"{P}{name}\n" for name in PVS))
    name = f"test_{os.getpid()}_saved"
    await execute(postgres_template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        with IocProcess(DATABASE) as ioc:
            async with serving(folder, settings_for(postgres_template, name), folder / "pvs.csv") as service:
                await service.wait_for("PVS:CONNECTED", len(PVS), 30)
                yield Rig(service, ioc)
    finally:
        await execute(postgres_template, f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_value_that_was_never_set_is_named_and_not_written_unless_asked_for(rig: Rig) -> None:
    """What autosave or the database file has set is UDF too, without a severity; a limit's INVALID is no bad value."""
    snapshot_id = await rig.snapshot(f"{P}UDFAO,{P}UDFAO.HIHI,{P}BY:FILE,{P}LIMIT")
    assert await rig.s.count("SNAP:INVALID") == 1
    assert (await rig.s.get("SNAP:INVALID", format=aioca.FORMAT_TIME)).severity == 1
    assert await rig.s.names("SNAP:INVALID:NAMES") == [f"{P}UDFAO"]
    assert f"1 of them bad ({P}UDFAO: INVALID (UDF))" in await rig.s.text("SNAP:MSG")

    await put("UDFAO", 8)
    await put("BY:FILE", 1)
    await put("LIMIT", 1)
    await put("UDFAO.HIHI", 5)
    await rig.restore(snapshot_id)
    assert await rig.s.label("RESTORE:STATUS") == "Partial"
    assert await rig.s.names("RESTORE:SKIPPED:NAMES") == [f"{P}UDFAO"]
    assert await rig.s.names("RESTORE:SKIPPED:REASONS") == ["its value was INVALID (UDF) when it was saved"]
    assert await rig.s.count("RESTORE:WRITTEN") == 3
    assert [await get(name) for name in PVS] == [8, 9, 7, 7]

    assert await rig.s.put("RESTORE:INVALID", "Write")
    try:
        await rig.restore(snapshot_id)
    finally:
        assert await rig.s.put("RESTORE:INVALID", "Skip")
    assert await rig.s.count("RESTORE:WRITTEN") == 1
    assert await get("UDFAO") == 0
    await rig.snapshot()
    assert await rig.s.count("SNAP:INVALID") == 0
