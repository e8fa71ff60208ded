"""Commands: a `bo` with busy semantics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.kinds.scalars import Binary
from squirrel_ioc.ioc.protocol.client import accept

__all__ = ["Command"]


class Command(Binary):
    """Writing 1 starts `action`; the PV reads 1 while it runs.

    Writing 0 does nothing while it is 0, and is refused while it runs: a command is not ended by unwriting it.
    The action begins with its checks, which may raise RefusedError while the PV still is 0, and holds `busy` for
    the rest. Writing `.PROC` is writing 1.
    """

    action: Callable[[], Awaitable[None]]

    async def put(self, value: Any) -> None:
        """Start, and come back when it is done. Raises RefusedError, FailedError."""
        if value:
            await self.action()
        elif self.value:
            raise RefusedError(f"{self.label} runs; it becomes 0 when it is done")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Reads 1 inside. Raises RefusedError when it does already."""
        if self.value:
            raise RefusedError(f"{self.label} runs already")
        self.post(1)
        accept()
        try:
            yield
        finally:
            self.post(0)
