"""For tests of Channel Access: machines that leave nothing behind, and waiting for what comes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import aioca
from ioc_process import ca_settings

from squirrel_ioc.ca import Machine
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import State, WriteState


def random_prefix() -> str:
    """So that nobody else's IOC has these names."""
    return f"T{secrets.token_hex(3)}:"


@contextlib.asynccontextmanager
async def started(**settings: Any) -> AsyncIterator[Machine]:
    """A machine that searches this process's IOCs; checks that its thread ends."""
    machine = Machine(ca_settings(**settings))
    before = set(threading.enumerate())
    await machine.start()
    ours = set(threading.enumerate()) - before
    try:
        yield machine
    finally:
        await machine.stop()
    assert not any(thread.is_alive() for thread in ours)


async def hold(machine: Machine, names: Iterable[str]) -> ChannelList:
    """Watch the channels and wait until all of them are connected."""
    channels = ChannelList.of(names)
    await machine.watch(channels)
    assert await machine.settled(30)
    return channels


async def until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Wait for what comes by itself."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not after {timeout_s} s"
        await asyncio.sleep(0.01)


async def put_property(record: str, field: str, value: Any) -> None:
    """Write a field that others are told of as a property of the record, and wait until they have been told."""
    heard: asyncio.Queue[Any] = asyncio.Queue()
    monitor = aioca.camonitor(record, heard.put_nowait, events=aioca.DBE_PROPERTY, all_updates=True)
    try:
        async with asyncio.timeout(30):
            await heard.get()
            await aioca.caput(f"{record}.{field}", value, wait=True, timeout=20)
            await heard.get()
    finally:
        monitor.close()


def states(frame: Frame) -> Counter[State]:
    """How many rows fared how."""
    return Counter(State(s) for s in frame.state.tolist())


def outcomes(result: Iterable[int]) -> Counter[WriteState]:
    """How many writes ended how."""
    return Counter(WriteState(int(w)) for w in result)
