"""How libca lays out what it reads: DBR_TIME_* and DBR_CTRL_* as numpy structures, by native type.

Source: EPICS base `db_access.h`. In every one of them `status` comes first.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, Dbf

__all__ = [
    "CTRL_DTYPE",
    "DBR_CTRL",
    "DBR_TIME",
    "HEADER_DTYPE",
    "NOT_ANSWERED",
    "TIME_DTYPE",
    "VALUE_OFFSET",
]

NOT_ANSWERED: Final = -1
"""Stands in `status` until the answer overwrites it: an alarm status is never negative."""

DBR_TIME: Final = 14
"""Native type + this = DBR_TIME_*."""

DBR_CTRL: Final = 28
"""Native type + this = DBR_CTRL_*."""

_ALARM = [("status", "<i2"), ("severity", "<i2")]
_TIME = [*_ALARM, ("seconds", "<u4"), ("nanoseconds", "<u4")]
_TIME_PADDING = {Dbf.SHORT: 2, Dbf.ENUM: 2, Dbf.CHAR: 3, Dbf.DOUBLE: 4}

_LIMITS = (
    "upper_display",
    "lower_display",
    "upper_alarm",
    "upper_warning",
    "lower_warning",
    "lower_alarm",
    "upper_control",
    "lower_control",
)


def _time(dbf: Dbf) -> np.dtype[np.void]:
    padding = _TIME_PADDING.get(dbf, 0)
    fields = [*_TIME, *([("padding", f"V{padding}")] if padding else []), ("value", ELEMENT_DTYPE[dbf])]
    return np.dtype(fields)


def _ctrl(dbf: Dbf) -> np.dtype[np.void]:
    value = ELEMENT_DTYPE[dbf]
    if dbf is Dbf.STRING:
        return np.dtype([*_ALARM, ("value", value)])
    if dbf is Dbf.ENUM:
        return np.dtype([*_ALARM, ("labels", "<i2"), ("label", "S26", (16,)), ("value", value)])
    precision = [("precision", "<i2"), ("padding", "V2")] if dbf in (Dbf.FLOAT, Dbf.DOUBLE) else []
    padding = [("padding", "V1")] if dbf is Dbf.CHAR else []
    return np.dtype(
        [*_ALARM, *precision, ("units", "S8"), ("limits", value, (len(_LIMITS),)), *padding, ("value", value)]
    )


_NATIVE: list[Dbf] = [dbf for dbf in Dbf if dbf is not Dbf.NONE]

HEADER_DTYPE: Final = np.dtype(_TIME)
"""What DBR_TIME_* begins with."""

TIME_DTYPE: Final[dict[Dbf, np.dtype[np.void]]] = {dbf: _time(dbf) for dbf in _NATIVE}
"""DBR_TIME_* of one element."""

CTRL_DTYPE: Final[dict[Dbf, np.dtype[np.void]]] = {dbf: _ctrl(dbf) for dbf in _NATIVE}
"""DBR_CTRL_* of one element; limits in the order of `Meta.limits`."""

VALUE_OFFSET: Final[dict[Dbf, int]] = {
    dbf: dtype.itemsize - ELEMENT_DTYPE[dbf].itemsize for dbf, dtype in TIME_DTYPE.items()
}
"""Where the elements begin in DBR_TIME_*."""

assert ELEMENT_DTYPE[Dbf.STRING].itemsize == STRING_SIZE  # noqa: S101 - the layouts above stand on it
