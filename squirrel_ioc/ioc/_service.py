"""What the control PVs need of the rest of the service, and nothing more of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.job import JobInfo, Request
from squirrel_ioc.model.snapshot import Snapshot

__all__ = ["CaServerSettings", "IocState", "Jobs", "Live", "Machine", "Service", "Store", "StoreStatus"]


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
    """What is known of channels without asking the machine; bool[channels] each."""

    @property
    def connected(self) -> NDArray[np.bool_]:
        """Channel Access is connected."""
        ...

    @property
    def writable(self) -> NDArray[np.bool_]:
        """... and may be written."""
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

    def listen(self, callback: Callable[[], None]) -> None:
        """Call back, in the loop and not too often, when any of it changes."""
        ...


class StoreStatus(Protocol):
    """How the database is."""

    @property
    def connected(self) -> bool:
        """It answers."""
        ...

    @property
    def latency_s(self) -> float:
        """... in this time."""
        ...


class Store(Protocol):
    """The database, as far as the control PVs look into it."""

    @property
    def status(self) -> StoreStatus:
        """How it is."""
        ...

    def listen_status(self, callback: Callable[..., None]) -> object:
        """Call back, in the loop, when the status changes."""
        ...

    async def reference(self) -> Snapshot | None:
        """The reference snapshot. Raises DatabaseDownError."""
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
