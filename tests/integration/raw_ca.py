"""A CA client that does what no library does: says odd things, does not listen, hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import caproto as ca
from ioc_process import LOOPBACK

T = TypeVar("T")


class RawClient:
    """One circuit. `send` and `receive` messages of caproto, or `write` bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._circuit = ca.VirtualCircuit(ca.CLIENT, (LOOPBACK, 0), 0)
        self.received: list[Any] = []

    async def hello(self, user: str = "somebody", host: str = "somewhere") -> None:
        """Version and names, as libca does."""
        self.send(ca.VersionRequest(0, 13), ca.HostNameRequest(host), ca.ClientNameRequest(user))
        await self.receive(ca.VersionResponse)

    async def channel(self, name: str) -> Any:
        """A channel, connected. It is asked for again until the server knows the name, as libca does."""
        async with asyncio.timeout(30):
            while True:
                channel = ca.ClientChannel(name, self._circuit)
                self.send(channel.create())
                answer = await self.receive((ca.CreateChanResponse, ca.CreateChFailResponse))
                if isinstance(answer, ca.CreateChanResponse):
                    return channel
                await asyncio.sleep(0.05)

    def send(self, *commands: Any) -> None:
        """Send messages."""
        self.write(b"".join(bytes(memoryview(b)) for b in self._circuit.send(*commands)))

    def write(self, data: bytes) -> None:
        """Send anything."""
        self._writer.write(data)

    async def receive(self, kind: type[T] | tuple[type[T], ...], timeout_s: float = 30.0) -> T:
        """The next message of this kind, or of one of these. What comes before it is in `received`."""
        async with asyncio.timeout(timeout_s):
            while True:
                for i, command in enumerate(self.received):
                    if isinstance(command, kind):
                        return self.received.pop(i)  # type: ignore[no-any-return]
                data = await self._reader.read(65536)
                commands, _ = self._circuit.recv(data)
                for command in commands:
                    self._circuit.process_command(command)
                    self.received.append(command)
                if not data:
                    raise ConnectionResetError

    async def ended(self, timeout_s: float = 30.0) -> None:
        """Wait until the server hangs up."""
        async with asyncio.timeout(timeout_s):
            while await self._reader.read(65536):
                pass

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()


@asynccontextmanager
async def raw_client(port: int, *, buffer_bytes: int = 2**16) -> AsyncIterator[RawClient]:
    """A client of the server on this port, not introduced yet."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=buffer_bytes)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        client.close()
