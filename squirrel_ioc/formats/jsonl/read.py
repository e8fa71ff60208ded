"""JSON lines, read; see `jsonl`. Nothing in a file is trusted: a frame that comes out is sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from squirrel_ioc.formats._problems import Problems
from squirrel_ioc.formats._protocol import CatalogueFile, Limits, SnapshotFile
from squirrel_ioc.formats.jsonl.entry import count_of, entry_of, text_of, texts_of
from squirrel_ioc.formats.jsonl.frame import FrameReader, decode_number
from squirrel_ioc.formats.jsonl.held_bytes import Held
from squirrel_ioc.formats.jsonl.write import MOST_LISTS, VERSION
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.pv_names import canonical, renamed
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State

__all__ = ["read_records"]

_TYPES = [d.name for d in Dbf]
_STATES = [s.name for s in State]
_MAX_LABELS = 64
_GOES_ON = ("entry", "values")
"""A mistake in these does not spoil the lines that follow."""


def _known_states(states: Any) -> bool:
    """Whether they are ours, or those of an earlier version, which had fewer."""
    return isinstance(states, list) and states[:1] == _STATES[:1] and states == _STATES[: len(states)]


def read_records(
    lines: Iterator[tuple[int, str]], name: str, problems: Problems, limits: Limits
) -> Iterator[CatalogueFile | SnapshotFile]:
    """The catalogue and the snapshots of a file, each when it is complete. Raises FormatError."""
    yield from _Reader(name, problems, limits).read(lines)


def _renamed_entries(entries: Mapping[str, Entry]) -> list[Entry]:
    """With the names of today: earlier versions took X.VAL for another PV than X."""
    changed = renamed(dict.fromkeys((*entries, *(e.readback for e in entries.values() if e.readback))))
    if not changed:
        return list(entries.values())
    return [
        replace(e, setpoint=changed.get(e.setpoint, e.setpoint), readback=changed.get(e.readback or "", e.readback))
        for e in entries.values()
    ]


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
            changed = renamed(self.names)
            self.channels = ChannelList.of([changed.get(name, name) for name in self.names], self.setpoints)
            self.names = []


class _Reader:
    def __init__(self, name: str, problems: Problems, limits: Limits) -> None:
        self._name = name
        self._problems = problems
        self._limits = limits
        self._line = 0
        self._held = Held()
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
                entries, self._entries = _renamed_entries(self._entries), None
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
        if header.get("types") != _TYPES or not _known_states(header.get("states")):
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
            if self._held.line(key, content, len(text)) > self._limits.value_bytes:
                limit = f"more than {self._limits.value_bytes} bytes of it would be in memory"
                self._problems.fatal(self._name, self._line, limit)
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
        self._alone()
        self._announced = count_of(content, "entries", self._limits.rows)
        self._entries, self._came = {}, 0

    def _entry(self, content: Any) -> None:
        if self._entries is None:
            raise ValueError("an entry outside of a catalogue, or more than announced")
        self._came += 1
        entry = entry_of(content)
        if entry.setpoint in self._entries:
            raise ValueError(f"{entry.setpoint} is there twice")
        self._entries[entry.setpoint] = entry

    def _channels(self, content: Any) -> None:
        rows = count_of(content, "rows", self._limits.rows)
        setpoints = count_of(content, "setpoints", rows)
        number = count_of(content, "list", 2**31)
        if number in self._lists or len(self._lists) >= _MAX_LABELS:
            raise ValueError("the list is there already, or there are too many")
        if sum(known.rows for known in self._lists.values()) + rows > self._limits.rows * MOST_LISTS:
            raise ValueError(f"more than {self._limits.rows * MOST_LISTS} channels in the lists")
        self._lists[number] = _List(setpoints, rows)
        self._lists[number].add([])

    def _names(self, content: Any) -> None:
        names = texts_of(content["names"])
        if wrong := [name for name in names if not name or not name.isprintable()]:
            raise ValueError(f"{wrong[0][:40]!r} is no name of a channel")
        self._lists[count_of(content, "list", 2**31)].add(names)

    def _forget(self, content: Any) -> None:
        del self._lists[count_of(content, "list", 2**31)]

    def _meta(self, content: Any) -> None:
        if content["id"] != len(self._metas) or len(self._metas) > self._limits.rows:
            raise ValueError(f"id {content['id']!r}; the next one is {len(self._metas)}")
        limits = content["limits"]
        if not isinstance(limits, list) or len(limits) != 8:
            raise ValueError("limits are eight numbers")
        labels = texts_of(content["labels"])
        precision = content["precision"]
        if type(precision) is not int or not -(2**15) <= precision < 2**15 or len(labels) > _MAX_LABELS:
            raise ValueError("no such precision or number of labels")
        low, high, *others = (decode_number(x) for x in limits)
        self._metas.append(
            Meta(
                Dbf[text_of(content["type"])],
                count_of(content, "count", 2**31 - 1),
                text_of(content["units"]),
                precision,
                (low, high, *others),  # type: ignore[arg-type]
                tuple(labels),
            )
        )

    def _snapshot(self, content: Any) -> None:
        self._alone()
        channels = self._lists[count_of(content, "list", 2**31)].channels
        if channels is None:
            raise ValueError("its list of channels is not complete")
        taken = content.get("taken")
        when = None if taken is None else datetime.fromisoformat(text_of(taken))
        if when is not None and when.tzinfo is None:
            raise ValueError("taken has no offset")
        attributes = content.get("attributes", {})
        typed = content.get("typed", True)
        if not isinstance(attributes, dict) or not isinstance(typed, bool):
            raise TypeError("attributes is an object, typed true or false")
        self._head = {
            **{key: text_of(content.get(key, "")) for key in ("title", "comment", "user", "origin", "file_name")},
            "labels": tuple(texts_of(content.get("labels", []))),
            "taken": when,
            "typed": typed,
            "attributes": attributes,
        }
        self._frame = FrameReader(channels)
        readbacks = content.get("readbacks", {})
        self._frame.readbacks.update(
            zip(map(canonical, readbacks), map(canonical, texts_of(list(readbacks.values()))), strict=True)
        )
        self._frame.read_only.update(map(canonical, texts_of(content.get("read_only", []))))

    def _values(self, content: Any) -> None:
        if self._frame is None:
            raise ValueError("values outside of a snapshot")
        self._frame.take(content, self._metas)

    def _alone(self) -> None:
        """Raises ValueError when something is not complete yet."""
        if self._entries is not None:
            raise ValueError(f"{self._announced} entries were announced, {self._came} have come")
        if self._frame is not None:
            raise ValueError(f"the snapshot before has {self._frame.done} of its rows only")

    def _end(self, content: Any) -> None:
        self._alone()
        if content["lines"] != self._line - 1:
            raise ValueError(f"{content['lines']!r} lines were written, {self._line - 1} are there")
        self._ended = True
