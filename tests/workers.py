"""A machine in three parts, the service that looks after it, and workers for two of its areas, all real processes.

Area `a` is what is called A:*, `b` is what has the tag Area=b, at first B:*, and C:* the service does itself.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aioca
import asyncpg
import yaml
from control_pvs import ControlPvs, until
from ioc_process import ADDR_LIST, LOOPBACK, IocProcess, give_ports, take_ports
from postgres import execute
from processes import left_over
from running import START_S, environment

from squirrel_ioc.store import EmbeddedServer

STOP_S = 30.0
FAST, SLOW = 20, 200

SLOW_S = 0.3
"""A slow record takes so long to write; ten of them are under way at once."""

COMMON = """
record(stringout, "{r}STR") {{ field(VAL, "{r}äöü") field(PINI, "YES") }}
record(waveform, "{r}WF") {{ field(FTVL, "DOUBLE") field(NELM, "8") field(PINI, "YES") }}
record(waveform, "{r}WS") {{ field(FTVL, "STRING") field(NELM, "3") field(PINI, "YES") }}
record(mbbo, "{r}EN") {{ field(ZRST, "Zero") field(ONST, "{r}One") field(TWST, "Two") field(VAL, "1") }}
record(ao, "{r}NAN") {{ field(VAL, "NaN") field(PINI, "YES") }}
record(longout, "{r}LONG") {{ field(VAL, "-2147483648") field(PINI, "YES") }}
record(calc, "{r}SP:RB") {{ field(CALC, "A+1") field(INPA, "{r}SP CP") }}
record(ao, "{r}SP") {{ field(VAL, "4") field(PINI, "YES") }}
"""
OTHER = """
record(ao, "{r}RAMP") {{ field(VAL, "0") field(PINI, "YES") }}
record(ao, "{r}LIMITED") {{ field(VAL, "0") field(DRVH, "100") field(DRVL, "-100") field(PINI, "YES") }}
record(ao, "{r}REFUSED") {{ field(VAL, "1") field(PINI, "YES") }}
record(ao, "{r}READONLY") {{ field(VAL, "1") field(PINI, "YES") }}
record(ao, "{r}NEW") {{ field(VAL, "77") field(PINI, "YES") }}
record(calcout, "{r}FIRST") {{ field(CALC, "A") field(A, "1") field(ODLY, "0.8") }}
"""
ANALOG = 'record(ao, "{r}{name}") {{ field(VAL, "{value}") field(PINI, "YES") }}\n'
DELAYED = 'record(calcout, "{r}{name}") {{ field(CALC, "A") field(A, "{value}") field(ODLY, "{delay}") }}\n'
COLUMNS = ("setpoint", "readback", "Area", "order", "max_step", "step_period", "read_only")


@dataclass
class Site(ControlPvs):
    """All of it. `members` are the services and workers that run, by name."""

    r: str
    folder: Path
    server: EmbeddedServer
    database: str
    ports: list[int]
    a: IocProcess
    b: IocProcess
    members: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    restored: list[str] = field(default_factory=list)

    # ---- the machine

    def pvs(self, *names: str) -> list[str]:
        return [self.r + name for name in names]

    def slow(self, *where: str) -> list[str]:
        """PVs that take long to write."""
        return self.pvs(*(f"{w}S{i}.A" for w in where for i in range(SLOW)))

    @property
    def catalogue(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for where, tag in (("A:", ""), ("B:", "b"), ("C:", "")):
            names = [f"F{i}" for i in range(FAST)] + ["STR", "WF", "WS", "EN", "NAN", "LONG"]
            rows += [{"setpoint": self.r + where + name, "Area": tag} for name in names]
            rows.append({"setpoint": f"{self.r}{where}SP", "readback": f"{self.r}{where}SP:RB", "Area": tag})
        rows += [{"setpoint": name} for name in self.slow("A:")]
        rows += [{"setpoint": name, "Area": "b"} for name in self.slow("B:")]
        a = self.r + "A:"
        rows.append({"setpoint": a + "RAMP", "max_step": 1, "step_period": 0.05})
        rows += [{"setpoint": a + "LIMITED"}, {"setpoint": a + "REFUSED"}, {"setpoint": a + "READONLY", "read_only": 1}]
        rows.append({"setpoint": a + "FIRST.A", "order": 1})
        rows += [{"setpoint": f"{self.r}{p}:F0", "order": o} for p, o in (("B", 2), ("C", 3))]
        together: dict[str, dict[str, Any]] = {}
        for row in rows:
            together[row["setpoint"]] = together.get(row["setpoint"], {}) | row
        return list(together.values())

    @property
    def names(self) -> list[str]:
        """All PVs."""
        rows = self.catalogue
        return [row["setpoint"] for row in rows] + [row["readback"] for row in rows if "readback" in row]

    def write_catalogue(self) -> None:
        rows = [",".join(str(row.get(column, "")) for column in COLUMNS) for row in self.catalogue]
        (self.folder / "pvs.csv").write_text("\n".join([",".join(COLUMNS), *rows, ""]))

    async def turn(self, values: dict[str, Any]) -> None:
        """Write PVs of the machine."""
        await aioca.caput(self.pvs(*values), list(values.values()), wait=True, timeout=30)

    async def live(self, *names: str) -> list[float]:
        """What stands on the machine."""
        return [float(v) for v in await aioca.caget(self.pvs(*names), timeout=30)]

    async def slow_now(self) -> list[float]:
        """The slow ones of the last restore of these."""
        return [float(v) for v in await aioca.caget(self.restored, timeout=30)]

    # ---- processes

    def settings(self, port: int) -> Path:
        return self.folder / f"{port}.yaml"

    def write_settings(self, **more: Any) -> None:
        where = self.server.connect_args
        for port in self.ports:
            settings = {
                "prefix": self.prefix,
                "port": port,
                "interfaces": [LOOPBACK],
                "state_dir": str(self.folder),
                "database": {
                    "dsn": f"postgresql://{where['user']}@/{self.database}?host={where['host']}&port={where['port']}",
                    "connect_timeout_s": 5,
                    "command_timeout_s": 6,
                },
                "catalogue": {"files": ["pvs.csv"]},
                "areas": {"a": f"{self.r}A:*", "b": "@Area=b"},
                "ca": {
                    "addr_list": [a for a in ADDR_LIST if a not in {f"{LOOPBACK}:{p}" for p in self.ports}],
                    "timeout_s": 2.0,
                    "put_timeout_s": 4.0,
                    "max_in_flight_per_ioc": 10,
                },
                "restore": {"verify_timeout_s": 0.5},
                **more,
            }
            self.settings(port).write_text(yaml.safe_dump(settings))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def begin(self, name: str, *arguments: str, port: int | None = None, **settings: str) -> None:
        """Start one; `settings` are variables of its environment."""
        log = self.folder / f"{name}.log"
        log.write_bytes(b"")
        with log.open("ab") as output:
            self.members[name] = subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc", *arguments, "--config", self.settings(port or self.ports[0])],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment() | settings,
            )

    def work(self, name: str, *areas: str, **settings: str) -> None:
        """Start a worker."""
        self.begin(name, "worker", *(f"--area={area}" for area in areas or name[0]), **settings)

    async def says(self, name: str, text: str, timeout_s: float = START_S) -> None:
        """Wait until one has logged this."""
        await until(lambda: text in self.log(name) or self.members[name].poll() is not None, timeout_s)
        assert text in self.log(name), "it has ended"

    def kill(self, name: str) -> None:
        """SIGKILL"""
        process = self.members.pop(name)
        assert process.poll() is None, "it has ended by itself"
        process.kill()
        process.wait()

    async def end(self, name: str, *, by: int = signal.SIGTERM) -> tuple[int, float]:
        """Tell it to; its exit code, and how long it took."""
        begin = time.monotonic()
        process = self.members.pop(name)
        process.send_signal(by)
        try:
            return await asyncio.to_thread(process.wait, STOP_S), time.monotonic() - begin
        finally:
            process.kill()

    async def up(self, *, service: str = "service") -> None:
        """The service and one worker an area run, and all PVs are connected. Others do not."""
        for extra in self.members.keys() - {service, "second", "a", "b"}:
            await self.end(extra)
        if service not in self.members:
            self.begin(service, "run")
            await self.says(service, "control PVs")
            aioca.purge_channel_caches()  # libca searches for what it has lost after ever longer pauses
        for area in "ab":
            if area not in self.members:
                self.work(area)
        await self.until_it_is(self.are_there, START_S)
        await self.workers([1, 1])
        await self.becomes("PVS:CONNECTED", len(self.names))

    async def are_there(self) -> bool:
        """Whether the workers that run are known, and are the only ones: who was killed counts for a moment still."""
        rows = await self.sql(
            "SELECT split_part(process, ' ', 2)::int AS pid FROM area_worker "
            "WHERE live_no > 0 AND seen > clock_timestamp() - interval '5 s'"
        )
        return {row["pid"] for row in rows} == {p.pid for name, p in self.members.items() if name[0] in "ab"}

    async def workers(self, wanted: list[int], timeout_s: float = 30.0) -> None:
        """Wait for so many in each area."""

        async def there() -> bool:
            now = await self.get("AREAS:WORKERS")
            return now.tolist() == wanted

        await self.until_it_is(there, timeout_s)

    async def until_it_is(self, condition: Any, timeout_s: float = 30.0) -> None:
        """Wait for what no event tells."""
        deadline = time.monotonic() + timeout_s
        while not await condition():
            assert time.monotonic() < deadline, "did not come in time"
            await asyncio.sleep(0.02)

    # ---- the database

    async def sql(self, query: str, *arguments: Any) -> list[Any]:
        """Somebody else's statement."""
        connection = await asyncpg.connect(**self.server.connect_args, database=self.database, timeout=10)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    # ---- jobs

    async def say(self, name: str, text: str) -> bool:
        return await self.put(name, text, datatype=aioca.DBR_CHAR_STR)

    async def snapshot(self, selection: str = "") -> int:
        """One that goes well."""
        assert await self.say("SNAP:FILTER", selection)
        assert await self.put("SNAP:TRIGGER", 1), await self.text("SNAP:MSG")
        assert await self.label("SNAP:STATUS") == "OK", await self.text("SNAP:MSG")
        assert await self.get("SNAP:MISSING") == 0
        return int(await self.get("SNAP:ID"))

    async def restore(self, number: int, mode: int = 0) -> bool:
        """Whether all of it went well."""
        assert await self.put("RESTORE:MODE", mode)
        done = await aioca.caput(self.pv("RESTORE:ID"), number, wait=True, timeout=25, throw=False)
        return bool(done.ok) and await self.label("RESTORE:STATUS") == "OK"

    async def counts(self) -> dict[str, int]:
        """Of the last restore; every PV is in one of them."""
        names = ("WRITTEN", "UNCHANGED", "SKIPPED", "FAILED", "MISMATCH")
        counts = {name: int(await self.get(f"RESTORE:{name}")) for name in names}
        assert sum(counts.values()) == await self.get("RESTORE:TOTAL"), counts
        return {name: count for name, count in counts.items() if count}

    async def bad(self) -> dict[str, str]:
        """PVs that the last restore did not bring where they were to be, and why."""
        names, reasons = [(await self.text(f"RESTORE:BAD:{n}:LONG")).split("\n") for n in ("NAMES", "REASONS")]
        return dict(zip(names, reasons, strict=True)) if names != [""] else {}

    async def values(self, number: int) -> dict[str, asyncpg.Record]:
        """What a snapshot holds."""
        rows = await self.sql("SELECT * FROM snapshot_value WHERE snapshot_id = $1", number)
        found = {row["pv"]: row for row in rows}
        assert len(found) == len(rows)
        return found

    @asynccontextmanager
    async def slow_restore(self, *where: str) -> AsyncIterator[asyncio.Task[bool]]:
        """A restore of the slow PVs of these parts (A:), on its way from 2 to 1."""
        where = where or ("A:",)
        self.restored = self.slow(*where)
        await self.delay(0)
        await aioca.caput(self.restored, 1.0, wait=True, timeout=30)
        number = await self.snapshot(",".join(f"{self.r}{w}S*.A" for w in where))
        await aioca.caput(self.restored, 2.0, wait=True, timeout=30)
        await self.delay(SLOW_S)
        task = asyncio.create_task(self.restore(number))

        async def some_are_written() -> bool:
            return (await self.slow_now()).count(1.0) >= 20 * len(where)

        await self.until_it_is(some_are_written)
        try:
            yield task
        finally:
            await asyncio.wait([task], timeout=30)
            await self.delay(0)
            assert task.done()

    async def delay(self, seconds: float) -> None:
        """Of the slow ones."""
        fields = [name.removesuffix(".A") + ".ODLY" for name in self.restored]
        await aioca.caput(fields, seconds, wait=True, timeout=30)

    async def undone(self) -> None:
        """The slow ones are taken back."""
        assert await self.put("RESTORE:UNDO", 1), await self.text("RESTORE:MSG")
        assert await self.label("RESTORE:STATUS") == "OK", await self.text("RESTORE:MSG")
        assert await self.slow_now() == [2.0] * len(self.restored)

    async def check_whole(self) -> None:
        """Nothing is left of what has ended."""
        await self.nothing("SELECT id, kind, area FROM area_part")
        # What a worker that was killed had taken is given to another one after half a minute, who has no use for it.
        await self.nothing("SELECT entrypoint, status FROM pgqueuer WHERE status <> 'picked'")
        await self.nothing("SELECT id FROM job WHERE finished IS NULL")

    async def nothing(self, query: str) -> None:
        async def none() -> bool:
            return not await self.sql(query)

        try:
            await self.until_it_is(none, 6.0)
        except AssertionError:
            raise AssertionError((query, await self.sql(query))) from None


@contextmanager
def site(services: int = 1, **more: Any) -> Iterator[Site]:
    """The machine, a server of PostgreSQL and a folder; nothing else runs yet, and nothing does at the end."""
    r = f"R{secrets.token_hex(3)}:"
    folder = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    server = EmbeddedServer(folder, {"fsync": "off", "max_connections": "60"})
    ports = take_ports(services)

    def slow(where: str) -> str:
        return "".join(DELAYED.format(r=r + where, name=f"S{i}", value=1, delay=0) for i in range(SLOW))

    def records(where: str) -> str:
        return COMMON.format(r=r + where) + "".join(
            ANALOG.format(r=r + where, name=f"F{i}", value=i) for i in range(FAST)
        )

    with (
        IocProcess(records("A:") + OTHER.format(r=r + "A:") + slow("A:")) as a,
        IocProcess(records("B:") + slow("B:")) as b,
        IocProcess(records("C:")),
    ):
        made = Site(f"S{secrets.token_hex(4)}:", r, folder, server, "squirrel", ports, a, b)
        try:
            server.start()
            with asyncio.Runner() as runner:
                runner.run(execute(server, f"CREATE DATABASE {made.database}"))
            made.write_catalogue()
            made.write_settings(**more)
            yield made
        finally:
            aioca.purge_channel_caches()
            for process in made.members.values():
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
            server.stop()
            remaining = left_over(folder)
            shutil.rmtree(folder)
            give_ports(ports)
            assert remaining == []


def show_logs(made: Site, names: Sequence[str] | None = None) -> None:
    """pytest shows them when something is wrong."""
    for file in sorted(made.folder.glob("*.log")):
        if names is None or file.stem in names:
            print(f"---- {file.stem}\n{file.read_text()}")
