"""What happens on RESTORE:ID: look, back up, write in order, verify; and account for every PV."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.jobs._context import JobAbortedError, JobContext
from squirrel_ioc.jobs.file_types import fitted
from squirrel_ioc.jobs.restore.ledger import Ledger, Verdict
from squirrel_ioc.jobs.restore.preflight import catalogue_rows, check_targets, check_types
from squirrel_ioc.jobs.restore.ramp import cannot_ramp, needs_ramp, ramp
from squirrel_ioc.jobs.restore.saved import mismatch, reads_back_else, saved_values
from squirrel_ioc.jobs.restore.still_valid import back_as_something_else, check_enabled
from squirrel_ioc.model.compare import differs
from squirrel_ioc.model.display import shorten
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import Outcome, RestoreMode, RestoreRequest, RestoreResult
from squirrel_ioc.model.snapshot import BACKUP, NewSnapshot, Snapshot
from squirrel_ioc.model.values import Dbf, State, WriteState
from squirrel_ioc.store import Connection

__all__ = ["restore_snapshot"]

_SETTLE_POLL_S = 0.1
_TITLE_BYTES = 200
_READ, _WRITE = 10.0, 80.0  # percent of the progress bar that reading and writing end at


async def restore_snapshot(job: JobContext, request: RestoreRequest) -> RestoreResult:
    """Write a snapshot's setpoints back.

    Raises RefusedError when there is nothing that could be restored, or restores have been disabled before the first
    write, JobAbortedError with the result so far.
    """
    await check_enabled(job.store)
    snapshot = await job.store.snapshot(request.snapshot_id)
    if snapshot is None:
        raise RefusedError(f"snapshot {request.snapshot_id} does not exist")
    run = _Restore(job, request, snapshot, await saved_values(job, request))
    job.partial = run.result()
    try:
        await run.carry_out()
    except JobAbortedError:
        pass  # told below, with what has been done
    finally:
        run.close()
    result = run.result()
    if job.aborted:
        raise JobAbortedError(f"aborted by {job.aborted_by}: {result.so_far()}", result)
    return result


class _Restore:
    """One restore: the saved values, the ledger, and the steps in the order they are taken."""

    def __init__(self, job: JobContext, request: RestoreRequest, snapshot: Snapshot, saved: Frame) -> None:
        self.job = job
        self.request = request
        self.snapshot = snapshot
        self.saved = saved
        self.ledger = Ledger(len(saved))
        self.entries = catalogue_rows(saved.channels, job.catalogue)
        self.backup_id = 0
        self.started = time.monotonic()
        self._now_rows = np.zeros(0, np.intp)
        self._now = saved
        self._under_way = np.zeros(0, np.intp)
        self._connection = np.zeros(0, np.int32)

    async def carry_out(self) -> None:
        """All of it. Raises JobAbortedError when somebody stops it before the first write."""
        await self.look()
        if self.request.mode is RestoreMode.DRY_RUN:
            self.ledger.settle(self.ledger.open, Verdict.WRITTEN)
            return
        await self.back_up()
        await check_enabled(self.job.store)
        await self.write()
        if self.request.verify and not self.job.aborted:
            await self.verify()

    def close(self) -> None:
        """Give every PV its verdict, also when the restore has ended early."""
        self.ledger.settle(self._under_way, Verdict.FAILED, "interrupted: it may have been written")
        self.ledger.settle(self.ledger.open, Verdict.SKIPPED, WriteState.NOT_ISSUED.reason)
        self.job.partial = self.result()

    async def look(self) -> None:
        """Preflight, and a read of what stands on the machine now. Leaves open what is to be written."""
        job, ledger = self.job, self.ledger
        live = job.targets.live(self.saved.channels)
        self._connection = live.connection
        check_targets(ledger, self.saved, self.entries, job.catalogue, live)
        rows = ledger.open
        saved = self.saved.take(rows)
        self._report(f"reading {len(rows)} PVs", 0.0)
        states = np.flatnonzero(saved.dbf == Dbf.ENUM)
        if len(states):
            # An index is written only where it still means what it meant.
            await job.targets.refresh(saved.channels.take(states), abort=lambda: job.aborted)
        now = await job.targets.read(
            saved.channels,
            progress=lambda done, of: self._report(f"reading {of} PVs", _READ * done / max(of, 1)),
            abort=lambda: job.aborted,
        )
        job.check_abort()
        if self.snapshot.file_format:
            saved = await self._fit(now, rows)
        check_types(ledger, saved, now, rows)
        if self.request.mode is not RestoreMode.ALL:
            same = ~differs(saved, now, None, None)
            ledger.settle(rows[same & (now.state == State.VALUE)], Verdict.UNCHANGED)
        self._now, self._now_rows = now, rows
        job.partial = self.result()

    async def _fit(self, now: Frame, rows: NDArray[np.intp]) -> Frame:
        """Give values that came from a file the types that their PVs have now. What does not fit fails."""
        made = await asyncio.to_thread(fitted, self.saved, now, self.snapshot.file_format)
        self.saved = made.frame
        wrong = np.array(list(made.problems), np.intp)
        self.ledger.settle(wrong, Verdict.FAILED, list(made.problems.values()))
        return self.saved.take(rows)

    async def back_up(self) -> None:
        """Store the present values of exactly the PVs to be written, before the first write.

        With them, in the same commit, the account as it stands: whatever happens from now on, somebody can tell of it.
        """
        rows = self.ledger.open
        if not len(rows):
            return
        self.job.check_abort()
        self._report(f"backing up {len(rows)} PVs", _READ)

        async def note(connection: Connection, backup: Snapshot) -> None:
            account = replace(self.result(), backup_id=backup.id)
            await self.job.store.note_job(self.job.id, account.total, account.to_json(), connection)

        backup = await self.job.store.save_snapshot(
            self._before(rows),
            NewSnapshot(
                title=_backup_title(self.snapshot),
                taken=datetime.now(UTC),
                user=self.job.user,
                host=self.job.host,
                job_id=self.job.id,
                kind=BACKUP,
                origin=f"restore of snapshot {self.snapshot.id}",
            ),
            also_do=note,
        )
        self.backup_id = backup.id
        self.job.partial = self.result()

    async def write(self) -> None:
        """Ascending order; each order is complete before the next one starts."""
        todo = self.ledger.open
        await asyncio.sleep(0)  # with many PVs each of these steps takes the loop its time
        order = np.zeros(len(self.saved), np.int64)
        known = self.entries >= 0
        order[known] = self.job.catalogue.order[self.entries[known]]
        for level in np.unique(order[todo]):
            if self.job.aborted:
                break
            await self._write_order(todo[order[todo] == level])

    async def _write_order(self, rows: NDArray[np.intp]) -> None:
        target = self.saved.take(rows)
        before = self._before(rows)
        await asyncio.sleep(0)
        start = before.number
        walk = needs_ramp(target, self.job.catalogue.max_step[self.entries[rows]])
        stuck = np.flatnonzero(walk & cannot_ramp(target, start))
        reasons = [f"there are no steps from {start[r]:g} to {target.number[r]:g}" for r in stuck]
        self.ledger.settle(rows[stuck], Verdict.FAILED, reasons)
        walk[stuck] = False
        await asyncio.sleep(0)
        other = rows[back_as_something_else(self.job.targets, before)]
        self.ledger.settle(other, Verdict.FAILED, "its type, size or state labels have changed since it was looked at")
        walk &= self.ledger.verdict[rows] == Verdict.OPEN
        at_once = np.flatnonzero(~walk & (self.ledger.verdict[rows] == Verdict.OPEN))
        self._under_way = rows
        if len(at_once):
            outcome = await self.job.targets.write(
                target.take(at_once), progress=self._writing(), abort=lambda: self.job.aborted
            )
            self._account(rows[at_once], outcome)
        if walk.any():
            await self._ramp(rows[walk], target.take(np.flatnonzero(walk)), start[walk])
        self._under_way = np.zeros(0, np.intp)
        self.job.partial = self.result()

    async def _ramp(self, rows: NDArray[np.intp], target: Frame, start: NDArray[np.float64]) -> None:
        entries, catalogue = self.entries[rows], self.job.catalogue
        outcome, reached = await ramp(
            self.job.targets,
            target,
            start,
            catalogue.max_step[entries],
            catalogue.step_period[entries],
            self._connection[rows],
            abort=lambda: self.job.aborted,
            moved=self._ramping(len(rows)),
        )
        self._account_part_way(rows, outcome, reached, start)
        lost = "disconnected since its value was read: nobody knows where its ramp would begin"
        self.ledger.settle(rows[outcome == WriteState.DISCONNECTED], Verdict.FAILED, lost)
        self._account(rows, outcome)

    def _account(self, rows: NDArray[np.intp], outcome: NDArray[np.uint8]) -> None:
        """Verdicts of writes. What was never sent, because of an abort, stays open."""
        self.ledger.settle(rows[outcome == WriteState.DONE], Verdict.WRITTEN)
        failed = (outcome != WriteState.DONE) & (outcome != WriteState.NOT_ISSUED)
        reasons = [WriteState(int(s)).reason for s in outcome[failed]]
        self.ledger.settle(rows[failed], Verdict.FAILED, reasons)

    def _account_part_way(
        self,
        rows: NDArray[np.intp],
        outcome: NDArray[np.uint8],
        reached: NDArray[np.float64],
        start: NDArray[np.float64],
    ) -> None:
        """Ramps that stopped between start and target: written, but not to the value that was asked."""
        on_the_way = np.flatnonzero((outcome != WriteState.DONE) & (reached != start))
        reasons = [
            f"ramp stopped at {reached[r]:g} on the way to {self.saved.number[rows[r]]:g}: "
            f"{WriteState(int(outcome[r])).reason}"
            for r in on_the_way
        ]
        self.ledger.settle(rows[on_the_way], Verdict.FAILED, reasons)

    async def verify(self) -> None:
        """Read back what was written and compare it within each PV's tolerance.

        What does not match yet is read again until `restore.verify_timeout_s`: some records settle slowly.
        """
        rows = self.ledger.rows(Verdict.WRITTEN)
        if not len(rows):
            return
        self._report(f"verifying {len(rows)} PVs", _WRITE)
        settings = self.job.settings.restore
        await self.job.pause(settings.verify_delay_s)
        deadline = time.monotonic() + settings.verify_timeout_s
        while True:
            wanted = self.saved.take(rows)
            got = await self.job.targets.read(
                wanted.channels,
                progress=lambda done, of: self._report(f"verifying {of} PVs", _WRITE + 19.0 * done / max(of, 1)),
            )
            bad = np.flatnonzero(reads_back_else(wanted, got, self.job.catalogue, self.entries[rows]))
            if not len(bad) or time.monotonic() >= deadline or self.job.aborted:
                break
            self._report(f"{len(bad)} PVs do not read back as written yet", 99.0)
            rows = rows[bad]
            await self.job.pause(min(_SETTLE_POLL_S, max(0.0, deadline - time.monotonic())))
        self.ledger.retract(rows[bad], [mismatch(wanted, got, int(r)) for r in bad])

    def result(self) -> RestoreResult:
        """The account as it stands."""
        ledger = self.ledger
        bad_rows, bad_reasons = ledger.bad()
        return RestoreResult(
            snapshot_id=self.snapshot.id,
            mode=self.request.mode,
            outcome=Outcome.ABORTED if self.job.aborted else ledger.outcome(),
            total=len(self.saved),
            written=ledger.count(Verdict.WRITTEN),
            unchanged=ledger.count(Verdict.UNCHANGED),
            skipped=ledger.count(Verdict.SKIPPED),
            failed=ledger.count(Verdict.FAILED),
            mismatch=ledger.count(Verdict.MISMATCH),
            backup_id=self.backup_id,
            bad_names=tuple(self.saved.channels.array[bad_rows].tolist()),
            bad_reasons=bad_reasons,
            duration_s=time.monotonic() - self.started,
        )

    def _before(self, rows: NDArray[np.intp]) -> Frame:
        """What stood on the machine before the first write."""
        return self._now.take(np.searchsorted(self._now_rows, rows))

    def _report(self, message: str, percent: float) -> None:
        done = len(self.saved) - self.ledger.count(Verdict.OPEN)
        self.job.report(done, len(self.saved), message, percent)

    def _writing(self) -> Callable[[int, int], None]:
        before = len(self.saved) - len(self.ledger.open)
        return lambda done, of: self._settled(before + done, float(before + done))

    def _ramping(self, ramps: int) -> Callable[[int, float], None]:
        before = len(self.saved) - len(self.ledger.open)
        return lambda arrived, way: self._settled(before + arrived, before + ramps * way)

    def _settled(self, done: int, work: float) -> None:
        total = len(self.saved)
        percent = _READ + (_WRITE - _READ) * work / total
        self.job.report(done, total, f"{done} of {total} PVs settled", percent)


def _backup_title(snapshot: Snapshot) -> str:
    """Titles of backups of backups do not grow."""
    title = f"Before restore of {snapshot.id}"
    return title if snapshot.kind == BACKUP else shorten(f"{title}: {snapshot.title}", _TITLE_BYTES)
