"""The PV: a caproto `PvpropertyData` that behaves as an EPICS record does, on top of caproto's `PVGroup`.

What differs from caproto's own, and why:

- A refused write changes nothing. caproto's sets the PV's alarm to WRITE/MAJOR when a putter raises.
- `post` is a plain function, and tells clients only what has changed; the time stamp follows always. All PVs of one
  result are posted without anything in between, with one stamp.
- Subscriptions are served by their mask, and encoded once for each type that somebody wants.
- Record fields are made when they are asked for (caproto's `record=` makes 60 objects a PV).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar, Final, Protocol

from caproto import (
    DBR_TYPES,
    AccessRights,
    AlarmSeverity,
    AlarmStatus,
    ChannelType,
    SubscriptionType,
    TimeStamp,
    native_type,
)
from caproto.server import PvpropertyData

from squirrel_ioc.errors import RefusedError, SquirrelError
from squirrel_ioc.ioc.kinds.wire import NO_LIMITS, ConversionError, Elements, Limits, metadata
from squirrel_ioc.ioc.protocol.client import Client, FailedError, PendingWrite, pending_write
from squirrel_ioc.ioc.protocol.pending_pv import Waiting
from squirrel_ioc.model.values import EPICS_EPOCH_S

__all__ = ["NO_ALARM", "Alarm", "Pv", "ReadOnlyError", "Subscriber", "now", "stamp_of"]

Alarm = tuple[AlarmStatus, AlarmSeverity]
NO_ALARM: Final[Alarm] = (AlarmStatus.NO_ALARM, AlarmSeverity.NO_ALARM)

_VALUE = SubscriptionType.DBE_VALUE | SubscriptionType.DBE_LOG
_ALARM = SubscriptionType.DBE_ALARM

_KEPT_BYTES: Final = 64 * 1024
"""Of an encoding in another type than the PV's own; longer ones are made anew for everybody who asks."""


class ReadOnlyError(SquirrelError):
    """A client writes to a PV that says of itself that it cannot be written."""


class Subscriber(Protocol):
    """A client's subscription, as the PV sees it."""

    data_type: Any
    long_string: bool
    mask: int

    def update(self, structure: Any, elements: Elements) -> None:
        """Send this to the client. Must not wait."""


def stamp_of(seconds: float) -> Any:
    """A CA time stamp of UNIX seconds."""
    whole = int(seconds)
    return TimeStamp(whole - EPICS_EPOCH_S, int((seconds - whole) * 1e9))


def now() -> Any:
    """The CA time stamp of this moment."""
    return stamp_of(time.time())


class Pv(PvpropertyData):  # type: ignore[misc]  # caproto is not typed
    """A PV with a value, an alarm and a time stamp. Subclasses say what the value is.

    `writable` is what clients may; `on_put`, when set, is called with what a client has written and does the rest
    (post it, or raise RefusedError); without it the value is posted. `twins` show the same value in another form;
    `stands_for` is the PV that a write to this one is meant for. `records` are the record types, read-only and
    writable.
    """

    data_type: Any
    records: ClassVar[tuple[str, str]]
    follows: ClassVar[bool] = False
    """Whether units, limits and all else that its fields tell can change."""
    waiting: Waiting | None = None
    """While it is not known what it looks like: when it is, channels to it can be made."""
    backlog: ClassVar[int] = 16
    """Updates that wait for a slow client, a subscription; the oldest are dropped."""

    def __init__(
        self,
        *,
        writable: bool = False,
        egu: str = "",
        precision: int = 0,
        limits: Limits = NO_LIMITS,
        value: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**(kwargs | {"value": self.initial(value)}))
        self.writable = writable
        self.egu = egu
        self.prec = precision
        self.limits = limits
        self.desc: str = self.pvspec.doc or ""
        self.label: str = self.group.label(self.pvname)
        self.on_put: Callable[[Any], Awaitable[None]] | None = None
        self.twins: tuple[Pv, ...] = ()
        self.stands_for: Pv = self
        self.subscribers: dict[Subscriber, None] = {}
        self.acks = AlarmSeverity.NO_ALARM
        self.ackt = True
        self.alarm_source: Pv | None = None
        self.dependents: list[Callable[[], None]] = []
        self.fields_made: dict[str, Pv] = {}
        self._alarm_now: Alarm = self.alarm_of(self.value)
        self._encoded: dict[tuple[int, bool], tuple[Any, Elements]] = {}

    # What a subclass says

    @classmethod
    def initial(cls, value: Any) -> Any:
        """The first value, from the one declared."""
        return cls.default_value if value is None else value

    def parse(self, data: Any, native: Any) -> Any:
        """The value a client has written. Raises RefusedError."""
        raise NotImplementedError

    def elements(self, native: Any, long_string: bool) -> Elements:
        """The value as elements of a type. Raises ConversionError."""
        raise NotImplementedError

    def fitted(self, value: Any) -> Any:
        """A value of our own, made to fit."""
        return value

    def same(self, old: Any, new: Any) -> bool:
        """Whether clients see no difference."""
        return bool(old == new)

    def alarm_of(self, value: Any) -> Alarm:
        """The alarm this value stands for."""
        return NO_ALARM

    def make_twins(self) -> Iterable[Pv]:
        """The PVs that show the same value in another form."""
        return ()

    # The value

    @property
    def alarm_now(self) -> Alarm:
        """Status and severity as they stand."""
        return self._alarm_now

    @property
    def status(self) -> AlarmStatus:
        """Of the alarm."""
        return self._alarm_now[0]

    @property
    def severity(self) -> AlarmSeverity:
        """Of the alarm."""
        return self._alarm_now[1]

    @property
    def stamp(self) -> Any:
        """The time stamp of the value."""
        return self._data["timestamp"]

    @property
    def rtyp(self) -> str:
        """The record type that clients are told."""
        return self.records[self.writable]

    def post(self, value: Any, stamp: Any = None) -> None:
        """Set the value, and tell clients if it or its alarm has changed."""
        value = self.fitted(value)
        stamp = stamp or now()
        alarm = self.alarm_of(value) if self.alarm_source is None else self.alarm_source.alarm_now
        flags = 0 if self.same(self.value, value) else _VALUE
        if alarm != self._alarm_now:
            flags |= _ALARM
            self.acks = max(self.acks, alarm[1]) if self.ackt else alarm[1]
        self._alarm_now = alarm
        self._data["value"] = value
        self._data["timestamp"] = stamp
        self._changed(flags)
        for twin in self.twins:
            twin.post(value, stamp)

    def _changed(self, flags: int) -> None:
        self._encoded.clear()
        if flags:
            for subscriber in tuple(self.subscribers):
                if subscriber.mask & flags:
                    with suppress(ConversionError):  # text that is no number any more, to a monitor of numbers
                        subscriber.update(*self.encode(subscriber.data_type, subscriber.long_string))
        for follow in self.dependents:
            follow()

    def encode(self, data_type: Any, long_string: bool = False) -> tuple[Any, Elements]:
        """The structure and the elements of a DBR type. Raises ConversionError."""
        key = (int(data_type), long_string)
        if (known := self._encoded.get(key)) is None:
            known = self._encode(data_type, long_string)
            # Somebody who asks for a long array in each of 35 types is not to fill the memory with it.
            if native_type(data_type) == self.data_type or len(known[1].data) <= _KEPT_BYTES:
                self._encoded[key] = known
        return known

    def _encode(self, data_type: Any, long_string: bool) -> tuple[Any, Elements]:
        if data_type in (ChannelType.PUT_ACKS, ChannelType.PUT_ACKT):
            raise ConversionError(f"{data_type.name} can only be written")
        if data_type in (ChannelType.CLASS_NAME, ChannelType.STSACK_STRING):
            return self._special(data_type), Elements(b"", 1, 0)
        structure = metadata(
            data_type,
            status=self.status,
            severity=self.severity,
            stamp=self.stamp,
            units=self.egu,
            precision=self.prec,
            limits=self.limits,
            labels=self.labels(),
        )
        return structure, self.elements(native_type(data_type), long_string)

    def labels(self) -> tuple[str, ...]:
        """The labels of the states, where the value is one."""
        return ()

    def _special(self, data_type: Any) -> Any:
        structure = DBR_TYPES[data_type]()
        if data_type == ChannelType.CLASS_NAME:
            structure.value = self.rtyp.encode()
        else:
            structure.status, structure.severity = self.status, self.severity
            structure.ackt, structure.acks = self.ackt, self.acks
            structure.value = self.elements(ChannelType.STRING, False).sized(1).data.rstrip(b"\0")
        return structure

    # Clients

    async def read(self, data_type: Any, long_string: bool = False) -> tuple[Any, Elements]:
        """What a client gets that asks. Raises ConversionError."""
        return self.encode(data_type, long_string)

    def check_access(self, hostname: str, username: str) -> Any:
        """What a client may do."""
        return AccessRights.READ | AccessRights.WRITE if self.writable else AccessRights.READ

    async def auth_write(
        self, hostname: str, username: str, data: Any, data_type: Any, metadata: Any, **kwargs: Any
    ) -> None:
        """A client writes. Raises ReadOnlyError, RefusedError, FailedError; whatever it raises, the value stands."""
        if not self.writable:
            raise ReadOnlyError(f"{self.label} cannot be written")
        if pending_write.get(None) is None:
            pending_write.set(PendingWrite(Client(username, hostname)))
        await self.write_from_dbr(data, data_type, metadata)

    async def write_from_dbr(self, data: Any, data_type: Any, metadata: Any, **kwargs: Any) -> None:
        """A write without a look at who it is. Raises as `auth_write`."""
        if data_type in (ChannelType.PUT_ACKS, ChannelType.PUT_ACKT):
            self._acknowledge(data_type, metadata.value)
            return
        try:
            await self.put(self._parsed(data, native_type(data_type)))
        except FailedError:
            raise
        except SquirrelError as error:
            self.group.refused(self.stands_for, str(error))
            raise
        except Exception as error:
            self.group.refused(self.stands_for, f"{self.label}: internal error: {error!r}")
            raise

    def _parsed(self, data: Any, native: Any) -> Any:
        try:
            return self.parse(data, native)
        except RefusedError as error:
            raise RefusedError(f"{self.label}: {error}") from None

    async def put(self, value: Any) -> None:
        """Do what writing this value means. Raises RefusedError."""
        if self.on_put is None:
            self.post(value)
        else:
            await self.on_put(value)

    async def write(self, value: Any, **kwargs: Any) -> None:
        """caproto's way to `post`."""
        self.post(value)

    def _acknowledge(self, data_type: Any, value: int) -> None:
        if data_type == ChannelType.PUT_ACKT:
            self.ackt = bool(value)
            self.acks = self.acks if self.ackt else min(self.acks, self.severity)
        elif value >= self.acks:
            self.acks = AlarmSeverity.NO_ALARM
        self._changed(0)

    # What caproto's constructor asks for

    @property
    def alarm(self) -> None:
        """caproto's, which all PVs of a group would share, is not in use: `alarm_now` is."""
        return

    @alarm.setter
    def alarm(self, alarm: Any) -> None:
        pass

    def preprocess_value(self, value: Any) -> Any:
        """Values are as the subclasses make them."""
        return value

    def calculate_length(self, value: Any) -> int:
        """Only asked for PVs without a `max_length`: scalars."""
        return 1

    def _check_subscription_backlog_settings(self) -> None:
        """caproto warns of its own backlog, which is not in use here."""
