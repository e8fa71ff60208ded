"""The administrator's guide: systemd is told, and the commands of a backup work as they stand."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import yaml
from ioc_process import LOOPBACK, give_ports, take_ports
from running import STOP_S, environment

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.resources import docs_dir
from squirrel_ioc.store import Store

GUIDE = docs_dir() / "administrator.md"


def commands(marker: str) -> str:
    """A block of commands of the guide."""
    found = re.search(rf"<!-- {marker} -->\n\n```bash\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def shell(script: str, folder: Path, user: int | None = None, **variables: str) -> str:
    """Run it, and return what it printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=environment() | {"PATH": path} | variables,
        user=user,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_backup_of_the_embedded_database(folder: Path) -> None:
    os.chmod(folder, 0o777)  # noqa: PTH101, S103 - the embedded server of root belongs to another user, who reads the dump here
    state = folder / "state"
    entries = [Entry("T:A"), Entry("T:B")]

    store = await Store.open(DatabaseSettings(), state)
    await store.save_catalogue(entries)
    await store.set_setting("kept", "before")
    backup = commands("backup").replace("/var/lib/squirrel-ioc/state", str(state))
    bin_folder = await asyncio.to_thread(shell, backup + 'echo "$BIN"', folder)
    await store.set_setting("kept", "after")
    await store.close()

    owner = (state / "postgres").stat().st_uid
    user = owner if owner != os.getuid() else None
    await asyncio.to_thread(
        shell, commands("restore"), folder, user, STATE=str(state), BIN=bin_folder.strip(), HOME=str(folder)
    )
    store = await Store.open(DatabaseSettings(), state)
    assert await store.get_setting("kept") == "before"
    assert [entry.setpoint for entry in (await store.load_catalogue()).entries] == ["T:A", "T:B"]
    await store.close()


async def test_systemd_is_told(database: DatabaseSettings, folder: Path) -> None:
    assert database.dsn is not None
    (port,) = take_ports(1)
    settings = folder / "settings.yaml"
    keys = {
        "prefix": "N:",
        "port": port,
        "interfaces": [LOOPBACK],
        "database": {"dsn": database.dsn.get_secret_value()},
    }
    settings.write_text(yaml.safe_dump(keys | {"ca": {"addr_list": f"{LOOPBACK}:1"}, "log": {"format": "json"}}))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(30)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "squirrel_ioc", "run", "--config", str(settings)),
            env=environment() | {"NOTIFY_SOCKET": str(folder / "notify")},
        )
        try:
            assert await asyncio.to_thread(systemd.recv, 100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(systemd.recv, 100) == b"STOPPING=1"
            async with asyncio.timeout(STOP_S):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
            give_ports([port])
