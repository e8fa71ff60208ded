"""Taking a restore back: only what it wrote, and not what somebody else has moved since."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.jobs.file_types import fitted
from squirrel_ioc.jobs.restore.ledger import Touched, Verdict
from squirrel_ioc.jobs.restore.run import Run
from squirrel_ioc.model.compare import differs
from squirrel_ioc.model.display import text
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import JobInfo
from squirrel_ioc.model.snapshot import BACKUP, Snapshot
from squirrel_ioc.store import Store

__all__ = ["Undone", "skip_moved", "to_undo"]


@dataclass(frozen=True, eq=False)
class Undone:
    """The restore that is taken back.

    snapshot_id  what it wrote, 0 when that is not known
    subject      what is done, in words: what it was, and whose
    touched      uint8[rows]: a `Touched` for each value of the backup that is to be restored
    """

    snapshot_id: int
    subject: str
    touched: NDArray[np.uint8]


async def to_undo(store: Store, backup: Snapshot) -> tuple[Frame, Undone]:
    """The values before a restore of the PVs that it wrote, or may have written.

    Raises RefusedError when the snapshot is no backup, or the restore wrote nothing.
    """
    if backup.kind != BACKUP:
        raise RefusedError(f"snapshot {backup.id} is no backup of a restore: there is nothing to undo")
    snapshot_id, subject = 0, f"undo of the {backup.origin}"
    job = None if backup.job_id is None else await store.job(backup.job_id)
    if job is not None:
        snapshot_id = int((await store.job_request(job.id))["snapshot_id"])
        subject = f"undo of the {job.title} by {job.user}@{job.host} at {_local(job)}"
    frame = await store.load_frame(backup.id)
    kept = await store.backups.touched(backup.id)
    if kept is None:  # its service died: any of them may have been written
        return frame, Undone(snapshot_id, subject, np.full(len(frame), Touched.MAYBE, np.uint8))
    touched = np.frombuffer(kept, np.uint8)
    rows = np.flatnonzero(touched != Touched.NO)
    if not len(rows):
        raise RefusedError(f"there is nothing to undo: the restore of backup {backup.id} wrote no PV")
    return frame.take(rows), Undone(snapshot_id, subject, touched[rows])


def _local(job: JobInfo) -> str:
    when = job.started or job.created
    return "an unknown time" if when is None else f"{when.astimezone():%Y-%m-%d %H:%M:%S}"


async def skip_moved(run: Run, undone: Undone) -> None:
    """Leave alone what does not have the value any more that the restore wrote."""
    rows = run.ledger.open
    rows = rows[undone.touched[rows] == Touched.YES]
    store = run.job.store
    restored = await store.snapshot(undone.snapshot_id)
    if not len(rows) or restored is None:
        return
    now = run.before(rows)
    wrote = await store.load_frame(restored.id)
    wrote = wrote.reordered(wrote.channels.find(now.channels), now.channels)
    if restored.file_format:
        wrote = (await asyncio.to_thread(fitted, wrote, now, restored.file_format)).frame
    moved = np.flatnonzero(differs(wrote, now, *run.tolerances(rows)))
    reasons = [
        f"moved since: it has {text(now, i, 40)}, the restore wrote {text(wrote, i, 40)}" for i in moved.tolist()
    ]
    run.ledger.settle(rows[moved], Verdict.SKIPPED, reasons)
