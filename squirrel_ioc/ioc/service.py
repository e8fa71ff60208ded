"""What the control PVs need of the rest of the service, and nothing more of it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ioc.groups.catalogue_keeper import AwayList, CatalogueChange, CatalogueKeeper
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.job import JobInfo, Request
from squirrel_ioc.model.snapshot import History, Snapshot, SnapshotChange, SnapshotFilter, SnapshotKeys
from squirrel_ioc.model.values import Meta
from squirrel_ioc.store import StoreEvent

__all__ = [
    "CaServerSettings",
    "CatalogueChange",
    "CatalogueKeeper",
    "IocState",
    "Jobs",
    "Keys",
    "Live",
    "Machine",
    "Service",
    "Store",
    "StoreStatus",
]


class CaServerSettings(Protocol):
    """Where the control PVs are served: `squirrel_ioc.config.Settings`."""

    @property
    def prefix(self) -> str:
        """Begins every name."""
        ...

    @property
    def port(self) -> int:
        """UDP and TCP."""
        ...

    @property
    def interfaces(self) -> Sequence[str]:
        """IPv4 addresses to listen on."""
        ...

    @property
    def views(self) -> Sequence[str]:
        """Names of private copies of some groups."""
        ...


class Live(Protocol):
    """What is known of channels without asking the machine; where not said otherwise, bool[channels]."""

    @property
    def connected(self) -> NDArray[np.bool_]:
        """Channel Access is connected."""
        ...

    @property
    def writable(self) -> NDArray[np.bool_]:
        """... and may be written."""
        ...

    @property
    def ignored(self) -> Mapping[int, str]:
        """By row: an IOC that serves the same name, and is not used."""
        ...

    @property
    def meta(self) -> NDArray[np.int32]:
        """int32[channels]: index into `metas`."""
        ...

    @property
    def metas(self) -> Sequence[Meta]:
        """What channels say of themselves; NO_META of one that was never connected."""
        ...


class IocState(Protocol):
    """An IOC as it stands."""

    @property
    def host(self) -> str:
        """host:port"""
        ...

    @property
    def channels(self) -> int:
        """Channels that live on it."""
        ...

    @property
    def status(self) -> int:
        """0 OK, 1 Slow, 2 Open, 3 Down"""
        ...


class Machine(Protocol):
    """The watched channels."""

    def live(self, channels: ChannelList) -> Live:
        """How each of these stands."""
        ...

    def iocs(self) -> Sequence[IocState]:
        """Where they live."""
        ...

    def reset_iocs(self) -> None:
        """Try every IOC again."""
        ...

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, in the loop and not too often, when any of it changes; returns what ends it."""
        ...


class StoreStatus(Protocol):
    """How the database is."""

    @property
    def connected(self) -> bool:
        """It answers."""
        ...

    @property
    def ok(self) -> bool:
        """It answers, and can be written."""
        ...

    @property
    def message(self) -> str:
        """What is wrong; empty when it is ok."""
        ...

    @property
    def latency_s(self) -> float:
        """It answers in this time."""
        ...


class Keys(Protocol):
    """What is in the database, by number and name. The coroutines raise DatabaseDownError."""

    async def snapshots(self, ids: Collection[int] | None = None) -> SnapshotKeys:
        """All snapshots, or those of `ids` and the reference."""
        ...

    async def jobs(self) -> array[int]:
        """All jobs, ascending."""
        ...

    async def channel_names(self, known: int = -1) -> frozenset[str] | None:
        """Every channel ever seen; None when they are `known` by number."""
        ...

    async def channel_list(self, list_id: int) -> ChannelList:
        """A list of channels. Raises StoreError when there is none."""
        ...

    def known_list(self, list_id: int) -> ChannelList | None:
        """A list of channels, if it is in memory."""
        ...


class Backups(Protocol):
    """What undoing a restore needs."""

    async def last(self) -> int:
        """The backup of the last restore that wrote something, 0 when there is none."""
        ...


class Store(Protocol):
    """The database, as far as the control PVs look into it."""

    @property
    def status(self) -> StoreStatus:
        """How it is."""
        ...

    @property
    def backups(self) -> Backups:
        """Those of restores."""
        ...

    def listen_status(self, callback: Callable[..., None]) -> Callable[[], None]:
        """Call back, in the loop, when the status changes; returns what ends it."""
        ...

    @property
    def keys(self) -> Keys:
        """What there is, without what is in it."""
        ...

    def listen(self, callback: Callable[[StoreEvent], None]) -> Callable[[], None]:
        """Call back, in the loop, on each committed change by any process; returns what ends it."""
        ...

    async def snapshots(self, wanted: SnapshotFilter) -> tuple[Sequence[Snapshot], int]:
        """One page of snapshots, newest first, and how many there are on all pages. Raises DatabaseDownError."""
        ...

    async def snapshot(self, snapshot_id: int) -> Snapshot | None:
        """One snapshot, without its values. Raises DatabaseDownError."""
        ...

    async def reference(self) -> Snapshot | None:
        """The reference snapshot. Raises DatabaseDownError."""
        ...

    async def load_frame(self, snapshot_id: int, names: Collection[str]) -> Frame:
        """The values of these channels, as far as the snapshot has them. Raises StoreError, DatabaseDownError."""
        ...

    async def history(self, name: str, limit: int, wanted: SnapshotFilter) -> History:
        """A channel across the newest snapshots that hold it. Raises DatabaseDownError."""
        ...

    async def update_snapshot(self, snapshot_id: int, change: SnapshotChange) -> Snapshot:
        """Change what stands beside the values. Raises RefusedError, DatabaseDownError."""
        ...

    async def delete_snapshot(self, snapshot_id: int) -> None:
        """Delete a snapshot. Raises RefusedError, DatabaseDownError."""
        ...

    async def job(self, job_id: int) -> JobInfo | None:
        """A job as its row has it. Raises DatabaseDownError."""
        ...

    async def get_setting(self, key: str) -> Any:
        """A kept value; None when there is none. Raises DatabaseDownError."""
        ...

    async def set_setting(self, key: str, value: Any) -> None:
        """Keep a JSON value. Raises DatabaseDownError."""
        ...


class Jobs(Protocol):
    """Submit jobs, follow them, abort them."""

    @property
    def current(self) -> JobInfo | None:
        """The job now running, or the last one that ran."""
        ...

    @property
    def queued(self) -> int:
        """Jobs that wait."""
        ...

    @property
    def recent(self) -> Sequence[JobInfo]:
        """The last 50, newest first."""
        ...

    def listen(self, callback: Callable[[JobInfo], None]) -> None:
        """Call back, in the loop, on every change of every job."""
        ...

    async def submit(self, request: Request, *, user: str, host: str) -> int:
        """Queue a job and return its id. Raises RefusedError, DatabaseDownError."""
        ...

    async def wait(self, job_id: int) -> JobInfo:
        """The job in its terminal state."""
        ...

    async def abort(self, job_id: int, by: str) -> bool:
        """Stop a job; False when it has ended already."""
        ...


@dataclass(frozen=True)
class Service:
    """The parts of the service that the control PVs stand on."""

    settings: CaServerSettings
    store: Store
    machine: Machine
    jobs: Jobs
    catalogue: Callable[[], Catalogue]
    keeper: CatalogueKeeper
    away: AwayList
    acts: Callable[[], bool] = lambda: True
    """Whether this service may answer now: not when another one has taken over. Cheap."""
    areas: Callable[[], Sequence[tuple[str, int, int]]] = tuple
    """Name, channels and living workers of each area."""
