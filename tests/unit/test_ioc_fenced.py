"""A service that is not the active one any more sends nothing, also not what it had made when it was."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from control_pvs import until

from squirrel_ioc.ioc.protocol.fenced import FencedSocket
from squirrel_ioc.ioc.protocol.udp import SearchServer

LOOPBACK = "127.0.0.1"
PREFIX = "SQRL:"
SEARCH = (
    b"\0\0\0\0\0\1\0\x0d\0\0\0\0\0\0\0\0"
    + b"\0\6\0\x10\0\5\0\x0d\0\0\0\1\0\0\0\1"
    + f"{PREFIX}ROLE".encode().ljust(16, b"\0")
)


SIZE = 50_000_000


class Lease:
    """Held or not."""

    held = True

    def acts(self) -> bool:
        """As the store's."""
        return self.held


async def test_what_was_kept_for_later_is_not_sent() -> None:
    lease = Lease()
    sock = FencedSocket(lease.acts, socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((LOOPBACK, 0))
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), sock=sock)
    with socket.create_connection(sock.getsockname()) as client:
        await until(lambda: accepted, 20)
        (writer,) = accepted
        writer.write(b"x" * SIZE)  # more than the kernel takes
        kept = writer.transport.get_write_buffer_size()
        assert kept > 0
        lease.held = False
        client.settimeout(20)
        assert await asyncio.to_thread(_received, client) <= SIZE - kept
    writer.close()
    server.close()
    await server.wait_closed()


async def test_an_answer_that_was_begun_before_is_not_sent() -> None:
    lease = Lease()
    stops = False

    def known(_: str) -> bool:
        # As if the process had been stopped here, between question and answer, until another one took over.
        lease.held = not stops
        return True

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((LOOPBACK, 0))
        client.settimeout(20)
        port = _free_port()
        server = SearchServer([LOOPBACK], port, PREFIX, known, lease.acts)
        await server.start()
        client.sendto(SEARCH, (LOOPBACK, port))
        assert await asyncio.to_thread(client.recv, 2048)
        stops = True
        client.sendto(SEARCH, (LOOPBACK, port))
        await until(lambda: not lease.held, 20)
        stops = False
        client.sendto(SEARCH, (LOOPBACK, port))
        assert await asyncio.to_thread(client.recv, 2048)
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.recv(2048)
        server.stop()


def _received(client: socket.socket) -> int:
    """Bytes until the other side hangs up."""
    size = 0
    with suppress(ConnectionResetError):
        while data := client.recv(65536):
            size += len(data)
    return size


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
