"""What waits to be sent to one client: replies, and updates of its monitors, in one order.

caproto's server sends replies past the updates that wait, so that a client could hear that its put is done before it
hears of the results. It also blocks all clients when one does not read. Here everything goes through one queue: a
reply stands behind the updates that were made before it, and a client that does not keep up loses the oldest
updates of each subscription, and is disconnected when it does not read at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from squirrel_ioc.ioc.protocol.bounds import Bounds

__all__ = ["Outbox", "SEND_TIMEOUT_S"]

SEND_TIMEOUT_S: Final = 30.0
"""A client that has not read anything for so long is disconnected."""

MAX_AHEAD_BYTES: Final = 16 * 1024 * 1024
"""A client for which more waits is asked for nothing more, and its updates are made when it is their turn."""

TIGHT_AHEAD_BYTES: Final = 256 * 1024
"""The same, when much waits for all clients together."""

_PIECE_BYTES: Final = 64 * 1024
"""Given to the transport at once, which copies it."""

_PURGE_AT: Final = 1_000
_OVERHEAD_BYTES: Final = 700
"""Of a message that waits, besides what is sent of it."""

Make = Callable[[], "list[Any] | None"]


class _Message:
    """`key` is the subscription of an update. `make` makes the buffers of one that was too big to be kept."""

    __slots__ = ("buffers", "key", "make", "size")

    def __init__(self, key: Any, buffers: list[Any], make: Make | None = None) -> None:
        self.key = key
        self.buffers: list[Any] | None = buffers
        self.make = make
        self.size = _OVERHEAD_BYTES + sum(memoryview(b).nbytes for b in buffers)


class Outbox:
    """The queue of one circuit, and the task that empties it (`run`)."""

    def __init__(self, writer: asyncio.StreamWriter, bounds: Bounds | None = None) -> None:
        self._writer = writer
        self._bounds = bounds or Bounds()
        self._bounds.join(self)
        self._queue: deque[_Message] = deque()
        self._updates: dict[Any, list[_Message]] = {}  # a deque takes 600 bytes
        self._dropped = 0
        self.waiting_bytes = 0
        self.stalled_since = time.monotonic()
        """When the client last took something, or had nothing to take."""
        self.given_up = False
        self._closed = False
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        """Messages that wait."""
        return len(self._queue) - self._dropped

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing is to be made in advance."""
        return self.waiting_bytes > (TIGHT_AHEAD_BYTES if self._bounds.tight else MAX_AHEAD_BYTES)

    def reply(self, buffers: list[Any]) -> None:
        """Send this, whatever comes."""
        self._put(_Message(None, buffers))

    def update(self, key: Any, buffers: list[Any], backlog: int) -> None:
        """Send this, unless the client is so slow that `backlog` newer ones of the same subscription wait."""
        if self._closed:
            return
        waiting = self._updates.setdefault(key, [])
        if len(waiting) >= backlog:
            self._drop(waiting.pop(0))
        update = _Message(key, buffers)
        waiting.append(update)
        self._put(update)

    def update_later(self, key: Any, make: Make) -> None:
        """Send what `make` returns when it is its turn, in place of all that waits for the same subscription."""
        if self._closed:
            return
        self.forget(key)
        update = _Message(key, [], make)
        self._updates[key] = [update]
        self._put(update)

    def forget(self, key: Any) -> bool:
        """Send nothing more of what waits for this subscription; whether there was something."""
        waiting = self._updates.pop(key, None)
        for update in waiting or ():
            self._drop(update)
        return bool(waiting)

    def _put(self, message: _Message) -> None:
        if self._closed:
            return
        if not self.waiting_bytes:
            self.stalled_since = time.monotonic()
        self._queue.append(message)
        self._filled.set()
        self._count(message)

    def _count(self, message: _Message) -> None:
        self.waiting_bytes += message.size
        if self.full:
            self._room.clear()
        self._bounds.waiting_bytes += _OVERHEAD_BYTES
        self._bounds.take(message.buffers or ())

    def _uncount(self, message: _Message) -> None:
        self.waiting_bytes -= message.size
        self._bounds.waiting_bytes -= _OVERHEAD_BYTES
        self._bounds.give(message.buffers or ())
        message.buffers = None
        if not self.full:
            self._room.set()

    def _drop(self, update: _Message) -> None:
        if update.buffers is None:
            return  # the queue has been given up meanwhile
        self._uncount(update)
        self._dropped += 1
        if self._dropped > _PURGE_AT and self._dropped > len(self._queue) // 2:
            self._queue = deque(x for x in self._queue if x.buffers is not None)
            self._dropped = 0

    async def room(self) -> None:
        """Wait until the client has read enough of what it has asked for to be given more. Bounded by `run`."""
        await self._room.wait()

    async def run(self) -> None:
        """Send until cancelled. Raises TimeoutError when the client does not read, OSError when it is gone."""
        while True:
            await self._filled.wait()
            batch = self._next_batch()
            if not self._queue:
                self._filled.clear()
            try:
                for piece in _pieces([buffer for message in batch for buffer in message.buffers or ()]):
                    self._writer.write(piece)
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._writer.drain()
                    self.stalled_since = time.monotonic()
            finally:
                for message in batch:
                    self._uncount(message)

    def _next_batch(self) -> list[_Message]:
        batch: list[_Message] = []
        size = 0
        while self._queue and size < _PIECE_BYTES:
            message = self._queue.popleft()
            if message.buffers is None:
                self._dropped -= 1
                continue
            if message.key is not None:
                self._sent(message)
            if message.make is not None:
                made = _Message(None, message.make() or [])
                self._uncount(message)
                self._count(message := made)
            batch.append(message)
            size += message.size
        return batch

    def _sent(self, update: _Message) -> None:
        # It is the oldest of its subscription: they are sent in the order they were made.
        waiting = self._updates[update.key]
        waiting.pop(0)
        if not waiting:
            del self._updates[update.key]

    def give_up(self) -> None:
        """There is no memory for a client that does not read: it is disconnected."""
        self.given_up = True
        self._writer.transport.abort()
        self.close()

    def close(self) -> None:
        """Nothing more is sent of what waits. What is being sent is counted until `run` has ended."""
        self._closed = True
        queue, self._queue = self._queue, deque()
        for message in queue:
            if message.buffers is not None:
                self._uncount(message)
        self._updates.clear()
        self._dropped = 0
        self._bounds.leave(self)


def _pieces(buffers: list[Any]) -> Iterator[bytes | memoryview]:
    """What a transport gets: small buffers together, big ones in parts."""
    small: list[Any] = []
    size = 0
    for buffer in buffers:
        length = memoryview(buffer).nbytes
        if small and size + length > _PIECE_BYTES:
            yield b"".join(small)
            small, size = [], 0
        if length > _PIECE_BYTES and isinstance(buffer, bytes):
            view = memoryview(buffer)
            yield from (view[i : i + _PIECE_BYTES] for i in range(0, length, _PIECE_BYTES))
        else:
            small.append(buffer)
            size += length
    if size:
        yield b"".join(small)
