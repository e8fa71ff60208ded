"""One client's TCP connection: what it asks, what it is told.

Stands on caproto's protocol layer (commands, state machine, DBR types). caproto's server layer on top of that is not
used, because of what it does to clients (1.3.0): put replies overtake monitor updates; monitors of a fixed element
count get a header that promises more than follows; subscriptions outlive a cleared channel; masks are ignored; sent
updates are kept in memory; a client that does not read blocks all others; a bad channel filter is never answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import replace
from typing import Any, Final

import caproto as ca
from caproto import CAStatus
from caproto._commands import Commands

from squirrel_ioc.ioc.kinds.database import Database
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.protocol.answers import READ, READ_NOTIFY, answer
from squirrel_ioc.ioc.protocol.bounds import Bounds
from squirrel_ioc.ioc.protocol.channels import Channels, checked
from squirrel_ioc.ioc.protocol.client import Client
from squirrel_ioc.ioc.protocol.monitors import Monitors
from squirrel_ioc.ioc.protocol.outbox import Outbox
from squirrel_ioc.ioc.protocol.writes import Writes
from squirrel_ioc.ioc.tasks import Tasks

__all__ = ["Circuit"]

MAX_INCOMING_BYTES: Final = 4 * 1024 * 1024
"""Of one command. A longer one disconnects the client."""

HELLO_S: Final = 30.0
"""Who connects and says nothing for so long is disconnected."""

MESSAGE_S: Final = 30.0
"""From the beginning of a message to its end."""

_COMMANDS: Final = frozenset(Commands[ca.CLIENT])
_SLICE_S: Final = 0.005
_READ_BYTES: Final = 16 * 1024
"""Parsed in one go: some 300 commands, which takes caproto 8 ms."""

log = logging.getLogger(__name__)


class Circuit:
    """Serves one client until it goes (`serve`). `writes` owns the writes, which go on when the client has gone."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        database: Database,
        port: int,
        writes: Tasks,
        acts: Callable[[], bool],
        bounds: Bounds,
    ) -> None:
        self._acts = acts
        self._reader = reader
        self._writer = writer
        self._database = database
        self._port = port
        self._bounds = bounds
        self.address: tuple[str, int] = writer.get_extra_info("peername")[:2]
        self.outbox = Outbox(writer, bounds)
        self._protocol = ca.VirtualCircuit(ca.SERVER, self.address, None)
        self._protocol.our_address = writer.get_extra_info("sockname")[:2]
        self._monitors = Monitors(self._protocol, self.outbox, bounds)
        self._channels = Channels(self._protocol, self.outbox, database, self._monitors, bounds, self._broken)
        self._writes = Writes(self._protocol, self.outbox, self._channels, writes, bounds)
        self._client = Client("?", self.address[0])
        self._coming = 0
        self._message_until: float | None = None
        self._handlers: Mapping[type[Any], Callable[[Any], Awaitable[None] | None]] = {
            ca.VersionRequest: lambda _: self._send(ca.VersionResponse(ca.DEFAULT_PROTOCOL_VERSION)),
            ca.EchoRequest: lambda _: self._send(ca.EchoResponse()),
            ca.HostNameRequest: self._host_name,
            ca.ClientNameRequest: self._client_name,
            ca.SearchRequest: self._search,
            ca.ClearChannelRequest: self._channels.clear_one,
            ca.ReadNotifyRequest: self._read,
            ca.ReadRequest: self._read,
            ca.WriteNotifyRequest: lambda command: self._writes.write(command, self._client),
            ca.WriteRequest: lambda command: self._writes.write(command, self._client),
            ca.EventAddRequest: lambda command: self._monitors.add(self._channels[command.sid], command),
            ca.EventCancelRequest: self._monitors.cancel,
            ca.EventsOffRequest: self._monitors.pause,
            ca.EventsOnRequest: self._monitors.resume,
        }

    @property
    def channel_count(self) -> int:
        """Channels the client has open."""
        return len(self._channels)

    def __str__(self) -> str:
        return f"{self._client} ({self.address[0]}:{self.address[1]})"

    def disconnect(self, owners: Set[Pv]) -> None:
        """End the channels to these PVs, which are no more."""
        self._channels.disconnect(owners)

    def abort(self) -> None:
        """Disconnect the client at once."""
        self._writer.transport.abort()

    async def serve(self) -> None:
        """Until the client goes, breaks the protocol, or does not read what it is sent."""
        work = [asyncio.create_task(self.outbox.run()), asyncio.create_task(self._receive())]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._say_why(task.exception())
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            self._close()

    def _say_why(self, error: BaseException | None) -> None:
        line = self._bounds.log.line
        if self.outbox.given_up:
            line(log, logging.WARNING, "client %s does not read, and others need the memory: disconnected", self)
        elif error is None or isinstance(error, ConnectionError):
            log.debug("client %s has gone", self)
        elif isinstance(error, TimeoutError):
            line(log, logging.WARNING, "client %s neither speaks nor reads: disconnected", self)
        elif isinstance(error, (ValueError, ca.CaprotoError)):
            line(log, logging.WARNING, "client %s breaks the protocol: disconnected: %s", self, error)
        else:
            log.error("client %s: disconnected", self, exc_info=error)

    def _broken(self, error: ValueError) -> None:
        self._say_why(error)
        self.abort()

    def _close(self) -> None:
        self._channels.close()
        self.outbox.close()
        self._expect(0)
        if self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()  # there is nobody to read it
        else:
            self._writer.close()

    # Commands

    async def _receive(self) -> None:
        async with asyncio.timeout(HELLO_S):
            data = await self._reader.read(_READ_BYTES)
        while data:
            commands, needed = self._parsed(data)
            if needed:
                self._check_announced(needed)
            begin = time.monotonic()
            for command in commands:
                if not self._acts():
                    raise ConnectionAbortedError("this service is not the active one any more")
                await self.outbox.room()  # of everything that is asked for, not only of what comes together
                await self._handle(command)
                if time.monotonic() - begin > _SLICE_S:  # others want to be served, too
                    await asyncio.sleep(0)
                    begin = time.monotonic()
            data = await self._read_more()

    async def _read_more(self) -> bytes:
        """Bounded while a part of a message is there. Raises TimeoutError."""
        if not self._protocol._data:
            self._message_until = None
            return await self._reader.read(_READ_BYTES)
        loop = asyncio.get_running_loop()
        if self._message_until is None:
            self._message_until = loop.time() + MESSAGE_S
        async with asyncio.timeout_at(self._message_until):
            return await self._reader.read(_READ_BYTES)

    def _check_announced(self, needed: int) -> None:
        """Of a message only the beginning is there: is it worth waiting for the rest?"""
        if needed > MAX_INCOMING_BYTES:
            raise ValueError(f"a message of {needed} bytes")
        begin = bytes(self._protocol._data[:2])
        if len(begin) == 2 and int.from_bytes(begin, "big") not in _COMMANDS:
            raise ValueError(f"{int.from_bytes(begin, 'big')} is no command")
        self._expect(needed + len(self._protocol._data) if needed > _READ_BYTES else 0)

    def _expect(self, size: int) -> None:
        if size != self._coming:
            self._bounds.release(self._coming)
            self._coming = 0
            self._bounds.reserve(size)
            self._coming = size

    async def _handle(self, command: Any) -> None:
        if isinstance(command, ca.CreateChanRequest):
            self._channels.create(command, lambda: self._client)
            return
        if self._channels.has_ended(getattr(command, "sid", None)):
            return
        if isinstance(command, ca.EventCancelRequest) and not self._monitors.has(command.subscriptionid):
            return  # one that was refused, and that the client does not know of yet
        if isinstance(command, ca.VersionRequest) and self._protocol.priority is not None:
            return  # libca repeats it with every search over TCP, with a flag where the priority was
        checked(self._protocol, command)
        handler = self._handlers.get(type(command))
        if handler is not None and (work := handler(command)) is not None:
            await work

    def _parsed(self, data: bytes) -> tuple[Any, int]:
        try:
            return self._protocol.recv(data)  # type: ignore[no-any-return]
        except Exception as error:
            raise ValueError(f"{error}") from error

    def _send(self, *commands: Any) -> None:
        self.outbox.reply(self._protocol.send(*commands))

    def _host_name(self, command: Any) -> None:
        self._client = replace(self._client, host=_clean(command.name) or self._client.host)

    def _client_name(self, command: Any) -> None:
        self._client = replace(self._client, user=_clean(command.name) or self._client.user)

    def _search(self, command: Any) -> None:
        try:
            self._database.find(command.name)
        except KeyError:
            if command.reply == ca.DO_REPLY:
                self._send(ca.NotFoundResponse(version=ca.DEFAULT_PROTOCOL_VERSION, cid=command.cid))
        else:
            self._send(ca.SearchResponse(self._port, None, command.cid, ca.DEFAULT_PROTOCOL_VERSION))

    # Reading

    async def _read(self, command: Any) -> None:
        channel = self._channels[command.sid]
        status, structure, elements = await channel.read(command.data_type, self._wanted(command.data_count))
        self._protocol._ioids.pop(command.ioid, None)
        if isinstance(command, ca.ReadNotifyRequest):
            message = answer(READ_NOTIFY, command.data_type, structure, elements, status, command.ioid)
        elif status == CAStatus.ECA_NORMAL:  # of libca before 3.13
            message = answer(READ, command.data_type, structure, elements, channel.protocol.cid, command.ioid)
        else:
            refused = ca.ErrorResponse(command, channel.protocol.cid, status=status, error_message=b"read failed")
            message = [bytes(refused)]
        self.outbox.reply(message)

    def _wanted(self, count: int) -> int | None:
        """0 is "as many as there are", which old clients cannot mean."""
        return None if count == 0 and self._protocol.protocol_version >= ca.DEFAULT_PROTOCOL_VERSION else count


def _clean(name: str) -> str:
    """Of a user or a host, as it names itself."""
    return "".join(c for c in name if c.isprintable())[:39]
