"""A machine, the service that looks after it, and the PostgreSQL under it, to which anything may happen."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aioca
import asyncpg
import psutil
import yaml
from control_pvs import ControlPvs, until
from ioc_process import ADDR_LIST, LOOPBACK, IocProcess, give_ports, take_ports
from running import START_S, STOP_S, environment

from squirrel_ioc.store import EmbeddedServer

HELD = 4711
"""Key of the lock that a snapshot being stored waits for; see `hold`."""

PASSWORD = "s3cret"  # noqa: S105
OPTIONS = {"max_connections": "40", "fsync": "off"}

# Not the service's own database, where all are welcome, so that the tests can look while its login is refused.
RULES = "local postgres postgres trust\nlocal all postgres trust\nlocal all all scram-sha-256\n"

MACHINE = """
record(ao, "{r}A") {{ field(VAL, "0") field(PINI, "YES") }}
record(ao, "{r}B") {{ field(VAL, "2") field(PINI, "YES") }}
"""

# A is ramped: a restore of it takes as long as the database needs to go away, and longer.
CATALOGUE = "setpoint,max_step,step_period\n{r}A,1,0.05\n{r}B,,\n"

_TRIGGER = "CREATE TRIGGER {0} BEFORE INSERT ON snapshot_chunk FOR EACH ROW EXECUTE FUNCTION {0}()"
_FUNCTION = "CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {} RETURN NEW; END'"
_HOLD = f"PERFORM pg_advisory_xact_lock_shared({HELD});"
_FULL = "RAISE ''no space left'' USING ERRCODE = ''disk_full'';"
_HOLDS = f"""
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {HELD} AND NOT granted
"""


TERMINATE_ALL = """
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = $1 AND application_name LIKE 'squirrel-ioc %'
"""


_END_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = $1 AND application_name NOT LIKE 'squirrel-ioc %'
"""


@dataclass
class Site(ControlPvs):
    """All of it. `stored` are the snapshots that were reported as stored."""

    r: str
    server: EmbeddedServer
    database: str | None
    process: subprocess.Popen[bytes]
    log: Path
    settings: Path
    stored: set[int] = field(default_factory=set)

    # The database

    async def connect(self) -> asyncpg.Connection:
        """As its administrator."""
        return await asyncpg.connect(**self.server.connect_args, database=self.database or "squirrel", timeout=10)

    async def sql(self, query: str, *arguments: Any) -> list[Any]:
        """Somebody else's statement."""
        connection = await self.connect()
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def control(self, *arguments: str) -> None:
        """pg_ctl"""
        await asyncio.to_thread(self.server._pg_ctl, *arguments)

    async def stop_server(self, how: str) -> None:
        """`fast` or `immediate`, which is how it crashes."""
        await self.control("-w", "-m", how, "stop")

    async def start_server(self, *, replica: bool = False) -> None:
        """Again."""
        if replica:
            (self.server._data / "standby.signal").touch()
        await asyncio.to_thread(self.server.ensure_running)

    async def set(self, name: str, value: str | None) -> None:
        """A setting of the server, for all."""
        await self.sql(f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = {value}")
        await self.sql("SELECT pg_reload_conf()")

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """All its processes hang."""
        postmaster = psutil.Process(self.server.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    async def backends(self, like: str = "%") -> list[int]:
        """The service's own connections, by the last statement of each."""
        rows = await self.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'squirrel-ioc %' AND query LIKE $1 "
            "AND datname = current_database()",
            like,
        )
        return [row["pid"] for row in rows]

    async def kill(self, pids: list[int]) -> None:
        """End these connections."""
        assert pids
        await self.sql("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS pid", pids)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[asyncpg.Connection]:
        """Snapshots stop in the middle of being stored, until the end, or until the connection that holds them ends."""
        connection = await self.connect()
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", HELD)
            yield connection
        finally:
            connection.terminate()

    async def storing(self, by: asyncpg.Connection) -> int:
        """Wait until one is; the pid of its connection."""
        deadline = time.monotonic() + 30
        while (pid := await by.fetchval(_HOLDS)) is None:
            assert time.monotonic() < deadline, "no snapshot is being stored"
            await asyncio.sleep(0.02)
        return int(pid)

    async def on_storing(self, name: str, code: str) -> None:
        """Whenever a chunk of a snapshot is stored, this happens."""
        await self.sql(_FUNCTION.format(name, code))
        await self.sql(_TRIGGER.format(name))

    @asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        """As a server tells it that has one."""
        await self.on_storing("no_space", _FULL)
        try:
            yield
        finally:
            await self.sql("DROP FUNCTION no_space CASCADE")

    @asynccontextmanager
    async def all_connections(self) -> AsyncIterator[None]:
        """Somebody else has them, and the service none."""
        others = [await asyncpg.connect(**self.server.connect_args, database="postgres")]
        try:
            async with asyncio.timeout(20):
                # It is quick to take one that has become free.
                while True:
                    with suppress(asyncpg.TooManyConnectionsError):
                        while True:
                            others.append(await asyncpg.connect(**self.server.connect_args, database="postgres"))
                    if not await others[0].fetchval(TERMINATE_ALL, self.database):
                        break
            yield
        finally:
            for other in others:
                other.terminate()

    async def put_back(self) -> None:
        """The server is as it was, whatever a test has done to it and left, because it failed."""
        (self.server._data / "standby.signal").unlink(missing_ok=True)
        await asyncio.to_thread(self.server.ensure_running)
        writes = {"default_transaction_read_only": "off"}
        admin = await asyncpg.connect(**self.server.connect_args, database="postgres", server_settings=writes)
        try:
            if await admin.fetchval("SELECT pg_is_in_recovery()"):
                await self.control("-w", "promote")
            await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            await admin.execute("SELECT pg_reload_conf()")
            await admin.execute(f"ALTER ROLE squirrel PASSWORD '{PASSWORD}'")
            aside = f"{self.database}_aside"
            if await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", aside):
                await admin.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
                await admin.execute(f"ALTER DATABASE {aside} RENAME TO {self.database}")
            await admin.execute(f"ALTER DATABASE {self.database} ALLOW_CONNECTIONS true")
            await admin.fetchval(_END_OTHERS, self.database)
        finally:
            await admin.close()
        await self.becomes("DB:STATUS", 0)

    # The service

    async def down(self, why: str) -> None:
        """The service says so, severely."""
        await self.becomes("DB:STATUS", 1)
        assert (await self.get("DB:STATUS", format=aioca.FORMAT_TIME)).severity == 2
        deadline = time.monotonic() + 30
        while why not in (message := await self.text("DB:MSG")):
            assert time.monotonic() < deadline, message
            await asyncio.sleep(0.05)

    async def ends_well(self, name: str, value: Any) -> bool:
        """Write to a command, and wait for its end, as long as it may take."""
        done = await aioca.caput(self.pv(name), value, wait=True, timeout=40, throw=False)
        return bool(done.ok)

    async def snapshot(self) -> int:
        """Take one, which goes well."""
        assert await self.put("SNAP:TRIGGER", 1), await self.text("SNAP:MSG")
        return await self.was_stored()

    async def was_stored(self) -> int:
        """The snapshot that has been reported as stored."""
        assert await self.label("SNAP:STATUS") == "OK"
        number = int(await self.get("SNAP:ID"))
        assert number not in self.stored
        self.stored.add(number)
        return number

    async def refused(self, name: str, value: Any, *why: str, within_s: float = 30.0) -> None:
        """A command is, in time, and says why: where several things are true, one of them."""
        group = name.split(":")[0]
        begin = time.monotonic()
        assert not await self.put(name, value)
        took = time.monotonic() - begin
        message = await self.text(f"{group}:MSG")
        print(f"{name} refused after {took:.2f} s: {message}")
        assert any(reason in message for reason in why), message
        assert took < within_s
        assert await self.get(f"{group}:TRIGGER") == 0

    async def well(self) -> None:
        """It is as if nothing had happened: it is connected, takes snapshots, hears of changes, and nothing is lost."""
        await self.becomes("DB:STATUS", 0, 20.0)
        assert await self.text("DB:MSG") == ""
        assert await self.get("JOB:QUEUED") == 0
        number = await self.snapshot()
        rows = await self.sql("SELECT id, job_id FROM snapshot WHERE kind = 'snapshot' ORDER BY id")
        there = [row["id"] for row in rows]
        assert self.stored <= set(there)
        assert len({row["job_id"] for row in rows}) == len(there)
        await self.becomes(
            "LIST:TOTAL", (await self.sql("SELECT count(*) FROM snapshot WHERE kind <> 'backup'"))[0]["count"]
        )
        # An event made by somebody else.
        await self.sql("DELETE FROM snapshot WHERE id = $1", number)
        self.stored.discard(number)
        total = (await self.sql("SELECT count(*) FROM snapshot WHERE kind <> 'backup'"))[0]["count"]
        await self.becomes("LIST:TOTAL", total, 30)
        # What stands in the database is what was told.
        await self.no_rows("SELECT id, status FROM job WHERE finished IS NULL")

    async def no_rows(self, query: str, timeout_s: float = 30.0) -> None:
        """Wait until it has none: what could not be stored at its time is stored soon."""
        deadline = time.monotonic() + timeout_s
        while rows := await self.sql(query):
            assert time.monotonic() < deadline, rows
            await asyncio.sleep(0.1)


@contextmanager
def own_server() -> Iterator[EmbeddedServer]:
    """A server that may be stopped, with a user of the service's own, who needs a password."""
    folder = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    rules = folder / "rules"
    rules.write_text(RULES)
    server = EmbeddedServer(folder, OPTIONS | {"hba_file": str(rules)})
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


async def make_database(server: EmbeddedServer, name: str) -> str:
    """A database of the service's own; its dsn."""
    where = server.connect_args
    connection = await asyncpg.connect(**where, database="postgres")
    try:
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = 'squirrel'"):
            await connection.execute(f"CREATE ROLE squirrel LOGIN PASSWORD '{PASSWORD}'")
        await connection.execute(f"CREATE DATABASE {name} OWNER squirrel TEMPLATE template0 ENCODING 'UTF8'")
    finally:
        await connection.close()
    return f"postgresql://squirrel:{PASSWORD}@/{name}?host={where['host']}&port={where['port']}"


@asynccontextmanager
async def site(folder: Path, server: EmbeddedServer | None, **limits: Any) -> AsyncIterator[Site]:
    """Run the service; without a server, with an embedded one of its own."""
    if server is not None:
        await asyncio.to_thread(server.ensure_running)  # whatever became of it before
    (port,) = take_ports(1)
    r, prefix = f"R{secrets.token_hex(3)}:", f"S{secrets.token_hex(4)}:"
    database = None if server is None else f"db_{secrets.token_hex(4)}"
    (folder / "pvs.csv").write_text(CATALOGUE.format(r=r))
    settings: dict[str, Any] = {
        "prefix": prefix,
        "port": port,
        "interfaces": [LOOPBACK],
        "state_dir": str(folder / "state"),
        "database": {"connect_timeout_s": 5, "command_timeout_s": 5} | limits,
        "catalogue": {"files": ["pvs.csv"]},
        "ca": {"addr_list": [a for a in ADDR_LIST if a != f"{LOOPBACK}:{port}"]},
    }
    if server is not None and database is not None:
        settings["database"]["dsn"] = await make_database(server, database)
    file, log = folder / "settings.yaml", folder / "service.log"
    file.write_text(yaml.safe_dump(settings))
    with IocProcess(MACHINE.format(r=r)), log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - back at once; it is waited for in a thread
            [sys.executable, "-m", "squirrel_ioc", "run", "--config", file],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
        )
        here = server or EmbeddedServer(folder / "state")
        s = Site(prefix, r, here, database, process, log, file)
        beats: list[float] = []
        try:
            await until(lambda: "PVs are connected" in log.read_text() or process.poll() is not None, START_S)
            assert process.poll() is None, "it has ended"
            await s.on_storing("hold", _HOLD)
            await s.snapshot()
            monitor = aioca.camonitor(s.pv("HEARTBEAT"), lambda _: beats.append(time.monotonic()))
            yield s
            monitor.close()
            assert len(beats) > 1
            gaps = [later - sooner for sooner, later in pairwise(beats)]
            assert max(gaps) < 10, "the heartbeat stood still"
            aioca.purge_channel_caches()
            process.terminate()
            assert await asyncio.to_thread(process.wait, STOP_S) == 0
            assert "Traceback" not in log.read_text()
        finally:
            print(log.read_text())  # pytest shows it when something is wrong
            aioca.purge_channel_caches()
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            give_ports([port])
