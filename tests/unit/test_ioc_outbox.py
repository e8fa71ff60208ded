"""The queue to one client."""

from __future__ import annotations

import asyncio

import pytest

from squirrel_ioc.ioc.protocol import outbox as _outbox
from squirrel_ioc.ioc.protocol.outbox import Outbox


class Writer:
    """A client that reads when it is let."""

    def __init__(self) -> None:
        self.sent = b""
        self.reads = asyncio.Event()
        self.reads.set()
        self.written = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.sent += data
        self.written.set()

    async def drain(self) -> None:
        await self.reads.wait()


async def run(outbox: Outbox, writer: Writer, expected: bytes) -> None:
    task = asyncio.create_task(outbox.run())
    async with asyncio.timeout(30):
        while len(writer.sent) < len(expected):
            await writer.written.wait()
            writer.written.clear()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert writer.sent == expected


async def test_replies_stand_behind_the_updates_before_them() -> None:
    writer = Writer()
    outbox = Outbox(writer)  # type: ignore[arg-type]
    outbox.update("a", [b"1"], 10)
    outbox.reply([b"r"])
    outbox.update("b", [b"2", b"3"], 10)
    await run(outbox, writer, b"1r23")
    assert len(outbox) == 0


async def test_oldest_updates_of_a_subscription_are_dropped() -> None:
    writer = Writer()
    outbox = Outbox(writer)  # type: ignore[arg-type]
    for i in range(10):
        outbox.update("a", [b"%d" % i], 2)
    outbox.update("b", [b"b"], 2)
    outbox.reply([b"r"])
    assert len(outbox) == 4
    await run(outbox, writer, b"89br")


async def test_memory_is_bounded_for_a_client_that_never_reads() -> None:
    outbox = Outbox(Writer())  # type: ignore[arg-type]
    for i in range(100_000):
        outbox.update(i % 5, [b"x"], 3)
    assert len(outbox) == 15
    assert len(outbox._queue) < 3_000


async def test_forgotten_updates_are_not_sent() -> None:
    writer = Writer()
    outbox = Outbox(writer)  # type: ignore[arg-type]
    outbox.update("a", [b"1"], 10)
    outbox.update("b", [b"2"], 10)
    assert outbox.forget("a")
    assert not outbox.forget("a")
    outbox.update("a", [b"3"], 10)
    await run(outbox, writer, b"23")


async def test_room_for_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_outbox, "MAX_AHEAD_BYTES", 10)
    writer = Writer()
    outbox = Outbox(writer)  # type: ignore[arg-type]
    await outbox.room()
    outbox.reply([b"x" * 11])
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await run(outbox, writer, b"x" * 11)
    await asyncio.wait_for(waiting, 1)


async def test_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_outbox, "SEND_TIMEOUT_S", 0.01)
    writer = Writer()
    writer.reads.clear()
    outbox = Outbox(writer)  # type: ignore[arg-type]
    outbox.reply([b"x"])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.run(), 2)
