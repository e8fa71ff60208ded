"""The values of a snapshot in JSON lines, checked and put into columns; see `jsonl`."""

from __future__ import annotations

import math
import re
import struct
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.formats.jsonl.write import CHUNK
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import ELEMENT_DTYPE, TEXT_SIZE, Dbf, Meta, State

__all__ = ["FrameReader", "decode_number"]

_WHOLE = {"state": np.uint8, "type": np.uint8, "count": np.int32, "severity": np.int16, "status": np.int16}
_COLUMNS = {**_WHOLE, "stamp": np.int64, "number": np.float64, "meta": np.int32}
_KEYS = frozenset(["first", "rows", "text", "bytes", "readback", "read_only", *_COLUMNS])
_NAN = float(np.nan)
_NAN_TEXT = re.compile("nan:([0-9a-f]{16})")
_DOUBLE = struct.Struct("<d")


def decode_number(value: Any) -> float:
    """A number from JSON. Raises ValueError."""
    if type(value) is float or (type(value) is int and abs(value) < 2**63 and int(float(value)) == value):
        return float(value)
    if isinstance(value, str):
        if value in ("nan", "inf", "-inf"):
            return float(value)
        if (match := _NAN_TEXT.fullmatch(value)) is not None:
            number: float = _DOUBLE.unpack(int(match[1], 16).to_bytes(8, "little"))[0]
            if math.isnan(number):
                return number
    raise ValueError(f"{str(value)[:40]!r} is no number")


class FrameReader:
    """Puts the lines of one snapshot together."""

    def __init__(self, channels: ChannelList) -> None:
        self.readbacks: dict[str, str] = {}
        self.read_only: set[str] = set()
        self._channels = channels
        self.done = 0
        self._data: dict[str, NDArray[Any]] = {k: np.zeros(len(channels), t) for k, t in _COLUMNS.items()}
        self._side_rows: list[int] = []
        self._side: list[bytes] = []

    @property
    def complete(self) -> bool:
        """Whether all rows have come."""
        return self.done == len(self._channels)

    def take(self, content: Mapping[str, Any], metas: Sequence[Meta]) -> None:
        """Take a line of values. Raises ValueError, TypeError or KeyError."""
        first, size = content["first"], content["rows"]
        if type(first) is not int or first != self.done:
            raise ValueError(f"first: {first!r}; the next row is {self.done}")
        if type(size) is not int or not 0 < size <= min(CHUNK, len(self._channels) - first):
            raise ValueError(f"rows: {size!r} is not possible here")
        self.done += size
        if unknown := content.keys() - _KEYS:
            raise ValueError(f"{sorted(unknown)[0][:40]!r} is no column")
        for key, dtype in _COLUMNS.items():
            if key != "number":
                self._data[key][first : first + size] = _column(key, content[key], size, dtype)
        numbers, absent = _numbers(content["number"], size)
        self._data["number"][first : first + size] = numbers
        side = self._bytes(content, first, size)
        self._check(first, size, side, metas, absent)
        for row in sorted(side):
            self._side_rows.append(row)
            self._side.append(side[row])
        names = self._channels.names
        for row, readback in content.get("readback", ()):
            if not isinstance(readback, str) or not first <= _row(row) < first + size:
                raise ValueError("readback: no row and name")
            self.readbacks[names[row]] = canonical(readback)
        for row in content.get("read_only", ()):
            if not first <= _row(row) < first + size:
                raise ValueError("read_only: no row")
            self.read_only.add(names[row])

    def frame(self, metas: tuple[Meta, ...]) -> Frame:
        """The frame, when it is complete."""
        d = self._data
        return Frame(
            self._channels,
            d["state"],
            d["type"],
            d["count"],
            d["severity"],
            d["status"],
            d["stamp"],
            d["number"],
            d["meta"],
            metas,
            np.array(self._side_rows, np.int32),
            np.cumsum([len(raw) for raw in self._side], dtype=np.int64),
            b"".join(self._side),
        )

    def _bytes(self, content: Mapping[str, Any], first: int, size: int) -> dict[int, bytes]:
        side: dict[int, bytes] = {}
        for key in ("text", "bytes"):
            for row, text in content.get(key, ()):
                if not isinstance(text, str) or not first <= _row(row) < first + size or row in side:
                    raise ValueError(f"{key}: no row and text, or a row twice")
                side[row] = text.encode() if key == "text" else b64decode(text, validate=True)
        return side

    def _check(
        self, first: int, size: int, side: Mapping[int, bytes], metas: Sequence[Meta], absent: NDArray[np.bool_]
    ) -> None:
        """Raises ValueError when the columns do not fit each other."""
        state, dbf, count, number, meta = (
            self._data[k][first : first + size] for k in ("state", "type", "count", "number", "meta")
        )
        if state.max() > max(State) or dbf.max() > max(Dbf) or meta.min() < 0 or meta.max() >= len(metas):
            raise ValueError("a state, type or meta that is not known")
        if count.min() < 0:
            raise ValueError("a negative count")
        valued = state == State.VALUE
        if np.any(dbf[valued] == Dbf.NONE):
            raise ValueError("a value without a type")
        has_bytes = np.zeros(size, bool)
        for row, raw in side.items():
            i = row - first
            has_bytes[i] = True
            if not valued[i] or not _fits(raw, Dbf(int(dbf[i])), int(count[i]), array=metas[meta[i]].count > 1):
                raise ValueError(f"{self._channels.names[row]}: {len(raw)} bytes do not fit its type and count")
        scalar = valued & ~has_bytes
        if np.any(absent[scalar] | (dbf[scalar] == Dbf.STRING) | (count[scalar] != 1)):
            raise ValueError("a value without its number, or a text or an array without its bytes")
        for kind, dtype in ELEMENT_DTYPE.items():
            if dtype.kind in "iu" and len(numbers := number[scalar & (dbf == kind)]):
                info = np.iinfo(dtype)
                if not np.all((numbers >= info.min) & (numbers <= info.max) & (numbers == np.floor(numbers))):
                    raise ValueError(f"a number that does not fit {kind.name}")


def _row(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{str(value)[:40]!r} is no row")
    return value


def _fits(raw: bytes, dbf: Dbf, count: int, *, array: bool) -> bool:
    if dbf is Dbf.STRING and not array and count == 1:
        return len(raw) < TEXT_SIZE
    return len(raw) == count * ELEMENT_DTYPE[dbf].itemsize


def _column(key: str, values: Any, size: int, dtype: Any) -> NDArray[Any]:
    if type(values) is int:
        values = [values] * size
    if not isinstance(values, list) or len(values) != size or set(map(type, values)) != {int}:
        raise ValueError(f"{key}: not {size} whole numbers")
    info = np.iinfo(dtype)
    if min(values) < info.min or max(values) > info.max:
        raise ValueError(f"{key}: a number that does not fit")
    return np.array(values, dtype)


def _numbers(values: Any, size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The numbers, and which of them are not there."""
    if not isinstance(values, list) or len(values) != size:
        raise ValueError(f"number: not {size} numbers")
    absent = np.zeros(size, bool)
    if set(map(type, values)) != {float}:
        absent[:] = [v is None for v in values]
        values = [v if type(v) is float else _NAN if v is None else decode_number(v) for v in values]
    return np.array(values, np.float64), absent
