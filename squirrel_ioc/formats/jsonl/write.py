"""JSON lines, written; see `jsonl`."""

from __future__ import annotations

import json
import math
import struct
from base64 import b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc import __version__
from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats._protocol import Limits, Sink, SnapshotFile
from squirrel_ioc.formats._thread_pauses import breathe
from squirrel_ioc.formats.jsonl.held_bytes import Held
from squirrel_ioc.model.catalogue import TREATMENT, Entry
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State

__all__ = ["VERSION", "CHUNK", "MOST_LISTS", "Writer", "encode_number"]

VERSION = 1
CHUNK = 1000
_LINE_SIDE = 1 << 20  # bytes of strings and arrays
_NAMES = 10_000
MOST_LISTS = 8
"""Of channels, that are not forgotten."""
_DEFAULT = Entry("")
_DOUBLE = struct.Struct("<d")
_PAYLOAD = (1 << 52) - 1
_NAN_BITS = int(np.array(np.nan).view(np.uint64))


def encode_number(value: float) -> float | str:
    """A number as JSON can say it."""
    if math.isfinite(value):
        return value
    return _encode_bits(int.from_bytes(_DOUBLE.pack(value), "little"))


def _encode_bits(bits: int) -> str:
    """An infinity or a NaN. By its bits: arithmetic would change a signalling one."""
    if bits & _PAYLOAD == 0:
        return "-inf" if bits >> 63 else "inf"
    return "nan" if bits == _NAN_BITS else f"nan:{bits:016x}"


class Writer:
    """Writes one file: a catalogue, if any, then snapshots. Nothing that is not read again within `limits`."""

    def __init__(self, sink: Sink, limits: Limits | None = None) -> None:
        self._sink = sink
        self._limits = limits
        self._held = Held()
        self._lines = 0
        self._lists: dict[int, ChannelList] = {}
        self._next_list = 0
        self._metas: dict[Meta, int] = {NO_META: 0}
        self._put(
            {
                "format": "squirrel-ioc",
                "version": VERSION,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "software": f"squirrel-ioc {__version__}",
                "types": [d.name for d in Dbf],
                "states": [s.name for s in State],
            }
        )

    def catalogue(self, entries: Sequence[Entry]) -> None:
        """A catalogue."""
        self._put({"catalogue": {"entries": len(entries)}})
        for entry in entries:
            self._put({"entry": _entry(entry)})

    def snapshot(self, snapshot: SnapshotFile) -> None:
        """A snapshot. Raises FormatError when its attributes are no JSON, or it is larger than what is read."""
        frame = snapshot.frame
        list_id = self._list(frame.channels)
        head: dict[str, Any] = {
            "list": list_id,
            "title": snapshot.title,
            "comment": snapshot.comment,
            "labels": list(snapshot.labels),
            "taken": None if snapshot.taken is None else snapshot.taken.isoformat(),
            "user": snapshot.user,
            "typed": snapshot.typed,
            "origin": snapshot.origin,
            "file_name": snapshot.file_name,
            "attributes": dict(snapshot.attributes),
        }
        extras = _Extras(frame, snapshot.readbacks, snapshot.read_only)
        self._put({"snapshot": {**head, **{key: value for key, value in extras.absent.items() if value}}})
        metas = np.array([self._meta(m) for m in frame.metas], np.int32)[frame.meta]
        first = 0
        while first < len(frame):
            breathe()
            last = extras.line_end(first, len(frame))
            what = f"{snapshot.title}, {frame.channels.names[first]}"
            self._put({"values": _columns(frame, metas, extras, first, last)}, what)
            first = last

    def close(self) -> None:
        """Write the end. What is written with the sink is up to its owner."""
        self._put({"end": {"lines": self._lines}})

    def _put(self, record: Mapping[str, Any], what: str = "the file") -> None:
        try:
            text = json.dumps(record, allow_nan=False, separators=(", ", ": "))
        except (TypeError, ValueError, RecursionError) as e:
            raise FormatError([f"cannot be written as JSON: {e}"]) from e
        if self._limits is not None:
            self._check(record, len(text), what, self._limits)
        self._sink(text + "\n")
        self._lines += 1

    def _check(self, record: Mapping[str, Any], size: int, what: str, limits: Limits) -> None:
        """Raises FormatError when this line would not be read again."""
        if size > limits.line_bytes:
            raise FormatError([f"{what}: a line of {size} bytes, more than the {limits.line_bytes} that are read"])
        ((key, content), *_) = record.items()
        if self._held.line(key, content, size) > limits.value_bytes:
            limit = f"more than the {limits.value_bytes} bytes that are held in memory when it is read"
            raise FormatError([f"{what}: the snapshot has {limit}"])

    def _list(self, channels: ChannelList) -> int:
        for number, known in self._lists.items():
            if known.setpoints == channels.setpoints and known.same_as(channels):
                return number
        if len(self._lists) == MOST_LISTS:
            oldest = next(iter(self._lists))
            del self._lists[oldest]
            self._put({"forget": {"list": oldest}})
        number, self._next_list = self._next_list, self._next_list + 1
        self._lists[number] = channels
        self._put({"channels": {"list": number, "setpoints": channels.setpoints, "rows": len(channels)}})
        for first in range(0, len(channels), _NAMES):
            self._put({"names": {"list": number, "names": channels.names[first : first + _NAMES]}})
        return number

    def _meta(self, meta: Meta) -> int:
        if meta not in self._metas:
            self._metas[meta] = len(self._metas)
            content = {
                "id": self._metas[meta],
                "type": meta.dbf.name,
                "count": meta.count,
                "units": meta.units,
                "precision": meta.precision,
                "limits": [encode_number(x) for x in meta.limits],
                "labels": list(meta.labels),
            }
            self._put({"meta": content})
        return self._metas[meta]


def _entry(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {"setpoint": entry.setpoint}
    for field in TREATMENT:
        value = getattr(entry, field)
        if value != getattr(_DEFAULT, field):
            fields[field] = encode_number(value) if isinstance(value, float) else value
    if entry.tags:
        fields["tags"] = {group: list(tags) for group, tags in entry.tags.items()}
    return fields


class _Extras:
    """What hangs on rows: bytes, readbacks, read-only."""

    def __init__(self, frame: Frame, readbacks: Mapping[str, str], read_only: frozenset[str]) -> None:
        index = frame.channels.index
        self.readbacks = sorted((index[name], readback) for name, readback in readbacks.items() if name in index)
        self.read_only = sorted(index[name] for name in read_only if name in index)
        self.absent = {
            "readbacks": {name: readback for name, readback in readbacks.items() if name not in index},
            "read_only": sorted(name for name in read_only if name not in index),
        }
        self.side_rows = frame.side_row
        self.starts = np.concatenate((np.zeros(1, np.int64), frame.side_end)).tolist()

    def line_end(self, first: int, rows: int) -> int:
        """Where the line ends that begins with row `first`: few rows where arrays are long, but one at least."""
        last = min(first + CHUNK, rows)
        low, high = np.searchsorted(self.side_rows, [first, last]).tolist()
        full = bisect_right(self.starts, self.starts[low] + _LINE_SIDE, low, high + 1) - 1
        return last if full >= high else max(int(self.side_rows[full]), first + 1)


def _columns(frame: Frame, metas: NDArray[np.int32], extras: _Extras, first: int, last: int) -> dict[str, Any]:
    rows = slice(first, last)
    low, high = np.searchsorted(extras.side_rows, [first, last])
    texts, other = [], []
    for k in range(int(low), int(high)):
        row = int(extras.side_rows[k])
        raw = frame.side[extras.starts[k] : extras.starts[k + 1]]
        if frame.dbf[row] == Dbf.STRING and not frame.is_array(row) and (text := _utf8(raw)) is not None:
            texts.append([row, text])
        else:
            other.append([row, b64encode(raw).decode("ascii")])
    columns: dict[str, Any] = {
        "first": first,
        "rows": last - first,
        "state": _column(frame.state[rows]),
        "type": _column(frame.dbf[rows]),
        "count": _column(frame.count[rows]),
        "severity": _column(frame.severity[rows]),
        "status": _column(frame.status[rows]),
        "stamp": _column(frame.stamp[rows]),
        "number": _numbers(frame, rows, extras.side_rows[low:high] - first),
        "meta": _column(metas[rows]),
    }
    lists = {
        "text": texts,
        "bytes": other,
        "readback": _between(extras.readbacks, (first,), (last,)),
        "read_only": _between(extras.read_only, first, last),
    }
    return {**columns, **{key: value for key, value in lists.items() if value}}


def _between(items: list[Any], low: Any, high: Any) -> list[Any]:
    """Of a sorted list, what is at least `low` and below `high`."""
    return items[bisect_left(items, low) : bisect_left(items, high)]


def _utf8(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _column(values: NDArray[Any]) -> Any:
    return values[0].item() if len(values) and bool(np.all(values == values[0])) else values.tolist()


def _numbers(frame: Frame, rows: slice, side_rows: NDArray[np.integer[Any]]) -> list[Any]:
    numbers = frame.number[rows]
    result: list[Any] = numbers.tolist()
    bits = numbers.view(np.uint64)
    for i in np.flatnonzero(~np.isfinite(numbers)).tolist():
        result[i] = _encode_bits(int(bits[i]))
    absent = frame.state[rows] != State.VALUE
    absent[side_rows] = True
    for i in np.flatnonzero(absent & (bits == _NAN_BITS)).tolist():
        result[i] = None
    return result
