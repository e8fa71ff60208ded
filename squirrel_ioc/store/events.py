"""What the store tells those who listen: how the database is, and what has changed in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

__all__ = ["DbStatus", "StoreEvent", "Listeners", "RESYNC"]

RESYNC: Final = "resync"
"""Kind of the event that says: the connection was lost, anything may have changed meanwhile."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class DbStatus:
    """How the database is: whether it answers, and can be written; `latency_s` of the last answer; `message` says what
    is wrong, or is empty."""

    connected: bool
    latency_s: float
    message: str = ""
    writable: bool = True

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return self.connected and self.writable


@dataclass(frozen=True)
class StoreEvent:
    """A committed change, made by any process: `kind` snapshot, catalogue, job or setting (`id` is its key then),
    `op` insert, update or delete; or RESYNC."""

    kind: str
    id: int | str
    op: str


class Listeners(Generic[T]):
    """Callbacks in the event loop. One that fails is logged, and does not keep the others from being called."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[T], None]] = []

    def add(self, callback: Callable[[T], None]) -> Callable[[], None]:
        """Call back from now on; returns what ends it."""
        self._callbacks.append(callback)

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return remove

    def call(self, value: T) -> None:
        """Call all."""
        for callback in tuple(self._callbacks):
            try:
                callback(value)
            except Exception:
                _log.exception("a listener of the store failed on %s", value)
