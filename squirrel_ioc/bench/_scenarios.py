"""What the bench measures, in the order of its report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from squirrel_ioc.bench._browse import browse_rows
from squirrel_ioc.bench._compare import compare_rows
from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._formats import format_rows
from squirrel_ioc.bench._impaired import NO_PENALTY, RESTORE, SNAPSHOT, absent_rows, hung_rows, two_states
from squirrel_ioc.bench._measure import Measurements, Progress, expect, restore, snapshot, wait_connected
from squirrel_ioc.bench._rig import IOCS, PREFIX, Rig, Service

__all__ = ["Bench"]

SLOW_TIMES: Final = 3
"""At most so often is measured what takes long: plain aioca, cold starts, hung IOCs."""
LIST_TIMEOUT_S: Final = 300.0
IDLE_S: Final = 10.0
HUNDRED: Final = 100

SNAPSHOT_100 = Target(0.03)
LATENCY = Target(0.05, worst=True)
SIZE = Target(1.0)
MEMORY = Target(400.0, worst=True)
IDLE = Target(3.0)
AGAINST_AIOCA = Target(30.0, ">=")


class Bench:
    """All measurements of one run, on a rig."""

    def __init__(self, rig: Rig, *, iterations: int, with_restore: bool, progress: Progress) -> None:
        self._rig = rig
        self._with_restore = with_restore
        self._slow = min(iterations, SLOW_TIMES)
        self._m = Measurements(rig, iterations, progress)
        self._ids: dict[str, int] = {}

    @property
    def measurements(self) -> Measurements:
        """What has been measured so far."""
        return self._m

    def run(self) -> None:
        """Measure everything."""
        m, rig = self._m, self._rig
        with m.section("plain", "Plain aioca"):
            self._plain()
        with m.section("engine", "The engine by itself"):
            self._engine()
        with m.section("start", "Starting the service"):
            self._starts()
        with m.section("service", "The service"), rig.service() as service:
            wait_connected(service, rig.count)
            self._snapshots(service)
            if self._with_restore:
                self._restores(service)
                compare_rows(m, rig, service)
            self._latency(service)
            hung_rows(m, rig, service, self._ids, self._slow)
            self._resources(service)
        if rig.absent:
            with m.section("absent", f"{rig.absent} PVs absent"), rig.service(absent=rig.absent) as service:
                wait_connected(service, rig.count - rig.absent)
                absent_rows(m, rig, service, rig.absent, with_restore=self._with_restore)
        with m.section("browse", "Browsing"), rig.service() as service:
            browse_rows(m, rig, service)
        with m.section("files", "Files"), rig.service() as service:
            wait_connected(service, rig.count)
            format_rows(m, rig, service)
        self._ratios()

    def _plain(self) -> None:
        client = self._rig.peer("client", self._rig.machine.addr_list)

        def ask(op: str, **arguments: str) -> Callable[[int], float]:
            return lambda _: float(client.ask(op, timeout_s=LIST_TIMEOUT_S, **arguments))

        connect = ask("connect_list", file=str(self._rig.names_file))
        self._m.measure("aioca_connect", "Plain aioca: connect", connect, 1)
        self._m.measure("aioca_caget", "Plain aioca: caget of the list", ask("get_list"), self._slow)
        if self._with_restore:
            self._m.measure("aioca_caput", "Plain aioca: caput of the list", ask("put_list"), self._slow)
        client.stop()

    def _engine(self) -> None:
        m, rig, bulk = self._m, self._rig, self._rig.bulk

        def connect(_: int) -> float:
            addresses = rig.machine.addr_list.split()
            return float(bulk.ask("connect", file=str(rig.names_file), addr_list=addresses))

        m.measure("engine_connect", "Engine alone: connect", connect, 1)
        m.measure("engine_read", "Engine alone: bare read", lambda _: bulk.ask("read", name="A"), m.times)
        bulk.ask("change", source="A", name="B")
        if self._with_restore:
            # Alternating, so that every write changes every value; the last one leaves A.
            def write(i: int) -> float:
                return float(bulk.ask("write", name="BA"[i % 2]))

            m.measure("engine_write", "Engine alone: write, waiting", write, m.times)
            bulk.ask("write", name="A")

        bulk.ask("open_store", state_dir=str(rig.folder / "copy"), warm="A")
        m.measure("copy", "Store alone: the COPY of a snapshot", lambda _: bulk.ask("save", name="A"), m.times)
        bulk.ask("close_store")

    def _starts(self) -> None:
        def start(_: int) -> float:
            with self._rig.service() as service:
                return wait_connected(service, self._rig.count)

        self._m.measure("start_first", "First start: database made, all connected", start, 1)
        self._m.measure("start", "Cold start: all connected", start, self._slow)

    def _snapshots(self, service: Service) -> None:
        m, rig = self._m, self._rig
        m.measure("snapshot", "Snapshot", lambda _: snapshot(service, rig.count), m.times, SNAPSHOT)
        m.measure("size", "Stored size of a snapshot", lambda _: self._stored(service), 1, SIZE, "MB")
        if rig.count > HUNDRED:
            service.put("SNAP:STICKY", 1)
            service.put("SNAP:FILTER", f"{PREFIX}0000??", text=True)
            few = f"Snapshot of {HUNDRED} PVs by filter"
            m.measure("snapshot_100", few, lambda _: snapshot(service, HUNDRED), m.times, SNAPSHOT_100)
            service.put("SNAP:FILTER", "", text=True)
            service.put("SNAP:STICKY", 0)

    def _stored(self, service: Service) -> float:
        return float(self._rig.stored_bytes(service, int(service.one("SNAP:ID")))) / 1e6

    def _restores(self, service: Service) -> None:
        """Snapshots of two states in which no value is the same, restored in turn."""
        m, rig, count = self._m, self._rig, self._rig.count
        self._ids = two_states(rig, service)

        def changed(i: int) -> float:
            name = "AB"[i % 2]
            elapsed = restore(service, self._ids[name], written=count)
            self._verify(name)
            return elapsed

        m.measure("restore", "Restore, all changed, verified", changed, m.times, RESTORE)
        last = "AB"[(m.times - 1) % 2]
        m.measure(
            "restore_none",
            "Restore, nothing to do",
            lambda _: restore(service, self._ids[last], unchanged=count),
            m.times,
        )

    def _verify(self, name: str) -> None:
        """The machine holds this state, as a process sees that is not the service."""
        self._rig.bulk.ask("read", name="live")
        expect("values that were not restored", self._rig.bulk.ask("differences", a="live", b=name), 0)

    def _latency(self, service: Service) -> None:
        """What another client waits for HEARTBEAT meanwhile."""
        m, rig, count = self._m, self._rig, self._rig.count

        def during_snapshot(_: int) -> float:
            with rig.probing(service) as worst:
                snapshot(service, count)
            return worst[0]

        def during_restore(i: int) -> float:
            name = "BA"[i % 2]
            rig.bulk.ask("write", name="AB"[i % 2])
            with rig.probing(service) as worst:
                restore(service, self._ids[name], written=count)
            return worst[0]

        m.measure("latency_snapshot", "HEARTBEAT during a snapshot, caget", during_snapshot, m.times, LATENCY)
        if self._with_restore and self._ids:
            m.measure("latency_restore", "HEARTBEAT during a restore, caget", during_restore, m.times, LATENCY)

    def _resources(self, service: Service) -> None:
        m = self._m
        m.measure("memory", "Service: resident memory", lambda _: service.rss_bytes / 1e6, 1, MEMORY, "MB")
        m.measure("idle", "Service: CPU when idle", lambda _: service.cpu_percent(IDLE_S), 1, IDLE, "%")

    def _ratios(self) -> None:
        m = self._m
        m.ratio("ratio_aioca", "aioca.caget / snapshot", "aioca_caget", "snapshot", AGAINST_AIOCA)
        m.ratio("ratio_read", "Snapshot / engine's bare read", "snapshot", "engine_read")
        m.ratio("ratio_hung", f"Snapshot, 1 of {IOCS} hung again / without", "hung_second", "snapshot", NO_PENALTY)
        if self._rig.absent:
            m.ratio("ratio_absent", "Snapshot, absent / without", "absent_snapshot", "snapshot", NO_PENALTY)
        if self._with_restore:
            m.ratio("ratio_aioca_put", "aioca.caput / restore", "aioca_caput", "restore")
            if self._rig.absent:
                m.ratio("ratio_absent_restore", "Restore, absent / without", "absent_restore", "restore", NO_PENALTY)
