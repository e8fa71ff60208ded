"""Measure changes of the catalogue in a running service: python tests/measure_catalogue.py [--count 40000].

A simulated machine has twice as many PVs; the catalogue file holds one half, then the other. A client in a process of
its own writes PVS:RELOAD, PVS:ADD and PVS:REMOVE and waits; and commands change the database. Prints how long each put
took, or from the start of a command until the service had gone over to what it made; the longest time for which the
event loop of the service did nothing else meanwhile, and how much of that its process had the CPU (the rest is others',
on a busy machine). All in milliseconds. Not a test: what is fast enough depends on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from squirrel_ioc.app import App
from squirrel_ioc.config import CaSettings, CatalogueSettings, Settings
from squirrel_ioc.formats import write_catalogue
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.sim import SimulatedMachine, free_ports

PREFIX = "MEASURE:"
CLIENT = """
import asyncio, sys, time, aioca
async def main():
    for line in sys.stdin:
        name, _, text = line.rstrip("\\n").partition(" ")
        value = (int(text), None) if text.isdigit() else (text, aioca.DBR_CHAR_STR)
        await aioca.connect(name, timeout=30)
        start = time.perf_counter()
        done = await aioca.caput(name, value[0], datatype=value[1], wait=True, timeout=60, throw=False)
        took = time.perf_counter() - start
        message = await aioca.caget(sys.argv[1] + "PVS:MSG", datatype=aioca.DBR_CHAR_STR, timeout=30)
        print(took if done.ok else "failed", message[:100].replace("\\n", " "), flush=True)
asyncio.run(main())
"""


class Loop:
    """Watches the event loop: the longest it was held, and the CPU time of that."""

    def __init__(self) -> None:
        self.worst_s = self.cpu_s = 0.0

    def reset(self) -> None:
        """Forget it."""
        self.worst_s = self.cpu_s = 0.0

    def __str__(self) -> str:
        return f"{1e3 * self.worst_s:9.1f} {1e3 * self.cpu_s:6.1f}"

    async def watch(self) -> None:
        """For ever."""
        last, last_cpu = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now, cpu = time.perf_counter(), time.process_time()
            if now - last > self.worst_s:
                self.worst_s, self.cpu_s = now - last, cpu - last_cpu
            last, last_cpu = now, cpu


class Client:
    """Writes and waits, in another process."""

    def __init__(self, process: asyncio.subprocess.Process, loop: Loop) -> None:
        self._process = process
        self._loop = loop

    async def put(self, what: str, name: str, text: str) -> None:
        """Write, and print how it went."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await asyncio.sleep(1.0)
        self._loop.reset()
        self._process.stdin.write(f"{PREFIX}{name} {text}\n".encode())
        took, _, message = (await self._process.stdout.readline()).decode().partition(" ")
        await asyncio.sleep(1.0)  # what follows belongs to it: channels that are dropped, lists that are shown
        print(f"{what:44} {1e3 * float(took):9.0f} {self._loop}   {message.strip()}", flush=True)


class Log(logging.Handler):
    """Hears when the service has gone over to another catalogue."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        logger = logging.getLogger("squirrel_ioc.jobs.catalogue")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """In the event loop."""
        self.messages.put_nowait(record.getMessage())


class Commands:
    """Runs commands on the database of the service."""

    def __init__(self, settings: Path, loop: Loop, log: Log) -> None:
        self._settings = settings
        self._loop = loop
        self._log = log

    async def run(self, what: str, *arguments: str) -> None:
        """Run it, and print how it went."""
        while not self._log.messages.empty():
            self._log.messages.get_nowait()
        await asyncio.sleep(1.0)
        self._loop.reset()
        start = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "squirrel_ioc", "pvs", *arguments, "--config", str(self._settings)),
            stdout=subprocess.DEVNULL,
        )
        message = await self._log.messages.get()
        took = time.perf_counter() - start
        await process.wait()
        await asyncio.sleep(1.0)
        print(f"{what:44} {1e3 * took:9.0f} {self._loop}   {message}", flush=True)


def write(path: Path, entries: Sequence[Entry]) -> None:
    """Make these the catalogue file."""
    write_catalogue(path, entries, "catalogue")


async def run(count: int, folder: Path) -> None:
    """Start everything, measure, stop."""
    async with SimulatedMachine(2 * count, "M:", iocs=2, readbacks=False, directory=folder) as machine:
        halves = machine.entries[:count], machine.entries[count : 2 * count]
        file = folder / "catalogue.csv"
        write(file, halves[0])
        (port,) = free_ports(1)
        settings = Settings(
            prefix=PREFIX,
            port=port,
            interfaces=("127.0.0.1",),
            state_dir=folder / "state",
            catalogue=CatalogueSettings(files=(file,)),
            ca=CaSettings(addr_list=tuple(machine.addr_list.split())),
        )
        stop, ready = asyncio.Event(), asyncio.Event()
        service = asyncio.create_task(App(settings).run(stop, ready=ready))
        await asyncio.wait([service, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CLIENT, PREFIX),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"EPICS_CA_AUTO_ADDR_LIST": "NO", "EPICS_CA_ADDR_LIST": f"127.0.0.1:{port}"},
        )
        loop, log = Loop(), Log()
        watching = asyncio.create_task(loop.watch())
        try:
            await asyncio.sleep(5)
            await measure(Client(client, loop), file, halves)
            (folder / "settings.yaml").write_text("state_dir: state\n")
            await measure_commands(Commands(folder / "settings.yaml", loop, log), file, halves)
        finally:
            watching.cancel()
            client.kill()
            await client.wait()
            stop.set()
            await service


async def measure(client: Client, file: Path, halves: tuple[Sequence[Entry], Sequence[Entry]]) -> None:
    """On a running service."""
    print(f"{'ms':44} {'put':>9} {'loop held':>9} {'CPU':>6}")
    count = len(halves[0])
    for number in (1, 0, 1):
        write(file, halves[number])
        await client.put(f"{count} PVs replaced by {count} others", "PVS:RELOAD", "1")
    write(file, [replace(e, atol=1.0) for e in halves[1]])
    await client.put(f"{count} tolerances changed", "PVS:RELOAD", "1")
    await client.put("the same files again", "PVS:RELOAD", "1")
    for i in range(3):
        await client.put("one PV added", "PVS:ADD", halves[0][i].setpoint)
    await client.put("one PV removed", "PVS:REMOVE", halves[1][5].setpoint)
    names = " ".join(e.setpoint for e in halves[0][100:2100])
    await client.put("2000 PVs added", "PVS:ADD", names)
    await client.put("and removed", "PVS:REMOVE", names)
    await client.put("a selection", "PVS:FIND", "*1* @*")


async def measure_commands(commands: Commands, file: Path, halves: tuple[Sequence[Entry], Sequence[Entry]]) -> None:
    """Beside a running service."""
    count = len(halves[0])
    await commands.run(f"command: {count} tolerances set", "set", "-f", "", "--rtol", "0.5")
    write(file, halves[0])
    await commands.run(f"command: {count} PVs replaced by {count} others", "import", str(file), "--replace")
    await commands.run("command: one PV added", "add", halves[1][0].setpoint)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40_000)
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="squirrel-measure-") as folder:
        asyncio.run(run(parser.parse_args().count, Path(folder)))


if __name__ == "__main__":
    main()
