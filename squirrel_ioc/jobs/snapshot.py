"""What happens on SNAP:TRIGGER: one bulk read, one commit."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._selected import selected_rows
from squirrel_ioc.model.away import marked
from squirrel_ioc.model.bad import alarm_text, bad_rows
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.job import SnapshotRequest, SnapshotResult
from squirrel_ioc.model.selection import parse
from squirrel_ioc.model.snapshot import NewSnapshot
from squirrel_ioc.model.values import State

__all__ = ["take_snapshot", "default_title"]


def default_title(now: datetime) -> str:
    """The title of a snapshot that was given none: the local time."""
    return now.astimezone().strftime("%Y-%m-%d %H:%M:%S")


async def take_snapshot(job: JobContext, request: SnapshotRequest) -> SnapshotResult:
    """Read the selected channels and store them whole. Raises RefusedError when there is nothing to read."""
    start = time.monotonic()
    channels = await _channels(job, request.selection)
    total = len(channels)
    job.report(0, total, f"reading {total} PVs", 0.0)
    taken = datetime.now(UTC)
    frame = await job.targets.read(
        channels,
        progress=lambda done, of: job.report(done, of, f"reading {of} PVs", 90.0 * done / max(of, 1)),
        abort=lambda: job.aborted,
    )
    job.check_abort()
    frame = marked(frame, job.away)
    missing = np.flatnonzero(frame.state != State.VALUE)
    if len(missing) == total:
        raise RefusedError(f"none of the {total} PVs could be read: {_first_reason(frame, missing)}")
    job.report(total, total, f"storing {total - len(missing)} values", 90.0)
    snapshot = await job.store.save_snapshot(
        frame,
        NewSnapshot(
            title=request.title or default_title(taken),
            comment="\n".join(filter(None, (request.comment, _beside(job)))),
            labels=request.labels,
            taken=taken,
            user=job.user,
            host=job.host,
            job_id=job.id,
        ),
    )
    names = frame.channels.array
    bad = bad_rows(frame)
    known = frame.state[missing] == State.AWAY
    away, missing = missing[known], missing[~known]
    return SnapshotResult(
        snapshot_id=snapshot.id,
        title=snapshot.title,
        taken=snapshot.taken,
        count=snapshot.count,
        missing=len(missing),
        missing_names=tuple(names[missing].tolist()),
        missing_reasons=tuple(State(int(s)).reason for s in frame.state[missing]),
        away=len(away),
        away_names=tuple(names[away].tolist()),
        selection=request.selection.strip(),
        of=len(job.catalogue.channels),
        beside=job.beside,
        duration_s=time.monotonic() - start,
        invalid=len(bad),
        invalid_names=tuple(names[bad].tolist()),
        invalid_alarms=tuple(alarm_text(frame, row) for row in bad.tolist()),
    )


def _beside(job: JobContext) -> str:
    return f"Taken during the {job.beside}." if job.beside else ""


async def _channels(job: JobContext, text: str) -> ChannelList:
    channels = job.catalogue.channels
    if not len(channels):
        raise RefusedError("the catalogue is empty: there is nothing to read")
    if not text.strip():
        return channels
    try:
        rows = await selected_rows(parse(text), channels, job.catalogue, job.targets)
    except SelectionError as error:
        raise RefusedError(f"selection {text!r}: {error}") from error
    if not len(rows):
        raise RefusedError(f"selection {text!r} matches no PV of the catalogue")
    return channels if len(rows) == len(channels) else channels.take(rows)


def _first_reason(frame: Frame, missing: np.ndarray) -> str:
    row = int(missing[0])
    return f"{frame.channels.names[row]}: {State(int(frame.state[row])).reason}"
