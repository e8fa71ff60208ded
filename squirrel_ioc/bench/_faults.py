"""What faults cost: the measurements of `bench --faults`, in the order of its report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from squirrel_ioc.bench._deaths import Deaths
from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._impaired import NO_PENALTY, RESTORE, SNAPSHOT, absent_rows, hung_rows, two_states, wait_back
from squirrel_ioc.bench._measure import Measurements, Progress, restore, snapshot, wait_connected
from squirrel_ioc.bench._restarts import DatabaseRestarts, ServiceKilled
from squirrel_ioc.bench._rig import Rig, Service
from squirrel_ioc.bench._server import Server
from squirrel_ioc.bench._takeover import Takeover

__all__ = ["Faults"]

SLOW_TIMES: Final = 3
"""At most so often is measured what ends with processes that start again."""
ABSENT: Final = (0.01, 0.1)
LATENCY: Final = Target(0.05, worst=True)


class Faults:
    """All measurements of one run, on a rig. Whatever is counted wrong, lost or there twice is a failure."""

    def __init__(self, rig: Rig, *, iterations: int, progress: Progress) -> None:
        self._rig = rig
        self._slow = min(iterations, SLOW_TIMES)
        self.measurements = Measurements(rig, iterations, progress)

    def run(self) -> None:
        """Measure everything."""
        m, rig = self.measurements, self._rig
        with m.section("engine", "Two states of the machine"):
            rig.make_states()
        with m.section("service", "The service"), rig.service() as service:
            wait_connected(service, rig.count)
            ids = self._with_hung(service)
            DatabaseRestarts(m, rig, service, self._slow).embedded_row()
            Deaths(m, rig, service, ids, self._slow).rows()
        for share in ABSENT:
            self._absent(max(1, round(rig.count * share)), f"absent{100 * share:g}")
        with m.section("killed", "Service killed in a restore"), rig.service(ramped=True) as service:
            ServiceKilled(m, rig, service, self._slow).rows()
        with m.section("server", "A database server"), rig.server() as server:
            self._with_server(server)

    def _with_hung(self, service: Service) -> dict[str, int]:
        m, rig = self.measurements, self._rig
        snapshot(service, rig.count)  # the first one brings the channel list and the meta data
        m.measure("snapshot", "Snapshot, all is well", lambda _: snapshot(service, rig.count), m.times, SNAPSHOT)
        ids = two_states(rig, service)
        title = "Restore, all changed, verified, all is well"
        m.measure("restore", title, lambda i: restore(service, ids["AB"[i % 2]], written=rig.count), m.times, RESTORE)
        hung_rows(m, rig, service, ids, self._slow)
        lost = len(rig.machine.names_of_ioc(0))
        ratio = m.ratio("ratio_hung", "Snapshot, hung, again / all is well", "hung_second", "snapshot", NO_PENALTY)
        m.rest(
            "ratio_hung_pv",
            "... for each PV that is there",
            [x * rig.count / (rig.count - lost) for x in ratio.samples],
            unit="x",
        )
        m.ratio("ratio_hung_restore", "Restore, hung, again / all is well", "hung_restore_second", "restore")
        m.measure(
            "latency_hung", "HEARTBEAT while an IOC hangs, caget", self._latency(service, lost), self._slow, LATENCY
        )
        return ids

    def _latency(self, service: Service, lost: int) -> Callable[[int], float]:
        def sample(_: int) -> float:
            with self._rig.probing(service) as worst, self._rig.hung(0):
                for _again in range(2):
                    snapshot(service, self._rig.count, missing=lost)
            wait_back(self._rig, service)
            return worst[0]

        return sample

    def _absent(self, gone: int, key: str) -> None:
        m, rig = self.measurements, self._rig
        share = f"{100 * gone / rig.count:g}% absent"
        with m.section(key, share), rig.service(absent=gone) as service:
            wait_connected(service, rig.count - gone)
            absent_rows(m, rig, service, gone, key=key)
        for what in ("snapshot", "restore"):
            title = f"{what.capitalize()}, {share} / all is well"
            m.ratio(f"ratio_{key}_{what}", title, f"{key}_{what}", what)

    def _with_server(self, server: Server) -> None:
        m, rig = self.measurements, self._rig
        with m.section("restarts", "Database restarts"), rig.service(dsn=server.dsn) as service:
            wait_connected(service, rig.count)
            DatabaseRestarts(m, rig, service, self._slow).server_rows(server)
        with (
            m.section("takeover", "Hot standby"),
            rig.service(dsn=server.dsn, standby=True) as first,
        ):
            wait_connected(first, rig.count)
            with rig.service(dsn=server.dsn, standby=True) as second:
                Takeover(m, rig, first, second, self._slow).rows()
