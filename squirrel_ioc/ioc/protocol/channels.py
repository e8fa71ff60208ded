"""The channels of one client: how they are made, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Set
from contextlib import suppress
from typing import Any, Final

import caproto as ca
from caproto import ChannelType

from squirrel_ioc.ioc.kinds.database import Database, Found
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.protocol import bounds as _bounds
from squirrel_ioc.ioc.protocol.bounds import Bounds
from squirrel_ioc.ioc.protocol.channel import Channel
from squirrel_ioc.ioc.protocol.client import Client
from squirrel_ioc.ioc.protocol.monitors import Monitors
from squirrel_ioc.ioc.protocol.outbox import Outbox
from squirrel_ioc.ioc.protocol.pending_pv import Waiting

__all__ = ["Channels", "MAX_CHANNELS", "checked"]

MAX_CHANNELS: Final = 20_000
"""Of one client."""


def checked(protocol: Any, command: Any) -> None:
    """Hold a command against the state of the circuit. Raises ValueError for one that does not fit."""
    try:
        protocol.process_command(command)
    except Exception as error:  # caproto has many names for it, KeyError among them
        raise ValueError(f"{type(command).__name__}: {error}") from error


class Channels(dict[int, Channel]):
    """Channels by the number that the server has given them. `broken` is told of what a client does wrong later on."""

    def __init__(
        self,
        protocol: Any,
        outbox: Outbox,
        database: Database,
        monitors: Monitors,
        bounds: Bounds,
        broken: Callable[[ValueError], None],
    ) -> None:
        super().__init__()
        self._protocol = protocol
        self._outbox = outbox
        self._database = database
        self._monitors = monitors
        self._bounds = bounds
        self._broken = broken
        self._ended: dict[int, None] = {}
        self._awaited = 0
        self._closed = False

    def has_ended(self, sid: int | None) -> bool:
        """Whether this was a channel that the server has ended."""
        return sid in self._ended

    def create(self, command: Any, client: Callable[[], Client]) -> None:
        """Open a channel, or say that there is none. Raises ValueError."""
        found = None
        if len(self) + self._awaited < MAX_CHANNELS and self._bounds.channels < _bounds.MAX_CHANNELS:
            with suppress(KeyError):
                found = self._database.find(command.name)
        if found is None:
            self._create_failed(command)
        elif found.owner.waiting is not None:
            self._create_later(command, client, found.owner, found.owner.waiting)
        else:
            self._open(command, found, client())

    def _create_failed(self, command: Any) -> None:
        # Past the state machine, which would keep the channel that is not there.
        self._outbox.reply([bytes(ca.CreateChFailResponse(command.cid))])

    def _create_later(self, command: Any, client: Callable[[], Client], owner: Pv, waiting: Waiting) -> None:
        """When it is known what the PV looks like. Meanwhile the client is served on its other channels."""
        command = ca.CreateChanRequest(command.name, command.cid, command.version)  # without what came with it

        def then(good: bool) -> None:
            self._count_awaited(-1)
            if good and not self._closed:
                try:
                    self.create(command, client)
                except ValueError as error:
                    self._broken(error)
            elif not self._closed:
                self._create_failed(command)
            self._database.release(owner)

        self._count_awaited(1)
        self._database.hold(owner)
        waiting.then(then)

    def _count_awaited(self, change: int) -> None:
        self._awaited += change
        self._bounds.channels += change

    def _open(self, command: Any, found: Found, client: Client) -> None:
        checked(self._protocol, command)
        pv = found.pv
        sid = self._protocol.new_channel_id()
        data_type = ChannelType.CHAR if found.long_string else pv.data_type
        channel = self[sid] = Channel(self._protocol.channels[command.cid], found, sid)
        self._bounds.channels += 1
        self._database.hold(found.owner)
        self._send(
            ca.AccessRightsResponse(cid=command.cid, access_rights=pv.check_access(client.host, client.user)),
            ca.CreateChanResponse(data_type=data_type, data_count=channel.max_count, cid=command.cid, sid=sid),
        )

    def clear_one(self, command: Any) -> None:
        """The client closes a channel. Raises ValueError for the number of another one."""
        channel = self._of(command.cid)
        self._drop(channel)
        self._send(channel.protocol.clear())

    def _of(self, cid: int) -> Channel:
        return self[self._protocol.channels[cid].sid]

    def _drop(self, channel: Channel) -> None:
        self._monitors.end_all(channel)
        del self[channel.sid]
        self._bounds.channels -= 1
        self._database.release(channel.found.owner)

    def disconnect(self, owners: Set[Pv]) -> None:
        """These PVs are no more. What the client still says about its channels to them is on its way already."""
        for channel in [channel for channel in self.values() if channel.found.owner in owners]:
            self._ended[channel.sid] = None
            if len(self._ended) > MAX_CHANNELS:
                del self._ended[next(iter(self._ended))]
            self._drop(channel)
            self._send(channel.protocol.disconnect())

    def close(self) -> None:
        """The client has gone."""
        self._closed = True
        for channel in list(self.values()):
            self._drop(channel)

    def _send(self, *commands: Any) -> None:
        self._outbox.reply(self._protocol.send(*commands))
