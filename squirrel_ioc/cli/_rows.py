"""Snapshots and their values as rows, for tables and for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from squirrel_ioc.cli._exit import NotFoundError
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.values import Dbf, State

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from squirrel_ioc.model.frame import Frame
    from squirrel_ioc.model.selection import Selection
    from squirrel_ioc.model.snapshot import Snapshot

__all__ = ["add_row", "as_json", "bytes_text", "local_time", "plain", "selected_rows", "short", "value_rows"]

SEVERITIES: Final = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def add_row(table: Table, *cells: str) -> None:
    """Add a row of text that came over the network: no markup, no escape sequences for the terminal."""
    from rich.text import Text

    table.add_row(*(Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in t)) for t in cells))


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """What is stored beside the values; times with their offset."""
    return {
        "id": snapshot.id,
        "kind": snapshot.kind,
        "title": snapshot.title,
        "comment": snapshot.comment,
        "labels": list(snapshot.labels),
        "taken": snapshot.taken.astimezone().isoformat(),
        "user": snapshot.user,
        "host": snapshot.host,
        "count": snapshot.count,
        "missing": snapshot.missing,
        "size_bytes": snapshot.size_bytes,
        "protected": snapshot.protected,
        "kept": snapshot.kept,
        "reference": snapshot.reference,
        "origin": snapshot.origin,
        "job_id": snapshot.job_id,
    }


def local_time(time: datetime) -> str:
    """For a person."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def bytes_text(size: float) -> str:
    """A size for a person."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def short(value: Any) -> str:
    """A value for a table cell: arrays shortened, with their length."""
    if isinstance(value, list):
        head = ", ".join(str(v) for v in value[:5])
        return f"[{head}{', ...' if len(value) > 5 else ''}] ({len(value)})"
    return str(value)


def value_rows(frame: Frame, rows: Iterable[int] | None = None) -> list[dict[str, Any]]:
    """A row a channel, or only these: pv, value, label (of an enum), units, severity, status, time, state.

    Numbers that JSON does not know are the strings NaN, Infinity and -Infinity; `value` is None without one, and
    `state` says why.
    """
    return [_value_row(frame, row) for row in (range(len(frame)) if rows is None else rows)]


def _value_row(frame: Frame, row: int) -> dict[str, Any]:
    state = State(int(frame.state[row]))
    meta = frame.metas[int(frame.meta[row])]
    value = frame.value(row)
    label = None
    if state is State.VALUE and frame.dbf[row] == Dbf.ENUM and isinstance(value, int) and value < len(meta.labels):
        label = meta.labels[value]
    return {
        "pv": frame.channels.names[row],
        "value": plain(value),
        "label": label,
        "units": meta.units,
        "severity": SEVERITIES[frame.severity[row]] if 0 <= frame.severity[row] < len(SEVERITIES) else "",
        "status": int(frame.status[row]),
        "time": _stamp(int(frame.stamp[row])) if state is State.VALUE else None,
        "state": state.reason,
    }


def plain(value: Any) -> Any:
    """A value as JSON can have it: NaN and infinities are strings."""
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _stamp(ns: int) -> str:
    return (_EPOCH + timedelta(microseconds=ns // 1000)).astimezone().isoformat()


def selected_rows(selection: Selection, frame: Frame, catalogue: Catalogue) -> NDArray[np.intp]:
    """The rows of a stored frame that are meant; the tags are today's.

    Raises NotFoundError for a selection that asks for the state of the machine: a snapshot has none.
    """
    if selection.needs_live:
        raise NotFoundError(f"selection {selection}: a stored snapshot is not connected to anything")
    known = catalogue.channels.index
    retired = [Entry(name) for name in frame.channels.names if name not in known]
    everything = Catalogue.of((*catalogue.entries, *retired))
    matched = selection.match(everything)
    index = everything.channels.index
    return np.flatnonzero([matched[index[name]] for name in frame.channels.names])
