"""The write under way: who wrote, and whether it has been accepted yet."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from dataclasses import dataclass, field

from squirrel_ioc.errors import SquirrelError

__all__ = ["Client", "FailedError", "PendingWrite", "accept", "current_client", "pending_write"]


class FailedError(SquirrelError):
    """What a write has started has ended badly. The PVs say how; only a client that waited is told again."""


@dataclass(frozen=True, slots=True)
class Client:
    """A CA client, as it names itself."""

    user: str
    host: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}"


@dataclass(eq=False)
class PendingWrite:
    """One write of a client. `settled` is set when it has been accepted, refused or done.

    The client's next command is read only then, so that a `caget` behind a `caput` sees what the put has done.
    """

    client: Client
    settled: asyncio.Event = field(default_factory=asyncio.Event)


pending_write: contextvars.ContextVar[PendingWrite] = contextvars.ContextVar("pending_write")
"""Set in the task of a write, and in what that task starts."""

_SERVICE = Client("squirrel-ioc", socket.gethostname())


def current_client() -> Client:
    """Who has written; the service itself outside of a write."""
    write = pending_write.get(None)
    return write.client if write else _SERVICE


def accept() -> None:
    """The write is accepted and its first effects are published; what follows takes its time."""
    if (write := pending_write.get(None)) is not None:
        write.settled.set()
