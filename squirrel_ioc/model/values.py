"""What Channel Access can carry: types, states of a read, outcomes of a write, channel meta data.

Source: EPICS base `db_access.h` (DBF_*, DBR_*), `caerr.h` (ECA_*), `alarm.h` (severity, status).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

__all__ = [
    "Dbf",
    "State",
    "WriteState",
    "Meta",
    "NO_META",
    "ELEMENT_DTYPE",
    "STRING_SIZE",
    "TEXT_SIZE",
    "EPICS_EPOCH_S",
    "NAN",
    "decode",
]

NAN: Final = math.nan
"""The one NaN object used in meta data, so that equal meta data compare equal."""

STRING_SIZE: Final = 40
"""Bytes of a DBR_STRING, the terminating NUL included."""

TEXT_SIZE: Final = 32_768
"""Bytes that a text can have in a record, the terminating NUL included (lso, SIZV)."""

EPICS_EPOCH_S: Final = 631152000
"""1990-01-01T00:00:00Z in UNIX seconds: the origin of CA time stamps."""


class Dbf(IntEnum):
    """The native type of a channel."""

    STRING = 0
    SHORT = 1
    FLOAT = 2
    ENUM = 3
    CHAR = 4
    LONG = 5
    DOUBLE = 6
    NONE = 7
    """Not known: the channel has never been connected."""


ELEMENT_DTYPE: Final = {
    Dbf.STRING: np.dtype("S40"),
    Dbf.SHORT: np.dtype("<i2"),
    Dbf.FLOAT: np.dtype("<f4"),
    Dbf.ENUM: np.dtype("<u2"),
    Dbf.CHAR: np.dtype("u1"),
    Dbf.LONG: np.dtype("<i4"),
    Dbf.DOUBLE: np.dtype("<f8"),
}
"""The layout of one element, little endian, as kept in frames and in the database."""


class State(IntEnum):
    """Why a value is there or not."""

    VALUE = 0
    NOT_READ = 1
    DISCONNECTED = 2
    TIMEOUT = 3
    NO_READ_ACCESS = 4
    ERROR = 5
    IOC_OPEN = 6
    NO_WORKER = 7
    """No worker of its area has answered."""
    CUT = 8
    """A text that is longer than a DBR_STRING, and its IOC does not give the whole of it."""
    INEXACT = 9
    """An integer that Channel Access cannot carry: no double is equal to it."""
    AWAY = 10
    """Without a value, and known to be away: on the list PVS:AWAY."""

    @property
    def reason(self) -> str:
        """The state in words."""
        return _STATE_REASON[self]


_STATE_REASON: Final = {
    State.VALUE: "ok",
    State.NOT_READ: "not read",
    State.DISCONNECTED: "disconnected",
    State.TIMEOUT: "no answer in time",
    State.NO_READ_ACCESS: "no read access",
    State.ERROR: "read refused by the IOC",
    State.IOC_OPEN: "skipped: its IOC did not answer before",
    State.NO_WORKER: "no worker of its area answers",
    State.CUT: "its text is cut at 39 characters",
    State.AWAY: "known to be away",
    State.INEXACT: "an integer beyond 2^53, which comes inexact over Channel Access",
}


class WriteState(IntEnum):
    """How the write of one PV ended."""

    DONE = 0
    """The IOC has confirmed completion (put-callback)."""
    NOT_ISSUED = 1
    """Never sent: aborted before, or the job stopped."""
    DISCONNECTED = 2
    """Was not connected: not sent."""
    TIMEOUT = 3
    """Sent, and no completion in time: it may still take effect."""
    NO_WRITE_ACCESS = 4
    REFUSED = 5
    """The IOC answered with an error."""
    IOC_OPEN = 6
    """Not sent: its IOC is known not to answer."""
    BUSY = 7
    """Not sent: an earlier write of the PV, which timed out, has still not completed."""
    NO_WORKER = 8
    """Not sent: no worker of its area has answered."""
    LOST = 9
    """The worker that was to send it does not answer any more: it may have been sent, and take effect."""
    DROPPED = 10
    """Sent, and the connection was lost before it completed: it may have taken effect."""
    TOO_LONG = 11
    """Not sent: the PV does not take a text of this length over Channel Access."""

    @property
    def reason(self) -> str:
        """The outcome in words."""
        return _WRITE_REASON[self]


_WRITE_REASON: Final = {
    WriteState.DONE: "written",
    WriteState.NOT_ISSUED: "not written: stopped before",
    WriteState.DISCONNECTED: "disconnected",
    WriteState.TIMEOUT: "no completion in time; it may still take effect",
    WriteState.NO_WRITE_ACCESS: "no write access",
    WriteState.REFUSED: "write refused by the IOC",
    WriteState.IOC_OPEN: "skipped: its IOC did not answer before",
    WriteState.BUSY: "not written: an earlier write has not completed",
    WriteState.NO_WORKER: "not written: no worker of its area answers",
    WriteState.LOST: "its worker does not answer any more; it may have been written",
    WriteState.DROPPED: "disconnected before completion; it may have taken effect",
    WriteState.TOO_LONG: "its text does not fit: the PV takes no text of this length",
}


def decode(raw: bytes) -> str:
    """The text of a CA string, to its NUL if it has one. CA strings are bytes: UTF-8 where they are, else Latin-1."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Meta:
    """What a channel says of itself (DBR_CTRL_*), apart from its value. Immutable, shared by many channels.

    `count` is the channel's maximum element count. `limits` are upper and lower display, upper alarm, upper
    warning, lower warning, lower alarm, upper and lower control limit, in `units`; NaN where none.
    """

    dbf: Dbf
    count: int
    units: str = ""
    precision: int = 0
    limits: tuple[float, float, float, float, float, float, float, float] = (0.0,) * 8
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(x != x for x in self.limits):
            clean = tuple(NAN if x != x else x for x in self.limits)
            object.__setattr__(self, "limits", clean)


NO_META: Final = Meta(Dbf.NONE, 0)
"""Stands where a channel was never connected."""
