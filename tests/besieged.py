"""A service with a machine of 2,000 PVs that is asked for too much, and a client that sees how it bears that."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aioca
import psutil
from hostile import HELLO, Peer
from ioc_process import give_ports, take_ports
from postgres import TEMPLATE, execute, settings_for
from running import Running, running

from squirrel_ioc.ioc.reference import static_groups
from squirrel_ioc.sim import SimulatedMachine
from squirrel_ioc.store import EmbeddedServer

PVS = 2_000
MIB = 2**20

ARRAYS = {
    info.name: int(info.type.partition("[")[2].rstrip("]"))
    for infos in static_groups().values()
    for info in infos
    if "[" in info.type
}
"""The array PVs, with the elements that a client may ask for."""


@dataclass
class Watch:
    """What a well-behaved client saw of a service meanwhile."""

    answers: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0
    heartbeats: set[float] = field(default_factory=set)


@dataclass
class Besieged:
    """The service and its machine."""

    s: Running
    machine: SimulatedMachine

    @property
    def process(self) -> psutil.Process:
        """Of the service."""
        return psutil.Process(self.s.process.pid)

    def resident(self) -> int:
        """Bytes of memory that it has."""
        return int(self.process.memory_info().rss)

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def peer(self, *names: str, buffer_bytes: int | None = None) -> tuple[Peer, list[int]]:
        """A client by hand, with channels to these."""
        peer = await Peer.connect(self.s.port, buffer_bytes=buffer_bytes)
        try:
            await peer.send(HELLO)
            return peer, await peer.channels([self.s.pv(name) for name in names])
        except BaseException:
            peer.sock.close()
            raise

    async def snapshot(self) -> int:
        """Take one, whatever else goes on; all PVs have a value."""
        assert await self.s.put("SNAP:NOW", "meanwhile", datatype=aioca.DBR_CHAR_STR)
        assert (await self.s.get("SNAP:COUNT"), await self.s.get("SNAP:MISSING")) == (PVS, 0)
        return int(await self.s.get("SNAP:ID"))

    @asynccontextmanager
    async def watched(self, *, slowest_s: float, more_bytes: int) -> AsyncIterator[Watch]:
        """Ask for HEARTBEAT all the time. Every answer must come in time, and the memory must stay bounded."""
        watch = Watch()
        before = self.resident()
        await self.s.get("HEARTBEAT")

        enough = asyncio.Event()  # aioca does not end for certain when it is cancelled

        async def ask() -> None:
            while not enough.is_set():
                begin = time.monotonic()
                watch.heartbeats.add(float(await self.s.get("HEARTBEAT")))
                watch.slowest_s = max(watch.slowest_s, time.monotonic() - begin)
                watch.most_bytes = max(watch.most_bytes, self.resident())
                watch.answers += 1
                await asyncio.sleep(0.05)

        asking = asyncio.create_task(ask())
        begin = time.monotonic()
        try:
            yield watch
        finally:
            enough.set()
            await asking
        print(
            f"{watch.answers} answers, the slowest {watch.slowest_s:.2f} s; {before // MIB} MiB, "
            f"at most {watch.most_bytes // MIB} MiB, after {time.monotonic() - begin:.1f} s {self.resident() // MIB}"
        )
        assert watch.answers
        assert watch.slowest_s < slowest_s
        assert watch.most_bytes - before < more_bytes
        # It goes on at 1 Hz, whoever asks for what; a beat may be missed by who asks.
        assert len(watch.heartbeats) >= (time.monotonic() - begin) / 2 - 2


@asynccontextmanager
async def besieged(server: EmbeddedServer) -> AsyncIterator[Besieged]:
    """Run it, with a database of its own on this server. It must not log an error, and must end when it is told to."""
    database = f"test_{secrets.token_hex(6)}"
    await execute(server, f"CREATE DATABASE {database} TEMPLATE {TEMPLATE}")
    ports = take_ports(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with SimulatedMachine(PVS, f"M{secrets.token_hex(3)}:", ports=ports) as machine:
                catalogue = machine.catalogue_file.read_text()
                async with running(Path(folder), settings_for(server, database), catalogue, PVS) as service:
                    yield Besieged(service, machine)
    finally:
        give_ports(ports)
        await execute(server, f"DROP DATABASE {database} WITH (FORCE)")
