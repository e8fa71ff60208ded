"""The monitors of one client."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import caproto as ca
from caproto import CAStatus

from squirrel_ioc.ioc.kinds.wire import ConversionError, Elements
from squirrel_ioc.ioc.protocol.bounds import MAX_MONITORS, Bounds
from squirrel_ioc.ioc.protocol.channel import Channel, Subscription
from squirrel_ioc.ioc.protocol.outbox import Outbox

__all__ = ["MAX_SUBSCRIPTIONS", "Monitors"]

MAX_SUBSCRIPTIONS: Final = 40_000
"""Of one client; what is beyond is refused."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Added:
    """What caproto keeps of a monitor."""

    sid: int
    data_type: Any
    data_count: int
    subscriptionid: int


class Monitors:
    """Makes updates into messages, in the order they come. `protocol` is caproto's state of the circuit."""

    def __init__(self, protocol: Any, outbox: Outbox, bounds: Bounds) -> None:
        self._protocol = protocol
        self._bounds = bounds
        self._outbox = outbox
        self._all: dict[int, Subscription] = {}
        self._paused = False
        self._missed: dict[Subscription, None] = {}

    def has(self, subscription_id: int) -> bool:
        """Whether there is such a monitor."""
        return subscription_id in self._all

    def add(self, channel: Channel, command: Any) -> None:
        """Start a monitor: its first update is the present value."""
        if command.subscriptionid in self._all:
            raise ValueError(f"monitor {command.subscriptionid} exists already")
        if (status := self._refusal(channel, command)) is not None:
            refused = ca.ErrorResponse(command, channel.protocol.cid, status=status, error_message=b"monitor refused")
            self._outbox.reply([bytes(refused)])
            del self._protocol.event_add_commands[command.subscriptionid]
            return
        subscription = Subscription(self, channel, command)
        # The message itself would keep all the bytes that came with it.
        self._protocol.event_add_commands[subscription.id] = _Added(
            channel.sid, command.data_type, command.data_count, subscription.id
        )
        self._bounds.monitors += 1
        self._all[subscription.id] = channel.subscriptions[subscription.id] = subscription
        channel.found.pv.subscribers[subscription] = None
        self._send_present(subscription)

    def _refusal(self, channel: Channel, command: Any) -> Any:
        if (refusal := channel.refusal(command.data_type, command.data_count)) is not None:
            return refusal
        if len(self._all) >= MAX_SUBSCRIPTIONS or self._bounds.monitors >= MAX_MONITORS:
            return CAStatus.ECA_ALLOCMEM
        return None

    def _send_present(self, subscription: Subscription) -> None:
        try:
            structure, elements = subscription.pv.encode(subscription.data_type, subscription.long_string)
        except ConversionError as error:
            log.debug("monitor of %s: %s", subscription.pv.pvname, error)
            self._outbox.reply(subscription.failure())
        else:
            subscription.update(structure, elements)

    def _present(self, subscription: Subscription) -> list[Any] | None:
        """The message of the present value; None when it has become one that is not to be had in this type."""
        try:
            value = subscription.pv.encode(subscription.data_type, subscription.long_string)
            return subscription.response(*value)
        except ConversionError as error:
            log.debug("monitor of %s: %s", subscription.pv.pvname, error)
            return None

    def send_update(self, subscription: Subscription, structure: Any, elements: Elements) -> None:
        """Queue an update, unless the client has asked for silence: then it gets the newest one afterwards."""
        if self._paused:
            self._missed[subscription] = None
            return
        if self._outbox.full:
            self._outbox.update_later(subscription, lambda: self._present(subscription))
            return
        try:
            buffers = subscription.response(structure, elements)
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
        if self._all.pop(subscription.id, None) is not None:
            self._bounds.monitors -= 1
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
