"""The database restarts while a snapshot is taken; the service is killed while it restores."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from squirrel_ioc.bench._answers import Answers, Circuit
from squirrel_ioc.bench._deaths import wait_held, watching
from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._measure import Measurements, expect, listed, restored_counts, snapshot, wait_connected
from squirrel_ioc.bench._peer_process import MeasurementError, PeerProcess
from squirrel_ioc.bench._rig import CONTROL, Rig, Service
from squirrel_ioc.bench._server import Server
from squirrel_ioc.store import EmbeddedServer

__all__ = ["DatabaseRestarts", "ServiceKilled"]

HELD: Final = 0
"""The IOC that holds up the read until the database is away."""
LATENCY: Final = Target(0.05, worst=True)
CONNECTED, DOWN = 0, 1
"""States of DB:STATUS."""
ANSWER_S: Final = 60.0


class DatabaseRestarts:
    """The read is under way when the database goes; the values are there before it is back; they are stored once."""

    def __init__(self, m: Measurements, rig: Rig, service: Service, times: int) -> None:
        self._m = m
        self._rig = rig
        self._service = service
        self._times = times
        self._connected: list[float] = []
        self._tries: list[float] = []
        self._next: list[float] = []
        self._worst: list[float] = []

    def server_rows(self, server: Server) -> None:
        """A server of its own, stopped and started in the middle of a snapshot."""
        m = self._m
        away: list[float] = []
        title = "Database server restarted in a snapshot: until that is stored"
        m.measure("db_stored", title, lambda _: self._restarted(server, away), self._times)
        m.rest("db_away", "... the server was away", away)
        m.rest("db_connected", "... it answers again: until DB:STATUS is Connected", self._connected)
        m.rest("db_tries", "... tries of that snapshot", self._tries, unit="tries")
        m.rest("db_next", "... the snapshot after it", self._next)
        m.rest("db_latency", "... HEARTBEAT all the while, caget", self._worst, LATENCY)

    def embedded_row(self) -> None:
        """The embedded server is killed, and nobody but the service starts it again."""
        title = "Embedded database killed in a snapshot: until that is stored"
        self._m.measure("db_embedded", title, lambda _: self._killed(), self._times)

    def _restarted(self, server: Server, away: list[float]) -> float:
        rig, service = self._rig, self._service
        snapshot(service, rig.count)
        before = listed(service)
        with watching(rig, service) as watcher, rig.probing(service) as worst:
            with rig.hung(HELD):
                self._begin(watcher)
                server.stop()
                stopped = time.perf_counter()
            try:
                watcher.ask("wait_for", name=f"{CONTROL}DB:STATUS", value=DOWN)
            finally:
                server.start()
            started = time.perf_counter()
            watcher.ask("wait_for", name=f"{CONTROL}DB:STATUS", value=CONNECTED)
            self._connected.append(time.perf_counter() - started)
            self._end()
            elapsed = time.perf_counter() - started
            self._tries.append(float(service.one("JOB:ATTEMPT")))
            self._check(before)
        away.append(started - stopped)
        self._worst += worst
        return elapsed

    def _killed(self) -> float:
        rig, service = self._rig, self._service
        snapshot(service, rig.count)
        before = listed(service)
        with watching(rig, service) as watcher:
            with rig.hung(HELD):
                self._begin(watcher)
                pid = EmbeddedServer(rig.state_dir).pid
                if pid is None:
                    raise MeasurementError("the embedded database does not run")
                os.kill(pid, signal.SIGKILL)
                killed = time.perf_counter()
            self._end()
            elapsed = time.perf_counter() - killed
        self._check(before)
        return elapsed

    def _begin(self, watcher: PeerProcess) -> None:
        """A snapshot, until its read waits for the one IOC."""
        self._end = self._service.begin_put("SNAP:TRIGGER", 1)
        wait_held(watcher)

    def _check(self, before: int) -> None:
        """It is there once, and whole; and so is the next one."""
        service, count = self._service, self._rig.count
        first = int(service.one("SNAP:ID"))
        got = service.get("SNAP:STATUS", "SNAP:COUNT", "SNAP:MISSING")
        expect("snapshot: STATUS, COUNT, MISSING", got, ["OK", count, 0])
        self._next.append(snapshot(service, count))
        expect("snapshots on the list", listed(service), before + 2)
        ids = [int(i) for i in service.one("LIST:IDS")[:2]]
        expect("the newest snapshots", ids, [int(service.one("SNAP:ID")), first])
        expect("values of the snapshot", service.one(f"SNAP:{first}:COUNT"), count)


class ServiceKilled:
    """SIGKILL in the middle of a restore, and a new start on the database that is left running."""

    def __init__(self, m: Measurements, rig: Rig, service: Service, times: int) -> None:
        self._m = m
        self._rig = rig
        self._service = service
        self._times = times

    def rows(self) -> None:
        """All of them. The service has a PV that is ramped: all others are written when it is killed."""
        m, rig, service = self._m, self._rig, self._service
        wait_connected(service, rig.count)
        rig.bulk.ask("write", name="B")
        snapshot(service, rig.count)
        taken = int(service.one("SNAP:ID"))
        connected: list[float] = []
        title = "Service killed in a restore, started again: control PVs answer"
        m.measure("killed_answers", title, lambda _: self._kill(taken, connected), self._times)
        m.rest("killed_connected", "... all PVs are connected again", connected)

    def _kill(self, taken: int, connected: list[float]) -> float:
        rig, service = self._rig, self._service
        rig.bulk.ask("write", name="A")
        with watching(rig, service) as watcher:
            service.begin_put("RESTORE:ID", taken)
            watcher.ask("wait_for", name=f"{CONTROL}JOB:DONE", value=rig.count - 1)
            service.kill()
        with Answers([service.port]) as answers:
            service.start()
            answers.wait(service.port, service.started, ANSWER_S)
            with Circuit(service.port) as circuit:
                circuit.ask()
                expect("ROLE", circuit.answer(), "Active")
            elapsed = time.perf_counter() - service.started
        connected.append(wait_connected(service, rig.count))
        self._check()
        return elapsed

    def _check(self) -> None:
        """It has ended as interrupted, every PV is accounted for, and it can be undone."""
        rig, service = self._rig, self._service
        counts = restored_counts(service)
        ended = [counts.pop("STATUS"), service.one("JOB:STATUS"), counts.pop("TOTAL"), sum(counts.values())]
        expect(
            "RESTORE:STATUS, JOB:STATUS, TOTAL, sum of the counts", ended, ["Failed", "FAILED", rig.count, rig.count]
        )
        expect("whether it says that it was interrupted", "interrupted" in service.one("RESTORE:MSG"), True)
        expect("whether there is a backup", service.one("RESTORE:BACKUP:ID") > 0, True)
        service.put("RESTORE:UNDO", 1)
        expect("RESTORE:STATUS of the undoing", service.one("RESTORE:STATUS"), "OK")
        rig.bulk.ask("read", name="live")
        expect("values that were not undone", rig.bulk.ask("differences", a="live", b="A"), 0)
