"""One value as frames keep it: a number, or bytes. Refuses what would change on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, TEXT_SIZE, Dbf, Meta

__all__ = ["encode"]

_FIRST_GAP = 2.0**53
_SEQUENCE = (list, tuple, np.ndarray)


def encode(name: str, value: Any, meta: Meta) -> tuple[float, bytes | None, int]:
    """The number, the bytes and the element count of `value` in a channel of `meta`.

    Raises ValueError, naming the channel, when the value does not fit.
    """
    if meta.dbf is Dbf.NONE or value is None:
        raise ValueError(f"{name}: {'its type is not known' if value is not None else 'no value'}")
    array = meta.count > 1
    if not array and isinstance(value, _SEQUENCE):
        if len(value) != 1 or np.ndim(value) > 1:
            raise ValueError(f"{name}: {len(value)} elements do not fit a scalar")
        value = value[0]
    encoded = _strings(name, value, array) if meta.dbf is Dbf.STRING else _numbers(name, value, meta.dbf, array)
    count = encoded[2]
    if count > max(meta.count, 1):
        raise ValueError(f"{name}: {count} elements, the channel holds {meta.count}")
    return encoded


def _strings(name: str, value: Any, array: bool) -> tuple[float, bytes | None, int]:
    if not array:
        raw = value.split(b"\0", 1)[0] if isinstance(value, bytes) else _string(name, value, TEXT_SIZE)
        if len(raw) >= TEXT_SIZE:
            raise ValueError(f"{name}: a string is longer than {TEXT_SIZE - 1} bytes")
        return np.nan, raw, 1
    if not isinstance(value, bytes):
        texts = value if isinstance(value, _SEQUENCE) else [value]
        value = b"".join(_string(name, t, STRING_SIZE).ljust(STRING_SIZE, b"\0") for t in texts)
    elif len(value) % STRING_SIZE:
        raise ValueError(f"{name}: {len(value)} bytes are no whole number of strings")
    return np.nan, value, len(value) // STRING_SIZE


def _string(name: str, value: Any, size: int) -> bytes:
    raw = value if isinstance(value, bytes) else str(value).encode()
    if len(raw) >= size:
        raise ValueError(f"{name}: a string is longer than {size - 1} bytes")
    if b"\0" in raw:
        raise ValueError(f"{name}: a string has a NUL")
    return raw


def _numbers(name: str, value: Any, dbf: Dbf, array: bool) -> tuple[float, bytes | None, int]:
    dtype = ELEMENT_DTYPE[dbf]
    if isinstance(value, bytes):
        if len(value) % dtype.itemsize or not (array or len(value) == dtype.itemsize):
            raise ValueError(f"{name}: {len(value)} bytes do not fit {dbf.name}")
        elements = np.frombuffer(value, dtype)
    else:
        elements = _fit(name, np.atleast_1d(np.asarray(value)), dbf)
    if array:
        return np.nan, elements.tobytes(), len(elements)
    with np.errstate(invalid="ignore"):
        number = elements.astype(np.float64)
        carried = number.astype(dtype).tobytes() == elements.tobytes()
    return float(number[0]), None if carried else elements.tobytes(), 1


def _fit(name: str, values: NDArray[Any], dbf: Dbf) -> NDArray[Any]:
    dtype = ELEMENT_DTYPE[dbf]
    if values.ndim > 1:
        raise ValueError(f"{name}: elements within elements")
    if values.size == 0:
        return np.zeros(0, dtype)
    if values.dtype.kind not in "iufb":
        raise ValueError(f"{name}: {values.tolist()[0]!r} is no number")
    if dbf is Dbf.DOUBLE and values.dtype.kind in "iu" and _inexact(values):
        raise ValueError(f"{name}: an integer that no double is equal to")
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        whole = values.dtype.kind != "f" or np.all(values == np.floor(values))
        if not (whole and np.all((values >= info.min) & (values <= info.max))):
            raise ValueError(f"{name}: value does not fit {dbf.name}")
    with np.errstate(over="ignore", invalid="ignore"):
        elements = values.astype(dtype)
        if values.dtype.kind == "f" and np.any(np.isinf(elements) & ~np.isinf(values)):
            raise ValueError(f"{name}: value does not fit {dbf.name}")
    return elements


def _inexact(values: NDArray[Any]) -> bool:
    """Whether no double is equal to one of these integers."""
    large = values[np.abs(values.astype(np.float64)) >= _FIRST_GAP]
    return any(int(float(value)) != value for value in large.tolist())
