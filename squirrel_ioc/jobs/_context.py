"""What a running job is given, and how it tells how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import SquirrelError
from squirrel_ioc.jobs._ports import Targets
from squirrel_ioc.model.away import Away
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.store import Store

__all__ = ["JobContext", "JobAbortedError"]


class JobAbortedError(SquirrelError):
    """A job was stopped by somebody, and `result` says what it had done by then."""

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result


@dataclass
class JobContext:
    """One run of one job. The catalogue is the one that was valid when the job started."""

    id: int
    user: str
    host: str
    attempt: int
    store: Store
    targets: Targets
    catalogue: Catalogue
    settings: Settings
    report: Callable[[int, int, str, float], None]
    """report(done, total, message, percent): may be called often, is published at a bounded rate."""
    beside: str
    """The restore that runs at the same time, in words; "" when there is none."""
    away: Mapping[str, Away]
    """PVs that are known to be away."""
    aborted_by: str = field(default="", init=False)
    partial: Any = field(default=None, init=False)
    """What a job that is interrupted has to show for itself."""
    _stop_wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def abort(self, by: str) -> None:
        """Ask the job to stop; who asks first is told of."""
        self.aborted_by = self.aborted_by or by
        self._stop_wanted.set()

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until somebody asks the job to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop_wanted.wait()

    @property
    def aborted(self) -> bool:
        """Whether somebody has asked the job to stop, or this service may not act any more. From any thread."""
        if not self.aborted_by and not self.store.acts():
            self.aborted_by = "the loss of the lease"
        return bool(self.aborted_by)

    def check_abort(self) -> None:
        """Raise JobAbortedError when somebody has asked the job to stop."""
        if self.aborted:
            raise JobAbortedError(f"aborted by {self.aborted_by}", self.partial)
