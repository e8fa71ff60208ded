"""An IOC that dies while it is read, and while it is written to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from squirrel_ioc.bench._impaired import wait_back
from squirrel_ioc.bench._measure import Measurements, expect, restored_counts
from squirrel_ioc.bench._peer_process import PeerProcess
from squirrel_ioc.bench._rig import CONTROL, IOCS, Rig, Service

__all__ = ["Deaths", "wait_held", "watching"]

DYING: Final = 0
"""The IOC that dies."""
WRITES: Final = (0.3, 0.7)
"""Between these shares of a restore's time most of its writes go out."""

IN_PROGRESS: Final = 2
"""State of JOB:STATUS."""
JOB_S: Final = 10.0
HELD_S: Final = 0.4
"""Longer than a read takes, and much less than `ca.timeout_s`."""


class Deaths:
    """Measurements in which an IOC is killed, and started again; each waits for what the one before has left."""

    def __init__(self, m: Measurements, rig: Rig, service: Service, ids: dict[str, int], times: int) -> None:
        self._m = m
        self._rig = rig
        self._service = service
        self._ids = ids
        self._times = times
        self._lost = len(rig.machine.names_of_ioc(DYING))
        self._back: list[float] = []
        self._served_at: float | None = None

    def rows(self) -> None:
        """All of them."""
        m, rig, dies = self._m, self._rig, f"1 of {IOCS} IOCs killed"
        missing: list[float] = []
        unconfirmed: list[float] = []
        m.measure("died_read", f"Snapshot, {dies} at some moment of it", lambda i: self._read(i, missing), self._times)
        m.rest("died_read_missing", "... values that it could not get any more", missing, unit="PVs")
        with watching(rig, self._service) as watcher:
            title = f"Snapshot, {dies} while it is waited for: from the kill"
            m.measure("died_held", title, lambda _: self._held(watcher), self._times)
        m.measure(
            "died_write", f"Restore, {dies} at some moment of it", lambda i: self._write(i, unconfirmed), self._times
        )
        m.rest("died_write_bad", "... PVs that it does not report as written", unconfirmed, unit="PVs")
        m.rest("died_back", "Killed IOC serves again: all of it taken in again", self._back)
        rig.bulk.ask("settle")

    def _moment(self, i: int, key: str, begin: float = 0.0, end: float = 1.0) -> float:
        """Seconds into a job that takes as long as it does on a healthy machine; another share each time."""
        return self._m.figure(key).median * (begin + (end - begin) * (i + 0.5) / self._times)

    def _all_back(self) -> None:
        if self._served_at is not None:
            waited_from, self._served_at = self._served_at, None
            begin = time.perf_counter()
            self._back.append(begin - waited_from + wait_back(self._rig, self._service))

    @contextmanager
    def _one_dies(self) -> Iterator[None]:
        """All is well at the beginning; at the end the IOC that was killed serves again."""
        self._all_back()
        with self._rig.revived(DYING):
            yield
        self._served_at = time.perf_counter()

    def _read(self, i: int, seen: list[float]) -> float:
        with self._one_dies():
            end = self._service.begin_put("SNAP:TRIGGER", 1)
            time.sleep(self._moment(i, "snapshot"))
            self._rig.machine.kill(DYING)
            elapsed = end()
            missing = int(self._service.one("SNAP:MISSING"))
            expect("whether only values of the killed IOC are missing", 0 <= missing <= self._lost, True)
            self._check_snapshot(missing)
        seen.append(missing)
        return elapsed

    def _held(self, watcher: PeerProcess) -> float:
        """It stands still first, so that the read waits for it, and for nothing else."""
        rig, service = self._rig, self._service
        with self._one_dies(), rig.hung(DYING):
            end = service.begin_put("SNAP:TRIGGER", 1)
            wait_held(watcher)
            killed = time.perf_counter()
            rig.machine.kill(DYING)
            end()
            elapsed = time.perf_counter() - killed
            self._check_snapshot(self._lost)
        return elapsed

    def _check_snapshot(self, missing: int) -> None:
        got = self._service.get("SNAP:STATUS", "SNAP:COUNT", "SNAP:MISSING")
        wanted = ["Partial" if missing else "OK", self._rig.count - missing, missing]
        expect("snapshot: STATUS, COUNT, MISSING", got, wanted)
        names = set(self._service.one("SNAP:MISSING:NAMES"))
        # The array may be shorter than the list: it is bounded.
        expect("missing PVs of living IOCs", names - set(self._rig.machine.names_of_ioc(DYING)), set())

    def _write(self, i: int, seen: list[float]) -> float:
        """What is said to be written stands on the machine."""
        rig, service = self._rig, self._service
        self._all_back()
        rig.bulk.ask("settle")
        rig.bulk.ask("write", name="A")
        with self._one_dies():
            end = service.begin_put("RESTORE:ID", self._ids["B"])
            time.sleep(self._moment(i, "restore", *WRITES))
            rig.machine.kill(DYING)
            elapsed = end()
            counts = restored_counts(service)
            status, total = counts.pop("STATUS"), counts.pop("TOTAL")
            expect("RESTORE:TOTAL", total, rig.count)
            expect("sum of the counts of the restore", sum(counts.values()), rig.count)
            expect("RESTORE:STATUS", status, "Partial" if counts["FAILED"] + counts["MISMATCH"] else "OK")
            unconfirmed = rig.count - counts["WRITTEN"]
            expect("whether all of the living IOCs was written", 0 <= unconfirmed <= self._lost, True)
            rig.bulk.ask("read", name="live", missing=self._lost)
            expect("living PVs without the value of B", rig.bulk.ask("differences", a="live", b="B") - self._lost, 0)
        seen.append(unconfirmed)
        return elapsed


def wait_held(watcher: PeerProcess) -> None:
    """Until a snapshot is under way, and has all values but those of the IOC that stands still."""
    watcher.ask("wait_for", name=f"{CONTROL}JOB:STATUS", value=IN_PROGRESS, timeout_s=JOB_S)
    time.sleep(HELD_S)


@contextmanager
def watching(rig: Rig, service: Service) -> Iterator[PeerProcess]:
    """A second client of the service, for what happens while the first one waits."""
    watcher = rig.new_client(service.addr_list)
    try:
        watcher.ask("get", names=[f"{CONTROL}JOB:STATUS"])  # connected
        yield watcher
    finally:
        watcher.stop()
