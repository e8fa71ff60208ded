"""A running service that is asked for too much, by clients that follow the protocol: memory, time and log are bounded.

What waits for all clients together may be 128 MiB (`ioc/protocol/bounds.py`; 256 MiB for a moment), each piece of
memory counted once. That is the figure for those who never read, and some room for what the service itself does. A
service that keeps what each client asks for would need many times that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator

import aioca
import pytest
import pytest_asyncio
from besieged import ARRAYS, MIB, Besieged, besieged
from control_pvs import until
from hostile import (
    CHAR,
    DOUBLE,
    EVENT_ADD,
    LONG,
    MASK,
    NORMAL,
    PUT_FAILED,
    READ_NOTIFY,
    SEARCH,
    VERSION,
    WRITE,
    WRITE_NOTIFY,
    Peer,
    message,
    padded,
)
from ioc_process import LOOPBACK

from squirrel_ioc.jobs.queue import MAX_QUEUED
from squirrel_ioc.store import EmbeddedServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLACK_BYTES = 96 * MIB
"""What a service takes that is used for the first time, and Python does not give back."""

NEVER_READ_BYTES = 128 * MIB + SLACK_BYTES


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def b(postgres_template: EmbeddedServer) -> AsyncIterator[Besieged]:
    async with besieged(postgres_template) as b:
        yield b


async def test_clients_that_never_read(b: Besieged) -> None:
    """24 of them ask for 64 arrays of up to 8 MiB each, ten times over, and with monitors: 30 GiB in all."""
    peers = []
    try:
        async with b.watched(slowest_s=30.0, more_bytes=NEVER_READ_BYTES):
            for _ in range(24):
                peer, sids = await b.peer(*ARRAYS, buffer_bytes=4096)
                peers.append(peer)
                wanted = list(zip(ARRAYS, sids, strict=True))
                monitors = b"".join(message(EVENT_ADD, MASK, CHAR, ARRAYS[n], sid, sid) for n, sid in wanted)
                reads = b"".join(message(READ_NOTIFY, b"", CHAR, ARRAYS[n], sid, sid) for n, sid in wanted)
                await peer.send(monitors + 10 * reads)
            # Somebody else is served, and does something that all of them should be told of.
            assert await b.s.put("DIFF:A", await b.snapshot())
            for _ in range(10):
                for show in ("All", "Different"):
                    assert await b.s.put("DIFF:SHOW", show)
                    assert await b.s.put("DIFF:TRIGGER", 1)
    finally:
        for peer in peers:
            peer.sock.close()
    await b.snapshot()


async def test_monitors_on_every_array(b: Besieged) -> None:
    first = await b.snapshot()
    assert await b.s.put("DIFF:A", first)
    peers = []
    readers: list[asyncio.Task[None]] = []
    newest: list[dict[int, bytes]] = [{} for _ in range(8)]

    async def read(peer: Peer, values: dict[int, bytes]) -> None:
        while True:
            command, _, _, _, monitor, payload = await peer.next(60)
            if command == EVENT_ADD:
                values[monitor] = payload

    numbers = {name: i for i, name in enumerate(ARRAYS)}
    rows = numbers["DIFF:NAMES:LONG"]
    texts = [n for n in ARRAYS if n.endswith((":LONG", ":TITLE", ":MSG", ":COMMENT"))]
    try:
        async with b.watched(slowest_s=30.0, more_bytes=SLACK_BYTES):
            for values in newest:
                peer, sids = await b.peer(*ARRAYS)
                peers.append(peer)
                kinds = [CHAR if name in texts else 0 for name in ARRAYS]
                await peer.send(
                    b"".join(
                        message(EVENT_ADD, MASK, k, 0, sid, i)
                        for i, (k, sid) in enumerate(zip(kinds, sids, strict=True))
                    )
                )
                readers.append(asyncio.create_task(read(peer, values)))
            for _ in range(10):
                for show in ("All", "Different"):
                    assert await b.s.put("DIFF:SHOW", show)
                    assert await b.s.put("DIFF:TRIGGER", 1)
            assert await b.s.put("DIFF:SHOW", "All")
            wanted = (await b.s.text("DIFF:NAMES:LONG")).encode()
            assert len(wanted.split(b"\n")) > 1_000
            await until(lambda: all(v.get(rows, b"").rstrip(b"\0") == wanted for v in newest), 20)
            await until(lambda: all(len(values) == len(ARRAYS) for values in newest), 20)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for peer in peers:
            peer.sock.close()


async def test_searches_for_names_that_nobody_has(b: Besieged) -> None:
    """10,000 a second, half of them below our prefix."""
    seconds, rate = 3.0, 10_000
    names = [b.s.pv("NOBODY:HAS:{}"), "SOMEBODY:ELSE:{}", b.s.pv("SNAP:999999:VAL:X{}"), "SOMEBODY:{}.VAL"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((LOOPBACK, b.s.port))
        sock.setblocking(False)
        sent = 0
        cpu, begin = b.cpu_s(), time.monotonic()
        async with b.watched(slowest_s=30.0, more_bytes=16 * MIB):
            while time.monotonic() - begin < seconds:
                while sent < (time.monotonic() - begin) * rate:
                    name = padded(names[sent % 4].format(sent))
                    with contextlib.suppress(BlockingIOError):
                        sock.send(message(VERSION, count=13) + message(SEARCH, name, 5, 13, sent, sent))
                    sent += 1
                await asyncio.sleep(0.002)
            assert await b.s.get("VERSION.DESC")  # a name that is new to this client is found meanwhile
        busy = (b.cpu_s() - cpu) / (time.monotonic() - begin)
        print(f"{sent} searches, {busy:.0%} of a core")
        assert sent >= seconds * rate * 0.9
        assert busy < 0.95
        with pytest.raises(BlockingIOError):
            sock.recv(2048)
    assert await b.s.get("UPTIME.DESC")


async def test_200_clients_with_50_monitors_each(b: Besieged) -> None:
    watched = ["HEARTBEAT", "JOB:PROGRESS", "SNAP:STATUS", "SNAP:ID", "JOB:STATUS"]
    names = watched + [name for name in ARRAYS if name not in watched][: 50 - len(watched)]
    assert len(names) == 50
    peers: list[Peer] = []
    beats: Counter[int] = Counter()
    ids: dict[int, float] = {}
    progress: dict[int, set[float]] = {}

    async def read(number: int, peer: Peer) -> None:
        while True:
            command, _, _, _, monitor, payload = await peer.next(60)
            if command != EVENT_ADD or monitor >= len(watched):
                continue
            value = struct.unpack(">d", payload[:8])[0]
            if watched[monitor] == "HEARTBEAT":
                beats[number] += 1
            elif watched[monitor] == "JOB:PROGRESS":
                progress.setdefault(number, set()).add(value)
            elif watched[monitor] == "SNAP:ID":
                ids[number] = value

    readers: list[asyncio.Task[None]] = []
    try:
        async with b.watched(slowest_s=30.0, more_bytes=SLACK_BYTES):
            for number in range(200):
                peer, sids = await b.peer(*names)
                peers.append(peer)
                kinds = [DOUBLE] * len(watched) + [0] * (50 - len(watched))
                adds = (message(EVENT_ADD, MASK, k, 0, s, i) for i, (k, s) in enumerate(zip(kinds, sids, strict=True)))
                await peer.send(b"".join(adds))
                readers.append(asyncio.create_task(read(number, peer)))
            beats.clear()
            snapshot = await b.snapshot()
            await until(lambda: len(ids) == 200 and set(ids.values()) == {snapshot}, 20)
            await until(lambda: len(beats) == 200 and min(beats.values()) >= 2, 20)
            assert all(100.0 in progress[number] for number in range(200))
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for peer in peers:
            peer.sock.close()


def text(words: str) -> tuple[int, int, bytes]:
    """A text as a write has it: type, count, payload."""
    return CHAR, len(words) + 1, padded(words)


def number(value: int) -> tuple[int, int, bytes]:
    """A number as a write has it."""
    return LONG, 1, struct.pack(">i4x", value)


async def test_writes_in_a_tight_loop(b: Besieged) -> None:
    """Of 20 clients: with and without callback, to parameters and to commands, of what can be done and what cannot."""
    writes = [
        ("SNAP:TITLE", text("again")),
        ("DIFF:ATOL", number(1)),
        ("LIST:SIZE", number(7)),
        ("LIST:TEXT", text("nothing")),
        ("DIFF:B", number(999_999)),
        ("SNAP:TRIGGER", number(1)),
        ("RESTORE:ID", number(999_999)),
        ("RESTORE:MODE", number(77)),
        ("SNAP:FILTER", text("( is no selection")),
        ("SNAP:ID", number(1)),
    ]
    names = [name for name, _ in writes]
    answers: Counter[int] = Counter()
    queued: list[float] = []
    log_before = b.s.log.stat().st_size
    ended = time.monotonic() + 4.0

    async def client(number: int) -> None:
        peer, sids = await b.peer(*names)
        with peer:
            asked = 0
            waiting: set[int] = set()

            async def hear() -> None:
                while True:
                    command, _, _, status, ioid, _ = await peer.next(60)
                    if command == WRITE_NOTIFY:
                        waiting.remove(ioid)
                        answers[status] += 1

            hearing = asyncio.create_task(hear())
            try:
                while time.monotonic() < ended:
                    await until(lambda: len(waiting) < 100, 60)  # what is beyond, the kernel would keep
                    for sid, (_, (kind, count, payload)) in zip(sids, writes, strict=True):
                        asked += 1
                        waiting.add(asked)
                        plain = message(WRITE, payload, kind, count, sid, 0)
                        await peer.send(plain + message(WRITE_NOTIFY, payload, kind, count, sid, asked), 60)
                # Each has its answer.
                await until(lambda: not waiting or hearing.done(), 60)
                assert not hearing.done()
            finally:
                hearing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await hearing

    async def look() -> None:
        while time.monotonic() < ended:
            queued.append(float(await b.s.get("JOB:QUEUED")))
            await asyncio.sleep(0.1)

    looking = asyncio.create_task(look())
    try:
        async with b.watched(slowest_s=30.0, more_bytes=SLACK_BYTES):
            await asyncio.gather(*(client(number) for number in range(20)))
    finally:
        await looking
    print(answers, f"at most {max(queued):.0f} jobs waited")
    assert answers[NORMAL] > 20
    assert answers[PUT_FAILED] > 20
    assert max(queued) <= MAX_QUEUED
    assert b.s.log.stat().st_size - log_before < 200_000
    assert await b.s.put("SNAP:FILTER", "", datatype=aioca.DBR_CHAR_STR)
    await b.s.wait_for("JOB:QUEUED", 0)
    await b.snapshot()
