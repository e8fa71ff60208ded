"""The control PVs over stand-ins for the rest of the service, and a CA client that is not caproto."""

from __future__ import annotations

import asyncio
import secrets
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aioca
import numpy as np
from control_pvs import ControlPvs
from control_pvs import until as until
from ioc_process import LOOPBACK, give_ports, take_ports

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import DatabaseDownError, RefusedError
from squirrel_ioc.ioc import ControlIoc, Service
from squirrel_ioc.jobs._state import JobBoard
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.job import (
    JobInfo,
    JobStatus,
    Outcome,
    Request,
    RestoreMode,
    RestoreRequest,
    RestoreResult,
    SnapshotResult,
)
from squirrel_ioc.model.snapshot import SnapshotKeys
from squirrel_ioc.model.values import NO_META, Meta

TAKEN = datetime(2024, 5, 17, 13, 45, 1, 250_000, tzinfo=UTC)


def snapshot_result(snapshot_id: int = 1, missing: tuple[str, ...] = (), count: int = 100) -> SnapshotResult:
    return SnapshotResult(
        snapshot_id, "a title", TAKEN, count, len(missing), missing, ("disconnected",) * len(missing), 0.1
    )


def restore_result(snapshot_id: int = 1, **changes: Any) -> RestoreResult:
    result = RestoreResult(snapshot_id, RestoreMode.CHANGED, Outcome.OK, 10, 6, 4, 0, 0, 0, backup_id=900)
    return replace(result, **changes)


class FakeJobs:
    """Jobs that do nothing, as long as the test wants. Uses the service's own board."""

    def __init__(self) -> None:
        self.board = JobBoard()
        self.requests: dict[int, Request] = {}
        self.asked_by: list[tuple[str, str]] = []
        self.snapshots = {1, 12, 900}
        self.refuse: Exception | None = None
        self.hold = False
        self.submit_gate: asyncio.Event | None = None
        self.end_before_submit_returns = False
        self.result: Callable[[Request], Any] = lambda request: (
            restore_result(request.snapshot_id) if isinstance(request, RestoreRequest) else snapshot_result()
        )

    @property
    def current(self) -> JobInfo | None:
        return self.board.current

    @property
    def queued(self) -> int:
        return self.board.queued

    @property
    def recent(self) -> list[JobInfo]:
        return self.board.recent

    def listen(self, callback: Callable[[JobInfo], None]) -> None:
        self.board.listen(callback)

    async def submit(self, request: Request, *, user: str, host: str) -> int:
        await asyncio.sleep(0)
        if self.submit_gate is not None:
            await self.submit_gate.wait()
        if self.refuse is not None:
            raise self.refuse
        if isinstance(request, RestoreRequest) and request.snapshot_id not in self.snapshots:
            raise RefusedError(f"snapshot {request.snapshot_id} does not exist")
        job_id = 100 + len(self.requests)
        self.requests[job_id] = request
        self.asked_by.append((user, host))
        title = (
            f"restore of snapshot {request.snapshot_id}"
            if isinstance(request, RestoreRequest)
            else getattr(request, "title", "") or "snapshot"
        )
        now = datetime.now(UTC)
        self.board.publish(JobInfo(job_id, request.kind, JobStatus.PENDING, title, user, host, created=now))
        if self.end_before_submit_returns:
            self.run(job_id)
        elif not self.hold:
            asyncio.get_running_loop().call_soon(self.run, job_id)
        return job_id

    def run(self, job_id: int) -> None:
        """From start to end."""
        self.begin(job_id)
        self.end(job_id)

    def begin(self, job_id: int, total: int = 100) -> None:
        self.change(job_id, status=JobStatus.IN_PROGRESS, total=total, started=datetime.now(UTC), message="reading")

    def end(self, job_id: int, status: JobStatus = JobStatus.COMPLETED, message: str = "", result: Any = None) -> None:
        if result is None and status is JobStatus.COMPLETED:
            result = self.result(self.requests[job_id])
        message = message or (result.summary() if result is not None else status.name.lower())
        self.change(job_id, status=status, message=message, result=result, finished=datetime.now(UTC))

    def change(self, job_id: int, **changes: Any) -> None:
        info = self.board.job(job_id)
        assert info is not None
        self.board.publish(replace(info, **changes))

    async def wait(self, job_id: int) -> JobInfo:
        return await self.board.wait(job_id)

    async def abort(self, job_id: int, by: str) -> bool:
        info = self.board.job(job_id)
        if info is None or info.status.terminal:
            return False
        asyncio.get_running_loop().call_later(0.05, self.end, job_id, JobStatus.ABORTED, f"aborted by {by}")
        return True


@dataclass
class FakeStatus:
    connected: bool = True
    latency_s: float = 0.0012
    message: str = ""

    @property
    def ok(self) -> bool:
        return self.connected


class FakeKeys:
    """Nothing is there."""

    async def snapshots(self, ids: Any = None) -> SnapshotKeys:
        return SnapshotKeys({}, 0)

    async def jobs(self) -> array[int]:
        return array("i")

    async def channel_names(self, known: int = -1) -> frozenset[str]:
        return frozenset()

    def known_list(self, list_id: int) -> None:
        return None


class FakeStore:
    """Settings in a dict, and no snapshots."""

    def __init__(self) -> None:
        self.status = FakeStatus()
        self.settings: dict[str, Any] = {}
        self.backup = 0
        self.backups = self
        self.listeners: list[Callable[..., None]] = []
        self.keys = FakeKeys()

    def listen(self, callback: Callable[..., None]) -> Callable[[], None]:
        return lambda: None

    async def snapshots(self, wanted: Any) -> tuple[list[Any], int]:
        self._check()
        return [], 0

    async def reference(self) -> None:
        self._check()

    async def last(self) -> int:
        """Of its backups."""
        self._check()
        return self.backup

    async def job(self, job_id: int) -> None:
        return None

    def listen_status(self, callback: Callable[..., None]) -> Callable[[], None]:
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def turn(self, connected: bool) -> None:
        self.status = FakeStatus(connected)
        for callback in self.listeners:
            callback(self.status)

    async def get_setting(self, key: str) -> Any:
        self._check()
        return self.settings.get(key)

    async def set_setting(self, key: str, value: Any) -> None:
        await asyncio.sleep(0)
        self._check()
        self.settings[key] = value

    def _check(self) -> None:
        if not self.status.connected:
            raise DatabaseDownError("the database does not answer")


@dataclass
class FakeLive:
    connected: Any
    writable: Any
    meta: Any
    metas: list[Meta]
    ignored: dict[int, str] = field(default_factory=dict)


@dataclass
class FakeIoc:
    host: str
    channels: int
    status: int


class FakeMachine:
    """All channels connected, on two IOCs."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.missing: set[str] = set()
        self.read_only: set[str] = set()
        self.ioc_states = [0, 0]
        self.resets = 0
        self.metas: dict[str, Meta] = {}

    def live(self, channels: ChannelList) -> FakeLive:
        connected = np.array([name not in self.missing for name in channels.names], bool)
        writable = connected & np.array([name not in self.read_only for name in channels.names], bool)
        return FakeLive(
            connected, writable, np.arange(len(channels)), [self.metas.get(name, NO_META) for name in channels.names]
        )

    def iocs(self) -> list[FakeIoc]:
        return [FakeIoc(f"ioc{i}:5064", 5 + i, state) for i, state in enumerate(self.ioc_states)]

    def reset_iocs(self) -> None:
        self.resets += 1
        self.ioc_states = [0] * len(self.ioc_states)

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def changed(self) -> None:
        for callback in self.listeners:
            callback()


class FakeAway:
    """A list that nothing is on."""

    def __init__(self) -> None:
        self.current: dict[str, Any] = {}

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


class FakeKeeper:
    """A catalogue that cannot be changed."""

    def __init__(self) -> None:
        self.listeners: list[Callable[..., None]] = []

    def listen(self, callback: Callable[..., None]) -> Callable[[], None]:
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def check_add(self, names: Any) -> None:
        raise RefusedError("cannot be changed here")

    check_remove = check_add

    def check_reload(self) -> None:
        raise RefusedError("cannot be changed here")

    async def add(self, names: Any, by: str) -> Any:
        raise NotImplementedError

    remove = add

    async def reload(self, by: str) -> Any:
        raise NotImplementedError


def catalogue(count: int = 10) -> Catalogue:
    return Catalogue.of([Entry(f"Q{i}:SP", f"Q{i}:RB", read_only=i == 0) for i in range(count)])


@dataclass
class Control(ControlPvs):
    """A running `ControlIoc`, its stand-ins, and short ways to its PVs."""

    port: int
    ioc: ControlIoc
    jobs: FakeJobs
    store: FakeStore
    machine: FakeMachine
    catalogue: Catalogue


@asynccontextmanager
async def control(
    *,
    jobs: FakeJobs | None = None,
    store: FakeStore | None = None,
    machine: FakeMachine | None = None,
    entries: Catalogue | None = None,
    prefix: str | None = None,
    views: tuple[str, ...] = (),
) -> AsyncIterator[Control]:
    """Serve on a port of this process, with a random prefix."""
    (port,) = take_ports(1)
    prefix = prefix or f"T{secrets.token_hex(4)}:"
    parts = (
        jobs or FakeJobs(),
        store or FakeStore(),
        machine or FakeMachine(),
        catalogue() if entries is None else entries,
    )
    settings = Settings(prefix=prefix, port=port, interfaces=(LOOPBACK,), views=views)
    ioc = ControlIoc(Service(settings, parts[1], parts[2], parts[0], lambda: parts[3], FakeKeeper(), FakeAway()))
    try:
        await ioc.start()
        yield Control(prefix, port, ioc, *parts)
    finally:
        aioca.purge_channel_caches()
        await ioc.stop()
        give_ports([port])
