"""What happens on RESTORE:ID: look, back up, write in order, verify; and account for every PV."""

from __future__ import annotations

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.jobs._context import JobAbortedError, JobContext
from squirrel_ioc.jobs.restore.backup import back_up, keep_touched
from squirrel_ioc.jobs.restore.ledger import Verdict
from squirrel_ioc.jobs.restore.look import look
from squirrel_ioc.jobs.restore.plan import plan
from squirrel_ioc.jobs.restore.run import Run
from squirrel_ioc.jobs.restore.saved import saved_values
from squirrel_ioc.jobs.restore.still_valid import check_enabled
from squirrel_ioc.jobs.restore.undo import Undone, skip_moved, to_undo
from squirrel_ioc.jobs.restore.verify import verify
from squirrel_ioc.jobs.restore.write import write
from squirrel_ioc.model.job import RestoreMode, RestoreRequest, RestoreResult, Undo
from squirrel_ioc.model.values import WriteState

__all__ = ["restore_snapshot"]


async def restore_snapshot(job: JobContext, request: RestoreRequest) -> RestoreResult:
    """Write a snapshot's setpoints back.

    Raises RefusedError when there is nothing that could be restored, or restores have been disabled before the first
    write, JobAbortedError with the result so far.
    """
    await check_enabled(job.store)
    snapshot = await job.store.snapshot(request.snapshot_id)
    if snapshot is None:
        raise RefusedError(f"snapshot {request.snapshot_id} does not exist")
    undone = None
    if request.undo is Undo.NO:
        saved = await saved_values(job, request)
    else:
        saved, undone = await to_undo(job.store, snapshot)
    run = Run(job, request, snapshot, saved)
    if undone is not None:
        run.subject = undone.subject
    run.keep()
    try:
        await _carry_out(run, undone)
    except JobAbortedError:
        pass  # told below, with what has been done
    finally:
        # Every PV gets its verdict, also when the restore has ended early.
        run.ledger.settle(run.ledger.open, Verdict.SKIPPED, WriteState.NOT_ISSUED.reason)
        run.keep()
    result = run.keep()
    if job.aborted:
        raise JobAbortedError(f"aborted by {job.aborted_by}: {result.so_far()}", result)
    return result


async def _carry_out(run: Run, undone: Undone | None) -> None:
    """All of it. Raises JobAbortedError when somebody stops it before the first write."""
    await look(run)
    if undone is not None and run.request.undo is Undo.WRITTEN:
        await skip_moved(run, undone)
    if run.request.mode is RestoreMode.DRY_RUN:
        await plan(run)
        return
    await back_up(run)
    await check_enabled(run.job.store)
    try:
        await write(run)
        if run.request.verify and not run.job.aborted:
            await verify(run)
    finally:
        await keep_touched(run)
