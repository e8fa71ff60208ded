"""What workers bring: N areas of as many PVs each, with a worker each, against one service alone on one of them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._impaired import NO_PENALTY
from squirrel_ioc.bench._interruption import held_back
from squirrel_ioc.bench._measure import Measurements, Progress, restore, snapshot, wait_connected
from squirrel_ioc.bench._peer_process import MeasurementError
from squirrel_ioc.bench._rig import CA_TIMEOUT_S, Rig, Service
from squirrel_ioc.sim import LOOPBACK

__all__ = ["IOCS_AN_AREA", "Workers"]

IOCS_AN_AREA: Final = 2
LATENCY: Final = Target(0.05, worst=True)
LOST_FIRST: Final = Target(2.5)
STOP_S: Final = 20.0


class Workers:
    """All measurements of one run, on a rig of `workers` areas."""

    def __init__(self, rig: Rig, workers: int, *, iterations: int, progress: Progress) -> None:
        self._rig = rig
        self._workers = workers
        self._each = rig.count // workers
        self.measurements = Measurements(rig, iterations, progress)

    def run(self) -> None:
        """Measure everything."""
        m, rig = self.measurements, self._rig
        with m.section("engine", "Two states of the machine"):
            rig.make_states()
        with m.section("alone", "The service alone"), rig.service(catalogue=self._catalogue(1)) as service:
            self._rows(service, 0)
        for number in dict.fromkeys((1, self._workers)):
            with m.section(f"workers{number}", f"{number} workers"), self._with_workers(number) as (service, workers):
                self._rows(service, number)
                if number == self._workers:
                    self._lost(service, workers, number)
        for what in ("snapshot", "restore"):
            self._speed(what, 0, "the service alone")
            self._speed(what, 1, "1 worker")

    def _speed(self, what: str, number: int, whom: str) -> None:
        """How many times as many PVs are done in the same time. Not judged: all of it may be on the same few cores."""
        m, n = self.measurements, self._workers
        title = f"PVs a second, {n} worker{'s' * (n > 1)} / {whom}: {what}"
        ratio = m.ratio(f"speed_{what}{number}", title, f"{what}{number}", f"{what}{n}")
        ratio.samples = [max(n, 1) / max(number, 1) * x for x in ratio.samples]

    def _rows(self, service: Service, number: int) -> None:
        m, rig, count = self.measurements, self._rig, max(number, 1) * self._each
        who = f"{number} worker{'s' * (number > 1)}" if number else "no worker"
        title = f"{count} PVs, {who}"
        wait_connected(service, count)
        ids = {}
        for name in "AB":
            rig.bulk.ask("write", name=name)
            snapshot(service, count)
            ids[name] = int(service.one("SNAP:ID"))
        m.measure(f"snapshot{number}", f"Snapshot, {title}", lambda _: snapshot(service, count), m.times)
        m.measure(
            f"restore{number}",
            f"Restore, all changed, verified, {title}",
            lambda i: restore(service, ids["AB"[i % 2]], written=count),
            m.times,
        )
        self._latency(service, number, ids, title)
        m.measure(f"memory{number}", f"Service: memory, {title}", lambda _: service.rss_bytes / 1e6, 1, unit="MB")

    def _latency(self, service: Service, number: int, ids: dict[str, int], title: str) -> None:
        m, rig, count = self.measurements, self._rig, max(number, 1) * self._each

        def probed(work: Callable[[int], float]) -> Callable[[int], float]:
            def sample(i: int) -> float:
                with rig.probing(service) as worst:
                    work(i)
                return worst[0]

            return sample

        def change_and_restore(i: int) -> float:
            rig.bulk.ask("write", name="AB"[i % 2])
            return restore(service, ids["BA"[i % 2]], written=count)

        # It holds for the PVs of one service; with more of them on the same cores it is as it is.
        target = LATENCY if number < 2 else None
        taking = probed(lambda _: snapshot(service, count))
        m.measure(f"latency{number}", f"HEARTBEAT during a snapshot, caget, {title}", taking, m.times, target)
        restoring = probed(change_and_restore)
        m.measure(f"latency_restore{number}", f"HEARTBEAT during a restore, caget, {title}", restoring, m.times, target)

    def _lost(self, service: Service, workers: list[subprocess.Popen[bytes]], number: int) -> None:
        """The last worker is killed, and started again."""
        m, rig, lost = self.measurements, self._rig, self._each
        rss = [psutil.Process(worker.pid).memory_info().rss / 1e6 for worker in workers]
        m.rest("memory_worker", "Worker: memory", rss, unit="MB")
        again: list[float] = []

        def first(_: int) -> float:
            workers[-1].kill()
            workers[-1].wait()
            elapsed = snapshot(service, rig.count, missing=lost)
            service.wait_for("AREAS:DOWN", 1)
            again.append(snapshot(service, rig.count, missing=lost))
            workers[-1] = self._start(service, number - 1)
            service.wait_for("PVS:CONNECTED", rig.count)
            return elapsed

        m.measure("lost_first", "Snapshot, a worker killed, first", first, min(m.times, 3), LOST_FIRST)
        m.rest("lost_again", "Snapshot, a worker killed, again", again)
        m.ratio(
            "ratio_lost",
            "Snapshot, a worker killed, again / all is well",
            "lost_again",
            f"snapshot{number}",
            NO_PENALTY,
        )

    @contextmanager
    def _with_workers(self, number: int) -> Iterator[tuple[Service, list[subprocess.Popen[bytes]]]]:
        areas = {_area(k): f"@{_area(k)}" for k in range(number)}
        with self._rig.service(catalogue=self._catalogue(number), areas=areas) as service:
            service.wait_logged("control PVs")
            workers: list[subprocess.Popen[bytes]] = []
            try:
                for k in range(number):
                    with held_back():
                        workers.append(self._start(service, k))
                yield service, workers
            finally:
                _stop(workers)

    def _start(self, service: Service, k: int) -> subprocess.Popen[bytes]:
        rig = self._rig
        ports = rig.machine.ports[k * IOCS_AN_AREA : (k + 1) * IOCS_AN_AREA]
        addresses = " ".join(f"{LOOPBACK}:{port}" for port in ports)
        settings = {"state_dir": str(rig.state_dir), "ca": {"addr_list": addresses, "timeout_s": CA_TIMEOUT_S}}
        file = rig.folder / f"{_area(k)}.yaml"
        file.write_text(json.dumps(settings))
        with (rig.folder / f"{_area(k)}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc", "worker", "--config", file, "--area", _area(k)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                env={k: v for k, v in os.environ.items() if not k.startswith(("EPICS_CA", "SQUIRREL_"))},
            )

    def _catalogue(self, areas: int) -> Path:
        """The PVs of the first areas, each with its area as tag."""
        file = self._rig.folder / f"catalogue-areas{areas}.csv"
        with self._rig.machine.catalogue_file.open(newline="") as source, file.open("w", newline="") as target:
            rows = csv.DictReader(source)
            writer = csv.DictWriter(target, rows.fieldnames or ())
            writer.writeheader()
            for i, row in enumerate(rows):
                if i >= areas * self._each:
                    break
                row["Area"] = _area(i // self._each)
                writer.writerow(row)
        return file


def _area(k: int) -> str:
    return f"part{k:02d}"


def _stop(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers:
        try:
            worker.wait(STOP_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    if ended := [worker.returncode for worker in workers if worker.returncode]:
        raise MeasurementError(f"workers ended with exit codes {ended}")
