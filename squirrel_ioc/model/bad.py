"""Values that were bad when they were read: what the record itself did not vouch for.

Source: EPICS base `alarm.h`; `recGbl.c` and the record types for who sets which status.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.frame import Frame

__all__ = ["alarm_text", "bad_rows"]

_INVALID: Final = 3
_UDF: Final = 17
_BY_LIMIT: Final = (3, 4, 5, 6, 7, 8)
"""HIHI, HIGH, LOLO, LOW, STATE, COS: the value is as it should be, and somebody has called it INVALID."""

_OF_VALUE: Final = re.compile(r"[^.{]+(\.VAL\$?)?(\{.*)?", re.DOTALL)
"""A record's alarm is one of its value; other fields are what they are."""

_SEVERITIES: Final = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
_STATUSES: Final = (
    *("NO_ALARM", "READ", "WRITE", "HIHI", "HIGH", "LOLO", "LOW", "STATE", "COS", "COMM", "TIMEOUT", "HWLIMIT"),
    *("CALC", "SCAN", "LINK", "SOFT", "BAD_SUB", "UDF", "DISABLE", "SIMM", "READ_ACCESS", "WRITE_ACCESS"),
)


def bad_rows(frame: Frame) -> NDArray[np.intp]:
    """The rows whose value was UDF, or INVALID and not because of a limit; ascending.

    UDF without a severity is good: a record that has its value from the database file or from autosave, and was never
    processed.
    """
    status, severity = frame.status, frame.severity
    invalid = (severity >= _INVALID) & ~np.isin(status, _BY_LIMIT)
    rows = np.flatnonzero(frame.valid & (invalid | ((status == _UDF) & (severity > 0))))
    if not len(rows):
        return rows
    names = frame.channels.array[rows].tolist()
    of_value = np.fromiter((_OF_VALUE.fullmatch(name) is not None for name in names), bool, len(rows))
    return np.compress(of_value, rows)


def alarm_text(frame: Frame, row: int) -> str:
    """Severity and status, as `caget -a` shows them."""
    return f"{_word(_SEVERITIES, int(frame.severity[row]))} ({_word(_STATUSES, int(frame.status[row]))})"


def _word(words: tuple[str, ...], index: int) -> str:
    return words[index] if 0 <= index < len(words) else str(index)
