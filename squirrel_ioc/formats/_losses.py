"""What every writer of snapshots has to say of the things its format does not have."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from squirrel_ioc.formats._frame_rows import Row
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.formats._protocol import SnapshotFile
from squirrel_ioc.model.values import Dbf

__all__ = ["chars_loss", "frame_losses", "now_if_none"]


def now_if_none(taken: datetime | None) -> datetime:
    """When a snapshot was taken; where that is not known, the moment it is written."""
    return datetime.now(UTC) if taken is None else taken


def chars_loss(losses: Losses, row: Row) -> None:
    """Note that an array of characters, which may be a text, is one of numbers in the file."""
    if row.dbf is Dbf.CHAR and row.array:
        losses.add("an array of characters comes back as numbers where the PV's type is not known", row.name)


def frame_losses(
    losses: Losses,
    snapshot: SnapshotFile,
    *,
    title: bool = False,
    comment: bool = False,
    labels: bool = False,
    user: bool = False,
    stamps: bool = False,
    alarms: bool = False,
    units: bool = False,
    limits: bool = False,
    states: bool = False,
    readbacks: bool = False,
    attributes: bool = False,
) -> None:
    """Note what a snapshot has and the format (where False) has not."""
    frame, metas = snapshot.frame, snapshot.frame.metas
    used = {int(m) for m in np.unique(frame.meta)}
    has = {
        "title": (not title, bool(snapshot.title)),
        "comment": (not comment, bool(snapshot.comment)),
        "labels": (not labels, bool(snapshot.labels)),
        "user": (not user, bool(snapshot.user)),
        "time stamps of the values": (not stamps, bool(np.any(frame.stamp != 0))),
        "alarms": (not alarms, bool(np.any(frame.severity > 0) or np.any(frame.status > 0))),
        "units and precisions": (not units, any(metas[m].units or metas[m].precision for m in used)),
        "limits": (not limits, any(any(x != 0 for x in metas[m].limits) for m in used)),
        "states of enums": (not states, any(metas[m].labels for m in used)),
        "assignment of readbacks to setpoints": (not readbacks, bool(snapshot.readbacks)),
        "further attributes": (not attributes, bool(snapshot.attributes)),
    }
    absent = [what for what, (lacking, given) in has.items() if lacking and given]
    if absent:
        losses.note(f"the format has no {', '.join(absent)}")
