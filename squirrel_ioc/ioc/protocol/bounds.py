"""What all clients of a server may take together: memory, channels, monitors, lines of the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

__all__ = ["Bounds", "ClientLog"]

EASY_BYTES: Final = 128 * 1024 * 1024
"""What waits for clients. Beyond it, those who have stopped reading are disconnected, and nobody gets ahead."""

MOST_BYTES: Final = 256 * 1024 * 1024
"""Beyond it somebody is disconnected: who has not read for the longest time."""

MAX_COMING_BYTES: Final = 64 * 1024 * 1024
"""Of long messages whose beginning is there."""

MAX_CHANNELS: Final = 100_000
MAX_MONITORS: Final = 100_000
"""Of all clients; each takes about 1 kB. The bounds of one client are in `channels` and `monitors`."""

STALLED_S: Final = 3.0
"""Who has not taken anything for so long has stopped reading."""

LOOK_EVERY_S: Final = 0.25

SHARED_BYTES: Final = 1024
"""From this size on, bytes that wait for several clients are counted once."""

LINES_AT_ONCE: Final = 20
LINE_EVERY_S: Final = 2.0


class Waiter(Protocol):
    """The queue of one client."""

    waiting_bytes: int
    stalled_since: float

    def give_up(self) -> None:
        """Forget everything, and disconnect the client."""
        ...


class ClientLog:
    """What clients do wrong, in the log: of each kind a few lines at once, then one every other second.

    So that nobody fills a disk by asking for nonsense. How many lines were left out stands in the next one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, float, int]] = {}

    def line(self, log: logging.Logger, level: int, message: str, *args: Any) -> None:
        """Log this, if there is room. A kind is what has the same text before it is filled in."""
        now = self._clock()
        lines, before, left_out = self._kinds.get(message, (float(LINES_AT_ONCE), now, 0))
        lines = min(lines + (now - before) / LINE_EVERY_S, LINES_AT_ONCE)
        if lines < 1:
            self._kinds[message] = lines, now, left_out + 1
            return
        self._kinds[message] = lines - 1, now, 0
        if left_out:
            message = f"{message} (and %d more like this)"
            args = (*args, left_out)
        log.log(level, message, *(_short(arg) for arg in args))


def _short(arg: Any) -> Any:
    """One line, and not a long one, whatever a client has put into it."""
    if isinstance(arg, (int, float)):
        return arg
    return "".join(c if c.isprintable() else "?" for c in str(arg).split("\n", 1)[0][:300])


class Bounds:
    """Shared by the clients of a server. Counts what waits for them, each piece of memory once."""

    def __init__(self) -> None:
        self.log = ClientLog()
        self.channels = 0
        self.monitors = 0
        self.waiting_bytes = 0
        self._coming_bytes = 0
        self._shared: dict[int, int] = {}
        self._waiters: dict[Waiter, None] = {}
        self._looked = 0.0

    def join(self, waiter: Waiter) -> None:
        """A client has come."""
        self._waiters[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """A client has gone. What waited for it has been given back."""
        self._waiters.pop(waiter, None)

    @property
    def tight(self) -> bool:
        """Whether so much waits that nobody is to get ahead."""
        return self.waiting_bytes > EASY_BYTES

    def take(self, buffers: Iterable[Any]) -> None:
        """These begin to wait."""
        for buffer in buffers:
            if isinstance(buffer, bytes) and len(buffer) >= SHARED_BYTES:
                holders = self._shared.get(id(buffer), 0)
                self._shared[id(buffer)] = holders + 1
                if holders:
                    continue
            self.waiting_bytes += memoryview(buffer).nbytes
        if self.tight:
            self._relieve()

    def give(self, buffers: Iterable[Any]) -> None:
        """These wait no more."""
        for buffer in buffers:
            if isinstance(buffer, bytes) and len(buffer) >= SHARED_BYTES:
                holders = self._shared.pop(id(buffer)) - 1
                if holders:
                    self._shared[id(buffer)] = holders
                    continue
            self.waiting_bytes -= memoryview(buffer).nbytes

    def _relieve(self) -> None:
        now = time.monotonic()
        if self.waiting_bytes <= MOST_BYTES and now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        for waiter in sorted(self._waiters, key=lambda waiter: waiter.stalled_since):
            stalled = waiter.stalled_since < now - STALLED_S
            if not (self.tight if stalled else self.waiting_bytes > MOST_BYTES):
                break
            if waiter.waiting_bytes:
                waiter.give_up()

    def reserve(self, size: int) -> None:
        """For a long message that begins to come. Raises ValueError when too much is coming already."""
        if self._coming_bytes + size > MAX_COMING_BYTES:
            raise ValueError(f"a message of {size} bytes while many others are coming")
        self._coming_bytes += size

    def release(self, size: int) -> None:
        """It has come, or will not."""
        self._coming_bytes -= size
