"""PVs with one value: whole numbers, numbers, states, short strings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from caproto import AlarmSeverity, AlarmStatus, ChannelType

from squirrel_ioc.ioc.kinds.parse import parse_index, parse_number, parse_text, parse_whole
from squirrel_ioc.ioc.kinds.pv import NO_ALARM, Alarm, Pv
from squirrel_ioc.ioc.kinds.wire import ConversionError, Elements, cut_utf8, encode_numbers, encode_strings, encode_text
from squirrel_ioc.model.values import STRING_SIZE

__all__ = ["Binary", "Byte", "Choice", "Double", "Integer", "Short", "String"]

MINOR: Final = AlarmSeverity.MINOR_ALARM


class Integer(Pv):
    """DBR_LONG. With `alarm_above`, larger values are in alarm HIGH/MINOR; with `invalid_below`, smaller ones are
    UDF/INVALID. `low` and `high` bound what is written."""

    data_type = ChannelType.LONG
    default_value = 0
    records: ClassVar[tuple[str, str]] = ("longin", "longout")

    def __init__(
        self,
        *,
        low: int = -(2**31),
        high: int = 2**31 - 1,
        alarm_above: int | None = None,
        invalid_below: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.low, self.high, self.alarm_above, self.invalid_below = low, high, alarm_above, invalid_below
        limits = [0.0] * 8
        if kwargs.get("writable"):
            limits[0] = limits[6] = high
            limits[1] = limits[7] = low
        if alarm_above is not None:
            limits[3] = alarm_above + 1
        super().__init__(limits=tuple(limits), **kwargs)

    def parse(self, data: Any, native: Any) -> int:
        """A whole number within the limits."""
        return parse_whole(data, native, self.low, self.high)

    def elements(self, native: Any, long_string: bool) -> Elements:
        """One number."""
        return encode_numbers([self.value], native)

    def fitted(self, value: Any) -> int:
        """Within 32 bits: a counter that runs over stays at the end."""
        return max(-(2**31), min(2**31 - 1, int(value)))

    def alarm_of(self, value: Any) -> Alarm:
        """HIGH above the limit, UDF where there is no value."""
        if self.alarm_above is not None and value > self.alarm_above:
            return AlarmStatus.HIGH, MINOR
        if self.invalid_below is not None and value < self.invalid_below:
            return AlarmStatus.UDF, AlarmSeverity.INVALID_ALARM
        return NO_ALARM


class Short(Integer):
    """DBR_SHORT: record fields."""

    data_type = ChannelType.INT


class Byte(Integer):
    """DBR_CHAR with one element: record fields."""

    data_type = ChannelType.CHAR

    def fitted(self, value: Any) -> int:
        """Eight bits."""
        return int(value) & 0xFF


class Double(Pv):
    """DBR_DOUBLE."""

    data_type = ChannelType.DOUBLE
    default_value = 0.0
    records: ClassVar[tuple[str, str]] = ("ai", "ao")

    def __init__(self, *, low: float = -math.inf, high: float = math.inf, **kwargs: Any) -> None:
        self.low, self.high = low, high
        bounds = [x if math.isfinite(x) else 0.0 for x in (high, low)]
        super().__init__(limits=(*bounds, 0.0, 0.0, 0.0, 0.0, *bounds), **kwargs)

    def parse(self, data: Any, native: Any) -> float:
        """A finite number within the limits."""
        return parse_number(data, native, self.low, self.high)

    def elements(self, native: Any, long_string: bool) -> Elements:
        """One number."""
        return encode_numbers([float(self.value)], native, self.prec)

    def fitted(self, value: Any) -> float:
        """As float."""
        return float(value)

    def same(self, old: float, new: float) -> bool:
        """NaN is as NaN."""
        return old == new or (old != old and new != new)


class Choice(Pv):
    """DBR_ENUM; the value is the index. `alarms` gives states a severity; the status is then STATE."""

    data_type = ChannelType.ENUM
    default_value = 0
    records: ClassVar[tuple[str, str]] = ("mbbi", "mbbo")

    def __init__(
        self, *, states: tuple[str, ...], alarms: Mapping[int, AlarmSeverity] | None = None, **kwargs: Any
    ) -> None:
        self.states = states
        self.alarms = dict(alarms or {})
        super().__init__(**kwargs)

    def labels(self) -> tuple[str, ...]:
        """The labels of the states."""
        return self.states

    @property
    def shown(self) -> str:
        """The label of the state it is in."""
        return self.states[self.value]

    def parse(self, data: Any, native: Any) -> int:
        """A state, by label or index."""
        return parse_index(data, native, self.states)

    def elements(self, native: Any, long_string: bool) -> Elements:
        """The label or the index."""
        if native == ChannelType.STRING:
            return encode_strings([self.shown])
        return encode_numbers([self.value], native)

    def fitted(self, value: Any) -> int:
        """As index."""
        return int(value)

    def alarm_of(self, value: Any) -> Alarm:
        """The severity of the state."""
        severity = self.alarms.get(int(value), AlarmSeverity.NO_ALARM)
        return (AlarmStatus.STATE, severity) if severity else NO_ALARM


class Binary(Choice):
    """A Choice of two, as bi and bo are."""

    records: ClassVar[tuple[str, str]] = ("bi", "bo")


class String(Pv):
    """DBR_STRING, cut at 39 bytes. With the `$` suffix it is read as characters."""

    data_type = ChannelType.STRING
    default_value = ""
    records: ClassVar[tuple[str, str]] = ("stringin", "stringout")
    long_string_max_length = STRING_SIZE

    def parse(self, data: Any, native: Any) -> str:
        """Text that fits."""
        return parse_text(data, native, STRING_SIZE - 1)

    def elements(self, native: Any, long_string: bool) -> Elements:
        """The text, or the number that it spells."""
        if long_string:
            return encode_text(self.value, STRING_SIZE)
        if native == ChannelType.STRING:
            return encode_strings([self.value])
        try:
            return encode_numbers([float(self.value)], native)
        except ValueError:
            raise ConversionError(f"{self.label} is {self.value!r}, no number") from None

    def fitted(self, value: Any) -> str:
        """Cut at 39 bytes, no character broken."""
        return cut_utf8(str(value).encode(), STRING_SIZE - 1).decode()
