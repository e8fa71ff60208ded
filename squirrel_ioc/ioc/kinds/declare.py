"""How a group declares its PVs, one line each.

Every function returns a caproto `pvproperty`, which in an instance of the group is the PV; hence the types.
`name` is without the prefixes of the service and of the group; `desc` becomes `.DESC`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from caproto import AlarmSeverity
from caproto.server import pvproperty

from squirrel_ioc.ioc.kinds.arrays import MAX_NAMES, Doubles, Integers, Shorts, Strings, Text
from squirrel_ioc.ioc.kinds.command import Command
from squirrel_ioc.ioc.kinds.scalars import Binary, Choice, Double, Integer, String

__all__ = [
    "binary",
    "choice",
    "command",
    "double",
    "doubles",
    "integer",
    "integers",
    "shorts",
    "string",
    "strings",
    "text",
]

Alarms = Mapping[int, AlarmSeverity]


def integer(
    name: str,
    desc: str,
    *,
    writable: bool = False,
    low: int = -(2**31),
    high: int = 2**31 - 1,
    egu: str = "",
    alarm_above: int | None = None,
    invalid_below: int | None = None,
) -> Integer:
    """longin or longout; `alarm_above`: MINOR when larger, `invalid_below`: INVALID when smaller."""
    declared: Any = pvproperty(
        dtype=Integer,
        name=name,
        doc=desc,
        writable=writable,
        low=low,
        high=high,
        egu=egu,
        alarm_above=alarm_above,
        invalid_below=invalid_below,
    )
    return declared  # type: ignore[no-any-return]


def double(
    name: str,
    desc: str,
    *,
    writable: bool = False,
    low: float = -math.inf,
    high: float = math.inf,
    egu: str = "",
    precision: int = 3,
) -> Double:
    """ai or ao"""
    declared: Any = pvproperty(
        dtype=Double, name=name, doc=desc, writable=writable, low=low, high=high, egu=egu, precision=precision
    )
    return declared  # type: ignore[no-any-return]


def choice(
    name: str, states: tuple[str, ...], desc: str, *, writable: bool = False, alarms: Alarms | None = None
) -> Choice:
    """mbbi or mbbo"""
    declared: Any = pvproperty(dtype=Choice, name=name, doc=desc, writable=writable, states=states, alarms=alarms)
    return declared  # type: ignore[no-any-return]


def binary(
    name: str,
    states: tuple[str, str],
    desc: str,
    *,
    writable: bool = False,
    alarms: Alarms | None = None,
    value: int = 0,
) -> Binary:
    """bi or bo"""
    declared: Any = pvproperty(
        dtype=Binary, name=name, doc=desc, writable=writable, states=states, alarms=alarms, value=value
    )
    return declared  # type: ignore[no-any-return]


def command(name: str, verb: str, desc: str) -> Command:
    """bo with busy semantics"""
    declared: Any = pvproperty(dtype=Command, name=name, doc=desc, writable=True, states=("Done", verb))
    return declared  # type: ignore[no-any-return]


def string(name: str, desc: str) -> String:
    """stringin"""
    declared: Any = pvproperty(dtype=String, name=name, doc=desc)
    return declared  # type: ignore[no-any-return]


def text(name: str, length: int, desc: str, *, writable: bool = False, lines: bool = False) -> Text:
    """CHAR[length] and its `:S`"""
    declared: Any = pvproperty(dtype=Text, name=name, doc=desc, max_length=length, writable=writable, lines=lines)
    return declared  # type: ignore[no-any-return]


def strings(name: str, desc: str, *, length: int = MAX_NAMES, long: bool = True) -> Strings:
    """STRING[], and its `:LONG` where one is wanted"""
    declared: Any = pvproperty(dtype=Strings, name=name, doc=desc, max_length=length, long=long)
    return declared  # type: ignore[no-any-return]


def integers(name: str, desc: str, *, length: int) -> Integers:
    """LONG[]"""
    declared: Any = pvproperty(dtype=Integers, name=name, doc=desc, max_length=length)
    return declared  # type: ignore[no-any-return]


def shorts(name: str, desc: str, *, length: int) -> Shorts:
    """SHORT[]"""
    declared: Any = pvproperty(dtype=Shorts, name=name, doc=desc, max_length=length)
    return declared  # type: ignore[no-any-return]


def doubles(name: str, desc: str, *, length: int, egu: str = "", precision: int = 3) -> Doubles:
    """DOUBLE[]"""
    declared: Any = pvproperty(dtype=Doubles, name=name, doc=desc, max_length=length, egu=egu, precision=precision)
    return declared  # type: ignore[no-any-return]
