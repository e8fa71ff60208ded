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
from ca_helpers import put_property, random_prefix
from ioc_process import IocProcess
from live_service import Live, serving
from postgres import TEMPLATE, execute, settings_for

from squirrel_ioc.store import EmbeddedServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

P = random_prefix()
CALC = "RNDM*100+12345678901234567890*0+A+B+C+D+E+F"

DATABASE = f"""
record(ao, "{P}UDFAO") {{ field(PREC, "2") field(HIHI, "9") }}
record(ao, "{P}BY:FILE") {{ field(VAL, "7") }}
record(ao, "{P}LIMIT") {{ field(VAL, "7") field(PINI, "YES") field(HIGH, "6") field(HSV, "INVALID") }}
record(calc, "{P}CALC") {{ field(CALC, "{CALC}") }}
record(int64out, "{P}I64") {{ field(VAL, "9007199254740993") field(PINI, "YES") }}
record(bo, "{P}ACQ") {{ field(ZNAM, "Done") field(ONAM, "Acquire") field(PINI, "YES") }}
record(lso, "{P}LSO") {{ field(SIZV, "300") }}
record(waveform, "{P}CHARS") {{ field(FTVL, "CHAR") field(NELM, "128") }}
record(ao, "{P}TWICE") {{ field(VAL, "1") field(PINI, "YES") }}
record(ao, "{P}AO") {{ field(VAL, "1.5") field(PINI, "YES") field(EGU, "A") field(PREC, "3") }}
"""
TWICE = f"{P}TWICE"
PVS = ("UDFAO", "UDFAO.HIHI", "BY:FILE", "LIMIT", "CALC.CALC", "I64", "ACQ", "AO", "TWICE", "LSO.VAL$", "CHARS")


@dataclass
class Rig:
    """A service, its folder for files, and an IOC that serves one name too many."""

    s: Live
    exchange: Path
    other: IocProcess

    async def snapshot(self, selection: str = "", label: str = "OK") -> int:
        assert await self.s.say("SNAP:FILTER", selection)
        assert await self.s.put("SNAP:TRIGGER", 1)
        assert await self.s.label("SNAP:STATUS") == label, await self.s.text("SNAP:MSG")
        return await self.s.count("SNAP:ID")

    async def restore(self, snapshot_id: int, well: bool = True) -> str:
        """MSG."""
        done = await self.s.put("RESTORE:ID", snapshot_id)
        assert done is well, await self.s.text("RESTORE:MSG")
        return await self.s.text("RESTORE:MSG")


async def put(name: str, value: Any, **options: Any) -> None:
    await aioca.caput(P + name, value, wait=True, timeout=30, **options)


async def get(name: str, **options: Any) -> Any:
    return await aioca.caget(P + name, timeout=30, **options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(postgres_template: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    folder: Path = tmp_path_factory.mktemp("service")
    exchange = folder / "exchange"
    exchange.mkdir()
    (folder / "pvs.csv").write_text("Setpoint\n" + "".join(f"{P}{name}\n" for name in PVS))
    name = f"test_{os.getpid()}_saved"
    await execute(postgres_template, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    try:
        with IocProcess(DATABASE), IocProcess(f'record(ao, "{TWICE}") {{}}') as other:
            database = settings_for(postgres_template, name)
            async with serving(folder, database, folder / "pvs.csv", exchange=exchange) as service:
                await service.wait_for("PVS:CONNECTED", len(PVS), 30)
                yield Rig(service, exchange, other)
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
    assert [await get(name) for name in PVS[:4]] == [8, 9, 7, 7]

    assert await rig.s.put("RESTORE:INVALID", "Write")
    try:
        await rig.restore(snapshot_id)
    finally:
        assert await rig.s.put("RESTORE:INVALID", "Skip")
    assert await rig.s.count("RESTORE:WRITTEN") == 1
    assert await get("UDFAO") == 0
    await rig.snapshot(f"{P}UDFAO")
    assert await rig.s.count("SNAP:INVALID") == 0


async def test_a_text_of_more_than_39_characters_is_restored_whole(rig: Rig) -> None:
    snapshot_id = await rig.snapshot(f"{P}CALC.CALC")
    stored = f"SNAP:{snapshot_id}:VAL:{P}CALC.CALC"
    assert await rig.s.get(stored) == CALC[:39]
    assert await rig.s.text(f"{stored}.VAL$") == CALC
    other = "A+B+" + CALC
    await put("CALC.CALC$", other, datatype=aioca.DBR_CHAR_STR)
    await rig.restore(snapshot_id)
    assert await rig.s.label("RESTORE:STATUS") == "OK"
    assert await get("CALC.CALC$", datatype=aioca.DBR_CHAR_STR) == CALC
    assert await rig.s.put("RESTORE:UNDO", 1)
    assert await get("CALC.CALC$", datatype=aioca.DBR_CHAR_STR) == other
    # What differs behind the cut differs.
    await put("CALC.CALC$", CALC[:-1] + "G", datatype=aioca.DBR_CHAR_STR)
    await rig.restore(snapshot_id)
    assert await rig.s.count("RESTORE:WRITTEN") == 1
    assert await get("CALC.CALC$", datatype=aioca.DBR_CHAR_STR) == CALC


async def test_a_text_that_a_file_has_cut_is_not_written_over_the_whole_one(rig: Rig) -> None:
    for saved, status, message in (
        (CALC, "OK", "1 unchanged"),
        (CALC[:37], "OK", "1 of 1 PVs written"),
        (CALC[:39], "Failed", "its text was cut at 39 characters in the file"),
    ):
        await put("CALC.CALC$", CALC, datatype=aioca.DBR_CHAR_STR)
        (rig.exchange / "cut.sav").write_text(f"# autosave R5.3\n{P}CALC.CALC {saved}\n<END>\n")
        assert await rig.s.say("FILE:IMPORT", "cut.sav")
        assert message in await rig.restore(await rig.s.count("FILE:ID"), well=status == "OK")
        assert await rig.s.label("RESTORE:STATUS") == status
    assert await get("CALC.CALC$", datatype=aioca.DBR_CHAR_STR) == CALC


async def test_an_integer_that_channel_access_cannot_carry_is_named(rig: Rig) -> None:
    snapshot_id = await rig.snapshot(f"{P}I64,{P}LIMIT", "Partial")
    reason = f"{P}I64: an integer beyond 2^53, which comes inexact over Channel Access"
    assert reason in await rig.s.text("SNAP:MSG")
    assert await rig.s.names("SNAP:MISSING:NAMES") == [f"{P}I64"]
    await put("I64", 42)
    await rig.restore(snapshot_id)
    assert await rig.s.label("RESTORE:STATUS") == "Partial"
    assert await rig.s.names("RESTORE:BAD:NAMES") == [f"{P}I64"]
    assert await get("I64") == 42


async def test_labels_and_units_are_those_of_the_moment(rig: Rig) -> None:
    """Also when they have been changed while connected."""
    await put_property(f"{P}ACQ", "ONAM", "Expose")
    await put("ACQ", 1)
    await put_property(f"{P}AO", "EGU", "mA")
    await put_property(f"{P}AO", "HOPR", 12)
    snapshot_id = await rig.snapshot(f"{P}ACQ,{P}AO")
    assert await rig.s.label(f"SNAP:{snapshot_id}:VAL:{P}ACQ") == "Expose"
    stored = await rig.s.get(f"SNAP:{snapshot_id}:VAL:{P}AO", format=aioca.FORMAT_CTRL)
    assert (stored.units, stored.upper_disp_limit, stored.precision) == ("mA", 12, 3)
    await put("ACQ", 0)
    await rig.restore(snapshot_id)
    assert await rig.s.label("RESTORE:STATUS") == "OK"
    assert await get("ACQ") == 1
    # ... and back: each snapshot keeps its own.
    await put_property(f"{P}ACQ", "ONAM", "Acquire")
    again = await rig.snapshot(f"{P}ACQ")
    assert await rig.s.label(f"SNAP:{again}:VAL:{P}ACQ") == "Acquire"
    assert await rig.s.label(f"SNAP:{snapshot_id}:VAL:{P}ACQ") == "Expose"


async def test_a_name_that_two_iocs_serve_is_told(rig: Rig) -> None:
    await rig.s.wait_for("PVS:DUPLICATES", 1, 30)
    assert (await rig.s.get("PVS:DUPLICATES", format=aioca.FORMAT_TIME)).severity == 1
    assert await rig.s.names("PVS:DUPLICATES:NAMES") == [TWICE]
    assert list(await rig.s.get("PVS:DUPLICATES:NAMES")) == [TWICE]


@pytest.mark.parametrize("name", ["LSO.VAL$", "CHARS"])
async def test_a_text_that_was_never_written_is_restored(rig: Rig, name: str) -> None:
    """It has no elements; what cannot be sent over Channel Access is written as a text without characters."""
    snapshot_id = await rig.snapshot(P + name)
    await put(name, "something else", datatype=aioca.DBR_CHAR_STR)
    assert await rig.s.put("RESTORE:INVALID", "Write")
    try:
        await rig.restore(snapshot_id)
        assert await rig.s.label("RESTORE:STATUS") == "OK"
        assert await rig.s.count("RESTORE:WRITTEN") == 1
        assert await get(name, datatype=aioca.DBR_CHAR_STR) == ""
        assert await rig.s.put("RESTORE:INVALID", "Write")
        assert "1 unchanged" in await rig.restore(snapshot_id)
    finally:
        assert await rig.s.put("RESTORE:INVALID", "Skip")


@pytest.mark.parametrize("form", ["autosave", "burt", "psi", "phoebus", "jsonl"])
async def test_texts_are_restored_whole_from_a_file_of_every_format(rig: Rig, form: str) -> None:
    texts = {"LSO.VAL$": "a text of a hundred characters, " * 3 + "more", "CHARS": ""}
    for name, text in texts.items():
        await put(name, text, datatype=aioca.DBR_CHAR_STR)
    assert await rig.s.put("FILE:ID", await rig.snapshot(f"{P}LSO.VAL$,{P}CHARS"))
    assert await rig.s.put("FILE:FORMAT", form)
    try:
        assert await rig.s.say("FILE:EXPORT", f"texts.{form}"), await rig.s.text("FILE:ERRORS")
        assert await rig.s.label("FILE:STATUS") == "OK", await rig.s.text("FILE:ERRORS")
        for name in texts:
            await put(name, "something else", datatype=aioca.DBR_CHAR_STR)
        assert await rig.s.say("FILE:IMPORT", f"texts.{form}"), await rig.s.text("FILE:ERRORS")
    finally:
        assert await rig.s.put("FILE:FORMAT", "Auto")
    imported = await rig.s.count("FILE:ID")
    await rig.restore(imported)
    assert await rig.s.label("RESTORE:STATUS") == "OK"
    assert await rig.s.count("RESTORE:WRITTEN") == 2
    assert {name: await get(name, datatype=aioca.DBR_CHAR_STR) for name in texts} == texts
    assert "2 unchanged" in await rig.restore(imported)
