"""A running service, and clients that do not follow the protocol: it stays up, serves others, and logs little."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import aioca
import pytest
import pytest_asyncio
from besieged import MIB, Besieged, besieged
from hostile import (
    CLEAR,
    CREATE,
    ECHO,
    EVENT_ADD,
    EVENT_CANCEL,
    HELLO,
    LONG,
    MASK,
    READ_NOTIFY,
    WRITE_NOTIFY,
    Nonsense,
    Peer,
    message,
    padded,
)
from ioc_process import LOOPBACK

from squirrel_ioc.store import EmbeddedServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MORE_BYTES = 96 * MIB
LOG_BYTES = 40_000
"""For each test: some twenty lines of each kind at once, then one every other second."""

PLAIN = (
    *("SNAP:TITLE", "SNAP:TITLE:S", "SNAP:COMMENT", "DIFF:ATOL", "LIST:PAGE", "LIST:TEXT", "RESTORE:MODE", "DIFF:SHOW"),
    *("IOCS:RESET", "SNAP:TIME", "SNAP:EPOCH", "PVS:FIND", "DIFF:ROW01:SEL"),
)
ARRAYS = ("JOB:RECENT:IDS", "DIFF:NAMES", "DIFF:NAMES:LONG", "LIST:TITLES", "DIFF:A:VAL", "DIFF:SEVR")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def b(postgres_template: EmbeddedServer) -> AsyncIterator[Besieged]:
    async with besieged(postgres_template) as b:
        yield b


@contextlib.asynccontextmanager
async def endured(b: Besieged) -> AsyncIterator[None]:
    """Before, meanwhile and afterwards it does what it is there for."""
    await b.snapshot()
    size = b.s.log.stat().st_size
    async with b.watched(slowest_s=30.0, more_bytes=MORE_BYTES):
        yield
    assert b.s.process.poll() is None
    assert b.s.log.stat().st_size - size < LOG_BYTES
    assert b"Traceback" not in b.s.log.read_bytes()
    await b.s.put("SNAP:COMMENT", "", datatype=aioca.DBR_CHAR_STR)
    await b.snapshot()


@pytest.mark.parametrize("seed", [1, 20_261_120])
async def test_nonsense(b: Besieged, seed: int) -> None:
    """Some 1,500 conversations of many messages each, and as many datagrams. The seed tells which."""
    print(f"seed {seed}")
    nonsense = Nonsense(seed, b.s.prefix, PLAIN, ARRAYS)
    conversations = [nonsense.conversation() for _ in range(1_500)]
    datagrams = [nonsense.datagram() for _ in range(1_500)]

    async def talk() -> None:
        while conversations:
            conversation = conversations.pop()
            with await Peer.connect(b.s.port) as peer, contextlib.suppress(OSError, TimeoutError):
                await peer.send(conversation, 1.0)
                await peer.ended(0.02)

    async with endured(b):
        talks = [asyncio.create_task(talk()) for _ in range(10)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((LOOPBACK, b.s.port))
            for datagram in datagrams:
                with contextlib.suppress(OSError):
                    sock.send(datagram)
                await asyncio.sleep(0.001)
        async with asyncio.timeout(60):
            await asyncio.gather(*talks)


async def test_slow_ones_and_half_of_messages(b: Besieged) -> None:
    """Who says a byte a tenth of a second, nothing at all, or half of a long message, is nobody's trouble."""
    whole = HELLO + message(CREATE, padded(b.s.pv("VERSION")), one=1, two=13)
    half = message(WRITE_NOTIFY, bytes(1000), LONG, 10**6, 1, 1, size=4 * MIB - 8)
    peers = [await Peer.connect(b.s.port) for _ in range(100)]
    try:
        async with endured(b):
            for peer in peers[20:40]:
                with contextlib.suppress(OSError):
                    await peer.send(HELLO + half)
            for i in range(20):
                for peer in peers[:20]:
                    await peer.send(whole[i : i + 1])
                await asyncio.sleep(0.05)
            for peer in peers[40:60]:
                peer.sock.shutdown(socket.SHUT_WR)
            # Long messages may come at a time, but not any number of them.
            ended = await asyncio.gather(*(peer.ended(1.0) for peer in peers[20:40]))
            assert 1 <= ended.count(True) <= 10
            # The slow ones get what they ask for when they have said it.
            for peer in peers[:20]:
                await peer.send(whole[20:])
            for peer in peers[:20]:
                while (await peer.next())[0] != CREATE:
                    pass
    finally:
        for peer in peers:
            peer.sock.close()


async def test_one_message_is_not_to_stop_everything(b: Besieged) -> None:
    """A write of four billion strings, of which none is there; and arrays of them."""
    async with endured(b):
        peer, sids = await b.peer("SNAP:TITLE", "SNAP:TIME", "DIFF:NAMES:LONG")
        with peer:
            for count in (2, 2**31, 2**32 - 1):
                header = struct.pack(">HHHHII", WRITE_NOTIFY, 0xFFFF, 0, 0, sids[0], 1)
                await peer.send(header + struct.pack(">II", 8, count) + bytes(8))
                assert (await peer.next())[3] == 160
            await peer.send(message(READ_NOTIFY, b"", 0, 8 * MIB, sids[2], 2))
            assert (await peer.next())[3] == 72  # ECA_TOLARGE


async def test_numbers_of_a_client_that_stand_for_two_things(b: Besieged) -> None:
    async with endured(b):
        peer, sids = await b.peer("IOCS:RESET", "SNAP:ID", "SNAP:MISSING:NAMES")
        with peer:
            write = message(WRITE_NOTIFY, struct.pack(">h6x", 1), 1, 1, sids[0], 5)
            await peer.send(10 * write + message(READ_NOTIFY, b"", 0, 1, sids[1], 5) + 10 * write)
            answered = [(await peer.next())[0] for _ in range(21)]
            assert sorted(answered) == [READ_NOTIFY] + 20 * [WRITE_NOTIFY]
            # A monitor that was refused may be cancelled, and its number is free.
            await peer.send(message(EVENT_ADD, MASK, 0, 60_000, sids[2], 7))
            assert (await peer.next())[0] == 11
            await peer.send(message(EVENT_CANCEL, b"", 0, 60_000, sids[2], 7))
            await peer.send(message(EVENT_ADD, MASK, 0, 1, sids[1], 7) + message(ECHO))
            assert [(await peer.next())[0] for _ in range(2)] == [EVENT_ADD, ECHO]
            # A read of the old kind, which libca has not sent for twenty years.
            await peer.send(message(3, b"", 0, 1, sids[1], 9))
            command, kind, count, cid, ioid, payload = await peer.next()
            assert (command, kind, count, cid, ioid) == (3, 0, 1, 1, 9)
            assert payload.rstrip(b"\0").isdigit()
            await peer.send(2 * message(CLEAR, b"", 0, 0, sids[0], 0))
            assert (await peer.next())[0] == CLEAR
            assert await peer.ended(5.0)


async def test_names_on_demand_that_are_not_there(b: Besieged) -> None:
    """Thousands of them, and one that is: made once, and gone with its channels."""
    snapshot = await b.snapshot()
    families = ("SNAP:{}:TITLE", "SNAP:{}:VAL:X", "JOB:{}:STATUS", "HIST:NO{}", "REF:NO{}", "SNAP:{}:DELETE")
    async with endured(b):
        with await Peer.connect(b.s.port) as peer:
            await peer.send(HELLO)
            for begin in range(0, 6_000, 500):
                names = [b.s.pv(families[i % 6].format(999_999 - i)) for i in range(begin, begin + 500)]
                await peer.send(b"".join(message(CREATE, padded(name), one=1, two=13) for name in names))
            refused = 0
            while refused < 6_000:
                refused += (await peer.next())[0] == 26
            title = padded(b.s.pv(f"SNAP:{snapshot}:TITLE"))
            await peer.send(b"".join(message(CREATE, title, one=i, two=13) for i in range(2_000)))
            opened = 0
            while opened < 2_000:
                opened += (await peer.next())[0] == CREATE
        assert await b.s.text(f"SNAP:{snapshot}:TITLE") == "meanwhile"
