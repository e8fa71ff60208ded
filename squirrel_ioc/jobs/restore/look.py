"""The look at the machine before anything is written: what is there, what has its value already, what cannot be."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs.file_types import fitted
from squirrel_ioc.jobs.restore.ledger import Verdict
from squirrel_ioc.jobs.restore.preflight import check_saved, check_targets, check_types, check_whole, check_write_access
from squirrel_ioc.jobs.restore.ramp import ramp_seconds, ramped
from squirrel_ioc.jobs.restore.run import READ_PERCENT, Run
from squirrel_ioc.model.compare import differs
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import RestoreMode
from squirrel_ioc.model.values import Dbf, State

__all__ = ["look"]


async def look(run: Run) -> None:
    """Preflight, and a read of what the PVs have now. Leaves open what is to be written.

    Raises JobAbortedError when somebody stops the restore meanwhile.
    """
    job, ledger = run.job, run.ledger
    live = job.targets.live(run.saved.channels)
    run.connection = live.connection
    check_targets(ledger, run.saved, run.entries, job.catalogue, live, job.away)
    rows = ledger.open
    saved = run.saved.take(rows)
    run.report(f"reading {len(rows)} PVs", 0.0)
    states = np.flatnonzero(saved.dbf == Dbf.ENUM)
    if len(states):
        # An index is written only where it still means what it meant.
        await job.targets.refresh(saved.channels.take(states), abort=lambda: job.aborted)
    now = await job.targets.read(
        saved.channels,
        progress=lambda done, of: run.report(f"reading {of} PVs", READ_PERCENT * done / max(of, 1)),
        abort=lambda: job.aborted,
    )
    job.check_abort()
    if run.snapshot.file_format:
        saved = await _fit(run, now, rows)
        check_whole(ledger, saved, now, rows)
    run.now, run.looked = now, rows
    check_types(ledger, saved, now, rows)
    if run.request.mode is not RestoreMode.ALL:
        same = ~differs(saved, now, None, None)
        ledger.settle(rows[same & (now.state == State.VALUE)], Verdict.UNCHANGED)
    if not run.request.invalid:
        check_saved(ledger, run.saved)
    check_write_access(ledger, job.targets.live(run.saved.channels))
    check_ramps(run)
    run.keep()


async def _fit(run: Run, now: Frame, rows: NDArray[np.intp]) -> Frame:
    """Give values that came from a file the types that their PVs have now. What does not fit fails."""
    made = await asyncio.to_thread(fitted, run.saved, now, run.snapshot.file_format)
    run.saved = made.frame
    wrong = np.array(list(made.problems), np.intp)
    run.ledger.settle(wrong, Verdict.FAILED, list(made.problems.values()))
    return run.saved.take(rows)


def check_ramps(run: Run) -> None:
    """How long the ramps will take, order by order; a ramp that would take longer than allowed is not begun."""
    catalogue, limit_s = run.job.catalogue, run.job.settings.restore.max_ramp_s
    rows = run.ledger.open
    entries = run.entries[rows]
    walk = ramped(run.saved.take(rows), catalogue.max_step[entries])
    rows, entries = rows[walk], entries[walk]
    if not len(rows):
        return
    target = run.saved.take(rows)
    seconds = ramp_seconds(target, run.before(rows).number, catalogue.max_step[entries], catalogue.step_period[entries])
    long = seconds > limit_s
    reasons = [f"its ramp would take {s:.0f} s, more than restore.max_ramp_s {limit_s:g}" for s in seconds[long]]
    run.ledger.settle(rows[long], Verdict.FAILED, reasons)
    orders = catalogue.order[entries]
    run.ramp_s = float(sum(seconds[~long & (orders == order)].max(initial=0.0) for order in np.unique(orders)))
