"""A service with an embedded database that is killed, stopped and started again, on a machine of two real IOCs.

with site() as s:                      # the IOCs run, the service does not yet
    await s.up()                       # it serves, and all PVs are connected
    s.kill(); await s.up()             # the same prefix, port and data
    await s.check_whole()              # nothing half is left in the database
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aioca
import asyncpg
import psutil
import yaml
from control_pvs import ControlPvs, until
from ioc_process import ADDR_LIST, LOOPBACK, IocProcess, give_ports, take_ports
from processes import left_over
from running import START_S, environment

from squirrel_ioc.model.job import JobKind, JobStatus
from squirrel_ioc.store import EmbeddedServer

STOP_S = 30.0
PUT_TIMEOUT_S = 3.0
FAST, HANGING = 200, 20

RECORDS = """
record(calcout, "{r}SLOW") {{ field(CALC, "A") field(A, "1") }}
record(ao, "{r}RAMP") {{ field(VAL, "0") field(PINI, "YES") }}
record(ao, "{r}LIMITED") {{ field(VAL, "0") field(DRVH, "100") field(DRVL, "-100") field(PINI, "YES") }}
"""
ANALOG = 'record(ao, "{r}{name}") {{ field(VAL, "{value}") field(PINI, "YES") }}\n'

_WHOLE = {
    "chunks without a snapshot": """
        SELECT count(*) FROM snapshot_chunk WHERE snapshot_id NOT IN (SELECT id FROM snapshot)""",
    "snapshots that are not whole": """
        SELECT count(*) FROM snapshot AS s JOIN channel_list AS list ON list.id = list_id
        WHERE s.count + missing <> list.size
        OR list.size <> (SELECT coalesce(sum(cardinality(state)), 0) FROM snapshot_chunk WHERE snapshot_id = s.id)
        OR list.size <> (SELECT coalesce(sum(cardinality(channel)), 0) FROM channel_list_chunk WHERE list_id = list.id)
        """,
    "lists of channels that nothing has": """
        SELECT count(*) FROM channel_list WHERE id NOT IN (SELECT list_id FROM snapshot)
        AND id NOT IN (SELECT list_id FROM catalogue_version WHERE list_id IS NOT NULL)""",
    "jobs that have not ended": "SELECT count(*) FROM job WHERE finished IS NULL OR status IN (1, 2, 5)",
    "deliveries in the queue": "SELECT count(*) FROM pgqueuer",
    "snapshot jobs that lie": """
        SELECT count(*) FROM job WHERE kind = 1
        AND (status = 3) <> EXISTS (SELECT FROM snapshot WHERE job_id = job.id)""",
}


@dataclass
class Site(ControlPvs):
    """The service, running or not, and its machine."""

    r: str
    """What the names of the machine begin with."""
    folder: Path
    port: int
    machine: IocProcess
    other: IocProcess
    """The IOC that hangs when it is to."""
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def settings(self) -> Path:
        return self.folder / "settings.yaml"

    @property
    def log(self) -> Path:
        return self.folder / "service.log"

    @property
    def exchange(self) -> Path:
        return self.folder / "exchange"

    @property
    def fast(self) -> list[str]:
        """PVs that are written at once."""
        return [f"{self.r}F{i}" for i in range(FAST)]

    @property
    def hanging(self) -> list[str]:
        """PVs of the IOC that hangs."""
        return [f"{self.r}H{i}" for i in range(HANGING)]

    @property
    def names(self) -> list[str]:
        """The catalogue, in the order it is written."""
        return [*self.fast, *self.hanging, *(self.r + name for name in ("SLOW.A", "LIMITED", "RAMP"))]

    def write_catalogue(self, *more: str) -> None:
        """As it is, with `more` at its end."""
        rows = [f"{name},,," for name in self.fast + self.hanging]
        rows += [f"{self.r}SLOW.A,1,,", f"{self.r}LIMITED,2,,", f"{self.r}RAMP,3,1,0.05", *(f"{n},,," for n in more)]
        (self.folder / "pvs.csv").write_text("\n".join(["setpoint,order,max_step,step_period", *rows, ""]))

    # ---- the process

    def start(self) -> None:
        """Start it; see `up`."""
        self.log.write_bytes(b"")
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc", "run", "--config", self.settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
            )

    async def up(self, *, connected: bool = True) -> None:
        """Start it if it does not run, and wait until it serves, and every PV is there."""
        if self.process is None:
            self.start()
        await self.says("control PVs")
        aioca.purge_channel_caches()
        if connected:
            await self.says("PVs are connected")

    async def says(self, text: str) -> None:
        """Wait until it has logged this."""
        await until(lambda: text in self.log.read_text() or not self.runs, START_S)
        assert text in self.log.read_text(), "it has ended"

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL. No client waits for it any more when this returns."""
        assert self.process is not None
        assert self.runs, "it has ended by itself"
        self.process.kill()
        self.killed()

    def killed(self) -> None:
        """It has been sent SIGKILL: wait for its end, and forget its channels."""
        assert self.process is not None
        self.process.wait()
        self.process = None
        aioca.purge_channel_caches()

    async def stop(self, *signals: int, pause_s: float = 0.2) -> tuple[int, float]:
        """Send these (SIGTERM) and wait for its end: exit code, and how long it took."""
        assert self.process is not None
        aioca.purge_channel_caches()
        begin = time.monotonic()
        for i, number in enumerate(signals or (signal.SIGTERM,)):
            if i:
                await asyncio.sleep(pause_s)
            self.process.send_signal(number)
        code = await asyncio.to_thread(self.process.wait, STOP_S)
        self.process = None
        return code, time.monotonic() - begin

    def processes(self) -> list[str]:
        """What runs that has to do with it, apart from the IOCs."""
        return left_over(self.folder)

    # ---- the machine

    async def turn(self, values: dict[str, float]) -> None:
        """Write PVs of the machine."""
        await aioca.caput(list(values), list(values.values()), wait=True, timeout=30)

    async def live(self) -> dict[str, float]:
        """What stands on the machine."""
        return dict(zip(self.names, map(float, await aioca.caget(self.names, timeout=30)), strict=True))

    @contextmanager
    def hung(self) -> Iterator[None]:
        """One of the IOCs hangs."""
        self.other.pause()
        try:
            yield
        finally:
            self.other.resume()

    # ---- the database

    @property
    def database(self) -> dict[str, Any]:
        """What a client needs to connect."""
        return {**EmbeddedServer(self.folder / "state").connect_args, "database": "squirrel"}

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of our own."""
        connection = await asyncpg.connect(**self.database)
        try:
            yield connection
        finally:
            await connection.close()

    async def value(self, sql: str, *arguments: Any) -> Any:
        """One value of the database."""
        async with self.connection() as connection:
            return await connection.fetchval(sql, *arguments)

    async def rows(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows of the database."""
        async with self.connection() as connection:
            return list(await connection.fetch(sql, *arguments))

    @asynccontextmanager
    async def holding(self, sql: str, *arguments: Any) -> AsyncIterator[None]:
        """Hold what this locks."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute(sql, *arguments)
            yield

    async def until_it_is(self, condition: Callable[[], Awaitable[Any]], timeout_s: float = 30.0) -> None:
        """Wait for what no event tells."""
        async with asyncio.timeout(timeout_s):
            while not await condition():
                assert self.runs, "it has ended"
                await asyncio.sleep(0.01)

    async def until_blocked(self) -> None:
        """Wait until it waits for a lock that is held here."""
        async with self.connection() as connection:
            sql = """SELECT count(*) FROM pg_stat_activity
                WHERE wait_event_type = 'Lock' AND application_name LIKE 'squirrel-ioc%'"""
            await self.until_it_is(lambda: connection.fetchval(sql))

    async def job(self, kind: JobKind, status: JobStatus = JobStatus.IN_PROGRESS) -> int:
        """Wait until the newest job of this kind stands like this; its id."""
        async with self.connection() as connection:
            sql = "SELECT id FROM job WHERE status = $2 AND id = (SELECT max(id) FROM job WHERE kind = $1)"
            await self.until_it_is(lambda: connection.fetchval(sql, kind, status))
            return int(await connection.fetchval(sql, kind, status))

    async def row(self, job_id: int) -> asyncpg.Record:
        """A job as it stands."""
        async with self.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM job WHERE id = $1", job_id)
        assert row is not None
        return row

    async def ended(self, job_id: int) -> asyncpg.Record:
        """A job that has ended, or ends soon."""

        async def has_ended() -> bool:
            return (await self.row(job_id))["finished"] is not None

        await self.until_it_is(has_ended, START_S)
        return await self.row(job_id)

    async def last_job(self, kind: JobKind) -> int:
        """The newest of a kind."""
        return int(await self.value("SELECT max(id) FROM job WHERE kind = $1", kind))

    async def check_whole(self, names: Sequence[str] | None = None) -> None:
        """All jobs have ended, and there is nothing that is not whole; the catalogue has these names."""
        async with self.connection() as connection:
            for job_id in await connection.fetch("SELECT id FROM job WHERE finished IS NULL"):
                await self.ended(job_id["id"])
            # The queue lets go of a job a moment after its end.
            await self.until_it_is(lambda: _is_zero(connection, "SELECT count(*) FROM pgqueuer"))
            found = {what: await connection.fetchval(sql) for what, sql in _WHOLE.items()}
            assert found == dict.fromkeys(_WHOLE, 0)
            rows = await connection.fetch(
                "SELECT name FROM pv JOIN channel ON id = channel_id WHERE retired_at IS NULL ORDER BY position"
            )
        assert [row["name"] for row in rows] == list(names or self.names)
        assert await self.get("PVS:COUNT") == len(names or self.names)


async def _is_zero(connection: asyncpg.Connection, sql: str) -> bool:
    return await connection.fetchval(sql) == 0


@asynccontextmanager
async def whole(place: Site) -> AsyncIterator[None]:
    """The service serves, however it was left; at the end everything is whole, whatever has been done to it."""
    aioca.purge_channel_caches()
    try:
        await place.up()
        yield
        await place.up()
        await place.check_whole()
    except BaseException:
        print(place.log.read_text())
        raise


@contextmanager
def site() -> Iterator[Site]:
    """The machine and a folder for the service. At the end nothing of it may run any more, however it was treated."""
    r = f"R{secrets.token_hex(3)}:"
    folder = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    (port,) = take_ports(1)
    fast = "".join(ANALOG.format(r=r, name=f"F{i}", value=i) for i in range(FAST))
    hanging = "".join(ANALOG.format(r=r, name=f"H{i}", value=i) for i in range(HANGING))
    with IocProcess(RECORDS.format(r=r) + fast) as machine, IocProcess(hanging) as other:
        made = Site(f"S{secrets.token_hex(4)}:", r, folder, port, machine, other)
        made.exchange.mkdir()
        made.write_catalogue()
        settings = {
            "prefix": made.prefix,
            "port": port,
            "interfaces": [LOOPBACK],
            "state_dir": "state",
            "exchange_dir": "exchange",
            "catalogue": {"files": ["pvs.csv"]},
            "ca": {
                "addr_list": [a for a in ADDR_LIST if a != f"{LOOPBACK}:{port}"],
                "timeout_s": 3.0,
                "put_timeout_s": PUT_TIMEOUT_S,
            },
            "restore": {"verify_timeout_s": 10.0},
        }
        made.settings.write_text(yaml.safe_dump(settings))
        try:
            yield made
        finally:
            aioca.purge_channel_caches()
            if made.process is not None:
                made.process.kill()
                made.process.wait()
            remaining = _end(folder)
            shutil.rmtree(folder)
            give_ports([port])
            assert remaining == []


def _end(folder: Path) -> list[str]:
    """End the database as its last user; what is there after that is killed, and returned."""
    if (folder / "state" / "postgres" / "postmaster.pid").exists():
        server = EmbeddedServer(folder / "state")
        server.start()
        server.stop()
    remaining = left_over(folder)
    for process in psutil.process_iter(["cwd"]):
        if remaining and (process.info["cwd"] or "").startswith(str(folder)):
            with contextlib.suppress(psutil.Error):
                process.kill()
    return remaining
