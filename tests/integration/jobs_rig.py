"""A service without its control PVs: jobs on real records and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
from ioc_process import ca_settings

from squirrel_ioc.ca import Machine
from squirrel_ioc.config import RestoreSettings, Settings
from squirrel_ioc.jobs import Jobs
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.job import JobInfo, JobStatus, SnapshotRequest
from squirrel_ioc.store import Store

_POLL_S = 0.005


@dataclass
class Rig:
    """A service without its control PVs."""

    store: Store
    machine: Machine
    settings: Settings
    catalogue: Catalogue
    jobs: Jobs

    async def use(self, *entries: Entry) -> None:
        self.catalogue = await self.store.save_catalogue(entries)
        await self.machine.watch(self.catalogue.channels)
        present = [n for n in self.catalogue.channels.names if n not in ("J:ABSENT", "J:READONLY")]
        channels = self.catalogue.channels
        rows = [channels.index[n] for n in present]
        await until(lambda: bool(self.machine.live(channels).connected[rows].all()))
        # Meta data come after the connection.
        await until(lambda: bool((self.machine.live(channels).meta[rows] > 0).all()))

    async def run(self, request: Any) -> JobInfo:
        job_id = await self.jobs.submit(request, user="op", host="console")
        async with asyncio.timeout(30):
            return await self.jobs.wait(job_id)

    async def snapshot(self, **kwargs: Any) -> int:
        info = await self.run(SnapshotRequest(**kwargs))
        assert info.status is JobStatus.COMPLETED, info.message
        return int(info.result.snapshot_id)


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def jobs_rig(store: Store, state_dir: Path, **restore: Any) -> AsyncIterator[Rig]:
    """Jobs with these settings of a restore."""
    ca = ca_settings(timeout_s=2.0, put_timeout_s=2.0)
    settings = Settings(ca=ca, state_dir=state_dir, restore=RestoreSettings(**{"verify_timeout_s": 0.3, **restore}))
    machine = Machine(ca)
    await machine.start()
    made = Rig(store, machine, settings, Catalogue.of(()), None)  # type: ignore[arg-type]
    made.jobs = Jobs(store, machine, lambda: made.catalogue, settings)
    await made.jobs.start()
    yield made
    await made.jobs.stop()
    await machine.stop()


async def values(*names: str) -> list[Any]:
    return [v.tolist() if hasattr(v, "tolist") else v for v in await aioca.caget(list(names))]


async def put(name: str, value: Any) -> None:
    await aioca.caput(name, value, wait=True)
