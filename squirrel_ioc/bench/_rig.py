"""What the bench measures: four simulated IOCs, and the service in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import psutil

from squirrel_ioc.bench._peer_process import MeasurementError, PeerProcess
from squirrel_ioc.sim import LOOPBACK, SimulatedMachine, free_ports

__all__ = ["CA_TIMEOUT_S", "IOCS", "Rig", "Service"]

IOCS: Final = 4
CA_TIMEOUT_S: Final = 2.0
"""`ca.timeout_s` of the measured service: what a hung IOC may cost the first time."""
PREFIX: Final = "BENCH:"
CONTROL: Final = "SQRL:"
PROBE_PERIOD_S: Final = 0.001
STOP_S: Final = 30.0


@dataclass
class Service:
    """A running service and a client of it."""

    process: subprocess.Popen[bytes]
    client: PeerProcess
    started: float
    """`time.perf_counter()` of its start."""
    addr_list: str
    """Where its control PVs are."""

    def put(self, name: str, value: float | str, *, timeout_s: float = 60.0, text: bool = False) -> float:
        """Put-callback to a control PV: seconds until it is done."""
        return float(self.client.ask("put", timeout_s=timeout_s, name=CONTROL + name, value=value, text=text))

    def get(self, *names: str) -> list[Any]:
        """Values of control PVs; enums as labels."""
        return list(self.client.ask("get", names=[CONTROL + n for n in names]))

    def one(self, name: str) -> Any:
        """Value of one control PV."""
        return self.get(name)[0]

    def wait_for(self, name: str, value: float, *, timeout_s: float = 60.0) -> None:
        """Wait until a control PV has this value."""
        self.client.ask("wait_for", timeout_s=timeout_s, name=CONTROL + name, value=value)

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the service's process."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def cpu_percent(self, seconds: float) -> float:
        """CPU the service uses over this time, percent of one core."""
        process = psutil.Process(self.process.pid)
        process.cpu_percent()
        return float(process.cpu_percent(seconds))


class Rig:
    """The simulated machine, its peers and the folder where everything is; a context manager."""

    def __init__(self, count: int, dead: float) -> None:
        self.count = count
        self.absent = min(round(count * dead), count - 1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="squirrel-bench-")))
            self.machine = self._stack.enter_context(
                SimulatedMachine(self.count, PREFIX, iocs=IOCS, directory=self.folder / "machine", readbacks=False)
            )
            (self.folder / "exchange").mkdir()
            self._write_lists()
            self.bulk = self.peer("bulk", self.machine.addr_list)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def _settings(self) -> Path:
        return self.folder / "settings.yaml"

    @property
    def names_file(self) -> Path:
        """The names of all records, one a line."""
        return self.folder / "names.txt"

    def peer(self, kind: str, addr_list: str) -> PeerProcess:
        """A new peer, ended with the rig if not before."""
        number = len(list(self.folder.glob("peer*.log")))
        environment = {"EPICS_CA_ADDR_LIST": addr_list, "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        peer = PeerProcess(kind, environment, self.folder / f"peer{number}.log")
        self._stack.callback(peer.stop)
        return peer

    @contextmanager
    def service(self, *, absent: bool = False) -> Iterator[Service]:
        """The service, started with the whole catalogue or the one with absent PVs; stopped at the end."""
        (port,) = free_ports(1)
        self._write_settings(port, self._catalogue(absent=absent))
        log = self.folder / "service.log"
        started = time.perf_counter()
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc", "run", "--config", self._settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The terminal's Ctrl-C is for the bench, which stops the service.
                process_group=0,
                env={k: v for k, v in os.environ.items() if not k.startswith(("EPICS_CA", "SQUIRREL_"))},
            )
        addr_list = f"{LOOPBACK}:{port}"
        client = self.peer("client", addr_list)
        try:
            yield Service(process, client, started, addr_list)
        except MeasurementError as e:
            if process.poll() is not None:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
                raise MeasurementError(f"the service ended with exit code {process.returncode}: {tail}") from e
            raise
        finally:
            client.stop()
            _stop(process, self.folder / "state")

    def stored_bytes(self, snapshot_id: int) -> int:
        """What a snapshot takes in the database of the service that runs."""
        command = ["snapshots", "show", str(snapshot_id), "--config", str(self._settings), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "squirrel_ioc", *command], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            raise MeasurementError(f"snapshots show: {done.stderr.strip()}")
        return int(json.loads(done.stdout)["size_bytes"])

    @contextmanager
    def probing(self, service: Service) -> Iterator[list[float]]:
        """Another client gets HEARTBEAT all the while; at the end the list holds its longest wait, in seconds."""
        worst: list[float] = []
        prober = self.peer("client", service.addr_list)
        try:
            prober.ask("probe_start", name=f"{CONTROL}HEARTBEAT", period_s=PROBE_PERIOD_S)
            yield worst
            worst.append(max(prober.ask("probe_stop")))
        finally:
            prober.stop()

    @contextmanager
    def hung(self, ioc: int) -> Iterator[None]:
        """One IOC does not answer."""
        pid = self.machine.processes[ioc]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _catalogue(self, *, absent: bool) -> Path:
        return self.folder / ("absent.csv" if absent else "whole.csv")

    def _write_lists(self) -> None:
        names = [e.setpoint for e in self.machine.entries]
        self.names_file.write_text("\n".join(names))
        shutil.copy(self.machine.catalogue_file, self._catalogue(absent=False))
        # Spread over the list, as they are on a real machine.
        gone = set(range(0, self.count, self.count // self.absent)[: self.absent]) if self.absent else set()
        rows = self.machine.catalogue_file.read_text().splitlines(keepends=True)
        with self._catalogue(absent=True).open("w") as file:
            file.write(rows[0])
            file.writelines(f"ABSENT:{row}" if i in gone else row for i, row in enumerate(rows[1:]))

    def _write_settings(self, port: int, catalogue: Path) -> None:
        settings = {
            "prefix": CONTROL,
            "port": port,
            "interfaces": [LOOPBACK],
            "state_dir": str(self.folder / "state"),
            "exchange_dir": str(self.folder / "exchange"),
            "catalogue": {"files": [str(catalogue)]},
            "ca": {"addr_list": self.machine.addr_list, "timeout_s": CA_TIMEOUT_S},
        }
        # JSON is YAML.
        self._settings.write_text(json.dumps(settings))


def _stop(process: subprocess.Popen[bytes], state_dir: Path) -> None:
    """End the service, and its database if it could not do that itself."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.returncode != 0:
        from squirrel_ioc.store.embedded import EmbeddedServer

        server = EmbeddedServer(state_dir)
        server.start()
        server.stop()
