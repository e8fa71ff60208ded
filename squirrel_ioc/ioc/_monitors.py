"""The monitors of one client."""

from __future__ import annotations

import logging
from typing import Any, Final

import caproto as ca
from caproto import CAStatus

from squirrel_ioc.ioc._channel import Channel, Subscription
from squirrel_ioc.ioc._outbox import Outbox
from squirrel_ioc.ioc._wire import ConversionError, Elements

__all__ = ["MAX_SUBSCRIPTIONS", "Monitors"]

MAX_SUBSCRIPTIONS: Final = 40_000
"""Of one client; what is beyond is refused."""

log = logging.getLogger(__name__)


class Monitors:
    """Makes updates into messages, in the order they come. `protocol` is caproto's state of the circuit."""

    def __init__(self, protocol: Any, outbox: Outbox) -> None:
        self._protocol = protocol
        self._outbox = outbox
        self._all: dict[int, Subscription] = {}
        self._paused = False
        self._missed: dict[Subscription, None] = {}

    def add(self, channel: Channel, command: Any) -> None:
        """Start a monitor: its first update is the present value."""
        if command.subscriptionid in self._all:
            raise ValueError(f"monitor {command.subscriptionid} exists already")
        if len(self._all) >= MAX_SUBSCRIPTIONS or command.data_count > channel.max_count:
            status = CAStatus.ECA_BADCOUNT if command.data_count > channel.max_count else CAStatus.ECA_ALLOCMEM
            refused = ca.ErrorResponse(command, channel.protocol.cid, status=status, error_message=b"monitor refused")
            self._outbox.reply(self._protocol.send(refused))
            return
        subscription = Subscription(self, channel, command)
        self._all[subscription.id] = channel.subscriptions[subscription.id] = subscription
        channel.found.pv.subscribers[subscription] = None
        self._send_present(subscription)

    def _send_present(self, subscription: Subscription) -> None:
        try:
            structure, elements = subscription.pv.encode(subscription.data_type, subscription.long_string)
        except ConversionError as error:
            log.debug("monitor of %s: %s", subscription.pv.pvname, error)
            self._outbox.reply(self._protocol.send(subscription.failure()))
        else:
            subscription.update(structure, elements)

    def send_update(self, subscription: Subscription, structure: Any, elements: Elements) -> None:
        """Queue an update, unless the client has asked for silence: then it gets the newest one afterwards."""
        if self._paused:
            self._missed[subscription] = None
            return
        try:
            buffers = self._protocol.send(subscription.response(structure, elements))
        except Exception:  # one client's trouble is not to keep the value from the others
            log.exception("a monitor of %s ends", subscription.pv.pvname)
            self.end(subscription)
        else:
            self._outbox.update(subscription, buffers, subscription.pv.backlog)

    def cancel(self, command: Any) -> None:
        """A client wants no more of this."""
        subscription = self._all.get(command.subscriptionid)
        if subscription is not None:
            self.end(subscription)
            ended = subscription.channel.protocol.unsubscribe(
                subscription.id, data_type=command.data_type, data_count=subscription.count
            )
            self._outbox.reply(self._protocol.send(ended))

    def end(self, subscription: Subscription) -> None:
        """Send nothing more, not even what is queued."""
        self._all.pop(subscription.id, None)
        subscription.channel.subscriptions.pop(subscription.id, None)
        subscription.pv.subscribers.pop(subscription, None)
        self._missed.pop(subscription, None)
        self._outbox.forget(subscription)

    def end_all(self, channel: Channel) -> None:
        """The channel is closed."""
        for subscription in list(channel.subscriptions.values()):
            self._protocol.event_add_commands.pop(subscription.id, None)
            self.end(subscription)

    def pause(self, command: Any) -> None:
        """The client cannot keep up (CA_PROTO_EVENTS_OFF)."""
        self._paused = True
        for subscription in self._all.values():
            if self._outbox.forget(subscription):
                self._missed[subscription] = None

    def resume(self, command: Any) -> None:
        """The client has caught up: it gets the present value of what it has missed."""
        self._paused = False
        missed, self._missed = self._missed, {}
        for subscription in missed:
            self._send_present(subscription)
