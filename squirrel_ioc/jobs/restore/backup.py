"""The way back: what the PVs had before the first write, and which of them were written."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

from squirrel_ioc.errors import StoreError
from squirrel_ioc.jobs.restore.run import READ_PERCENT, Run
from squirrel_ioc.model.display import shorten
from squirrel_ioc.model.snapshot import BACKUP, NewSnapshot, Snapshot
from squirrel_ioc.store import Connection

__all__ = ["back_up", "keep_touched"]

_TITLE_BYTES = 200

log = logging.getLogger(__name__)


async def back_up(run: Run) -> None:
    """Store the present values of exactly the PVs to be written, before the first write.

    With them, in the same commit, the account as it stands: whatever happens from now on, somebody can tell of it.
    """
    rows = run.ledger.open
    if not len(rows):
        return
    job = run.job
    job.check_abort()
    run.report(f"backing up {len(rows)} PVs", READ_PERCENT)

    async def note(connection: Connection, backup: Snapshot) -> None:
        account = replace(run.keep(), backup_id=backup.id)
        await job.store.note_job(job.id, account.total, account.to_json(), connection)

    backup = await job.store.save_snapshot(
        run.before(rows),
        NewSnapshot(
            title=_backup_title(run.snapshot),
            comment=run.request.comment,
            taken=datetime.now(UTC),
            user=job.user,
            host=job.host,
            job_id=job.id,
            kind=BACKUP,
            origin=f"restore of snapshot {run.snapshot.id}",
        ),
        also_do=note,
    )
    run.backup_id = backup.id
    run.backed_up = rows
    run.keep()


def _backup_title(snapshot: Snapshot) -> str:
    """Titles of backups of backups do not grow."""
    title = f"Before restore of {snapshot.id}"
    return title if snapshot.kind == BACKUP else shorten(f"{title}: {snapshot.title}", _TITLE_BYTES)


async def keep_touched(run: Run) -> None:
    """Keep, with the backup, which of its PVs were written. Without it UNDO takes all of them for written."""
    if not run.backup_id:
        return
    try:
        await run.job.store.backups.keep_touched(run.backup_id, run.ledger.touched[run.backed_up].tobytes())
    except StoreError as error:
        log.warning("which PVs of backup %d were written could not be stored: %s", run.backup_id, error)
