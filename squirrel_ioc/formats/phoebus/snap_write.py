"""Snapshots of Phoebus as CSV, written; see `phoebus.snap`."""

from __future__ import annotations

from collections.abc import Mapping

from squirrel_ioc.formats._frame_rows import Row, plain_nan, rows
from squirrel_ioc.formats._losses import frame_losses, now_if_none
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.formats._protocol import Sink, SnapshotFile
from squirrel_ioc.formats.phoebus.header import ENDING, OPENING
from squirrel_ioc.formats.phoebus.values import COLUMNS, EMPTY_TEXT, type_of, value_text
from squirrel_ioc.model.values import State

__all__ = ["write"]

_SEVERITY = ("NONE", "MINOR", "MAJOR", "INVALID")
_CLASS = (
    *("NONE", "DRIVER", "DRIVER", "RECORD", "RECORD", "RECORD", "RECORD", "RECORD", "RECORD", "DRIVER", "DRIVER"),
    *("DEVICE", "RECORD", "DB", "DB", "DB", "CONF", "UNDEFINED", "RECORD", "RECORD", "CLIENT", "CLIENT"),
)
"""The class of each CA alarm status (alarm.h), as pvAccessCPP has them (caStatus.cpp); UDF is UNDEFINED."""


def write(sink: Sink, snapshot: SnapshotFile) -> list[str]:
    """A snapshot; returns what the format cannot hold."""
    losses = Losses()
    kept = ("title", "comment", "labels", "user", "stamps", "alarms", "states", "readbacks")
    frame_losses(losses, snapshot, **dict.fromkeys(kept, True))
    _header(sink, snapshot, losses)
    sink(",".join(COLUMNS) + "\n")
    readbacks = {row.name: row for row in rows(snapshot.frame) if row.name in set(snapshot.readbacks.values())}
    for row in rows(snapshot.frame):
        readback = snapshot.readbacks.get(row.name, "")
        if row.setpoint:
            problem = name_problem(row.name) or (name_problem(readback) if readback else None)
            if problem is not None:
                losses.left_out(problem, row.name)
            else:
                _row(sink, row, readback, readbacks, losses, read_only=row.name in snapshot.read_only)
        elif row.name not in readbacks:
            losses.left_out("a readback of no setpoint", row.name)
    return losses.lines()


def _header(sink: Sink, snapshot: SnapshotFile, losses: Losses) -> None:
    taken = now_if_none(snapshot.taken).astimezone()
    title = " ".join(snapshot.title.split())
    if title != snapshot.title:
        losses.note("the title is written in one line")
    date = f"{taken:%Y-%m-%d %H:%M:%S}.{taken.microsecond // 1000:03d}"
    comment = "".join(f"# {line}\n" for line in snapshot.comment.splitlines() or [""])
    sink(f"# {OPENING}\n# Hierarchy:\n# squirrel-ioc\n# Snapshot name:\n# {title}\n# Description:\n{comment}")
    sink(f"# Creator:\n# {' '.join(snapshot.user.split())}\n# Date:\n# {date}\n# Tags:\n")
    for label in snapshot.labels:
        if '"' in label or not label.isprintable():
            losses.note(f"label {label!r} is left out: it has a quote or a control character")
        else:
            sink(f'# "{label}","",{snapshot.user.replace(",", " ")},{date}\n')
    sink(f"# {ENDING}\n")


def _row(sink: Sink, row: Row, readback: str, readbacks: Mapping[str, Row], losses: Losses, *, read_only: bool) -> None:
    read_back = _readback(row, readbacks.get(readback), losses)
    if row.state is not State.VALUE:
        sink(f'{row.name},1,,,,na,"---",{readback},"{read_back}",,{int(read_only)}\n')
        return
    try:
        text = value_text(row)
    except ValueError as e:
        losses.left_out(str(e), row.name)
        return
    if any(e != e and not plain_nan(e) for e in row.elements if isinstance(e, float)):
        losses.add("a NaN with a payload becomes an ordinary one", row.name)
    if text == EMPTY_TEXT and not row.elements:
        losses.add("an empty text gets the NUL that ends it", row.name)
    if row.status > 0:
        losses.add("of the alarm status only its class is kept", row.name)
    seconds, nanoseconds = divmod(row.stamp, 1_000_000_000)
    status = _CLASS[row.status] if 0 <= row.status < len(_CLASS) else "UNDEFINED"
    severity = _SEVERITY[row.severity] if 0 <= row.severity < len(_SEVERITY) else "UNDEFINED"
    sink(
        f'{row.name},1,{seconds}.{nanoseconds},{status},{severity},{type_of(row)},"{text}",{readback},"{read_back}",,'
        f"{int(read_only)}\n"
    )


def _readback(row: Row, readback: Row | None, losses: Losses) -> str:
    if readback is None or readback.state is not State.VALUE or readback.setpoint:
        return "---"
    if readback.stamp or readback.severity > 0 or readback.status > 0:
        losses.add("a readback has no time and no alarm of its own", readback.name)
    if row.state is not State.VALUE or type_of(readback) != type_of(row):
        losses.add("the value of a readback is left out: its type is not that of the setpoint", readback.name)
        return "---"
    try:
        return value_text(readback)
    except ValueError as e:
        losses.add(f"the value of a readback is left out: {e}", readback.name)
        return "---"
