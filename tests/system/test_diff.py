"""DIFF of the running service: real records, real Postgres, a CA client that is not caproto."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import pytest
from ioc_process import IocProcess
from running import Running, running

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.snapshot import SnapshotChange
from squirrel_ioc.store import Store

MAGNETS = 24

ARRAYS = ("NAMES", "A:VAL", "B:VAL", "DELTA", "A:STR", "B:STR", "SEVR", "ROLE")


def records(r: str) -> str:
    magnets = "".join(
        f"""record(ao, "{r}M{i:02d}") {{ field(VAL, "{i}") field(PREC, "3") field(EGU, "A") field(PINI, "YES") }}\n"""
        for i in range(MAGNETS)
    )
    return f"""{magnets}
record(ao, "{r}SET") {{ field(VAL, "7") field(PINI, "YES") field(FLNK, "{r}GET") }}
record(ai, "{r}GET") {{ field(INP, "{r}SET") field(PREC, "1") }}
record(mbbo, "{r}MODE") {{ field(ZRST, "Off") field(ONST, "Standby") field(TWST, "Run")
    field(VAL, "0") field(PINI, "YES") }}
record(stringout, "{r}TEXT") {{ field(VAL, "hello") field(PINI, "YES") }}
record(waveform, "{r}WAVE") {{ field(FTVL, "DOUBLE") field(NELM, "8") field(EGU, "mm") field(PREC, "1") }}
record(ao, "{r}LATE") {{ field(VAL, "1") field(HIHI, "10") field(HHSV, "MAJOR") field(PINI, "YES") }}
"""


def csv(r: str) -> str:
    rows = [f"{r}M{i:02d}," for i in range(MAGNETS)]
    rows += [f"{r}SET,{r}GET", *(f"{r}{name}," for name in ("MODE", "TEXT", "WAVE", "LATE"))]
    return "\n".join(["Setpoint,Readback", *rows]) + "\n"


COUNT = MAGNETS + 6


@dataclass
class Rig:
    """The records and the service."""

    r: str
    ioc: IocProcess
    s: Running

    async def set(self, **values: Any) -> None:
        """Change records."""
        for name, value in values.items():
            await aioca.caput(self.r + name, value, wait=True, timeout=30)

    async def values(self, *names: str) -> list[Any]:
        """What records have."""
        found = await aioca.caget([self.r + name for name in names], timeout=30)
        return [v.tolist() if hasattr(v, "tolist") else v for v in found]

    async def snapshot(self) -> int:
        """A new snapshot's id."""
        assert await self.s.put("SNAP:TRIGGER", 1)
        return int(await self.s.get("SNAP:ID"))

    async def names(self, view: str = "") -> list[str]:
        """DIFF:NAMES, without the prefix of the records."""
        return [str(name).removeprefix(self.r) for name in await self.s.get(f"{view}DIFF:NAMES")]


@pytest.fixture
def ioc() -> Iterator[tuple[str, IocProcess]]:
    r = f"R{secrets.token_hex(3)}:"
    with IocProcess(records(r)) as process:
        yield r, process


@pytest.fixture
async def rig(ioc: tuple[str, IocProcess], database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Rig]:
    r, process = ioc
    async with running(tmp_path, database, csv(r), COUNT, views=["OP1", "OP2"]) as service:
        yield Rig(r, process, service)


async def test_two_snapshots(rig: Rig) -> None:
    s = rig.s
    first = await rig.snapshot()
    await rig.set(M03=3.25, SET=8.5, MODE=2, TEXT="bye", WAVE=[1.0, 2.5], LATE=11.0)
    second = await rig.snapshot()
    assert await s.put("DIFF:A", first)
    await s.watch(*(f"DIFF:{n}" for n in (*ARRAYS, "NAMES:LONG", "COUNT", "COMPARED", "MSG", "STATUS", "TRIGGER")))
    await s.watch("JOB:STATUS")
    assert await s.put("DIFF:B", second)
    seen = [name for name, _ in s.updates]
    # Everything before the answer, and in the order of the contract.
    assert seen[-4:] == ["DIFF:MSG", "DIFF:STATUS", "JOB:STATUS", "DIFF:TRIGGER"]
    assert [int(v) for n, v in s.updates if n == "DIFF:STATUS"] == [1, 2]
    results = seen[seen.index("DIFF:NAMES") : -4]
    assert {n for n in results if n.startswith("DIFF:")} == {
        *(f"DIFF:{n}" for n in (*ARRAYS, "NAMES:LONG", "COUNT", "COMPARED"))
    }
    got = {name: await s.get(f"DIFF:{name}", format=aioca.FORMAT_TIME) for name in (*ARRAYS, "COUNT", "STATUS")}
    assert {len(got[name]) for name in ARRAYS} == {7}
    assert len({value.raw_stamp for value in got.values()}) == 1
    assert await rig.names() == ["M03", "SET", "MODE", "TEXT", "WAVE", "LATE", "GET"]
    assert list(got["A:STR"]) == ["3.000 A", "7", "Off", "hello", "[] mm (0)", "1", "7.0"]
    assert list(got["B:STR"]) == ["3.250 A", "8.5", "Run", "bye", "[1.0, 2.5] mm (2)", "11", "8.5"]
    assert got["DELTA"][[0, 1, 2, 5, 6]].tolist() == [0.25, 1.5, 2.0, 10.0, 1.5]
    assert math.isnan(got["A:VAL"][3])
    assert list(got["SEVR"]) == [0, 0, 0, 0, 3, 2, 0]  # nobody had written the waveform before
    assert list(got["ROLE"]) == ["setpoint"] * 6 + ["readback"]
    assert (int(got["COUNT"]), got["COUNT"].severity) == (7, 1)
    assert await s.get("DIFF:COMPARED") == COUNT
    assert await s.text("DIFF:MSG") == f"snapshot {first} and snapshot {second}: 7 of {COUNT} PVs differ"
    # The other way round it finds the same ones.
    assert await s.put("DIFF:A", second)
    assert await s.put("DIFF:B", first)
    assert await rig.names() == ["M03", "SET", "MODE", "TEXT", "WAVE", "LATE", "GET"]
    assert await s.put("DIFF:FILTER", f"{rig.r}M*,{rig.r}TEXT")
    assert await s.put("DIFF:TRIGGER", 1)
    assert await rig.names() == ["M03", "MODE", "TEXT"]
    assert await s.put("DIFF:ATOL", 0.5)
    assert await s.put("DIFF:TRIGGER", 1)
    assert await rig.names() == ["MODE", "TEXT"]
    assert await s.put("DIFF:SHOW", "All")
    assert len(await rig.names()) == MAGNETS + 2


async def test_live_machine_is_read_every_time(rig: Rig) -> None:
    s = rig.s
    assert await s.put("DIFF:A", await rig.snapshot())
    for value in (50.0, 60.0):
        await rig.set(M05=value)
        assert await s.put("DIFF:B", 0)
        assert await rig.names() == ["M05"]
        assert (await s.get("DIFF:B:VAL")).tolist() == [value]
    rig.ioc.kill()
    await s.wait_for("PVS:CONNECTED", 0)
    assert await s.put("DIFF:TRIGGER", 1)
    assert await s.label("DIFF:STATUS") == "Partial"
    assert (await s.get("DIFF:COUNT"), await s.get("DIFF:COMPARED"), await s.get("DIFF:MISSING")) == (0, 0, COUNT)
    assert await s.put("DIFF:SHOW", "Missing")
    assert set(await s.get("DIFF:B:STR")) == {"disconnected"}
    assert set(await s.get("DIFF:SEVR")) == {3}
    assert f"{COUNT} could not be read" in await s.text("DIFF:MSG")


async def test_comparison_can_be_aborted(rig: Rig) -> None:
    s = rig.s
    assert await s.put("DIFF:A", await rig.snapshot())
    assert await s.put("DIFF:B", 0)
    rig.ioc.pause()
    try:
        comparing = asyncio.create_task(s.put("DIFF:TRIGGER", 1))
        await s.wait_for("JOB:STATUS", 2)
        assert not await s.put("DIFF:TRIGGER", 1)
        assert await s.put("JOB:ABORT", 1)
        assert not await comparing
    finally:
        rig.ioc.resume()
    assert await s.label("DIFF:STATUS") == "Aborted"
    assert "aborted by" in await s.text("DIFF:MSG")
    assert await s.get("DIFF:TRIGGER") == 0
    await s.wait_for("PVS:CONNECTED", COUNT)
    assert await s.put("DIFF:TRIGGER", 1)


async def test_panel_walks_selects_and_restores(rig: Rig) -> None:
    s = rig.s
    before = await rig.snapshot()
    await rig.set(**{f"M{i:02d}": 100.0 + i for i in range(MAGNETS)}, SET=9.0)
    assert await s.put("DIFF:A", before)
    assert await s.put("DIFF:B", 0)
    assert (await s.get("DIFF:COUNT"), await s.get("DIFF:PAGES")) == (MAGNETS + 2, 2)
    seen = []
    for page in (1, 2):
        assert await s.put("DIFF:PAGE", page)
        seen += [await s.get(f"DIFF:ROW{n:02d}:NAME") for n in range(1, 21)]
    assert [name.removeprefix(rig.r) for name in seen if name] == await rig.names()
    assert not await s.put("DIFF:PAGE", 3)
    assert "pages are 1 to 2" in await s.text("DIFF:MSG")
    assert [await s.get(f"DIFF:ROW01:{n}") for n in ("A", "B", "DELTA")] == ["20.000 A", "120.000 A", "+100.000 A"]
    # The last row is a readback: alone it cannot be restored.
    assert await s.get("DIFF:ROW06:NAME") == f"{rig.r}GET"
    assert not await s.put("DIFF:ROW07:SEL", 1)
    assert await s.put("DIFF:ROW06:SEL", 1)
    assert not await s.put("DIFF:RESTORE", 1)
    assert "readbacks" in await s.text("DIFF:MSG")
    assert await s.put("DIFF:ROW01:SEL", 1)
    assert await s.put("DIFF:PAGE", 1)
    assert await s.put("DIFF:ROW03:SEL", 1)
    assert await s.put("RESTORE:ENABLE", 0)
    assert not await s.put("DIFF:RESTORE", 1)
    assert "restores are disabled" in await s.text("DIFF:MSG")
    assert await s.put("RESTORE:ENABLE", 1)

    await s.watch("DIFF:RESTORE", "RESTORE:STATUS", "RESTORE:WRITTEN", "DIFF:STATUS")
    assert await s.put("DIFF:RESTORE", 1)
    assert [(n, int(v)) for n, v in s.updates] == [
        ("RESTORE:STATUS", 1),
        ("DIFF:RESTORE", 1),
        ("RESTORE:WRITTEN", 2),
        ("RESTORE:STATUS", 2),
        ("DIFF:RESTORE", 0),
    ]
    assert await rig.values("M01", "M02", "M03", "M20", "M21", "SET") == [101.0, 2.0, 103.0, 20.0, 121.0, 9.0]
    assert [await s.get(f"RESTORE:{n}") for n in ("TOTAL", "FAILED", "MISMATCH")] == [2, 0, 0]
    assert await s.text("DIFF:MSG") == await s.text("RESTORE:MSG")
    assert await s.put("DIFF:TRIGGER", 1)
    assert await s.get("DIFF:COUNT") == MAGNETS
    assert await s.put("RESTORE:UNDO", 1)
    assert await rig.values("M02", "M20") == [102.0, 120.0]


async def test_two_views_at_once(rig: Rig) -> None:
    s = rig.s
    first = await rig.snapshot()
    await rig.set(M01=11.0)
    second = await rig.snapshot()
    await rig.set(M02=12.0)
    for view, a in (("OP1:", first), ("OP2:", second)):
        assert await s.put(f"{view}DIFF:A", a)
    assert await s.put("OP2:DIFF:SHOW", "All")
    for _ in range(3):
        done = await asyncio.gather(s.put("OP1:DIFF:B", 0), s.put("OP2:DIFF:B", 0), s.put("SNAP:TRIGGER", 1))
        assert done == [True, True, True]
        assert await rig.names("OP1:") == ["M01", "M02"]
        assert len(await rig.names("OP2:")) == COUNT
        assert [await s.get(f"{v}DIFF:COUNT") for v in ("", "OP1:", "OP2:")] == [0, 2, 1]
    assert await s.put("OP1:DIFF:SELECT", "All")
    assert await s.get("OP2:DIFF:SELECTED") == 0
    assert await s.put("OP1:DIFF:RESTORE", 1)
    assert await rig.values("M01", "M02") == [1.0, 2.0]


async def test_reference(rig: Rig, database: DatabaseSettings, tmp_path: Path) -> None:
    s = rig.s
    assert not await s.put("DIFF:A", -2)
    assert await s.put("DIFF:A", -1)
    assert not await s.put("DIFF:B", 0)
    assert await s.text("DIFF:MSG") == "there is no reference snapshot"
    assert await s.label("DIFF:STATUS") == "Refused"
    first = await rig.snapshot()
    await rig.set(M09=0.5)
    second = await rig.snapshot()
    store = await Store.open(database, tmp_path, exclusive=False)
    try:
        await store.update_snapshot(first, SnapshotChange(reference=True))
        assert await s.put("DIFF:TRIGGER", 1)
        assert await rig.names() == ["M09"]
        assert await s.put("DIFF:SELECT", "All")
        await store.update_snapshot(second, SnapshotChange(reference=True))
        assert not await s.put("DIFF:RESTORE", 1)
        assert f"the reference is snapshot {second} now" in await s.text("DIFF:MSG")
        assert await rig.values("M09") == [0.5]
        assert await s.put("DIFF:TRIGGER", 1)
        assert await rig.names() == []
        assert await s.put("DIFF:B", first)
        assert await rig.names() == ["M09"]
    finally:
        await store.close()


async def test_what_is_asked_wrong_is_refused_and_changes_nothing(rig: Rig, database: DatabaseSettings) -> None:
    s = rig.s
    snapshot = await rig.snapshot()
    await rig.set(M00=0.25)
    assert await s.put("DIFF:A", snapshot)
    assert await s.put("DIFF:B", 0)
    assert await s.put("DIFF:SELECT", "All")
    await s.watch(
        "DIFF:A", "DIFF:B", "DIFF:NAMES", "DIFF:COUNT", "DIFF:TRIGGER", "DIFF:PAGE", "DIFF:FILTER", "DIFF:ATOL"
    )
    for name, value, reason in (
        ("B", 999_999, "snapshot 999999 does not exist"),
        ("B", -7, "not between"),
        ("ATOL", -1.0, "not between"),
        ("RTOL", math.nan, "no number"),
        ("FILTER", "[", "position"),
        ("PAGE", 2, "the pages are 1 to 1"),
        ("ROW02:SEL", 1, "no row 2"),
    ):
        assert not await s.put(f"DIFF:{name}", value), name
        assert reason in await s.text("DIFF:MSG")
    assert s.updates == []
    # Names with odd characters, a selection of nothing: a comparison that fails, with the reason.
    odd = "~\\d{3}ÄÖ 日本* %missing"
    assert await s.put("DIFF:FILTER", odd)
    assert not await s.put("DIFF:TRIGGER", 1)
    assert await s.label("DIFF:STATUS") == "Failed"
    assert "matches no PV" in await s.text("DIFF:MSG")
    assert not await s.put("DIFF:RESTORE", 1)
    assert await rig.values("M00") == [0.25]
    # A deleted snapshot cannot be restored from rows that are still shown.
    assert await s.put("DIFF:FILTER", "")
    assert await s.put("DIFF:TRIGGER", 1)
    assert await s.put("DIFF:SELECT", "All")
    store = await Store.open(database, s.settings.parent, exclusive=False)
    try:
        await store.delete_snapshot(snapshot)
    finally:
        await store.close()
    assert not await s.put("DIFF:RESTORE", 1)
    assert await s.text("DIFF:MSG") == f"snapshot {snapshot} does not exist"


async def test_catalogue_that_changed_in_between(
    ioc: tuple[str, IocProcess], database: DatabaseSettings, tmp_path: Path
) -> None:
    r, process = ioc
    async with running(tmp_path, database, f"Setpoint\n{r}M00\n{r}M01\n{r}SET\n", 3) as service:
        first = await Rig(r, process, service).snapshot()
    # M01 has gone, MODE has come, SET is a readback now.
    async with running(tmp_path, database, f"Setpoint,Readback\n{r}MODE,\n{r}M00,{r}SET\n", 3) as service:
        rig = Rig(r, process, service)
        await rig.set(M00=0.5, M01=1.5, SET=5.0)
        second = await rig.snapshot()
        assert await service.put("DIFF:SHOW", "All")
        assert await service.put("DIFF:A", first)
        assert await service.put("DIFF:B", second)
        assert sorted(await rig.names()) == ["M00", "M01", "MODE", "SET"]
        by_name = dict(zip(await rig.names(), await service.get("DIFF:B:STR"), strict=True))
        assert by_name["M01"] == "not in the list"
        assert (await service.get("DIFF:COUNT"), await service.get("DIFF:MISSING")) == (2, 2)
        assert await service.put("DIFF:SELECT", "All")
        assert await service.put("DIFF:RESTORE", 1)
        # What the catalogue of now does not write is skipped.
        assert [await service.get(f"RESTORE:{n}") for n in ("TOTAL", "WRITTEN", "SKIPPED")] == [3, 1, 2]
        assert await rig.values("M00", "M01", "SET") == [0.0, 1.5, 5.0]
