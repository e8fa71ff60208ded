"""Records of a real EPICS IOC that are linked to the control PVs of a real service, and nothing between."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import pytest
from ioc_process import IocProcess
from running import Running, running

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.resources import config_dir

MACHINE = """
record(ao, "{r}A") {{ field(VAL, "1") field(PINI, "YES") }}
record(ao, "{r}B") {{ field(VAL, "2") field(PINI, "YES") }}
"""

# An operator's buttons and lamps, as somebody would write them who has read the PV reference and nothing else.
CONSOLE = """
record(bo, "{c}SNAP") {{ field(DTYP, "Async Soft Channel") field(OUT, "{p}SNAP:TRIGGER CA") field(ONAM, "Go") }}
record(longin, "{c}SNAP:ID") {{ field(INP, "{p}SNAP:ID CP MS") field(FLNK, "{c}DIFF:A") }}
record(longout, "{c}DIFF:A") {{ field(OMSL, "closed_loop") field(DOL, "{c}SNAP:ID") field(OUT, "{p}DIFF:A CA") }}
record(longout, "{c}DIFF:LIVE") {{ field(DTYP, "Async Soft Channel") field(OUT, "{p}DIFF:B CA") }}
record(mbbi, "{c}JOB") {{ field(INP, "{p}JOB:STATUS CP MS") field(ZRST, "IDLE") field(ONST, "PENDING")
    field(TWST, "IN_PROGRESS") field(THST, "COMPLETED") field(FRST, "FAILED") field(FRVL, "4") field(ONVL, "1")
    field(TWVL, "2") field(THVL, "3") field(FVVL, "5") field(SXVL, "6") field(FVST, "RETRYING")
    field(SXST, "ABORTED") }}
record(longin, "{c}COUNT") {{ field(INP, "{p}DIFF:COUNT CP MS") }}
record(calc, "{c}DIFFERS") {{ field(INPA, "{p}DIFF:COUNT CP MS") field(CALC, "A>0") }}
record(stringin, "{c}FIRST") {{ field(INP, "{p}DIFF:ROW01:NAME CP") }}
record(waveform, "{c}DELTA") {{ field(INP, "{p}DIFF:DELTA CP MS") field(FTVL, "DOUBLE") field(NELM, "10") }}
"""

LINKS = 9 + 8
"""Channels that the console has to the service."""


@dataclass
class Linked:
    """The service, its machine, and the console."""

    r: str
    c: str
    s: Running
    console: IocProcess

    async def shows(self, name: str, wanted: Any, severity: int | None = None) -> None:
        """Wait until a record of the console has a value, and this severity."""
        reached = asyncio.Event()
        seen: list[Any] = []

        def check(now: Any) -> None:
            seen.append((now, now.severity))
            plain = now.tolist() if hasattr(now, "tolist") else now
            if plain == wanted and severity in (None, now.severity):
                reached.set()

        monitor = aioca.camonitor(self.c + name, check, format=aioca.FORMAT_TIME)
        try:
            async with asyncio.timeout(30):
                await reached.wait()
        except TimeoutError:
            raise AssertionError(f"{name} was {seen}, never {wanted}") from None
        finally:
            monitor.close()


@pytest.fixture
async def linked(database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Linked]:
    r, c = (f"{x}{secrets.token_hex(3)}:" for x in "RC")
    with IocProcess(MACHINE.format(r=r)):
        async with running(tmp_path, database, f"Setpoint\n{r}A\n{r}B\n", 2) as service:
            shipped = (config_dir() / "records.db").read_text()
            shipped = shipped.replace("$(P)", service.prefix).replace("$(R)", f"{c}EX:")
            records = CONSOLE.format(c=c, p=service.prefix) + shipped
            with IocProcess(records, finds=[service.address]) as console:
                # The last link is connected when the service has so many channels.
                await service.wait_for("CA_CONN_CNT", LINKS + 2)  # and the one that counts, and the one that waits
                yield Linked(r, c, service, console)


async def test_a_console_made_of_records(linked: Linked) -> None:
    await linked.shows("JOB", 0)
    # The record processes for as long as the snapshot takes.
    await aioca.caput(linked.c + "SNAP", 1, wait=True, timeout=30)
    snapshot = await linked.s.get("SNAP:ID")
    assert snapshot > 0
    await linked.shows("JOB", 3, 0)
    await linked.shows("SNAP:ID", snapshot)
    await linked.shows("DIFF:A", snapshot)
    await linked.s.wait_for("DIFF:A", snapshot)
    await aioca.caput(linked.c + "DIFF:LIVE", 0, wait=True, timeout=30)
    assert await linked.s.label("DIFF:STATUS") == "OK"
    await linked.shows("COUNT", 0, 0)
    await linked.shows("FIRST", "")
    # Somebody turns a knob: the alarm goes through the link.
    await aioca.caput(linked.r + "B", 2.5, wait=True)
    await aioca.caput(linked.c + "DIFF:LIVE", 0, wait=True, timeout=30)
    await linked.shows("COUNT", 1, 1)
    await linked.shows("DIFFERS", 1.0, 1)
    await linked.shows("FIRST", linked.r + "B")
    await linked.shows("DELTA", [0.5])


async def test_what_fails_is_an_alarm_in_the_record(linked: Linked) -> None:
    s = linked.s
    assert await s.put("SNAP:TRIGGER", 1)
    await linked.shows("SNAP:ID", await s.get("SNAP:ID"))
    await linked.shows("JOB", 3, 0)
    assert await s.put("DIFF:FILTER", "NOTHING*")
    await aioca.caput(linked.c + "DIFF:LIVE", 0, wait=True, timeout=30, throw=False)
    await linked.shows("JOB", 4, 2)
    assert await s.put("DIFF:FILTER", "")
    assert await s.put("DIFF:TRIGGER", 1)
    await linked.shows("JOB", 3, 0)


async def test_links_come_back_with_the_service_and_survive_a_restart_of_the_console(linked: Linked) -> None:
    assert await linked.s.put("SNAP:TRIGGER", 1)
    snapshot = await linked.s.get("SNAP:ID")
    linked.console.restart()
    await linked.shows("SNAP:ID", snapshot)
    await linked.shows("JOB", 3, 0)


async def test_the_example_records(linked: Linked) -> None:
    c, r = f"{linked.c}EX:", linked.r
    await aioca.caput(c + "SNAP", 1, wait=True, timeout=30)
    await linked.shows("EX:SNAP:STATUS", 2, 0)
    snapshot = await linked.s.get("SNAP:ID")
    await linked.shows("EX:SNAP:ID", snapshot, 0)
    await aioca.caput(r + "A", 7, wait=True)
    await aioca.caput(c + "RESTORE", snapshot, wait=True, timeout=30)
    assert await aioca.caget(r + "A") == 1, "the record waits until the restore has ended"
    await linked.shows("EX:RESTORE:STATUS", 2, 0)
    await linked.shows("EX:RESTORE:WRITTEN", 1)
    await aioca.caput(c + "UNDO", 1, wait=True, timeout=30)
    assert await aioca.caget(r + "A") == 7
    # Completion alone says nothing: what is refused completes, too.
    await aioca.caput(c + "RESTORE", snapshot + 1000, wait=True, timeout=30)
    await linked.shows("EX:RESTORE:STATUS", 5, 1)
    await linked.shows("EX:RESTORE:MSG", f"snapshot {snapshot + 1000} does not exist")
