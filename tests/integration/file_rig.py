"""Control PVs, jobs, database, records and an exchange folder, all real, in the process of the test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import numpy as np
from control_pvs import ControlPvs, until
from ioc_process import LOOPBACK, IocProcess, ca_settings, give_ports, take_ports

from squirrel_ioc.ca import Machine
from squirrel_ioc.config import RestoreSettings, Settings
from squirrel_ioc.ioc import ControlIoc, Service
from squirrel_ioc.jobs import AwayList, Jobs
from squirrel_ioc.jobs.catalogue import LiveCatalogue
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.store import Store

DATABASE = """
record(ao, "F:AO") { field(VAL, "1") field(PINI, "YES") field(PREC, "3") field(EGU, "A") }
record(longout, "F:LONG") { field(VAL, "2") field(PINI, "YES") }
record(mbbo, "F:MBBO") { field(ZRST, "Off") field(ONST, "Standby") field(TWST, "Run") field(VAL, "0")
    field(PINI, "YES") }
record(mbbo, "F:MODE") { field(ZRST, "0.5 s") field(ONST, "1") field(TWST, "0") field(VAL, "0") field(PINI, "YES") }
record(stringout, "F:TEXT") { field(VAL, "before") field(PINI, "YES") }
record(stringout, "F:DIGITS") { field(VAL, "before") field(PINI, "YES") }
record(waveform, "F:WAVE") { field(FTVL, "DOUBLE") field(NELM, "8") }
record(waveform, "F:CHARS") { field(FTVL, "CHAR") field(NELM, "64") }
record(waveform, "F:STRINGS") { field(FTVL, "STRING") field(NELM, "4") }
record(ao, "F:READONLY") { field(VAL, "7") field(PINI, "YES") }
record(ao, "F:SET") { field(VAL, "7") field(PINI, "YES") field(FLNK, "F:GET") }
record(ai, "F:GET") { field(INP, "F:SET") }
"""

NAMES = ("F:AO", "F:LONG", "F:MBBO", "F:MODE", "F:TEXT", "F:DIGITS", "F:WAVE", "F:CHARS", "F:STRINGS")

BEFORE = {
    "F:AO": 1.0,
    "F:LONG": 2,
    "F:MBBO": 0,
    "F:MODE": 0,
    "F:TEXT": "before",
    "F:DIGITS": "before",
    "F:WAVE": [9.0],
    "F:CHARS": list(b"before\0"),
    "F:STRINGS": ["before"],
}


@dataclass
class FileRig(ControlPvs):
    """A service with an exchange folder."""

    folder: Path
    store: Store
    jobs: Jobs
    machine: Machine
    keeper: LiveCatalogue

    def write(self, name: str, text: str) -> str:
        """Put a file into the exchange folder."""
        (self.folder / name).write_text(text)
        return name

    async def errors(self) -> list[str]:
        """The lines of FILE:ERRORS."""
        return (await self.text("FILE:ERRORS")).splitlines()

    async def status(self) -> tuple[str, str]:
        """FILE:STATUS and FILE:MSG."""
        return await self.label("FILE:STATUS"), await self.text("FILE:MSG")

    async def all_known(self) -> None:
        """Until every channel of the catalogue is connected and its meta data are there."""
        await until(lambda: bool((self.machine.live(self.keeper.current.channels).meta > 0).all()), 30)

    async def do(self, command: str, name: str) -> bool:
        """Import or export."""
        return await self.put(f"FILE:{command}", name, datatype=aioca.DBR_CHAR_STR)


async def live_values(*names: str) -> list[Any]:
    """What the records have, through a client of its own."""
    return [_plain(v) for v in await aioca.caget(list(names), timeout=30)]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value) if isinstance(value, str) else value + 0


async def set_before() -> None:
    """Every record has another value than any file gives it."""
    for name, value in BEFORE.items():
        await aioca.caput(name, value, wait=True, timeout=30)


def ioc() -> Iterator[IocProcess]:
    """The records."""
    with IocProcess(DATABASE) as process:
        yield process


@asynccontextmanager
async def file_rig(store: Store, folder: Path | None, entries: tuple[Entry, ...]) -> AsyncIterator[FileRig]:
    """Serve; all channels are connected and known."""
    (port,) = take_ports(1)
    prefix = f"T{secrets.token_hex(4)}:"
    ca = ca_settings(timeout_s=2.0, put_timeout_s=2.0)
    settings = Settings(
        prefix=prefix,
        port=port,
        interfaces=(LOOPBACK,),
        exchange_dir=folder,
        ca=ca,
        restore=RestoreSettings(verify_timeout_s=0.3),
    )
    machine = Machine(ca)
    await machine.start()
    keeper = LiveCatalogue(store, machine)
    await keeper.start(entries)
    jobs = Jobs(store, machine, lambda: keeper.current, settings)
    await jobs.start()
    control = ControlIoc(Service(settings, store, machine, jobs, lambda: keeper.current, keeper, AwayList(store)))
    try:
        await control.start()
        rig = FileRig(prefix, folder or Path("/nowhere"), store, jobs, machine, keeper)
        await rig.all_known()
        yield rig
    finally:
        aioca.purge_channel_caches()
        await control.stop()
        await jobs.stop()
        await keeper.stop()
        await machine.stop()
        give_ports([port])
