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
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import caproto as ca
from caproto import CAStatus, ChannelType

from squirrel_ioc.errors import RefusedError, SquirrelError
from squirrel_ioc.ioc._channel import Channel, Subscription
from squirrel_ioc.ioc._client import Client, FailedError, PendingWrite, pending_write
from squirrel_ioc.ioc._database import Database
from squirrel_ioc.ioc._outbox import Outbox
from squirrel_ioc.ioc._tasks import Tasks
from squirrel_ioc.ioc._wire import ConversionError, Elements
from squirrel_ioc.ioc.pv import ReadOnlyError

__all__ = ["Circuit"]

MAX_INCOMING_BYTES: Final = 4 * 1024 * 1024
"""Of one command. A longer one disconnects the client."""

MAX_CHANNELS: Final = 20_000
MAX_SUBSCRIPTIONS: Final = 40_000
MAX_WRITES: Final = 64
"""Of one client; what is beyond is refused."""

ACCEPT_S: Final = 0.25
"""The next command of a client waits so long for a write to be accepted or refused."""

_SLICE_S: Final = 0.005
_READ_BYTES: Final = 64 * 1024

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
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._database = database
        self._port = port
        self._tasks = writes
        self.address: tuple[str, int] = writer.get_extra_info("peername")[:2]
        self.outbox = Outbox(writer)
        self._protocol = ca.VirtualCircuit(ca.SERVER, self.address, None)
        self._protocol.our_address = writer.get_extra_info("sockname")[:2]
        self._channels: dict[int, Channel] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._host, self._user = self.address[0], "?"
        self._writing = 0
        self._closed = False
        self._paused = False
        self._missed: dict[Subscription, None] = {}
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
            ca.EventAddRequest: self._subscribe,
            ca.EventCancelRequest: self._unsubscribe,
            ca.EventsOffRequest: self._events_off,
            ca.EventsOnRequest: self._events_on,
        }

    @property
    def channel_count(self) -> int:
        """Channels the client has open."""
        return len(self._channels)

    def __str__(self) -> str:
        return f"{self._user}@{self._host} ({self.address[0]}:{self.address[1]})"

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
            log.warning("client %s does not read: disconnected", self)
        elif isinstance(error, (ca.CaprotoError, ValueError)):
            log.warning("client %s breaks the protocol: disconnected: %s", self, error)
        else:
            log.error("client %s: disconnected", self, exc_info=error)

    def _close(self) -> None:
        self._closed = True
        for channel in list(self._channels.values()):
            self._drop(channel)
        self._writer.transport.abort()

    # Commands

    async def _receive(self) -> None:
        while data := await self._reader.read(_READ_BYTES):
            commands, needed = self._protocol.recv(data)
            if needed > MAX_INCOMING_BYTES:
                raise ValueError(f"a command of {needed} bytes")
            begin = time.monotonic()
            for command in commands:
                await self._handle(command)
                if time.monotonic() - begin > _SLICE_S:  # others want to be served, too
                    await asyncio.sleep(0)
                    begin = time.monotonic()
            await self.outbox.room()

    async def _handle(self, command: Any) -> None:
        if isinstance(command, ca.CreateChanRequest):
            self._create(command)
            return
        self._protocol.process_command(command)
        handler = self._handlers.get(type(command))
        if handler is not None and (work := handler(command)) is not None:
            await work

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
        if len(self._channels) < MAX_CHANNELS:
            with suppress(KeyError):
                found = self._database.find(command.name)
        if found is None:
            # Past the state machine, which would keep the channel that is not there.
            self.outbox.reply([bytes(ca.CreateChFailResponse(command.cid))])
            return
        self._protocol.process_command(command)
        pv = found.pv
        sid = self._protocol.new_channel_id()
        data_type, count = pv.data_type, pv.max_length
        if found.long_string:
            data_type, count = ChannelType.CHAR, pv.long_string_max_length
        self._channels[sid] = Channel(self._protocol.channels[command.cid], found, sid)
        self._database.hold(found.owner)
        self._send(
            ca.AccessRightsResponse(cid=command.cid, access_rights=pv.check_access(self._host, self._user)),
            ca.CreateChanResponse(data_type=data_type, data_count=count, cid=command.cid, sid=sid),
        )

    def _clear(self, command: Any) -> None:
        channel = self._channels[command.sid]
        self._drop(channel)
        self._send(channel.protocol.clear())

    def _drop(self, channel: Channel) -> None:
        for subscription in list(channel.subscriptions.values()):
            self._protocol.event_add_commands.pop(subscription.id, None)
            self._end(subscription)
        del self._channels[channel.sid]
        self._database.release(channel.found.owner)

    # Reading

    async def _read(self, command: Any) -> None:
        channel = self._channels[command.sid]
        notify = isinstance(command, ca.ReadNotifyRequest)
        structure, elements, status = None, Elements(b"", command.data_count, 0), CAStatus.ECA_NORMAL
        try:
            structure, elements = await channel.found.pv.read(command.data_type, channel.found.long_string)
        except ConversionError as error:
            log.debug("client %s: %s", self, error)
            status = CAStatus.ECA_GETFAIL
        else:
            if (pick := channel.filter.arr) is not None:
                elements = elements.picked(pick.s, pick.e, pick.i)
            # A fixed number is what is asked for; 0 is "as many as there are", which old clients cannot mean.
            if command.data_count or self._protocol.protocol_version < ca.DEFAULT_PROTOCOL_VERSION:
                elements = elements.sized(command.data_count)
            structure = channel.stamped(structure)
        self._send(
            channel.protocol.read(
                data=elements.data,
                data_type=command.data_type,
                data_count=elements.count,
                status=status,
                ioid=command.ioid,
                metadata=structure,
                notify=notify,
            )
        )

    # Monitors

    def _subscribe(self, command: Any) -> None:
        channel = self._channels[command.sid]
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            cid = channel.protocol.cid
            self._send(ca.ErrorResponse(command, cid, status=CAStatus.ECA_ALLOCMEM, error_message=b"too many monitors"))
            return
        subscription = Subscription(self, channel, command)
        self._subscriptions[subscription.id] = channel.subscriptions[subscription.id] = subscription
        channel.found.pv.subscribers[subscription] = None
        self._update(subscription)

    def _update(self, subscription: Subscription) -> None:
        try:
            structure, elements = subscription.pv.encode(subscription.data_type, subscription.long_string)
        except ConversionError as error:
            log.debug("client %s: %s", self, error)
            subscription.pv.subscribers.pop(subscription, None)
        else:
            subscription.update(structure, elements)

    def send_update(self, subscription: Subscription, structure: Any, elements: Elements) -> None:
        """Queue an update, unless the client has asked for silence: then it gets the newest one afterwards."""
        if self._paused:
            self._missed[subscription] = None
        else:
            buffers = self._protocol.send(subscription.response(structure, elements))
            self.outbox.update(subscription, buffers, subscription.pv.backlog)

    def _unsubscribe(self, command: Any) -> None:
        subscription = self._subscriptions.get(command.subscriptionid)
        if subscription is None:
            return
        self._end(subscription)
        self._send(
            subscription.channel.protocol.unsubscribe(
                subscription.id, data_type=command.data_type, data_count=subscription.count
            )
        )

    def _end(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.id, None)
        subscription.channel.subscriptions.pop(subscription.id, None)
        subscription.pv.subscribers.pop(subscription, None)
        self._missed.pop(subscription, None)
        self.outbox.forget(subscription)

    def _events_off(self, command: Any) -> None:
        self._paused = True
        for subscription in self._subscriptions.values():
            if self.outbox.forget(subscription):
                self._missed[subscription] = None

    def _events_on(self, command: Any) -> None:
        self._paused = False
        missed, self._missed = self._missed, {}
        for subscription in missed:
            self._update(subscription)

    # Writing

    async def _write(self, command: Any) -> None:
        channel = self._channels[command.sid]
        if self._writing >= MAX_WRITES:
            self._answer(channel, command, CAStatus.ECA_PUTFAIL, "too many writes at a time")
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
        pv = channel.found.pv
        status, reason, tell = CAStatus.ECA_NORMAL, "", True
        try:
            data, metadata = _written(command)
            await pv.auth_write(self._host, self._user, data, command.data_type, metadata)
        except ReadOnlyError as error:
            status, reason = CAStatus.ECA_NOWTACCESS, str(error)
        except FailedError as error:
            status, reason, tell = CAStatus.ECA_PUTFAIL, str(error), False
        except SquirrelError as error:
            status, reason = CAStatus.ECA_PUTFAIL, str(error)
            log.info("refused %s to %s: %s", pv.pvname, write.client, error)
        except Exception as error:
            status, reason = CAStatus.ECA_PUTFAIL, f"internal error: {error!r}"
            log.exception("write to %s by %s", pv.pvname, write.client)
        finally:
            self._writing -= 1
            write.settled.set()
        self._answer(channel, command, status, reason, tell)

    def _answer(self, channel: Channel, command: Any, status: Any, reason: str, tell: bool = True) -> None:
        """As base's rsrv does: a put-callback gets its status; a plain put is only told of what went wrong at once."""
        if self._channels.get(command.sid) is not channel:
            return
        if isinstance(command, ca.WriteNotifyRequest):
            self._send(
                channel.protocol.write(
                    ioid=command.ioid, data_type=command.data_type, data_count=command.data_count, status=status
                )
            )
        elif status is not CAStatus.ECA_NORMAL and tell:
            message = reason.encode("ascii", "replace")[:200]
            self._send(ca.ErrorResponse(command, channel.protocol.cid, status=status, error_message=message))


def _written(command: Any) -> tuple[Any, Any]:
    data = None
    try:
        metadata = command.metadata
        if command.data_type not in (ChannelType.PUT_ACKS, ChannelType.PUT_ACKT):
            data = command.data
    except (ValueError, TypeError, BufferError) as error:
        raise RefusedError(f"malformed write: {error}") from None
    return data, metadata


def _clean(name: str) -> str:
    """Of a user or a host, as it names itself."""
    return "".join(c for c in name if c.isprintable())[:39]
