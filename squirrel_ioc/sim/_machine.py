"""Starts and stops the IOCs of the simulated machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from squirrel_ioc.errors import SquirrelError
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.sim._ports import LOOPBACK, free_ports
from squirrel_ioc.sim._records import Point, accelerator, setpoints_only, write_catalogue, write_database

__all__ = ["SimulatedMachine", "SimulationError"]

STOP_TIMEOUT_S: Final = 5.0
PORT_ATTEMPTS: Final = 3
_SLICE_S: Final = 0.2


class SimulationError(SquirrelError):
    """The simulated machine did not start."""


class _PortTakenError(SimulationError):
    """A port was free when it was chosen, and is not any more."""


@dataclass
class _Ioc:
    """One IOC process, its port and where its output goes."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def failure(self, reason: str) -> SimulationError:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
        kind = _PortTakenError if "is in use" in reason else SimulationError
        return kind(f"simulated IOC on port {self.port}: {reason}\n{tail}")


class SimulatedMachine:
    """EPICS IOCs on loopback, each in its own process, with `count` records in all and their catalogue.

    A context manager, or an asynchronous one that leaves the loop free. `ports` are those to use (one an IOC; free
    ones when None); `directory` keeps database, catalogue and logs (temporary when None). With `readbacks` the
    records are those of an accelerator, setpoints with readbacks that follow them; without, all of them are
    setpoints in the mix of the design measurements. Records of one IOC are neighbours in `entries`.

    Raises SimulationError when an IOC is not up after `start_timeout_s`, with the last lines it printed.
    """

    def __init__(
        self,
        count: int,
        prefix: str,
        iocs: int = 1,
        ports: Sequence[int] | None = None,
        directory: Path | None = None,
        readbacks: bool = True,
        start_timeout_s: float = 60.0,
    ) -> None:
        if count < 1 or iocs < 1:
            raise SimulationError("a simulated machine needs at least one record and one IOC")
        if ports is not None and len(ports) != iocs:
            raise SimulationError(f"{iocs} IOCs need {iocs} ports, not {len(ports)}")
        self.count = count
        self.prefix = prefix
        self.start_timeout_s = start_timeout_s
        self._fixed_ports = None if ports is None else tuple(ports)
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="squirrel-sim-")
        self.directory = directory or Path(self._temporary.name if self._temporary else ".")
        self._points = (accelerator if readbacks else setpoints_only)(prefix, count)
        self._number = min(iocs, len(self._points))
        self._iocs: list[_Ioc] = []
        self._ending = threading.Event()

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The catalogue."""
        return tuple(p.entry for p in self._points)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every channel: the setpoints, then the readbacks."""
        return tuple(Catalogue.channel_names(self.entries))

    def names_of_ioc(self, number: int) -> tuple[str, ...]:
        """The channels that live on IOC `number`, counted from 0."""
        return tuple(record.name for point in self._share(number) for record in point.records)

    @property
    def catalogue_file(self) -> Path:
        """The catalogue as CSV, with every column."""
        return self.directory / "pvs.csv"

    @property
    def ports(self) -> tuple[int, ...]:
        """The CA port of each IOC."""
        return tuple(ioc.port for ioc in self._iocs)

    @property
    def addr_list(self) -> str:
        """For `ca.addr_list` and EPICS_CA_ADDR_LIST."""
        return " ".join(f"{LOOPBACK}:{port}" for port in self.ports)

    @property
    def processes(self) -> tuple[int, ...]:
        """The process id of each IOC."""
        return tuple(ioc.process.pid for ioc in self._iocs)

    def start(self) -> None:
        """Start every IOC and wait until all of them serve."""
        with self._cleanup_on_failure():
            self._write_files()
            for attempt in range(PORT_ATTEMPTS):
                self._spawn()
                if self._wait_ready(last=attempt == PORT_ATTEMPTS - 1):
                    return

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to IOC `number`: stop it, let it go on. Nothing when it is dead."""
        self._iocs[number].process.send_signal(what)

    def kill(self, number: int) -> None:
        """End IOC `number` at once, as a power cut would. It is back with `restart`."""
        process = self._iocs[number].process
        process.kill()
        process.wait(STOP_TIMEOUT_S)

    def restart(self, number: int) -> None:
        """Start IOC `number` again, on its port, with the values of its database; it serves when this is back.

        Nothing when it runs. Raises SimulationError when it does not come up.
        """
        dead = self._iocs[number]
        if dead.process.poll() is None:
            return
        _close_pipes(dead)
        self._iocs[number] = self._spawn_one(number, dead.port)
        self._answers([self._iocs[number]])

    def stop(self) -> None:
        """End every IOC, also a stopped one; bounded. What was temporary is gone afterwards."""
        self._ending.set()
        self._end_processes()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        with self._cleanup_on_failure():
            await asyncio.to_thread(self._write_files)
            for attempt in range(PORT_ATTEMPTS):
                self._spawn()
                if await asyncio.to_thread(self._wait_ready, last=attempt == PORT_ATTEMPTS - 1):
                    break
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    @contextlib.contextmanager
    def _cleanup_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def _share(self, number: int) -> list[Point]:
        total = len(self._points)
        return self._points[total * number // self._number : total * (number + 1) // self._number]

    def _database(self, number: int) -> Path:
        return self.directory / f"ioc{number}.db"

    def _write_files(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        write_catalogue(self.catalogue_file, self.entries)
        for number in range(self._number):
            write_database(self._database(number), self._share(number))

    def _spawn(self) -> None:
        """Start the processes. In the caller's thread: the kernel ties their lives to it."""
        ports = self._fixed_ports or free_ports(self._number)
        for number, port in zip(range(self._number), ports, strict=False):
            self._iocs.append(self._spawn_one(number, port))

    def _spawn_one(self, number: int, port: int) -> _Ioc:
        main_thread = threading.current_thread() is threading.main_thread()
        parent = os.getpid() if main_thread else 0
        log = self.directory / f"ioc{number}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc.sim._ioc", self._database(number), str(port), str(parent)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=_environment(port),
            )
        return _Ioc(process, port, log)

    def _wait_ready(self, *, last: bool) -> bool:
        """Wait for the answers. False, and everything ended, when a chosen port was taken meanwhile."""
        try:
            self._answers(self._iocs)
        except _PortTakenError:
            if last or self._fixed_ports:
                raise
            self._end_processes()
            return False
        return True

    def _answers(self, iocs: Sequence[_Ioc]) -> None:
        """Wait until each of these has said that it serves. Raises SimulationError."""
        deadline = time.monotonic() + self.start_timeout_s
        with selectors.DefaultSelector() as selector:
            for ioc in iocs:
                selector.register(_stdout(ioc), selectors.EVENT_READ, ioc)
            while selector.get_map():
                # In slices: nothing comes any more from an IOC that is stopped meanwhile.
                ready = selector.select(_SLICE_S)
                if self._ending.is_set():
                    raise SimulationError("the simulated machine was stopped while it started")
                if not ready and time.monotonic() > deadline:
                    waiting: _Ioc = next(iter(selector.get_map().values())).data
                    raise waiting.failure(f"not up after {self.start_timeout_s:g} s")
                for key, _ in ready:
                    _check_answer(key.data)
                    selector.unregister(key.fileobj)

    def _end_processes(self) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for ioc in self._iocs:
            if ioc.process.stdin:
                ioc.process.stdin.close()
            if ioc.process.poll() is None:
                ioc.process.send_signal(signal.SIGCONT)
        for ioc in self._iocs:
            try:
                ioc.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                ioc.process.kill()
                ioc.process.wait()
            _close_pipes(ioc)
        self._iocs.clear()


def _close_pipes(ioc: _Ioc) -> None:
    if ioc.process.stdin:
        ioc.process.stdin.close()
    _stdout(ioc).close()


def _stdout(ioc: _Ioc) -> IO[bytes]:
    if ioc.process.stdout is None:
        raise AssertionError("started with a pipe")
    return ioc.process.stdout


def _check_answer(ioc: _Ioc) -> None:
    answer = _stdout(ioc).readline().decode().strip()
    if answer != "ready":
        raise ioc.failure(answer or f"ended with exit code {ioc.process.wait(STOP_TIMEOUT_S)}")


def _environment(port: int) -> dict[str, str]:
    """Loopback only, whatever the caller's own EPICS settings are."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_CA_", "EPICS_CAS_"))}
    return ours | {
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_ADDR_LIST": LOOPBACK,
    }
