"""Stored values as PVs: native type and count, units, limits, labels, alarm and time stamp as they were read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from caproto import AlarmSeverity, AlarmStatus, ChannelType, TimeStamp

from squirrel_ioc.ioc.kinds.pv import Alarm, Pv
from squirrel_ioc.ioc.kinds.wire import ConversionError, Elements, Limits, cut_utf8, encode_numbers, encode_strings
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, EPICS_EPOCH_S, NO_META, STRING_SIZE, Dbf, Meta, State, decode

__all__ = ["NOTHING", "Stored", "StoredPv"]

_TYPES: Final = {
    Dbf.STRING: ChannelType.STRING,
    Dbf.SHORT: ChannelType.INT,
    Dbf.FLOAT: ChannelType.FLOAT,
    Dbf.ENUM: ChannelType.ENUM,
    Dbf.CHAR: ChannelType.CHAR,
    Dbf.LONG: ChannelType.LONG,
    Dbf.DOUBLE: ChannelType.DOUBLE,
}
_RECORDS: Final = {
    Dbf.STRING: "stringin",
    Dbf.SHORT: "longin",
    Dbf.FLOAT: "ai",
    Dbf.CHAR: "longin",
    Dbf.LONG: "longin",
    Dbf.DOUBLE: "ai",
}
_NS: Final = 1_000_000_000
_LABEL_SIZE: Final = 25
"""Bytes of a state's label that DBR_CTRL_ENUM has room for, without the NUL."""

_MAX_PRECISION: Final = 99
_UNDEFINED: Final[Alarm] = (AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM)


@dataclass(frozen=True, slots=True)
class Stored:
    """One value of a frame, or none. `reason` says why there is none; `meta` is what is known of its type then.

    `number` and `raw` are as in `Frame`, `stamp_ns` is in UNIX time, 0 without a value.
    """

    meta: Meta
    reason: str = ""
    dbf: Dbf = Dbf.NONE
    count: int = 0
    severity: int = 0
    status: int = 0
    stamp_ns: int = 0
    number: float = 0.0
    raw: bytes | None = None

    @classmethod
    def of(cls, frame: Frame, row: int) -> Stored:
        """A row of a frame."""
        meta = frame.metas[int(frame.meta[row])]
        state = State(int(frame.state[row]))
        if state is not State.VALUE:
            return cls(meta, state.reason)
        return cls(
            meta,
            "",
            Dbf(int(frame.dbf[row])),
            int(frame.count[row]),
            int(frame.severity[row]),
            int(frame.status[row]),
            int(frame.stamp[row]),
            float(frame.number[row]),
            frame.raw(row),
        )

    @property
    def kind(self) -> Dbf:
        """The native type; of what has never been connected, a number."""
        known = self.meta.dbf if self.reason else self.dbf
        return Dbf.DOUBLE if known is Dbf.NONE else known

    @property
    def is_array(self) -> bool:
        """Whether it has, or may have, more than one element."""
        return self.meta.count > 1 or (not self.reason and self.count != 1)

    @property
    def record(self) -> str:
        """The record type that such a value comes from."""
        if self.is_array:
            return "waveform"
        if self.kind is Dbf.ENUM:
            return "bi" if len(self.meta.labels) <= 2 else "mbbi"
        return _RECORDS[self.kind]

    @property
    def max_count(self) -> int:
        """The most elements it may have."""
        return max(self.meta.count, self.count, 1)

    @property
    def alarm(self) -> Alarm:
        """As it was read. UDF/INVALID without a value."""
        if self.reason:
            return _UNDEFINED
        try:
            return AlarmStatus(self.status), AlarmSeverity(self.severity)
        except ValueError:
            return _UNDEFINED

    @property
    def stamp(self) -> Any:
        """The CA time stamp; that of a record that has never been processed without a value."""
        seconds, nanoseconds = divmod(self.stamp_ns - EPICS_EPOCH_S * _NS, _NS)
        return TimeStamp(seconds, nanoseconds) if 0 <= seconds < 2**32 else TimeStamp(0, 0)

    def __int__(self) -> int:
        """As a record's raw value."""
        return 0 if self.reason or self.number != self.number else int(self.number)

    def same_value(self, other: Stored) -> bool:
        """Bit for bit, whatever alarm and stamp are."""
        return (self.reason, self.kind, self.count, self.raw) == (
            other.reason,
            other.kind,
            other.count,
            other.raw,
        ) and np.float64(self.number).tobytes() == np.float64(other.number).tobytes()


NOTHING: Final = Stored(NO_META, "not loaded")


class StoredPv(Pv):
    """A stored value. Read-only; it becomes what it is with `show`.

    Without a value it is in alarm UDF/INVALID, and NaN, 0, empty; `.DESC` says why.
    """

    default_value = NOTHING
    records: ClassVar[tuple[str, str]] = ("ai", "ai")
    long_string_max_length = STRING_SIZE
    follows: ClassVar[bool] = True

    def __init__(self, **kwargs: Any) -> None:
        self.data_type: Any = ChannelType.DOUBLE
        self.kind = Dbf.DOUBLE
        self.is_array = False
        self.record = "ai"
        self.states: tuple[str, ...] = ()
        self.alarms: dict[int, AlarmSeverity] = {}
        super().__init__(max_length=1, **kwargs)

    def fits(self, stored: Stored) -> bool:
        """Whether clients that know the present type can be shown this one."""
        if stored.reason and stored.meta.dbf is Dbf.NONE:
            return True
        same_type = (stored.record, stored.kind) == (self.record, self.kind)
        return same_type and stored.max_count <= self.max_length

    def show(self, stored: Stored, desc: str) -> None:
        """Become this value, and post it. To clients that are connected it must fit."""
        if not stored.reason or stored.meta.dbf is not Dbf.NONE:
            self._become(stored)
        self.desc = desc
        self.post(stored, stored.stamp)

    def _become(self, stored: Stored) -> None:
        meta, kind = stored.meta, stored.kind
        self.kind, self.data_type = kind, _TYPES[kind]
        self.is_array, self.record = stored.is_array, stored.record
        self._max_length = max(self.max_length, stored.max_count)
        self.states = tuple(cut_utf8(label.encode(), _LABEL_SIZE).decode() for label in meta.labels)
        if kind is Dbf.STRING and not self.is_array:
            self.long_string_max_length = max(self.long_string_max_length, len(stored.raw or b"") + 1)
        self.egu = meta.units
        self.prec = max(0, min(_MAX_PRECISION, meta.precision))
        self.limits = _limits(meta, kind)

    @property
    def rtyp(self) -> str:
        """The record type that such a value comes from."""
        return self.record

    @property
    def nord(self) -> int:
        """Valid elements."""
        return int(self.value.count)

    @property
    def ftvl(self) -> str:
        """The type of an element, as a waveform record names it."""
        return self.kind.name

    def labels(self) -> tuple[str, ...]:
        """The labels of the states, where it is an enum."""
        return self.states if self.kind is Dbf.ENUM else ()

    def same(self, old: Any, new: Any) -> bool:
        """Bit for bit."""
        return bool(old.same_value(new))

    def alarm_of(self, value: Any) -> Alarm:
        """As it was read."""
        alarm: Alarm = value.alarm
        return alarm

    def elements(self, native: Any, long_string: bool) -> Elements:
        """The value in its own type or in another, as a record would convert it."""
        stored: Stored = self.value
        if self.kind is Dbf.STRING:
            return self._strings(stored, native, long_string)
        numbers = self._numbers(stored)
        if self.kind is Dbf.ENUM and native == ChannelType.STRING:
            return encode_strings(self._label(int(i)) for i in numbers)
        return encode_numbers(numbers, native, self.prec)

    def _numbers(self, stored: Stored) -> Any:
        if stored.reason:
            floating = self.kind in (Dbf.FLOAT, Dbf.DOUBLE)
            return np.full(0 if self.is_array else 1, np.nan if floating else 0, ELEMENT_DTYPE[self.kind])
        if stored.raw is not None:
            return np.frombuffer(stored.raw, ELEMENT_DTYPE[self.kind])
        return np.array([stored.number]).astype(ELEMENT_DTYPE[self.kind])

    def _label(self, index: int) -> str:
        return self.states[index] if index < len(self.states) else str(index)

    def _strings(self, stored: Stored, native: Any, long_string: bool) -> Elements:
        # As bytes: they need not be UTF-8.
        if stored.reason:
            data = b"" if self.is_array else bytes(STRING_SIZE)
        else:
            data = stored.raw or b""
            if long_string and not self.is_array:
                text = data.split(b"\0", 1)[0][: self.long_string_max_length - 1]
                return Elements(text + b"\0", len(text) + 1, 1)
            if not self.is_array:
                data = data[: STRING_SIZE - 1].ljust(STRING_SIZE, b"\0")
        if long_string:
            text = data[:STRING_SIZE].split(b"\0", 1)[0]
            return Elements(text + b"\0", len(text) + 1, 1)
        if native == ChannelType.STRING:
            return Elements(data, len(data) // STRING_SIZE, STRING_SIZE)
        texts = [decode(data[i : i + STRING_SIZE]) for i in range(0, len(data), STRING_SIZE)]
        try:
            return encode_numbers([float(text) for text in texts], native)
        except ValueError:
            raise ConversionError(f"{self.label} is {texts[0]!r}, no number") from None


def _limits(meta: Meta, kind: Dbf) -> Limits:
    if kind in (Dbf.FLOAT, Dbf.DOUBLE):
        return meta.limits
    return tuple(limit if np.isfinite(limit) else 0.0 for limit in meta.limits)
