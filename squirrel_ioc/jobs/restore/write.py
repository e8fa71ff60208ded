"""The writes of a restore, in ascending order: plain ones all at once, ramps beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs.restore.ledger import Touched, Verdict
from squirrel_ioc.jobs.restore.ramp import Steps, ramp, ramped
from squirrel_ioc.jobs.restore.run import READ_PERCENT, WRITE_PERCENT, Run
from squirrel_ioc.jobs.restore.still_valid import back_as_something_else
from squirrel_ioc.model.values import WriteState

__all__ = ["write"]

_MAY_HAVE_BEEN_WRITTEN = (WriteState.TIMEOUT, WriteState.LOST, WriteState.DROPPED)
_SENT_S = 1.0
"""For the writes whose completion is not waited for: what the IOC refuses, it refuses at once."""

_INTERRUPTED = "interrupted: it may have been written"


async def write(run: Run) -> None:
    """Ascending order; each order is complete before the next one starts."""
    todo = run.ledger.open
    await asyncio.sleep(0)  # with many PVs each of these steps takes the loop its time
    order = np.zeros(len(run.saved), np.int64)
    known = run.entries >= 0
    order[known] = run.job.catalogue.order[run.entries[known]]
    for level in np.unique(order[todo]):
        if run.job.aborted:
            break
        await _Order(run, todo[order[todo] == level]).write()


class _Order:
    """The PVs of one order."""

    def __init__(self, run: Run, rows: NDArray[np.intp]) -> None:
        self.run = run
        self.rows = rows
        self._settled = len(run.saved) - len(run.ledger.open)
        self._parts: dict[str, tuple[int, float]] = {}
        self._message = ""

    async def write(self) -> None:
        run, ledger, catalogue = self.run, self.run.ledger, self.run.job.catalogue
        rows = self.rows
        await asyncio.sleep(0)
        other = rows[back_as_something_else(run.job.targets, run.before(rows))]
        ledger.settle(other, Verdict.FAILED, "its type, size or state labels have changed since it was read")
        rows = rows[ledger.verdict[rows] == Verdict.OPEN]
        walk = ramped(run.saved.take(rows), catalogue.max_step[run.entries[rows]])
        plain, completion = rows[~walk], catalogue.completion[run.entries[rows[~walk]]]
        groups = [
            (float(c), plain[(completion == c) | np.isnan(completion) & np.isnan(c)]) for c in np.unique(completion)
        ]
        ledger.touched[rows] = Touched.MAYBE  # until its outcome is known
        try:
            async with asyncio.TaskGroup() as group:
                for seconds, some in groups:
                    group.create_task(self._at_once(some, seconds))
                if walk.any():
                    group.create_task(self._ramp(rows[walk]))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            unknown = rows[(ledger.verdict[rows] == Verdict.OPEN) & (ledger.touched[rows] == Touched.MAYBE)]
            ledger.settle(unknown, Verdict.FAILED, _INTERRUPTED)
            run.keep()

    async def _at_once(self, rows: NDArray[np.intp], completion_s: float) -> None:
        """Rows that are written in one step. `completion_s` is as in `Catalogue.completion`."""
        outcome = await self.run.job.targets.write(
            self.run.saved.take(rows),
            timeout_s=None if np.isnan(completion_s) else completion_s or _SENT_S,
            progress=self._progress(f"writes {completion_s}"),
            abort=lambda: self.run.job.aborted,
            waiting=self._waiting,
        )
        if completion_s == 0.0:
            outcome = np.where(outcome == WriteState.TIMEOUT, WriteState.DONE, outcome).astype(np.uint8)
        self._account(rows, outcome)

    async def _ramp(self, rows: NDArray[np.intp]) -> None:
        run, catalogue, entries = self.run, self.run.job.catalogue, self.run.entries[rows]
        steps = Steps(catalogue.max_step[entries], catalogue.step_period[entries], *run.tolerances(rows))
        names = run.saved.channels.array[rows]

        def moved(arrived: int, part: float, farthest: int) -> None:
            self._message = f"ramp: {arrived} of {len(rows)} PVs have arrived, {part:.0%}; {names[farthest]} goes on"
            self._tell("ramps", arrived, len(rows) * part)

        walked = await ramp(
            run.job.targets,
            run.saved.take(rows),
            steps,
            run.connection[rows],
            abort=lambda: run.job.aborted,
            moved=moved,
        )
        self._message = ""
        reasons: dict[int, str] = {}
        for i in np.flatnonzero(walked.outcome != WriteState.DONE).tolist():
            reason = walked.problems.get(i, "")
            state = WriteState(int(walked.outcome[i]))
            if state is WriteState.DISCONNECTED and not reason:
                reason = "disconnected since its value was read: a step from there may be a jump"
            reason = reason or state.reason
            if not np.isnan(walked.reached[i]):
                at, to = walked.reached[i], run.saved.number[rows[i]]
                reason = f"ramp stopped at {at:.10g} on the way to {to:.10g}: {reason}"
            elif state is WriteState.NOT_ISSUED and i not in walked.problems:
                continue  # stopped before its first step: never written
            reasons[i] = reason
        stopped = np.array(list(reasons), np.intp)
        run.ledger.settle(rows[stopped], Verdict.FAILED, list(reasons.values()))
        self._account(rows, walked.outcome)
        run.ledger.touched[rows[~np.isnan(walked.reached) & (walked.outcome != WriteState.DONE)]] = Touched.MAYBE

    def _account(self, rows: NDArray[np.intp], outcome: NDArray[np.uint8]) -> None:
        """Verdicts of writes. What was never sent, because of an abort, stays open."""
        ledger = self.run.ledger
        ledger.touched[rows] = np.select(
            [outcome == WriteState.DONE, np.isin(outcome, _MAY_HAVE_BEEN_WRITTEN)],
            [Touched.YES, Touched.MAYBE],
            Touched.NO,
        )
        ledger.settle(rows[outcome == WriteState.DONE], Verdict.WRITTEN)
        failed = (outcome != WriteState.DONE) & (outcome != WriteState.NOT_ISSUED)
        reasons = [WriteState(int(s)).reason for s in outcome[failed]]
        ledger.settle(rows[failed], Verdict.FAILED, reasons)

    def _progress(self, part: str) -> Callable[[int, int], None]:
        return lambda done, _of: self._tell(part, done, float(done))

    def _waiting(self, name: str, others: int) -> None:
        """Writes that take longer than a moment."""
        self._message = f"waiting for {name}" + (f" and {others} more PVs" if others else "") + " to complete"

    def _tell(self, part: str, done: int, work: float) -> None:
        """How far a part of this order is: PVs done, and PVs as far as they have come."""
        self._parts[part] = done, work
        total = len(self.run.saved)
        settled = self._settled + sum(d for d, _ in self._parts.values())
        way = self._settled + sum(w for _, w in self._parts.values())
        percent = READ_PERCENT + (WRITE_PERCENT - READ_PERCENT) * way / total
        message = f"{settled} of {total} PVs settled" + (f"; {self._message}" if self._message else "")
        self.run.job.report(settled, total, message, percent)
