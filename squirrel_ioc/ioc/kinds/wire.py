"""Values on the wire: the elements of a DBR type, in network byte order, and the structure that precedes them.

Source: EPICS base `db_access.h` (the structures), `net_convert.h` (byte order), `cvtFast.c` (numbers as text).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from caproto import DBR_TYPES, ChannelType, native_type
from numpy.typing import NDArray

from squirrel_ioc.errors import SquirrelError
from squirrel_ioc.model.values import STRING_SIZE

__all__ = [
    "ConversionError",
    "Elements",
    "Limits",
    "NO_LIMITS",
    "cut_utf8",
    "encode_numbers",
    "encode_strings",
    "encode_text",
    "format_number",
    "metadata",
]

MAX_STATES: Final = 16
"""Labels that DBR_GR_ENUM has room for."""

_UNITS_SIZE: Final = 8

_DTYPE: Final[dict[Any, np.dtype[Any]]] = {
    ChannelType.INT: np.dtype(">i2"),
    ChannelType.FLOAT: np.dtype(">f4"),
    ChannelType.ENUM: np.dtype(">u2"),
    ChannelType.CHAR: np.dtype("u1"),
    ChannelType.LONG: np.dtype(">i4"),
    ChannelType.DOUBLE: np.dtype(">f8"),
}

_LIMIT_NAMES: Final = (
    "upper_disp_limit",
    "lower_disp_limit",
    "upper_alarm_limit",
    "upper_warning_limit",
    "lower_warning_limit",
    "lower_alarm_limit",
    "upper_ctrl_limit",
    "lower_ctrl_limit",
)

Limits = tuple[float, ...]
"""Eight: upper and lower display, upper alarm, upper and lower warning, lower alarm, upper and lower control limit."""

NO_LIMITS: Final[Limits] = (0.0,) * 8


class ConversionError(SquirrelError):
    """A PV has no value of the type that a client asks for."""


@dataclass(frozen=True, slots=True)
class Elements:
    """`count` elements of `size` bytes each, in network byte order: `data`, and so many `zeros` behind it."""

    data: bytes
    count: int
    size: int
    zeros: int = 0

    def sized(self, count: int) -> Elements:
        """Exactly `count` of them, zeros behind the valid ones: what a client gets that asks for a fixed number."""
        if count == self.count:
            return self
        data = self.data[: count * self.size]
        return Elements(data, count, self.size, count * self.size - len(data))

    def picked(self, start: int | None, end: int | None, step: int | None) -> Elements:
        """The elements from `start` to `end`, which is included, as the `arr` channel filter counts them."""
        stop = None if end is None or end == -1 else end + 1
        rows = np.frombuffer(self.data, np.dtype((np.void, self.size)))[start:stop:step]
        return Elements(rows.tobytes(), len(rows), self.size)

    def numbers(self, native: Any) -> NDArray[Any]:
        """The elements as numbers, to compare them."""
        numbers: NDArray[Any] = np.frombuffer(self.data, _DTYPE[native])
        return numbers


def cut_utf8(raw: bytes, limit: int) -> bytes:
    """At most `limit` bytes, no character cut in two."""
    return raw if len(raw) <= limit else raw[:limit].decode("utf-8", "ignore").encode()


def encode_numbers(values: Sequence[float] | NDArray[Any], native: Any, precision: int = 0) -> Elements:
    """Numbers as elements of any type; what does not fit an integer type is cut as a C cast would."""
    if native == ChannelType.STRING:
        return encode_strings(format_number(v, precision) for v in values)
    dtype = _DTYPE[native]
    with np.errstate(invalid="ignore", over="ignore"):
        array = np.asarray(values).astype(dtype)
    return Elements(array.tobytes(), array.size, dtype.itemsize)


def encode_strings(texts: Iterable[str]) -> Elements:
    """DBR_STRING elements, cut at 39 bytes."""
    texts = list(texts)
    limit = STRING_SIZE - 1
    try:
        # Ten times faster than a loop; PV names are ASCII.
        data = np.array(texts, f"S{limit}").astype(f"S{STRING_SIZE}").tobytes()
    except UnicodeEncodeError:
        data = b"".join(cut_utf8(t.encode(), limit).ljust(STRING_SIZE, b"\0") for t in texts)
    return Elements(data, len(texts), STRING_SIZE)


def encode_text(text: str, limit: int) -> Elements:
    """Characters, and a NUL behind them where there is room, as base sends long strings."""
    raw = text.encode()[:limit]
    data = raw + b"\0" if len(raw) < limit else raw
    return Elements(data, len(data), 1)


def format_number(value: float, precision: int) -> str:
    """A number as DBR_STRING: integers whole, others with the record's PREC."""
    if isinstance(value, (int, np.integer)):
        return str(value)
    if math.isfinite(value) and abs(value) < 1e16:
        return f"{value:.{precision}f}"
    return f"{value:.{precision}e}"


@lru_cache(maxsize=64)
def _structure(data_type: int) -> tuple[type[Any], frozenset[str]]:
    # caproto takes the time structure for DBR_CTRL_STRING; base has the status one (db_access.h, dbr_size).
    key = ChannelType.STS_STRING if data_type == ChannelType.CTRL_STRING else ChannelType(data_type)
    structure = DBR_TYPES[key]
    return structure, frozenset(name for name in dir(structure) if not name.startswith("_"))


def metadata(
    data_type: Any,
    *,
    status: int,
    severity: int,
    stamp: Any,
    units: str = "",
    precision: int = 0,
    limits: Limits = NO_LIMITS,
    labels: Sequence[str] = (),
) -> Any:
    """The structure before the elements of a DBR type, filled with what the type has; None for a plain type."""
    if data_type == native_type(data_type):
        return None
    structure, names = _structure(int(data_type))
    filled = structure()
    filled.status, filled.severity = status, severity
    if "stamp" in names:
        filled.stamp = stamp
    if "precision" in names:
        filled.precision = precision
    if "units" in names:
        filled.units = cut_utf8(units.encode(), _UNITS_SIZE)
    if "strs" in names:
        filled.enum_strings = [label.encode() for label in labels[:MAX_STATES]]
    elif "upper_disp_limit" in names:
        native = native_type(data_type)
        whole = native not in (ChannelType.FLOAT, ChannelType.DOUBLE)
        for name, limit in zip(_LIMIT_NAMES, limits, strict=True):
            if name in names:
                setattr(filled, name, _limit(limit, native) if whole else limit)
    return filled


def _limit(limit: float, native: Any) -> Any:
    bounds = np.iinfo(_DTYPE[native])
    number = int(min(max(limit, bounds.min), bounds.max)) if math.isfinite(limit) else 0
    return bytes([number]) if native == ChannelType.CHAR else number
