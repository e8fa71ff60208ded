"""JSON lines, read; see `jsonl`. Nothing in a file is trusted: a frame that comes out is sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from squirrel_ioc.formats._jsonl_frame import FrameReader, decode_number
from squirrel_ioc.formats._jsonl_write import VERSION
from squirrel_ioc.formats._names import name_problem
from squirrel_ioc.formats._problems import Problems
from squirrel_ioc.formats._protocol import CatalogueFile, Limits, SnapshotFile
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State

__all__ = ["read_records"]

_TYPES = [d.name for d in Dbf]
_STATES = [s.name for s in State]
_MAX_LABELS = 64
_GOES_ON = ("entry", "values")
"""A mistake in these does not spoil the lines that follow."""


def read_records(
    lines: Iterator[tuple[int, str]], name: str, problems: Problems, limits: Limits
) -> Iterator[CatalogueFile | SnapshotFile]:
    """The catalogue and the snapshots of a file, each when it is complete. Raises FormatError."""
    yield from _Reader(name, problems, limits).read(lines)


class _List:
    """A list of channels that is still being read, or is complete."""

    def __init__(self, setpoints: int, rows: int) -> None:
        self.setpoints = setpoints
        self.rows = rows
        self.names: list[str] = []
        self.channels: ChannelList | None = None

    def add(self, names: list[str]) -> None:
        self.names += names
        if len(self.names) > self.rows:
            raise ValueError(f"more than the {self.rows} names announced")
        if len(self.names) == self.rows:
            if len(set(self.names)) < self.rows:
                raise ValueError("a channel is there twice")
            self.channels = ChannelList.of(self.names, self.setpoints)
            self.names = []


class _Reader:
    def __init__(self, name: str, problems: Problems, limits: Limits) -> None:
        self._name = name
        self._problems = problems
        self._limits = limits
        self._line = 0
        self._lists: dict[int, _List] = {}
        self._metas: list[Meta] = [NO_META]
        self._entries: dict[str, Entry] | None = None
        self._announced = self._came = 0
        self._head: dict[str, Any] = {}
        self._frame: FrameReader | None = None
        self._ended = False
        self._take: dict[str, Callable[[Any], None]] = {
            "catalogue": self._catalogue,
            "entry": self._entry,
            "channels": self._channels,
            "names": self._names,
            "meta": self._meta,
            "snapshot": self._snapshot,
            "values": self._values,
            "forget": self._forget,
            "end": self._end,
        }

    def read(self, lines: Iterator[tuple[int, str]]) -> Iterator[CatalogueFile | SnapshotFile]:
        for self._line, text in lines:
            if self._line == 1:
                self._header(text)
                continue
            if self._ended:
                self._problems.fatal(self._name, self._line, "something follows the end")
            self._record(text)
            if self._frame is not None and self._frame.complete:
                self._problems.check()
                yield self._finished()
            if self._entries is not None and self._came == self._announced:
                self._problems.check()
                entries, self._entries = list(self._entries.values()), None
                yield CatalogueFile(entries)
        if not self._ended:
            self._problems.fatal(self._name, self._line or None, "has no end: the file is not whole")
        self._problems.check()

    def _header(self, text: str) -> None:
        try:
            header = json.loads(text)
        except (ValueError, RecursionError):
            header = None
        if not isinstance(header, dict) or header.get("format") != "squirrel-ioc":
            self._problems.fatal(self._name, 1, "the file does not begin with a header of squirrel-ioc")
        if (version := header.get("version")) != VERSION:
            self._problems.fatal(self._name, 1, f"version {version!r} of the format is not known, only {VERSION}")
        if header.get("types") != _TYPES or header.get("states") != _STATES:
            self._problems.fatal(self._name, 1, "the types or states of its header are others than of version 1")

    def _record(self, text: str) -> None:
        """Take a line. After most mistakes there is no going on, as the lines that follow build on it."""
        key = ""
        try:
            record = json.loads(text)
            if not isinstance(record, dict) or len(record) != 1:
                raise ValueError("a line is an object with a single key")  # noqa: TRY301
            ((key, content),) = record.items()
            if key not in self._take:
                raise ValueError(f"{key[:40]!r} is nothing that is known")  # noqa: TRY301
            self._take[key](content)
        except RecursionError:
            reason = "objects within objects"
        except json.JSONDecodeError as e:
            reason = f"no JSON: {e.msg} at column {e.colno}"
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as e:
            reason = f"{e.args[0]!r} is missing" if isinstance(e, KeyError) and e.args else str(e)
        else:
            return
        self._problems.add(self._name, self._line, reason)
        if key not in _GOES_ON:
            self._problems.check()

    def _finished(self) -> SnapshotFile:
        assert self._frame is not None  # noqa: S101
        reader, self._frame = self._frame, None
        return SnapshotFile(
            reader.frame(tuple(self._metas)),
            readbacks=reader.readbacks,
            read_only=frozenset(reader.read_only),
            **self._head,
        )

    def _catalogue(self, content: Any) -> None:
        if self._entries is not None or self._frame is not None:
            raise ValueError("a catalogue within another record")
        self._announced = _count(content, "entries", self._limits.rows)
        self._entries, self._came = {}, 0

    def _entry(self, content: Any) -> None:
        if self._entries is None:
            raise ValueError("an entry outside of a catalogue, or more than announced")
        self._came += 1
        entry = _entry(content)
        if entry.setpoint in self._entries:
            raise ValueError(f"{entry.setpoint} is there twice")
        self._entries[entry.setpoint] = entry

    def _channels(self, content: Any) -> None:
        rows = _count(content, "rows", self._limits.rows)
        setpoints = _count(content, "setpoints", rows)
        number = _count(content, "list", 2**31)
        if number in self._lists or len(self._lists) >= _MAX_LABELS:
            raise ValueError("the list is there already, or there are too many")
        self._lists[number] = _List(setpoints, rows)
        self._lists[number].add([])

    def _names(self, content: Any) -> None:
        self._lists[_count(content, "list", 2**31)].add(_texts(content["names"]))

    def _forget(self, content: Any) -> None:
        del self._lists[_count(content, "list", 2**31)]

    def _meta(self, content: Any) -> None:
        if content["id"] != len(self._metas) or len(self._metas) > self._limits.rows:
            raise ValueError(f"id {content['id']!r}; the next one is {len(self._metas)}")
        limits = content["limits"]
        if not isinstance(limits, list) or len(limits) != 8:
            raise ValueError("limits are eight numbers")
        labels = _texts(content["labels"])
        precision = content["precision"]
        if type(precision) is not int or not -(2**15) <= precision < 2**15 or len(labels) > _MAX_LABELS:
            raise ValueError("no such precision or number of labels")
        low, high, *others = (decode_number(x) for x in limits)
        self._metas.append(
            Meta(
                Dbf[_text(content["type"])],
                _count(content, "count", 2**31 - 1),
                _text(content["units"]),
                precision,
                (low, high, *others),  # type: ignore[arg-type]
                tuple(labels),
            )
        )

    def _snapshot(self, content: Any) -> None:
        if self._frame is not None or self._entries is not None:
            raise ValueError("a snapshot within another record")
        channels = self._lists[_count(content, "list", 2**31)].channels
        if channels is None:
            raise ValueError("its list of channels is not complete")
        taken = content.get("taken")
        when = None if taken is None else datetime.fromisoformat(_text(taken))
        if when is not None and when.tzinfo is None:
            raise ValueError("taken has no offset")
        attributes = content.get("attributes", {})
        typed = content.get("typed", True)
        if not isinstance(attributes, dict) or not isinstance(typed, bool):
            raise TypeError("attributes is an object, typed true or false")
        self._head = {
            **{key: _text(content.get(key, "")) for key in ("title", "comment", "user", "origin", "file_name")},
            "labels": tuple(_texts(content.get("labels", []))),
            "taken": when,
            "typed": typed,
            "attributes": attributes,
        }
        self._frame = FrameReader(channels)
        readbacks = content.get("readbacks", {})
        self._frame.readbacks.update(zip(readbacks, _texts(list(readbacks.values())), strict=True))
        self._frame.read_only.update(_texts(content.get("read_only", [])))

    def _values(self, content: Any) -> None:
        if self._frame is None:
            raise ValueError("values outside of a snapshot")
        self._frame.take(content, self._metas)

    def _end(self, content: Any) -> None:
        if self._frame is not None or self._entries is not None:
            raise ValueError("the end comes within a snapshot or a catalogue: the file is not whole")
        if content["lines"] != self._line - 1:
            raise ValueError(f"{content['lines']!r} lines were written, {self._line - 1} are there")
        self._ended = True


def _count(content: Mapping[str, Any], key: str, limit: int) -> int:
    value = content[key]
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError(f"{key}: {value!r} is no number from 0 to {limit}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    value.encode()
    return value


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list):
        raise TypeError("no list of texts")
    return [_text(v) for v in values]


def _entry(content: Any) -> Entry:
    values: dict[str, Any] = {}
    for key, value in content.items():
        take = _FIELDS.get(key)
        if take is None:
            raise ValueError(f"{key[:40]!r} is no part of an entry")
        values[key] = take(value)
    if "setpoint" not in values:
        raise ValueError("an entry without a setpoint")
    return Entry(**values)


def _name(value: Any) -> str:
    if (problem := name_problem(_text(value))) is not None:
        raise ValueError(problem)
    return _text(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is neither true nor false")
    return value


def _order(value: Any) -> int:
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise ValueError(f"{str(value)[:40]!r} is no 32-bit number")
    return value


def _tags(value: Any) -> dict[str, tuple[str, ...]]:
    return {_text(group): tuple(_texts(tags)) for group, tags in value.items()}


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "setpoint": _name,
    "readback": _name,
    "description": _text,
    "device": _text,
    "tags": _tags,
    "atol": decode_number,
    "rtol": decode_number,
    "read_only": _flag,
    "order": _order,
    "max_step": decode_number,
    "step_period": decode_number,
}
