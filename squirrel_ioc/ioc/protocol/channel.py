"""A client's channel to a PV, and its monitors."""

from __future__ import annotations

import copy
import logging
from ctypes import sizeof
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
from caproto import DBR_TYPES, CAStatus, ChannelType, native_type

from squirrel_ioc.ioc.kinds.database import Found
from squirrel_ioc.ioc.kinds.pv import Pv, now
from squirrel_ioc.ioc.kinds.wire import ConversionError, Elements
from squirrel_ioc.ioc.protocol.answers import EVENT_ADD, answer

__all__ = ["Channel", "Subscription"]

log = logging.getLogger(__name__)

_PAD = 8

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Of elements that a client asks for by number: the longest text as DOUBLE, but not as as many strings."""


class Sender(Protocol):
    """The monitors of a client, as one of them sees it."""

    def send_update(self, subscription: Subscription, structure: Any, elements: Elements) -> None:
        """Queue an update."""
        ...


class Channel:
    """A channel: caproto's, which knows the state of the protocol, and the PV."""

    def __init__(self, protocol: Any, found: Found, sid: int) -> None:
        self.protocol = protocol
        self.found = found
        self.sid = sid
        self.filter = protocol.channel_filter
        self.subscriptions: dict[int, Subscription] = {}

    @property
    def max_count(self) -> int:
        """Elements the client has been told of."""
        pv = self.found.pv
        return int(pv.long_string_max_length if self.found.long_string else pv.max_length)

    def refusal(self, data_type: Any, count: int) -> Any:
        """The status for a client that asks for too many elements; None when it can have them."""
        if count > self.max_count:
            return CAStatus.ECA_BADCOUNT
        too_long = count * sizeof(DBR_TYPES[native_type(data_type)]) > MAX_ANSWER_BYTES
        return CAStatus.ECA_TOLARGE if too_long else None

    async def read(self, data_type: Any, count: int | None) -> tuple[Any, Any, Elements]:
        """Status, structure and elements for a client that asks for `count` of them, or for all."""
        if count is not None and (refusal := self.refusal(data_type, count)) is not None:
            return refusal, None, Elements(b"", 0, 0)
        try:
            structure, elements = await self.found.pv.read(data_type, self.found.long_string)
        except ConversionError as error:
            log.debug("read of %s: %s", self.found.pv.pvname, error)
            return CAStatus.ECA_GETFAIL, None, Elements(b"", 0, 0)
        elements = self.picked(elements)
        return CAStatus.ECA_NORMAL, self.stamped(structure), elements if count is None else elements.sized(count)

    def picked(self, elements: Elements) -> Elements:
        """Those that the `arr` filter of the channel wants."""
        pick = self.filter.arr
        return elements if pick is None else elements.picked(pick.s, pick.e, pick.i)

    def stamped(self, structure: Any) -> Any:
        """With the time of this moment, when the channel has the `ts` filter."""
        if not self.filter.ts or not hasattr(structure, "stamp"):
            return structure
        structure = copy.copy(structure)
        structure.stamp = now()
        return structure


class Subscription:
    """A monitor: what a PV calls when it has changed."""

    def __init__(self, sender: Sender, channel: Channel, command: Any) -> None:
        self._sender = sender
        self.channel = channel
        self.id: int = command.subscriptionid
        self.data_type = command.data_type
        self.count: int = command.data_count
        self.mask = int(command.mask)
        self.long_string = channel.found.long_string
        self._last: float | None = None

    @property
    def pv(self) -> Pv:
        """The PV that is monitored."""
        return self.channel.found.pv

    def update(self, structure: Any, elements: Elements) -> None:
        """Send this to the client, as its filters and its element count want it."""
        if not self._outside_deadband(elements):
            return
        self._sender.send_update(self, structure, elements)

    def response(self, structure: Any, elements: Elements) -> list[Any]:
        """The message of an update."""
        elements = self.channel.picked(elements)
        # A client that asks for a number of elements gets that number.
        if self.count:
            elements = elements.sized(self.count)
        if structure is None and not elements.data and not elements.zeros:
            # libca takes an update without payload for the end of the subscription
            elements = replace(elements, zeros=_PAD)
        return self._message(self.channel.stamped(structure), elements, CAStatus.ECA_NORMAL)

    def failure(self) -> list[Any]:
        """The message of a value that is not to be had in the type the client wants."""
        count = self.count or 1
        structure = None if self.data_type <= ChannelType.DOUBLE else DBR_TYPES[self.data_type]()
        return self._message(structure, Elements(b"", count, 0, _PAD * count), CAStatus.ECA_GETFAIL)

    def _message(self, structure: Any, elements: Elements, status: CAStatus) -> list[Any]:
        return answer(EVENT_ADD, self.data_type, structure, elements, status, self.id)

    def _outside_deadband(self, elements: Elements) -> bool:
        """The `dbnd` channel filter: of scalars, and relative in percent."""
        deadband = self.channel.filter.dbnd
        if deadband is None or elements.count != 1 or self.data_type > ChannelType.CTRL_DOUBLE:
            return True
        native = native_type(self.data_type)
        if native == ChannelType.STRING:
            return True
        value = float(elements.numbers(native)[0])
        last = self._last
        if last is not None:
            limit = deadband.d if deadband.m != "rel" else abs(last) * deadband.d / 100.0
            if not (abs(value - last) > limit or np.isnan(value) != np.isnan(last)):
                return False
        self._last = value
        return True
