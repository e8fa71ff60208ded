"""The demo: a simulated machine, an embedded database and the service, on loopback, in one command."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from squirrel_ioc.app import App
from squirrel_ioc.config import Settings, load_settings
from squirrel_ioc.resources import config_dir
from squirrel_ioc.sim import LOOPBACK, SimulatedMachine, free_ports

__all__ = ["run_demo", "MACHINE_PREFIX"]

MACHINE_PREFIX: Final = "DEMO:"
SERVICE_PORT: Final = 5064
MACHINE_PORT: Final = 5066


async def run_demo(
    stop: asyncio.Event, ready: asyncio.Event, count: int, folder: Path, say: Callable[[str], None]
) -> None:
    """Run the demo until `stop` is set; once it serves, `ready` is set and `say` gets the guide.

    `folder` keeps the database, the settings file and the catalogue: a second start finds the snapshots again.
    Raises what `App.run` does, and SimulationError.
    """
    folder = await asyncio.to_thread(_make, folder)
    (port,) = free_ports(1, preferred=[SERVICE_PORT])
    (machine_port,) = free_ports(1, preferred=[p for p in (MACHINE_PORT,) if p != port])
    machine = SimulatedMachine(count, MACHINE_PREFIX, ports=[machine_port], directory=folder / "machine")
    async with machine:
        settings = _settings(folder, port, machine)

        async def guide() -> None:
            await ready.wait()
            say(_guide(settings, folder, machine))

        guiding = asyncio.create_task(guide())
        try:
            await App(settings).run(stop, ready=ready)
        finally:
            guiding.cancel()
            await asyncio.gather(guiding, return_exceptions=True)


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _settings(folder: Path, port: int, machine: SimulatedMachine) -> Settings:
    """The shipped demo settings with the ports of today, in a file: other commands can be tried on the demo's data."""
    text = (config_dir() / "demo.yaml").read_text(encoding="utf-8")
    for default, used in ((SERVICE_PORT, port), (MACHINE_PORT, machine.ports[0])):
        text = re.sub(rf"\b{default}\b", str(used), text)
    file = folder / "settings.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def _guide(settings: Settings, folder: Path, machine: SimulatedMachine) -> str:
    """What to type next. The tests type it: every command works as it stands."""
    p = settings.prefix
    magnet = machine.names[0]
    config = shlex.quote(str(folder / "settings.yaml"))
    tools = Path(sys.executable).parent
    # In a new terminal the environment of this program is not there.
    path = f'PATH={shlex.quote(str(tools))}:"$PATH" ' if (tools / "caproto-put").exists() else ""
    return f"""\
The machine is simulated: {len(machine.names)} PVs {MACHINE_PREFIX}*, on port {machine.ports[0]} of {LOOPBACK}.
The service saves and restores them: control PVs {p}*, on port {settings.port} of {LOOPBACK}.
Snapshots, settings and logs are kept in {folder}: the next start finds them again.

In another terminal:

  export {path}EPICS_CA_AUTO_ADDR_LIST=NO EPICS_CA_ADDR_LIST="{LOOPBACK}:{settings.port} {machine.addr_list}"

Take a snapshot, change a magnet, restore, take the restore back, with what is installed already:

  caproto-put --no-repeater -w 300 -c -S {p}SNAP:NOW "Before the test"
  caproto-get --no-repeater {p}SNAP:STATUS {p}SNAP:ID {p}SNAP:COUNT
  caproto-put --no-repeater -w 300 -c {magnet} 5.5
  caproto-put --no-repeater -w 300 -c {p}RESTORE:ID $(caproto-get --no-repeater -t {p}SNAP:ID)
  caproto-get --no-repeater {p}RESTORE:STATUS {p}RESTORE:WRITTEN {p}RESTORE:UNCHANGED {magnet}
  caproto-put --no-repeater -w 300 -c {p}RESTORE:UNDO 1
  caproto-get --no-repeater {magnet}

The same with the tools of EPICS base. Without -w they wait for one second, and exit as if it were done:

  caput -w 300 -c -S {p}SNAP:NOW "Before the test"
  caget {p}SNAP:STATUS {p}SNAP:ID {p}SNAP:COUNT
  caput -w 300 -c {magnet} 6.5
  caput -w 300 -c {p}RESTORE:ID $(caget -t {p}SNAP:ID)
  caget {p}RESTORE:STATUS {p}RESTORE:WRITTEN {p}RESTORE:UNCHANGED {magnet}
  caput -w 300 -c {p}RESTORE:UNDO 1
  caget {magnet}

What is stored:

  squirrel-ioc snapshots list --config {config}

Ctrl-C here ends all of it."""
