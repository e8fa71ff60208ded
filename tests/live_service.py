"""The whole service in the test process: real database, real channels, a real client of its control PVs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import numpy as np
from control_pvs import ControlPvs
from ioc_process import LOOPBACK, ca_settings, give_ports, take_ports

from squirrel_ioc.app import App
from squirrel_ioc.config import CatalogueSettings, DatabaseSettings, Settings


@dataclass
class Live(ControlPvs):
    """A running service."""

    settings: Settings

    async def count(self, name: str) -> int:
        """A number."""
        return int(await self.get(name))

    async def names(self, name: str) -> list[str]:
        """Names, in full."""
        return (await self.text(f"{name}:LONG")).split("\n")

    async def wait_for(self, name: str, value: Any, timeout_s: float = 30.0) -> None:
        """Until a control PV has this value, a list for an array."""
        reached = asyncio.Event()

        def look(now: Any) -> None:
            if (now.tolist() if isinstance(now, np.ndarray) else now) == value:
                reached.set()

        monitor = aioca.camonitor(self.pv(name), look)
        try:
            async with asyncio.timeout(timeout_s):
                await reached.wait()
        finally:
            monitor.close()


@asynccontextmanager
async def serving(
    folder: Path, database: DatabaseSettings, *files: Path, exchange: Path | None = None, **ca: Any
) -> AsyncIterator[Live]:
    """Run it with these catalogue files. It must stop by itself when it is told to."""
    (port,) = take_ports(1)
    settings = Settings(
        prefix=f"S{secrets.token_hex(4)}:",
        port=port,
        interfaces=(LOOPBACK,),
        state_dir=folder,
        database=database,
        catalogue=CatalogueSettings(files=files),
        exchange_dir=exchange,
        ca=ca_settings(**({"timeout_s": 2.0} | ca)),
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    service = asyncio.create_task(App(settings).run(stop, ready=ready))
    started = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([service, started], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if service.done():
            await service
        assert ready.is_set()
        yield Live(settings.prefix, settings)
    finally:
        started.cancel()
        aioca.purge_channel_caches()
        stop.set()
        async with asyncio.timeout(20):
            await service
        give_ports([port])
