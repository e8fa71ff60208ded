"""Rows of the table pv: entries as they go in and come out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar, cast

import numpy as np

from squirrel_ioc.model.catalogue import TREATMENT, Catalogue, Entry, Verify
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.inventory import Inventory

__all__ = ["COLUMNS", "SELECT", "Positions", "Row", "inventory_of", "entries_by_name", "records"]

COLUMNS: Final = (
    "channel_id",
    "readback_id",
    "description",
    "device",
    "tags",
    "atol",
    "rtol",
    "read_only",
    "write_order",
    "max_step",
    "step_period",
    "completion",
    "verify",
    "position",
    "retired_at",
    "origin",
    "file_entry",
    "removed",
)

SELECT: Final = """
SELECT channel_id, setpoint.name AS setpoint, readback_id, readback.name AS readback, description, device, tags, atol,
    rtol, read_only, write_order, max_step, step_period, completion, verify, position, origin, file_entry, removed
FROM pv JOIN channel AS setpoint ON setpoint.id = channel_id LEFT JOIN channel AS readback ON readback.id = readback_id
"""

Positions = Mapping[str, int]
"""Where each entry in force stands, ascending and with gaps."""

_T = TypeVar("_T")

_ADDED: Final = "added"
_FILE: Final = "file"
_NUMBERS: Final = frozenset(["atol", "rtol", "max_step", "step_period", "completion"])


@dataclass(frozen=True, slots=True)
class Row:
    """What a row says of an entry, beside its channels' numbers."""

    entry: Entry
    position: int
    added: bool
    filed: Entry | None
    removed: bool = False


def records(rows: list[Row], number: Mapping[str, int], now: datetime) -> Iterator[tuple[Any, ...]]:
    """Rows as COLUMNS. `number` gives the channels' numbers. The list is used up afterwards."""
    texts: dict[int, str] = {}
    for row in _given_up(rows):
        e = row.entry
        if (tags := texts.get(id(e.tags))) is None:
            tags = texts[id(e.tags)] = json.dumps(dict(e.tags))
        yield (
            number[e.setpoint],
            number[e.readback] if e.readback else None,
            e.description,
            e.device,
            tags,
            e.atol,
            e.rtol,
            e.read_only,
            e.order,
            e.max_step,
            e.step_period,
            e.completion,
            e.verify.value,
            row.position,
            now if row.removed else None,
            _ADDED if row.added else _FILE,
            None if row.filed is None else _to_json(row.filed),
            row.removed,
        )


def _given_up(rows: list[_T]) -> Iterator[_T]:
    """Each of them, dropped when the next one is taken: 40,000 at a time would hold up the event loop."""
    left = cast("list[_T | None]", rows)
    for i in range(len(left)):
        row = rows[i]
        left[i] = None
        yield row


@dataclass
class _Shared:
    """What many entries have in common is made once: the tags, and what files say of those changed by hand."""

    tags: dict[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    filed: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def tags_of(self, text: str) -> Mapping[str, tuple[str, ...]]:
        if (tags := self.tags.get(text)) is None:
            tags = self.tags[text] = {group: tuple(values) for group, values in json.loads(text).items()}
        return tags

    def filed_of(self, name: str, text: str) -> Entry:
        if (fields := self.filed.get(text)) is None:
            fields = self.filed[text] = _from_json(text)
        return Entry(name, **fields)


def inventory_of(rows: list[Any]) -> tuple[Inventory, Positions, ChannelList]:
    """What rows of SELECT, in the order of their positions, say; and the channels of the catalogue they are.

    The list is used up afterwards.
    """
    shared = _Shared()
    entries, removed, added, filed = [], {}, set(), {}
    positions, number = {}, {}
    for row in _given_up(rows):
        entry = _entry(row, shared)
        name = entry.setpoint
        if row["file_entry"] is not None:
            filed[name] = shared.filed_of(name, row["file_entry"])
        if row["removed"]:
            removed[name] = entry
            continue
        entries.append(entry)
        positions[name] = row["position"]
        number[name] = row["channel_id"]
        if entry.readback is not None:
            number[entry.readback] = row["readback_id"]
        if row["origin"] == _ADDED:
            added.add(name)
    names = tuple(Catalogue.channel_names(entries))
    ids = np.fromiter(map(number.__getitem__, names), np.int32, len(names))
    channels = ChannelList(names, ids, len(entries))
    return Inventory(tuple(entries), frozenset(added), filed, removed), positions, channels


def entries_by_name(rows: Sequence[Any]) -> dict[str, Entry]:
    """The entries of rows of SELECT."""
    shared = _Shared()
    return {row["setpoint"]: _entry(row, shared) for row in rows}


def _entry(row: Any, shared: _Shared) -> Entry:
    return Entry(
        setpoint=row["setpoint"],
        readback=row["readback"],
        description=row["description"],
        device=row["device"],
        tags=shared.tags_of(row["tags"]),
        atol=row["atol"],
        rtol=row["rtol"],
        read_only=row["read_only"],
        order=row["write_order"],
        max_step=row["max_step"],
        step_period=row["step_period"],
        completion=row["completion"],
        verify=Verify(row["verify"]),
    )


def _to_json(entry: Entry) -> str:
    """Without the name. Numbers are text, as JSON has no infinity."""
    plain: dict[str, Any] = {"tags": dict(entry.tags)}
    for name in TREATMENT:
        value = getattr(entry, name)
        plain[name] = repr(value) if name in _NUMBERS and value is not None else value
    return json.dumps(plain)


def _from_json(text: str) -> Mapping[str, Any]:
    plain: dict[str, Any] = json.loads(text)
    for number in _NUMBERS:
        if plain.get(number) is not None:
            plain[number] = float(plain[number])
    plain["verify"] = Verify(plain.get("verify", Verify.SETPOINT))
    plain["tags"] = {group: tuple(tags) for group, tags in plain["tags"].items()}
    return plain
