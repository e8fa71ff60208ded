"""JOB: what runs, what ran."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from caproto import AlarmSeverity

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.groups.job_group import abort_job
from squirrel_ioc.ioc.groups.results import iso_time, outcome_label
from squirrel_ioc.ioc.kinds.declare import choice, command, double, integer, integers, string, strings, text
from squirrel_ioc.ioc.kinds.group import Group, post_all
from squirrel_ioc.ioc.kinds.pv import now, stamp_of
from squirrel_ioc.model.job import JobInfo, JobStatus

__all__ = ["JobsGroup"]

KINDS: Final = ("None", "Snapshot", "Restore", "Compare", "Import", "Export", "Other")
STATUSES: Final = ("IDLE", "PENDING", "IN_PROGRESS", "COMPLETED", "FAILED", "RETRYING", "ABORTED")
ALARMS: Final[dict[int, Any]] = {
    JobStatus.FAILED: AlarmSeverity.MAJOR_ALARM,
    JobStatus.RETRYING: AlarmSeverity.MINOR_ALARM,
    JobStatus.ABORTED: AlarmSeverity.MINOR_ALARM,
}
RECENT: Final = 50

_MOVE_S: Final = 0.1
"""Progress is posted at most this often."""

_TICK_S: Final = 0.4
"""... and at least this often while a job runs."""


class JobsGroup(Group):
    """Contract section 4. Shows the job that runs, else the one that waits, else the last one."""

    section = "JOB:"

    job_id = integer("ID", "The job now running, or the last one")
    kind = choice("KIND", KINDS, "What kind of job it is")
    user = string("USER", "Who asked for it")
    host = string("HOST", "From which host")
    attempt = integer("ATTEMPT", "Which try it is")
    done = integer("DONE", "PVs done")
    total = integer("TOTAL", "PVs to do")
    progress = double("PROGRESS", "How far it is", egu="%", precision=1, low=0, high=100)
    elapsed = double("ELAPSED", "How long it takes, or took", egu="s", precision=1)
    queued = integer("QUEUED", "Jobs that wait")
    recent_ids = integers("RECENT:IDS", "The last 50 jobs, newest first", length=RECENT)
    recent_kinds = strings("RECENT:KINDS", "What kinds of jobs they are", length=RECENT, long=False)
    recent_statuses = strings("RECENT:STATUSES", "How they stand, or ended", length=RECENT, long=False)
    recent_outcomes = strings("RECENT:OUTCOMES", "As STATUS: OK, Partial, Failed", length=RECENT, long=False)
    recent_users = strings("RECENT:USERS", "Who asked for them, from where", length=RECENT, long=False)
    recent_times = strings("RECENT:TIMES", "When they were asked for", length=RECENT, long=False)
    recent_titles = strings("RECENT:TITLES", "What they are for", length=RECENT)
    msg = text("MSG", 512, "What it does, or how it ended")
    status = choice(
        "STATUS",
        STATUSES,
        "How it stands",
        alarms=ALARMS,
    )
    abort = command("ABORT", "Abort", "Abort the running job")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.abort.action = self._abort
        self._shown: JobInfo | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._moved = 0.0

    async def start(self) -> None:
        """Show the last job, and follow."""
        jobs = self.service.jobs
        if (info := jobs.current) is not None:
            self._show(info, stamp_of(info.finished.timestamp()) if info.finished else now())
        self.feed.observe(self.job_changed)

    async def stop(self) -> None:
        """No more ticks."""
        self._stop_timer()

    def job_changed(self, info: JobInfo, stamp: Any) -> None:
        """A job has come, moved, or ended."""
        shown = self._shown
        same = shown is not None and shown.id == info.id
        if shown is not None and same and info.status is shown.status is JobStatus.IN_PROGRESS:
            self._shown = info
            self._move_soon()
        elif same or shown is None or shown.status.terminal or _takes_over(info, shown):
            self._show(info, stamp)
        else:  # another one runs
            self._list_recent(stamp)

    def _show(self, info: JobInfo, stamp: Any) -> None:
        other = self._shown is None or self._shown.id != info.id
        self._shown = info
        self._list_recent(stamp)
        if other:
            header = (self.job_id, info.id), (self.kind, info.kind), (self.user, info.user), (self.host, info.host)
            start = (self.done, 0), (self.progress, 0.0)
            post_all([*header, *start], stamp)
        self.attempt.post(info.attempt, stamp)
        self._move(stamp)
        self.status.post(info.status, stamp)
        self._stop_timer()
        if info.status is JobStatus.IN_PROGRESS:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _move(self, stamp: Any) -> None:
        """Forward only: another attempt, or another phase with more to do, does not take anything back."""
        info = self._shown
        if info is None:
            return
        self._moved = time.monotonic()
        post_all(
            [
                (self.total, info.total),
                (self.done, max(self.done.value, info.done)),
                (self.progress, min(100.0, max(self.progress.value, info.progress))),
                (self.elapsed, _elapsed(info)),
                (self.msg, info.message),
            ],
            stamp,
        )

    def _move_soon(self) -> None:
        wait = self._moved + _MOVE_S - time.monotonic()
        self._stop_timer()
        if wait <= 0:
            self._tick()
        else:
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._move(now())
        self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _list_recent(self, stamp: Any) -> None:
        jobs = self.service.jobs
        recent = list(jobs.recent)[:RECENT]
        post_all(
            [
                (self.queued, jobs.queued),
                (self.recent_ids, [info.id for info in recent]),
                (self.recent_kinds, [KINDS[info.kind] for info in recent]),
                (self.recent_statuses, [STATUSES[info.status] for info in recent]),
                (self.recent_outcomes, [outcome_label(info) for info in recent]),
                (self.recent_users, [f"{info.user}@{info.host}" for info in recent]),
                (self.recent_times, [iso_time(info.created) for info in recent]),
                (self.recent_titles, [info.title for info in recent]),
            ],
            stamp,
        )

    async def _abort(self) -> None:
        if self._shown is None or self._shown.status.terminal:
            raise RefusedError("no job is running")
        await abort_job(self.service.jobs, self._shown, self.abort)


def _takes_over(info: JobInfo, shown: JobInfo) -> bool:
    """A job that starts is shown instead of one that waits; what runs beside another one does not hide it."""
    beside = info.kind.runs_beside(shown.kind) and shown.status is JobStatus.IN_PROGRESS
    return info.status is JobStatus.IN_PROGRESS and not beside


def _elapsed(info: JobInfo) -> float:
    if info.started is None:
        return 0.0
    end = info.finished.timestamp() if info.finished is not None else time.time()
    return max(0.0, end - info.started.timestamp())
