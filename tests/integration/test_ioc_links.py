"""Records of a real EPICS IOC that are linked to control PVs, which it finds through a name server's TCP search."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import aioca
import ioc_process
import pytest
from ioc_fakes import Control, control, snapshot_result, until
from ioc_process import LOOPBACK, IocProcess

DATABASE = """
record(bo, "{R}SNAP") {{ field(DTYP, "Async Soft Channel") field(OUT, "{P}SNAP:TRIGGER CA") field(ONAM, "Go") }}
record(stringout, "{R}TITLE") {{ field(DTYP, "Async Soft Channel") field(OUT, "{P}SNAP:TITLE:S CA") }}
record(longout, "{R}RESTORE") {{ field(DTYP, "Async Soft Channel") field(OUT, "{P}RESTORE:ID CA") }}
record(longin, "{R}ID") {{ field(INP, "{P}SNAP:ID CP MS") }}
record(mbbi, "{R}STATUS") {{ field(INP, "{P}SNAP:STATUS CP MS") field(THST, "Partial") field(THVL, "3") }}
record(stringin, "{R}MSG") {{ field(INP, "{P}SNAP:MSG:S CP") }}
record(waveform, "{R}MISSING") {{ field(INP, "{P}SNAP:MISSING:NAMES CP") field(FTVL, "STRING") field(NELM, "5") }}
record(lsi, "{R}LONG") {{ field(INP, "{P}SNAP:MSG.VAL$ CP") field(SIZV, "200") }}
record(calc, "{R}BEAT") {{ field(INPA, "{P}HEARTBEAT CP") field(CALC, "A") }}
"""


class Linked:
    """The IOC, and what its records show."""

    def __init__(self, c: Control, record: str) -> None:
        self.c = c
        self.record = record

    async def shows(self, name: str, wanted: Any) -> Any:
        """Wait until a record has a value."""
        seen: list[Any] = []
        monitor = aioca.camonitor(self.record + name, seen.append, format=aioca.FORMAT_TIME)
        await until(lambda: seen and seen[-1] == wanted, timeout_s=15)
        monitor.close()
        return seen[-1]


@pytest.fixture
async def linked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Linked]:
    environment = ioc_process._environment
    async with control() as c:
        server = {"EPICS_CA_NAME_SERVERS": f"{LOOPBACK}:{c.port}"}
        monkeypatch.setattr(ioc_process, "_environment", lambda port: environment(port) | server)
        record = f"R{secrets.token_hex(4)}:"
        with IocProcess(DATABASE.format(P=c.prefix, R=record)):
            linked = Linked(c, record)
            # All links are connected when the last one is.
            await until(lambda: c.ioc._server.connections[1] == 9, timeout_s=30)
            yield linked


async def test_records_trigger_wait_and_follow(linked: Linked) -> None:
    c, record = linked.c, linked.record
    c.jobs.result = lambda request: snapshot_result(41, missing=("Q1:SP", "Q2:SP"))
    await aioca.caput(record + "TITLE", "from a record", wait=True, timeout=30)
    assert await c.text("SNAP:TITLE") == "from a record"
    c.jobs.hold = True
    put = asyncio.create_task(aioca.caput(record + "SNAP", 1, wait=True, timeout=20))
    await until(lambda: c.jobs.requests)
    c.jobs.begin(100)
    await linked.shows("STATUS", 1)
    assert not put.done()  # the record is done when the snapshot is
    c.jobs.end(100)
    await put
    await linked.shows("ID", 41)
    status = await linked.shows("STATUS", 3)
    assert status.severity == 1
    await linked.shows("MSG", "snapshot 41: 100 PVs stored, 2 without a value"[:39])
    assert list(await aioca.caget(record + "MISSING")) == ["Q1:SP", "Q2:SP"]
    assert (await aioca.caget(record + "LONG.VAL$")).startswith("snapshot 41: 100 PVs stored, 2 without a value (Q1:SP")


async def test_refusal_comes_back_to_the_record(linked: Linked) -> None:
    c, record = linked.c, linked.record
    await aioca.caput(record + "RESTORE", 77, wait=True, timeout=30, throw=False)
    assert await c.text("RESTORE:MSG") == "snapshot 77 does not exist"
    assert not c.jobs.requests
    await aioca.caput(record + "RESTORE", 12, wait=True, timeout=30)
    assert await c.label("RESTORE:STATUS") == "OK"


async def test_heart_beats_in_a_record(linked: Linked) -> None:
    beat = await linked.c.get("HEARTBEAT")
    await linked.shows("BEAT", float(beat + 2))
