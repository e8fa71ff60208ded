"""The service in a process of its own, as `squirrel-ioc run` starts it, and a client of its control PVs."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import yaml
from control_pvs import ControlPvs
from ioc_process import ADDR_LIST, LOOPBACK, give_ports, take_ports

from squirrel_ioc.config import DatabaseSettings

START_S = 60.0
STOP_S = 20.0


@dataclass
class Running(ControlPvs):
    """A running service."""

    port: int
    settings: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        """host:port"""
        return f"{LOOPBACK}:{self.port}"

    async def run_cli(self, *arguments: str) -> tuple[int, str, str]:
        """A command with the settings of this service: exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "squirrel_ioc", *arguments, "--config", str(self.settings)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        async with asyncio.timeout(START_S):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def wait_for(self, name: str, value: float, timeout_s: float = START_S) -> None:
        """Until a control PV has this value."""
        reached = asyncio.Event()
        monitor = aioca.camonitor(self.pv(name), lambda now: reached.set() if now == value else None)
        try:
            async with asyncio.timeout(timeout_s):
                await reached.wait()
        finally:
            monitor.close()


def environment() -> dict[str, str]:
    """Nothing of the settings comes from the environment of the tests."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "SQUIRREL_"))}
    return ours | {"COLUMNS": "160"}


@asynccontextmanager
async def running(
    folder: Path, database: DatabaseSettings, catalogue: str, connected: int, **keys: Any
) -> AsyncIterator[Running]:
    """Run the service with this catalogue (CSV); `connected` of its PVs are there. `keys` are further settings.

    At the end it must stop by itself when it is told to, and must not have logged an error.
    """
    assert database.dsn is not None
    (port,) = take_ports(1)
    prefix = f"S{secrets.token_hex(4)}:"
    (folder / "pvs.csv").write_text(catalogue)
    settings = {
        "prefix": prefix,
        "port": port,
        "interfaces": [LOOPBACK],
        "state_dir": str(folder),
        "database": {"dsn": database.dsn.get_secret_value()},
        "catalogue": {"files": ["pvs.csv"]},
        "ca": {"addr_list": [a for a in ADDR_LIST if a != f"{LOOPBACK}:{port}"], "timeout_s": 2.0},
        **keys,
    }
    file, log = folder / "settings.yaml", folder / "service.log"
    file.write_text(yaml.safe_dump(settings))
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - back at once; it is waited for in a thread
            [sys.executable, "-m", "squirrel_ioc", "run", "--config", file],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
        )
    service = Running(prefix, port, file, process, log)
    try:
        await _until_it_serves(service)
        await service.wait_for("PVS:CONNECTED", connected)
        yield service
        aioca.purge_channel_caches()
        process.terminate()
        assert await asyncio.to_thread(process.wait, STOP_S) == 0
        for sign in ("Traceback", "ERROR"):
            assert sign not in log.read_text()
    except BaseException:
        print(log.read_text())  # pytest shows it
        raise
    finally:
        aioca.purge_channel_caches()
        process.kill()
        process.wait()
        give_ports([port])


async def _until_it_serves(service: Running) -> None:
    """Before that nobody is to search for it: libca searches again after ever longer pauses."""
    deadline = time.monotonic() + START_S
    while "control PVs" not in service.log.read_text():
        assert service.process.poll() is None, "it has ended"
        assert time.monotonic() < deadline, "it does not start"
        await asyncio.sleep(0.05)
