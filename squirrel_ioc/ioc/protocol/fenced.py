"""Sockets through which nothing leaves when the service may not act any more.

Whether it may is asked with the system call, not when the answer was made: between the two a process can be stopped
for long, and go on when another service has taken over. That holds for what asyncio had kept to send it later, too.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Self

__all__ = ["FencedSocket"]


class FencedSocket(socket.socket):
    """Sends as long as `acts` says so, and so do the connections that it accepts. Raises ConnectionAbortedError."""

    def __init__(
        self, acts: Callable[[], bool], family: int, kind: int, proto: int = 0, fileno: int | None = None
    ) -> None:
        super().__init__(family, kind, proto, fileno)
        self._acts = acts

    def accept(self) -> tuple[Self, Any]:
        """As it does, with the same fence."""
        connection, address = super().accept()
        family, kind, proto = connection.family, connection.type, connection.proto
        fenced = type(self)(self._acts, family, kind, proto, connection.detach())
        fenced.setblocking(False)
        return fenced, address

    def send(self, *arguments: Any) -> int:
        """As it does."""
        if not self._acts():
            raise _not_active()
        return super().send(*arguments)

    def sendto(self, *arguments: Any) -> int:
        """As it does."""
        if not self._acts():
            raise _not_active()
        return super().sendto(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        """As it does. asyncio takes it for what has been kept (Python 3.12)."""
        if not self._acts():
            raise _not_active()
        return super().sendmsg(*arguments)


def _not_active() -> ConnectionAbortedError:
    return ConnectionAbortedError("this service is not the active one any more")
