"""Catalogues as YAML: a list of entries, or a block of defaults, entries and groups.

    defaults: {rtol: 0.001, tags: {Region: L1}}   # for all of the block
    pvs:
      - QUAD:L1:1:BDES                            # a setpoint alone
      - setpoint: QUAD:L1:2:BDES
        readback: QUAD:L1:2:BACT
        tags: {Subsystem: [Magnet, Quadrupole]}
    groups:                                       # blocks that inherit
      - defaults: {tags: {Subsystem: RF}}
        pvs: [...]

The file is read as a stream of events, because PyYAML's nodes take ten times as long and hundreds of megabytes.
So defaults must stand before what they are for. Scalars are taken as they are written, whatever YAML would make of
them: `1e-3` is a number and `ON` is a name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from squirrel_ioc.formats.catalogue.entry_rows import FIELDS, Rows, Tags, add_tag, parse_tags
from squirrel_ioc.yaml_depth import MAX_DEPTH, NESTED, is_too_deep

__all__ = ["read_yaml"]

_DEFAULT_KEYS = frozenset({"tags", *FIELDS})
_ENTRY_KEYS = _DEFAULT_KEYS | {"setpoint", "readback"}
_BLOCK_KEYS = frozenset({"defaults", "pvs", "groups"})
_NULL = frozenset({"~", "null", "Null", "NULL"})

_Node = tuple[int, "str | list[_Node] | dict[str, _Node]"]
"""A piece of the file: its line, and text, a list or a mapping."""


@dataclass(frozen=True)
class _Defaults:
    """What entries of a block have when they do not say otherwise."""

    fields: Mapping[str, str] = field(default_factory=dict)
    tags: Tags = field(default_factory=dict)


class _StopError(Exception):
    """Reading on makes no sense."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason
        super().__init__(reason)


def read_yaml(rows: Rows, file: str, text: str) -> None:
    """Add the entries of a file. What cannot be is noted in `rows`."""
    try:
        loader = yaml.CSafeLoader(text)
        try:
            _Reader(rows, file, loader).document()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        deep = mark and is_too_deep(text, mark.index)
        reason = NESTED if deep else f"is not YAML: {exc.problem or exc.context}"
        rows.problem(file, mark.line + 1 if mark else None, reason)
    except yaml.reader.ReaderError as exc:
        rows.problem(file, text.count("\n", 0, exc.position) + 1, f"is not YAML: {exc.reason}")
    except _StopError as exc:
        rows.problem(file, exc.line, exc.reason)


class _Reader:
    """Recursive descent over the events of one file."""

    def __init__(self, rows: Rows, file: str, loader: yaml.CSafeLoader) -> None:
        self._rows = rows
        self._file = file
        self._next = loader.get_event
        self._anchors: dict[str, _Node] = {}
        self._shared: dict[tuple[tuple[str, tuple[str, ...]], ...], Tags] = {}

    def document(self) -> None:
        """The whole file."""
        self._next()
        if isinstance(self._next(), yaml.StreamEndEvent):
            raise _StopError(1, "is empty: write [] for a catalogue without PVs")
        root = self._next()
        if isinstance(root, yaml.SequenceStartEvent):
            self._entries(_Defaults())
        elif isinstance(root, yaml.MappingStartEvent):
            self._block(_Defaults(), 1)
        else:
            raise _StopError(_line(root), "must be a list of entries, or a mapping with defaults, pvs and groups")
        self._next()
        if not isinstance(last := self._next(), yaml.StreamEndEvent):
            raise _StopError(_line(last), "has more than one document")

    def _block(self, defaults: _Defaults, depth: int) -> None:
        """The inside of a block, whose beginning has been read."""
        seen: set[str] = set()
        for key in self._until(yaml.MappingEndEvent):
            _, given = self._node(key, 0)
            name = given if isinstance(given, str) else "a list or mapping"
            if name not in _BLOCK_KEYS:
                self._problem(_line(key), _unknown(name, _BLOCK_KEYS))
            elif name in seen:
                self._problem(_line(key), f"{name} is there twice")
            elif name == "defaults" and seen:
                self._problem(_line(key), "defaults must stand before pvs and groups")
            seen.add(name)
            value = self._next()
            if name == "defaults":
                defaults = self._inherit(defaults, self._node(value, 0))
            elif name in _BLOCK_KEYS and isinstance(value, yaml.SequenceStartEvent):
                if name == "pvs":
                    self._entries(defaults)
                else:
                    self._groups(defaults, depth)
            elif self._node(value, 0)[1] and name in _BLOCK_KEYS:
                self._problem(_line(value), f"{name} must be a list")

    def _groups(self, defaults: _Defaults, depth: int) -> None:
        for event in self._until(yaml.SequenceEndEvent):
            if depth == MAX_DEPTH:
                raise _StopError(_line(event), f"groups are nested more than {MAX_DEPTH} deep")
            if isinstance(event, yaml.MappingStartEvent):
                self._block(defaults, depth + 1)
            else:
                self._node(event, 0)
                self._problem(_line(event), "a group must be a mapping with defaults, pvs and groups")

    def _entries(self, defaults: _Defaults) -> None:
        """The inside of a list of entries, whose beginning has been read."""
        for event in self._until(yaml.SequenceEndEvent):
            line, value = self._node(event, 0)
            if isinstance(value, str):
                self._rows.add(self._file, line, {**defaults.fields, "setpoint": value}, defaults.tags, {})
            elif isinstance(value, dict):
                fields, tags, lines = self._fields(value, _ENTRY_KEYS)
                tags = self._share({**defaults.tags, **tags}) if tags else defaults.tags
                self._rows.add(self._file, line, {**defaults.fields, **fields}, tags, lines)
            else:
                self._problem(line, "an entry must be the name of a PV or a mapping")

    def _inherit(self, defaults: _Defaults, node: _Node) -> _Defaults:
        line, value = node
        if not value:
            return defaults
        if not isinstance(value, dict):
            self._problem(line, "defaults must be a mapping")
            return defaults
        fields, tags, lines = self._fields(value, _DEFAULT_KEYS)
        for key, text in fields.items():
            try:
                if text:
                    FIELDS[key](text)
            except ValueError as exc:
                # Once here, not once for each entry.
                self._problem(lines[key], f"{key}: {exc}")
                fields[key] = ""
        return _Defaults({**defaults.fields, **fields}, {**defaults.tags, **tags})

    def _fields(
        self, mapping: Mapping[str, _Node], known: frozenset[str]
    ) -> tuple[dict[str, str], Tags, dict[str, int]]:
        """The fields as text, the tags, and the lines of the fields."""
        fields: dict[str, str] = {}
        lines: dict[str, int] = {}
        tags: Tags = {}
        for key, node in mapping.items():
            line, value = node
            if key not in known:
                self._problem(line, _unknown(key, known))
            elif key == "tags":
                self._tags(tags, node)
            elif isinstance(value, str):
                fields[key] = value
                lines[key] = line
            else:
                self._problem(line, f"{key} must be a single value")
        return fields, tags, lines

    def _tags(self, tags: Tags, node: _Node) -> None:
        """Tags as `Group=Tag; Group=Tag`, as a list of such, or as a mapping of a group to its tags."""
        for line, group, text in _tag_items(node):
            try:
                if not isinstance(text, str):
                    self._problem(line, "tags must be text, or lists or a mapping of it")
                elif group is None:
                    parse_tags(tags, text)
                else:
                    add_tag(tags, group, text)
            except ValueError as exc:
                self._problem(line, f"tags: {exc}")

    def _node(self, event: Any, depth: int) -> _Node:
        """The piece of the file that begins with `event`."""
        line = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            null = event.implicit[0] and event.value in _NULL
            node: _Node = line, "" if null else event.value.strip()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _StopError(line, f"*{event.anchor} stands for nothing that can be used here")
            return line, self._anchors[event.anchor][1]
        elif depth == MAX_DEPTH:
            raise _StopError(line, NESTED)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = line, [self._node(e, depth + 1) for e in self._until(yaml.SequenceEndEvent)]
        else:
            node = line, self._mapping(depth)
        if event.tag is not None:
            self._problem(line, f"YAML tag {event.tag} is not possible")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, depth: int) -> dict[str, _Node]:
        mapping: dict[str, _Node] = {}
        for event in self._until(yaml.MappingEndEvent):
            line, key = self._node(event, depth + 1)
            _, value = self._node(self._next(), depth + 1)
            if not isinstance(key, str):
                self._problem(line, "a list or mapping cannot be a key")
            elif key in mapping:
                self._problem(line, f"{key} is there twice")
            else:
                mapping[key] = line, value
        return mapping

    def _until(self, end: type[yaml.Event]) -> Iterator[Any]:
        """The events up to the end of a list or mapping; whoever gets one reads on to its own end."""
        while not isinstance(event := self._next(), end):
            yield event

    def _share(self, tags: Tags) -> Tags:
        """Many entries have the same tags: they share one mapping."""
        return self._shared.setdefault(tuple(tags.items()), tags)

    def _problem(self, line: int, reason: str) -> None:
        self._rows.problem(self._file, line, reason)


def _tag_items(node: _Node) -> Iterator[tuple[int, str | None, Any]]:
    """Line, group where there is one, and text of every tag, if it is text."""
    _, value = node
    groups = value.items() if isinstance(value, dict) else [(None, node)]
    for group, (line, given) in groups:
        for _, text in given if isinstance(given, list) else [(line, given)]:
            yield line, group, text


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _unknown(key: str, known: frozenset[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), 1)
    return f"unknown key {key[:40]!r}" + (f"; {near[0]}?" if near else f", known are {', '.join(sorted(known))}")
