"""kill -9 whenever it happens to come, while a client asks for one thing after the other."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import aioca
from restarts import Site, site

from squirrel_ioc.model.job import JobKind, JobStatus

SEED = 5
ROUNDS = 6


async def put(s: Site, name: str, value: Any, **options: Any) -> bool:
    """Whether it was done, and told so."""
    return bool((await aioca.caput(s.pv(name), value, wait=True, timeout=10, throw=False, **options)).ok)


async def ask(s: Site, chance: random.Random, told: list[int]) -> None:
    """Snapshots, which are `told` when they are, restores and exports, until somebody ends it."""
    while True:
        if not told or chance.random() < 0.4:
            if await put(s, "SNAP:TRIGGER", 1):
                told.append(int(await s.get("SNAP:ID")))
        elif chance.random() < 0.7:
            now = await aioca.caget(s.fast)
            await s.turn({n: float(v) + 1 for n, v in zip(s.fast, now, strict=True)})
            await s.turn({s.r + "RAMP": float(chance.randrange(12))})
            await put(s, "RESTORE:ID", chance.choice(told))
        else:
            await put(s, "FILE:ID", chance.choice(told))
            await put(s, "FILE:EXPORT", f"{chance.randrange(10**9)}.jsonl", datatype=aioca.DBR_CHAR_STR)


async def check_restore(s: Site) -> str:
    """The last restore, if the kill has interrupted it: it is failed, and its backup brings the machine back."""
    if not await s.value("SELECT count(*) FROM job WHERE kind = $1", JobKind.RESTORE):
        return "no restore yet"
    row = await s.row(await s.last_job(JobKind.RESTORE))
    if row["status"] != JobStatus.FAILED:
        return str(row["message"])
    assert await s.label("RESTORE:STATUS") == "Failed"
    assert await s.text("RESTORE:MSG") == row["message"]
    if row["message"].endswith(("interrupted before the first write", "the service stopped before it was started")):
        return str(row["message"])
    backup = int(await s.get("RESTORE:BACKUP:ID"))
    assert row["message"].endswith(f"snapshot {backup} holds what stood before")
    assert await s.value("SELECT job_id FROM snapshot WHERE id = $1", backup) == row["id"]
    assert await put(s, "RESTORE:UNDO", 1)
    async with s.connection() as connection:
        saved = await connection.fetch("SELECT pv, number FROM snapshot_value WHERE snapshot_id = $1", backup)
    live = await s.live()
    assert {pv: live[pv] for pv, _ in saved} == dict(saved)
    return str(row["message"])


def whole(file: Path) -> bool:
    """Its last line says how many there are."""
    *lines, last = file.read_text().splitlines()
    return bool(json.loads(last) == {"end": {"lines": len(lines)}})


async def test_whenever_it_comes() -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)  # noqa: S311
    told: list[int] = []
    with site() as s:
        try:
            await s.up()
            for number in range(ROUNDS):
                asking = asyncio.create_task(ask(s, chance, told))
                await asyncio.sleep(chance.uniform(0.0, 0.9))
                assert not asking.done(), asking.exception()
                assert s.process is not None
                s.process.kill()
                # A put whose end comes with the cancellation swallows that, and the client goes on.
                while not asking.done():
                    asking.cancel()
                    await asyncio.wait([asking], timeout=0.5)
                s.killed()
                # Sometimes once more, before it is up.
                if chance.random() < 0.3:
                    s.start()
                    await asyncio.sleep(chance.uniform(0.2, 0.8))
                    s.kill()
                await s.up()
                await s.check_whole()
                print(f"round {number}: {len(told)} snapshots; {await check_restore(s)}")
                stored = {row["id"] for row in await s.rows("SELECT id FROM snapshot")}
                assert stored.issuperset(told)
                files = list(s.exchange.glob("[!.]*"))
                assert all(whole(file) for file in files)
            assert (await s.stop())[0] == 0
            assert s.processes() == []
        except BaseException:
            print(s.log.read_text())
            raise
