"""Clients that mean no good, or do not know better: Channel Access by hand, over plain sockets.

`Peer` is one circuit whose messages are made byte by byte; `Nonsense` makes conversations that no client should have,
always the same for one seed. Nothing here reads more than it is told to: whoever does not read is the point of it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from ioc_process import LOOPBACK

HEADER = struct.Struct(">HHHHII")
VERSION, EVENT_ADD, EVENT_CANCEL, WRITE, SEARCH, EVENTS_OFF, CLEAR = 0, 1, 2, 4, 6, 8, 12
READ_NOTIFY, CREATE, WRITE_NOTIFY, CLIENT_NAME, HOST_NAME, ECHO = 15, 18, 19, 20, 21, 23
SHORT, CHAR, LONG, DOUBLE = 1, 4, 5, 6
EXTENDED = 0xFFFF
MASK = struct.pack(">fffHH", 0.0, 0.0, 0.0, 5, 0)
NORMAL, PUT_FAILED = 1, 160


def padded(text: str | bytes) -> bytes:
    """With a NUL at least, and a multiple of 8."""
    raw = text if isinstance(text, bytes) else text.encode()
    return raw.ljust(-(-(len(raw) + 1) // 8) * 8, b"\0")


def message(
    command: int,
    payload: bytes = b"",
    kind: int = 0,
    count: int = 0,
    one: int = 0,
    two: int = 0,
    size: int | None = None,
) -> bytes:
    """A message; `size` is what its header says of the payload, if that is not true."""
    size = len(payload) if size is None else size
    if size >= EXTENDED or count >= EXTENDED:
        return HEADER.pack(command, EXTENDED, kind, 0, one, two) + struct.pack(">II", size, count) + payload
    return HEADER.pack(command, size, kind, count, one, two) + payload


HELLO = message(VERSION, count=13) + message(HOST_NAME, padded("hostile")) + message(CLIENT_NAME, padded("somebody"))


class Peer:
    """One circuit. A context manager that hangs up."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._data = b""

    @classmethod
    async def connect(cls, port: int, *, buffer_bytes: int | None = None) -> Self:
        """Not introduced yet. With `buffer_bytes` the kernel keeps hardly more than that for who does not read."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        if buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        try:
            async with asyncio.timeout(10):
                await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, port))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    async def send(self, data: bytes, timeout_s: float = 10.0) -> None:
        """All of it. Raises TimeoutError when the server does not take it."""
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def next(self, timeout_s: float = 10.0) -> tuple[int, int, int, int, int, bytes]:
        """Command, type, count, both parameters and payload of the next message. Raises ConnectionError at the end."""
        async with asyncio.timeout(timeout_s):
            while (found := self._parsed()) is None:
                data = await asyncio.get_running_loop().sock_recv(self.sock, 65536)
                if not data:
                    raise ConnectionResetError
                self._data += data
        return found

    def _parsed(self) -> tuple[int, int, int, int, int, bytes] | None:
        if len(self._data) < HEADER.size:
            return None
        command, size, kind, count, one, two = HEADER.unpack_from(self._data)
        begin = HEADER.size
        if size == EXTENDED and not count:
            if len(self._data) < begin + 8:
                return None
            size, count = struct.unpack_from(">II", self._data, begin)
            begin += 8
        if len(self._data) < begin + size:
            return None
        payload, self._data = self._data[begin : begin + size], self._data[begin + size :]
        return command, kind, count, one, two, payload

    async def channels(self, names: Sequence[str]) -> list[int]:
        """Open these (all of them must be there): the server's numbers for them."""
        await self.send(b"".join(message(CREATE, padded(name), one=cid, two=13) for cid, name in enumerate(names)))
        sids: dict[int, int] = {}
        while len(sids) < len(names):
            command, _, _, one, two, _ = await self.next()
            assert command != 26, f"there is no {names[one]}"
            if command == CREATE:
                sids[one] = two
        return [sids[cid] for cid in range(len(names))]

    async def ended(self, timeout_s: float) -> bool:
        """Whether the server hangs up within this time. Reads whatever comes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                with suppress(ConnectionError):
                    while await asyncio.get_running_loop().sock_recv(self.sock, 2**20):
                        pass
                return True
        return False


class Nonsense:
    """Conversations that no client should have: `conversation` for a TCP port, `datagram` for a UDP one.

    `plain` are control PVs that may be written without anything happening on a machine; `arrays` are others.
    """

    def __init__(self, seed: int, prefix: str, plain: Sequence[str], arrays: Sequence[str]) -> None:
        self._dice = random.Random(seed)  # noqa: S311
        self._prefix = prefix
        self._names = [prefix + name for name in (*plain, *arrays)]
        self._kinds: list[Callable[[], bytes]] = [
            self._noise,
            self._lying_headers,
            self._huge_sizes,
            self._odd_requests,
            self._unknown_commands,
            self._truncated,
            self._long_names,
            self._introductions,
            self._numbers_that_are_none,
            self._unknown_ids,
            self._twice_the_same,
            self._on_demand,
            self._searches,
        ]

    def conversation(self) -> bytes:
        """What a client says from its first byte on. Most of them introduce themselves, and have channels 1 to 4."""
        dice = self._dice
        hello = b"" if dice.random() < 0.1 else HELLO + self._creates()
        return hello + b"".join(dice.choice(self._kinds)() for _ in range(dice.randrange(1, 5)))

    def datagram(self) -> bytes:
        """For the port of searches."""
        dice = self._dice
        match dice.randrange(5):
            case 0:
                return dice.randbytes(dice.randrange(1, 600))
            case 1:
                return self._lying_headers()[:60_000]
            case 2:
                return self._searches()[:60_000]
            case 3:
                return bytes(dice.randrange(1, 2000))
            case _:
                name = padded(self._prefix + self._odd_name())[:1000]
                return message(VERSION, count=13) + message(SEARCH, name, 5, 13, 7, 7, dice.choice([None, 0, 9, 9999]))

    def _creates(self) -> bytes:
        names = self._dice.choices(self._names, k=4)
        return b"".join(message(CREATE, padded(name), one=i, two=13) for i, name in enumerate(names))

    def _sid(self) -> int:
        return self._dice.randrange(6)

    def _noise(self) -> bytes:
        return self._dice.randbytes(self._dice.randrange(1, 3000))

    def _lying_headers(self) -> bytes:
        dice = self._dice
        return b"".join(
            message(
                dice.choice(
                    [VERSION, EVENT_ADD, EVENT_CANCEL, WRITE, SEARCH, CLEAR, READ_NOTIFY, CREATE, WRITE_NOTIFY, 27]
                ),
                dice.randbytes(dice.choice([0, 1, 3, 8, 16, 40])),
                dice.randrange(45),
                dice.choice([0, 1, 2, 100, 65534]),
                self._sid(),
                dice.randrange(8),
                dice.choice([0, 1, 8, 15, 16, 24, 200]),
            )
            for _ in range(dice.randrange(1, 20))
        )

    def _huge_sizes(self) -> bytes:
        dice = self._dice
        size = dice.choice([65_536, 2**20, 3 * 2**20, 2**22 - 16, 2**22 + 1, 2**31, 2**32 - 1, 2**32 - 16])
        body = dice.randbytes(min(size, dice.choice([0, 100, 70_000])))
        count = dice.choice([0, 1, size // 8, size, 2**32 - 1])
        command = dice.choice([WRITE, WRITE_NOTIFY, EVENT_ADD, READ_NOTIFY, CREATE, SEARCH, HOST_NAME])
        header = HEADER.pack(command, EXTENDED, dice.randrange(7), 0, self._sid(), 3)
        return header + struct.pack(">II", size, count) + body

    def _odd_requests(self) -> bytes:
        dice = self._dice
        messages = []
        for i in range(dice.randrange(1, 30)):
            kind = dice.choice([*range(7), dice.randrange(45), 999, 65_535])
            count = dice.choice([0, 1, 2, 39, 40, 255, 60_000, 2**24, 2**32 - 1])
            payload = dice.randbytes(8 * dice.randrange(6))
            match dice.randrange(4):
                case 0:
                    messages.append(message(EVENT_ADD, MASK, kind, count, self._sid(), i))
                case 1:
                    messages.append(message(READ_NOTIFY, b"", kind, count, self._sid(), i))
                case 2:
                    messages.append(message(WRITE, payload, kind, count, self._sid(), i))
                case _:
                    messages.append(message(WRITE_NOTIFY, payload, kind, count, self._sid(), i))
        return b"".join(messages)

    def _unknown_commands(self) -> bytes:
        dice = self._dice
        return message(dice.choice([3, 5, 7, 10, 11, 13, 14, 16, 17, 22, 24, 25, 28, 99, 65_535]), bytes(8), 1, 1, 1, 1)

    def _truncated(self) -> bytes:
        whole = message(WRITE_NOTIFY, self._dice.randbytes(400), CHAR, 400, self._sid(), 1)
        return whole[: self._dice.randrange(1, len(whole))]

    def _odd_name(self) -> str:
        dice = self._dice
        return dice.choice(
            [
                "NOPE",
                "SNAP:ID" + ".A" * dice.randrange(1, 60),
                "SNAP:ID.{" + '"a":[' * dice.randrange(1, 60),
                'SNAP:ID.{"dbnd":{"abs":1e999}}',
                'JOB:RECENT:IDS.{"arr":{"s":-5,"e":1e30,"i":-1}}',
                'SNAP:ID.{"ts":{}}' * dice.randrange(1, 4),
                "SNAP:ID" + "$" * dice.randrange(1, 9),
                "SNAP:ID.VAL$[::-1]",
                "SNAP:ID.[" + "9" * dice.randrange(1, 300) + "]",
                f"SNAP:{dice.randrange(10**12)}:TITLE",
                f"JOB:{'9' * dice.randrange(1, 30)}:STATUS",
                "SNAP:-1:TITLE",
                "SNAP:\u0661:TITLE",
                "HIST:" + "X" * dice.randrange(400),
                "REF:REF:REF:",
                "SNAP:1:VAL:" + "\0A",
                "\u00e4\u00f6\u00fc",
            ]
        )

    def _long_names(self) -> bytes:
        dice = self._dice
        name = dice.choice(
            [
                padded(self._prefix + "X" * dice.choice([390, 1000, 65_000])),
                padded(self._prefix.encode() + dice.randbytes(60)),
                (self._prefix + "SNAP:ID").encode(),  # without NUL
                padded(self._prefix + self._odd_name()),
                padded(self._prefix + self._odd_name()),
                b"",
                bytes(64),
            ]
        )
        return message(CREATE, name, one=dice.randrange(20), two=dice.choice([0, 8, 13, 99]))

    def _introductions(self) -> bytes:
        dice = self._dice
        return b"".join(
            dice.choice(
                [
                    message(VERSION, b"", dice.randrange(100), dice.choice([0, 4, 11, 13, 60_000])),
                    message(HOST_NAME, dice.randbytes(dice.choice([0, 8, 65_000]))),
                    message(CLIENT_NAME, b"x" * dice.choice([0, 8, 65_000])),
                    message(CLIENT_NAME, b"two\r\nlines\x1b[2J\r\n".ljust(24, b"\n")),
                    message(ECHO),
                    message(EVENTS_OFF),
                ]
            )
            for _ in range(dice.randrange(1, 12))
        )

    def _numbers_that_are_none(self) -> bytes:
        dice = self._dice
        value = dice.choice([float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 1e-320])
        text = dice.choice([b"nan", b"inf", b"1e999", b"0x", b"-", b"\xff" * 40, b"1" * 40, b""])
        command = dice.choice([WRITE, WRITE_NOTIFY])
        return message(command, struct.pack(">d", value), DOUBLE, 1, self._sid(), 1) + message(
            command, text.ljust(40, b"\0"), 0, 1, self._sid(), 2
        )

    def _unknown_ids(self) -> bytes:
        dice = self._dice
        return dice.choice(
            [
                message(READ_NOTIFY, b"", DOUBLE, 1, 77_777, 1),
                message(WRITE_NOTIFY, bytes(8), DOUBLE, 1, 77_777, 1),
                message(EVENT_ADD, MASK, DOUBLE, 1, 77_777, 1),
                message(EVENT_CANCEL, b"", DOUBLE, 1, self._sid(), 4711),
                message(CLEAR, b"", 0, 0, 77_777, 77_777),
                message(CLEAR, b"", 0, 0, self._sid(), 77_777),
            ]
        )

    def _twice_the_same(self) -> bytes:
        """Numbers of a client that stand for two things at a time."""
        dice = self._dice
        sid = self._sid()
        clear = message(CLEAR, b"", 0, 0, sid, dice.randrange(4))
        write = message(WRITE_NOTIFY, struct.pack(">d", 1.0), DOUBLE, 1, sid, 5)
        read = message(READ_NOTIFY, b"", 0, 1, sid, 5)
        add = message(EVENT_ADD, MASK, 0, 1, sid, 5)
        cancel = message(EVENT_CANCEL, b"", 0, 1, sid, 5)
        return dice.choice(
            [clear + clear, write * 5, write + read + write, add + add, add + cancel + cancel, write + clear]
        )

    def _on_demand(self) -> bytes:
        dice = self._dice
        families = ("SNAP:{}:TITLE", "SNAP:{}:VAL:X", "JOB:{}:STATUS", "HIST:NO{}", "REF:NO{}", "SNAP:{}:DELETE")
        return b"".join(
            message(CREATE, padded(self._prefix + dice.choice(families).format(999_999 - i)), one=100 + i, two=13)
            for i in range(dice.choice([10, 100]))
        )

    def _searches(self) -> bytes:
        dice = self._dice
        return b"".join(
            message(SEARCH, padded(self._prefix + self._odd_name()), dice.choice([5, 10]), 13, i, i)
            for i in range(dice.randrange(1, 40))
        )
