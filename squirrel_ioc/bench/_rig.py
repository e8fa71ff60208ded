"""What the bench measures: four simulated IOCs, and the service in a process of its own."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from squirrel_ioc.bench._interruption import held_back
from squirrel_ioc.bench._peer_process import MeasurementError, PeerProcess
from squirrel_ioc.bench._server import Server, running_server, stop_server
from squirrel_ioc.bench._service import CONTROL, Service
from squirrel_ioc.sim import LOOPBACK, SimulatedMachine, free_ports
from squirrel_ioc.store import EmbeddedServer

__all__ = ["CA_TIMEOUT_S", "CONTROL", "IOCS", "PREFIX", "Rig", "Service"]

IOCS: Final = 4
CA_TIMEOUT_S: Final = 2.0
"""`ca.timeout_s` of the measured service: what a hung IOC may cost the first time."""
PREFIX: Final = "BENCH:"
PROBE_PERIOD_S: Final = 0.001
RAMP: Final = ("0.01", "0.05")
"""`max_step` and `step_period` of the PV that is ramped where one is: 5 s from one state to the other."""


class Rig:
    """The simulated machine, its peers and the folder where everything is; a context manager."""

    def __init__(self, count: int, dead: float, iocs: int = IOCS) -> None:
        self.count = count
        self._iocs = iocs
        self.absent = min(round(count * dead), count - 1)
        self._stack = ExitStack()
        self._services = 0

    def __enter__(self) -> Self:
        with self._stack:
            self.folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="squirrel-bench-")))
            self.machine = self._stack.enter_context(
                SimulatedMachine(
                    self.count, PREFIX, iocs=self._iocs, directory=self.folder / "machine", readbacks=False
                )
            )
            (self.folder / "exchange").mkdir()
            self._write_lists()
            self.bulk = self.peer("bulk", self.machine.addr_list)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def state_dir(self) -> Path:
        """Of the service's own database."""
        return self.folder / "state"

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

    def make_states(self) -> None:
        """Have `bulk` know two states of the machine: A as it is, and B in which no value is the same."""
        self.bulk.ask("connect", file=str(self.names_file), addr_list=self.machine.addr_list.split())
        self.bulk.ask("read", name="A")
        self.bulk.ask("change", source="A", name="B")

    def new_client(self, addr_list: str) -> PeerProcess:
        """A CA client that looks only there; ended with the rig if not before."""
        return self.peer("client", addr_list)

    @contextmanager
    def service(
        self,
        *,
        absent: int = 0,
        ramped: bool = False,
        dsn: str | None = None,
        standby: bool = False,
        catalogue: Path | None = None,
        areas: Mapping[str, str] | None = None,
    ) -> Iterator[Service]:
        """The service, started with the whole catalogue, or with so many PVs in it that are not there, or with a PV
        that is ramped, or with another one; on its own database, or that of `dsn`. Stopped at the end."""
        (port,) = free_ports(1)
        self._services += 1
        settings = self.folder / f"settings{self._services}.yaml"
        # JSON is YAML.
        made = self._settings(port, catalogue or self._catalogue(absent, ramped), dsn, standby=standby)
        settings.write_text(json.dumps(made | {"areas": dict(areas or {})}))
        service = Service(settings, port, self.folder / f"service{self._services}.log", self.new_client)
        with ExitStack() as stack:
            with held_back():
                service.start()
                stack.callback(self._stop_service, service, own_database=dsn is None)
            try:
                yield service
            except MeasurementError as e:
                try:
                    service.check_runs()
                except MeasurementError as ended:
                    raise ended from e
                raise

    def _stop_service(self, service: Service, *, own_database: bool) -> None:
        service.client.stop()
        if not service.stop() and own_database:
            # It could not stop its database.
            stop_server(EmbeddedServer(self.state_dir))

    @contextmanager
    def server(self) -> Iterator[Server]:
        """A database server for services that are given its dsn; stopped at the end."""
        with running_server(self.folder / "server") as server:
            yield server

    def stored_bytes(self, service: Service, snapshot_id: int) -> int:
        """What a snapshot takes in the database of the service that runs."""
        command = ["snapshots", "show", str(snapshot_id), "--config", str(service.settings), "--json"]
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
        prober = self.new_client(service.addr_list)
        try:
            prober.ask("probe_start", name=f"{CONTROL}HEARTBEAT", period_s=PROBE_PERIOD_S)
            yield worst
            worst.append(max(prober.ask("probe_stop")))
        finally:
            prober.stop()

    @contextmanager
    def hung(self, ioc: int) -> Iterator[None]:
        """One IOC does not answer."""
        self.machine.signal(ioc, signal.SIGSTOP)
        try:
            yield
        finally:
            self.machine.signal(ioc, signal.SIGCONT)

    @contextmanager
    def revived(self, ioc: int) -> Iterator[None]:
        """One IOC may be killed meanwhile: at the end it serves again."""
        try:
            yield
        finally:
            self.machine.restart(ioc)

    def _write_lists(self) -> None:
        names = [e.setpoint for e in self.machine.entries]
        self.names_file.write_text("\n".join(names))

    def _catalogue(self, absent: int, ramped: bool) -> Path:
        whole = self.machine.catalogue_file
        if not absent and not ramped:
            return whole
        file = self.folder / f"catalogue{absent}{'ramped' * ramped}.csv"
        with whole.open(newline="") as source, file.open("w", newline="") as target:
            rows = csv.DictReader(source)
            writer = csv.DictWriter(target, rows.fieldnames or ())
            writer.writeheader()
            # Spread over the list, as they are on a real machine.
            gone = set(range(0, self.count, self.count // absent)[:absent]) if absent else set()
            for i, row in enumerate(rows):
                if i in gone:
                    row["Setpoint"] = f"ABSENT:{row['Setpoint']}"
                if i == 0 and ramped:
                    row["Max_step"], row["Step_period"] = RAMP
                writer.writerow(row)
        return file

    def _settings(self, port: int, catalogue: Path, dsn: str | None, *, standby: bool) -> dict[str, Any]:
        settings = {
            "prefix": CONTROL,
            "port": port,
            "interfaces": [LOOPBACK],
            "state_dir": str(self.state_dir),
            "exchange_dir": str(self.folder / "exchange"),
            "catalogue": {"files": [str(catalogue)]},
            "ca": {"addr_list": self.machine.addr_list, "timeout_s": CA_TIMEOUT_S},
            "standby": standby,
        }
        return settings if dsn is None else settings | {"database": {"dsn": dsn}}
