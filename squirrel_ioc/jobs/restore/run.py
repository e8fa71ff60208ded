"""One restore under way: what was saved, what became of each PV, and how far it is."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs.restore.ledger import Ledger, Verdict
from squirrel_ioc.jobs.restore.preflight import catalogue_rows
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import Outcome, RestoreRequest, RestoreResult
from squirrel_ioc.model.snapshot import Snapshot

__all__ = ["READ_PERCENT", "WRITE_PERCENT", "Plan", "Run"]

READ_PERCENT, WRITE_PERCENT = 10.0, 80.0
"""Percent of the progress bar at which reading and writing end."""


@dataclass(frozen=True)
class Plan:
    """What a dry run would write, a row each: names, present values and those to be written, as people read them."""

    names: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Run:
    """What the steps of a restore share. Rows are those of `saved`, the values to be written.

    entries      int64[rows]  the catalogue's entry of each PV, -1 where it has none
    looked       intp[n]      the rows that were read before anything was written, ascending
    now          Frame[n]     what those PVs had then
    connection   int32[rows]  the connection in which they were read, see `Live`
    backed_up    intp[n]      the rows of the backup, ascending
    """

    def __init__(self, job: JobContext, request: RestoreRequest, snapshot: Snapshot, saved: Frame) -> None:
        self.job = job
        self.request = request
        self.snapshot = snapshot
        self.saved = saved
        self.subject = ""
        self.ledger = Ledger(len(saved))
        self.entries = catalogue_rows(saved.channels, job.catalogue)
        self.looked = np.zeros(0, np.intp)
        self.now = saved.take(self.looked)
        self.connection = np.zeros(0, np.int32)
        self.backup_id = 0
        self.backed_up = self.looked
        self.ramp_s = 0.0
        self.plan = Plan()
        self._started = time.monotonic()

    def before(self, rows: NDArray[np.intp]) -> Frame:
        """What these PVs had before the first write."""
        return self.now.take(np.searchsorted(self.looked, rows))

    def tolerances(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """atol and rtol, float64[rows], 0 where the catalogue gives none."""
        catalogue, entries = self.job.catalogue, self.entries[rows]
        known = entries >= 0
        atol, rtol = np.zeros(len(rows)), np.zeros(len(rows))
        atol[known] = np.nan_to_num(catalogue.atol[entries[known]])
        rtol[known] = np.nan_to_num(catalogue.rtol[entries[known]])
        return atol, rtol

    def report(self, message: str, percent: float) -> None:
        """How far the restore is, for JOB:*."""
        done = len(self.saved) - self.ledger.count(Verdict.OPEN)
        self.job.report(done, len(self.saved), message, percent)

    def keep(self) -> RestoreResult:
        """The account as it stands, which is also what there is to show when the job is interrupted."""
        ledger = self.ledger
        bad_rows, bad_reasons = ledger.bad()
        skipped_rows, skipped_reasons = ledger.skipped()
        names = self.saved.channels.array
        result = RestoreResult(
            snapshot_id=self.snapshot.id,
            mode=self.request.mode,
            outcome=Outcome.ABORTED if self.job.aborted else ledger.outcome(),
            total=len(self.saved),
            written=ledger.count(Verdict.WRITTEN),
            unchanged=ledger.count(Verdict.UNCHANGED),
            skipped=len(skipped_rows),
            failed=ledger.count(Verdict.FAILED),
            mismatch=ledger.count(Verdict.MISMATCH),
            backup_id=self.backup_id,
            bad_names=tuple(names[bad_rows].tolist()),
            bad_reasons=bad_reasons,
            skipped_names=tuple(names[skipped_rows].tolist()),
            skipped_reasons=skipped_reasons,
            planned=ledger.count(Verdict.PLANNED),
            plan_names=self.plan.names,
            plan_from=self.plan.before,
            plan_to=self.plan.after,
            selection=self.request.selection.strip(),
            subject=self.subject,
            ramp_s=self.ramp_s,
            duration_s=time.monotonic() - self._started,
        )
        self.job.partial = result
        return result
