"""What waits to be sent to one client: replies, and updates of its monitors, in one order.

caproto's server sends replies past the updates that wait, so that a client could hear that its put is done before it
hears of the results. It also blocks all clients when one does not read. Here everything goes through one queue: a
reply stands behind the updates that were made before it, and a client that does not keep up loses the oldest
updates of each subscription, and is disconnected when it does not read at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

__all__ = ["Outbox", "SEND_TIMEOUT_S"]

SEND_TIMEOUT_S: Final = 30.0
"""A client that has not read anything for so long is disconnected."""

_BATCH_BYTES: Final = 256 * 1024
_MAX_REPLY_BYTES: Final = 16 * 1024 * 1024
_PURGE_AT: Final = 1_000


class _Update:
    __slots__ = ("buffers", "key")

    def __init__(self, key: Any, buffers: list[Any] | None) -> None:
        self.key = key
        self.buffers = buffers


class Outbox:
    """The queue of one circuit, and the task that empties it (`run`), as long as the service `acts`."""

    def __init__(self, writer: asyncio.StreamWriter, acts: Callable[[], bool] = lambda: True) -> None:
        self._writer = writer
        self._acts = acts
        self._queue: deque[list[Any] | _Update] = deque()
        self._updates: dict[Any, deque[_Update]] = {}
        self._dropped = 0
        self._reply_bytes = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._queue) - self._dropped

    def reply(self, buffers: list[Any]) -> None:
        """Send this, whatever comes."""
        self._queue.append(buffers)
        self._reply_bytes += _size(buffers)
        if self._reply_bytes > _MAX_REPLY_BYTES:
            self._room.clear()
        self._filled.set()

    def update(self, key: Any, buffers: list[Any], backlog: int) -> None:
        """Send this, unless the client is so slow that `backlog` newer ones of the same subscription wait."""
        waiting = self._updates.setdefault(key, deque())
        if len(waiting) >= backlog:
            self._drop(waiting.popleft())
        update = _Update(key, buffers)
        waiting.append(update)
        self._queue.append(update)
        self._filled.set()

    def forget(self, key: Any) -> bool:
        """Send nothing more of what waits for this subscription; whether there was something."""
        waiting = self._updates.pop(key, None)
        for update in waiting or ():
            self._drop(update)
        return bool(waiting)

    def _drop(self, update: _Update) -> None:
        update.buffers = None
        self._dropped += 1
        if self._dropped > _PURGE_AT and self._dropped > len(self._queue) // 2:
            self._queue = deque(x for x in self._queue if not isinstance(x, _Update) or x.buffers is not None)
            self._dropped = 0

    async def room(self) -> None:
        """Wait until the client has read enough of its replies to be given more. Bounded by SEND_TIMEOUT_S."""
        await self._room.wait()

    async def run(self) -> None:
        """Send until cancelled. Raises TimeoutError when the client does not read, OSError when it is gone."""
        while True:
            await self._filled.wait()
            batch = self._next_batch()
            if not self._queue:
                self._filled.clear()
            if self._reply_bytes <= _MAX_REPLY_BYTES:
                self._room.set()
            if batch:
                if not self._acts():
                    raise ConnectionAbortedError("this service is not the active one any more")
                self._writer.write(b"".join(batch))
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._writer.drain()

    def _next_batch(self) -> list[Any]:
        batch: list[Any] = []
        size = 0
        while self._queue and size < _BATCH_BYTES:
            item = self._queue.popleft()
            if not isinstance(item, _Update):
                buffers = item
                self._reply_bytes -= _size(buffers)
            elif item.buffers is None:
                self._dropped -= 1
                continue
            else:
                buffers = item.buffers
                self._sent(item)
            batch.extend(buffers)
            size += _size(buffers)
        return batch

    def _sent(self, update: _Update) -> None:
        # It is the oldest of its subscription: they are sent in the order they were made.
        waiting = self._updates[update.key]
        waiting.popleft()
        if not waiting:
            del self._updates[update.key]


def _size(buffers: Iterable[Any]) -> int:
    return sum(memoryview(b).nbytes for b in buffers)
