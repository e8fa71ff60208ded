"""One client's TCP connection: what it asks, what it is told.

Stands on caproto's protocol layer (commands, state machine, DBR types). caproto's server layer on top of that is not
used, because of what it does to clients (1.3.0): put replies overtake monitor updates; monitors of a fixed element
count get a header that promises more than follows; subscriptions outlive a cleared channel; masks are ignored; sent
updates are kept in memory; a client that does not read blocks all others; a bad channel filter is never answered.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from contextlib import suppress
from typing import Any, Final

import caproto as ca
from caproto import CAStatus, ChannelType
from caproto._commands import Commands

from squirrel_ioc.ioc._channel import Channel
from squirrel_ioc.ioc._client import Client, PendingWrite, pending_write
from squirrel_ioc.ioc._database import Database, Found
from squirrel_ioc.ioc._monitors import Monitors
from squirrel_ioc.ioc._outbox import Outbox
from squirrel_ioc.ioc._tasks import Tasks
from squirrel_ioc.ioc._waiting import Waiting
from squirrel_ioc.ioc._writes import DONE, Outcome, carry_out
from squirrel_ioc.ioc.pv import Pv

__all__ = ["Circuit"]

MAX_INCOMING_BYTES: Final = 4 * 1024 * 1024
"""Of one command. A longer one disconnects the client."""

MAX_CHANNELS: Final = 20_000
MAX_WRITES: Final = 64
"""Of one client; what is beyond is refused."""

ACCEPT_S: Final = 0.25
"""The next command of a client waits so long for a write to be accepted or refused."""

HELLO_S: Final = 30.0
"""Who connects and says nothing for so long is disconnected."""

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
        acts: Callable[[], bool] = lambda: True,
    ) -> None:
        self._acts = acts
        self._reader = reader
        self._writer = writer
        self._database = database
        self._port = port
        self._tasks = writes
        self.address: tuple[str, int] = writer.get_extra_info("peername")[:2]
        self.outbox = Outbox(writer, acts)
        self._protocol = ca.VirtualCircuit(ca.SERVER, self.address, None)
        self._protocol.our_address = writer.get_extra_info("sockname")[:2]
        self._monitors = Monitors(self._protocol, self.outbox)
        self._channels: dict[int, Channel] = {}
        self._ended: dict[int, None] = {}
        self._awaited = 0
        self._host, self._user = self.address[0], "?"
        self._writing = 0
        self._closed = False
        self._handlers: Mapping[type[Any], Callable[[Any], Awaitable[None] | None]] = {
            ca.VersionRequest: lambda _: self._send(ca.VersionResponse(ca.DEFAULT_PROTOCOL_VERSION)),
            ca.EchoRequest: lambda _: self._send(ca.EchoResponse()),
            ca.HostNameRequest: self._host_name,
            ca.ClientNameRequest: self._client_name,
            ca.SearchRequest: self._search,
            ca.ClearChannelRequest: self._clear,
            ca.ReadNotifyRequest: self._read,
            ca.ReadRequest: self._read,
            ca.WriteNotifyRequest: self._write,
            ca.WriteRequest: self._write,
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
        return f"{self._user}@{self._host} ({self.address[0]}:{self.address[1]})"

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
        if error is None or isinstance(error, ConnectionError):
            log.debug("client %s has gone", self)
        elif isinstance(error, TimeoutError):
            log.warning("client %s neither speaks nor reads: disconnected", self)
        elif isinstance(error, ValueError):
            log.warning("client %s breaks the protocol: disconnected: %s", self, error)
        else:
            log.error("client %s: disconnected", self, exc_info=error)

    def _close(self) -> None:
        self._closed = True
        for channel in list(self._channels.values()):
            self._drop(channel)
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
                await self._handle(command)
                if time.monotonic() - begin > _SLICE_S:  # others want to be served, too
                    await asyncio.sleep(0)
                    begin = time.monotonic()
            await self.outbox.room()
            data = await self._reader.read(_READ_BYTES)

    def _check_announced(self, needed: int) -> None:
        """Of a message only the beginning is there: is it worth waiting for the rest?"""
        if needed > MAX_INCOMING_BYTES:
            raise ValueError(f"a message of {needed} bytes")
        begin = bytes(self._protocol._data[:2])
        if len(begin) == 2 and int.from_bytes(begin, "big") not in _COMMANDS:
            raise ValueError(f"{int.from_bytes(begin, 'big')} is no command")

    async def _handle(self, command: Any) -> None:
        if isinstance(command, ca.CreateChanRequest):
            self._create(command)
            return
        if getattr(command, "sid", None) in self._ended:
            return
        if isinstance(command, ca.VersionRequest) and self._protocol.priority is not None:
            return  # libca repeats it with every search over TCP, with a flag where the priority was
        self._process(command)
        handler = self._handlers.get(type(command))
        if handler is not None and (work := handler(command)) is not None:
            await work

    def _process(self, command: Any) -> None:
        """Check a command against the state of the circuit. Raises ValueError for one that does not fit."""
        try:
            self._protocol.process_command(command)
        except Exception as error:  # caproto has many names for it, KeyError among them
            raise ValueError(f"{type(command).__name__}: {error}") from error

    def _parsed(self, data: bytes) -> tuple[Any, int]:
        try:
            return self._protocol.recv(data)  # type: ignore[no-any-return]
        except Exception as error:
            raise ValueError(f"{error}") from error

    def _send(self, *commands: Any) -> None:
        if not self._closed:
            self.outbox.reply(self._protocol.send(*commands))

    def _host_name(self, command: Any) -> None:
        self._host = _clean(command.name) or self._host

    def _client_name(self, command: Any) -> None:
        self._user = _clean(command.name) or self._user

    def _search(self, command: Any) -> None:
        try:
            self._database.find(command.name)
        except KeyError:
            if command.reply == ca.DO_REPLY:
                self._send(ca.NotFoundResponse(version=ca.DEFAULT_PROTOCOL_VERSION, cid=command.cid))
        else:
            self._send(ca.SearchResponse(self._port, None, command.cid, ca.DEFAULT_PROTOCOL_VERSION))

    # Channels

    def _create(self, command: Any) -> None:
        found = None
        if len(self._channels) + self._awaited < MAX_CHANNELS:
            with suppress(KeyError):
                found = self._database.find(command.name)
        if found is None:
            self._create_failed(command)
        elif found.owner.waiting is not None:
            self._create_later(command, found.owner, found.owner.waiting)
        else:
            self._open(command, found)

    def _create_failed(self, command: Any) -> None:
        # Past the state machine, which would keep the channel that is not there.
        self.outbox.reply([bytes(ca.CreateChFailResponse(command.cid))])

    def _create_later(self, command: Any, owner: Pv, waiting: Waiting) -> None:
        """When it is known what the PV looks like. Meanwhile the client is served on its other channels."""

        def then(good: bool) -> None:
            self._awaited -= 1
            if good and not self._closed:
                try:
                    self._create(command)
                except ValueError as error:
                    self._say_why(error)
                    self._writer.transport.abort()
            elif not self._closed:
                self._create_failed(command)
            self._database.release(owner)

        self._awaited += 1
        self._database.hold(owner)
        waiting.then(then)

    def _open(self, command: Any, found: Found) -> None:
        self._process(command)
        pv = found.pv
        sid = self._protocol.new_channel_id()
        data_type = ChannelType.CHAR if found.long_string else pv.data_type
        channel = self._channels[sid] = Channel(self._protocol.channels[command.cid], found, sid)
        self._database.hold(found.owner)
        self._send(
            ca.AccessRightsResponse(cid=command.cid, access_rights=pv.check_access(self._host, self._user)),
            ca.CreateChanResponse(data_type=data_type, data_count=channel.max_count, cid=command.cid, sid=sid),
        )

    def _clear(self, command: Any) -> None:
        channel = self._channels[self._protocol.channels[command.cid].sid]
        self._drop(channel)
        self._send(channel.protocol.clear())

    def _drop(self, channel: Channel) -> None:
        self._monitors.end_all(channel)
        del self._channels[channel.sid]
        self._database.release(channel.found.owner)

    def disconnect(self, owners: Set[Pv]) -> None:
        """These PVs are no more. What the client still says about its channels to them is on its way already."""
        for channel in [channel for channel in self._channels.values() if channel.found.owner in owners]:
            self._ended[channel.sid] = None
            if len(self._ended) > MAX_CHANNELS:
                del self._ended[next(iter(self._ended))]
            self._drop(channel)
            self._send(channel.protocol.disconnect())

    # Reading

    async def _read(self, command: Any) -> None:
        channel = self._channels[command.sid]
        status, structure, elements = await channel.read(command.data_type, self._wanted(command.data_count))
        self._send(
            channel.protocol.read(
                data=elements.data,
                data_type=command.data_type,
                data_count=elements.count,
                status=status,
                ioid=command.ioid,
                metadata=structure,
                notify=isinstance(command, ca.ReadNotifyRequest),
            )
        )

    def _wanted(self, count: int) -> int | None:
        """0 is "as many as there are", which old clients cannot mean."""
        return None if count == 0 and self._protocol.protocol_version >= ca.DEFAULT_PROTOCOL_VERSION else count

    # Writing

    async def _write(self, command: Any) -> None:
        channel = self._channels[command.sid]
        if self._writing >= MAX_WRITES:
            self._answer(channel, command, Outcome(CAStatus.ECA_PUTFAIL, "too many writes at a time"))
            return
        write = PendingWrite(Client(self._user, self._host))
        context = contextvars.copy_context()
        context.run(pending_write.set, write)
        self._writing += 1
        self._tasks.start(self._carry_out(channel, command, write), f"write to {channel.found.pv.pvname}", context)
        await asyncio.sleep(0)
        if not write.settled.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(ACCEPT_S):
                    await write.settled.wait()

    async def _carry_out(self, channel: Channel, command: Any, write: PendingWrite) -> None:
        try:
            outcome = await carry_out(channel.found.pv, command, write.client)
        finally:
            self._writing -= 1
            write.settled.set()
        self._answer(channel, command, outcome)

    def _answer(self, channel: Channel, command: Any, outcome: Outcome) -> None:
        """As base's rsrv does: a put-callback gets its status; a plain put is only told of what went wrong."""
        if self._channels.get(command.sid) is not channel:
            return
        status = outcome.status
        if isinstance(command, ca.WriteNotifyRequest):
            self._send(
                channel.protocol.write(
                    ioid=command.ioid, data_type=command.data_type, data_count=command.data_count, status=status
                )
            )
        elif outcome is not DONE and outcome.at_once:
            message = outcome.reason.encode("ascii", "replace")[:200]
            self._send(ca.ErrorResponse(command, channel.protocol.cid, status=status, error_message=message))


def _clean(name: str) -> str:
    """Of a user or a host, as it names itself."""
    return "".join(c for c in name if c.isprintable())[:39]
