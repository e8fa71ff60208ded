"""What the rest of the service sees of the jobs: which runs, which wait, which ran; and who listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus

__all__ = ["JobBoard", "RECENT"]

RECENT = 50
"""Jobs that JOB:RECENT shows."""

log = logging.getLogger(__name__)


class JobBoard:
    """The jobs this process knows of, newest state of each.

    The last job of each kind that has ended keeps its result as it is: frames, and the names of all PVs. Of an older
    one there is only what its row has.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, JobInfo] = {}
        self._done: dict[int, asyncio.Future[JobInfo]] = {}
        self._listeners: list[Callable[[JobInfo], None]] = []
        self._current: int | None = None
        self._whole: dict[JobKind, int] = {}

    def load(self, recent: Iterable[JobInfo]) -> None:
        """What ran before this process started."""
        for info in recent:
            self._jobs[info.id] = info
        self._trim()

    @property
    def current(self) -> JobInfo | None:
        """The job now running, or the last one that ran."""
        if self._current is not None:
            return self._jobs.get(self._current)
        ended = [info for info in self._jobs.values() if info.status.terminal]
        return max(ended, key=lambda info: info.id, default=None)

    @property
    def queued(self) -> int:
        """Jobs that wait for their turn."""
        return sum(1 for info in self._jobs.values() if info.status in (JobStatus.PENDING, JobStatus.RETRYING))

    @property
    def recent(self) -> list[JobInfo]:
        """The last jobs, newest first."""
        return sorted(self._jobs.values(), key=lambda info: -info.id)[:RECENT]

    def job(self, job_id: int) -> JobInfo | None:
        """The job as it stands, if it is one of the recent ones."""
        return self._jobs.get(job_id)

    def unfinished(self) -> list[JobInfo]:
        """Jobs that run or wait."""
        return [info for info in self._jobs.values() if not info.status.terminal]

    def listen(self, callback: Callable[[JobInfo], None]) -> None:
        """Call back on every change of every job, in the event loop."""
        self._listeners.append(callback)

    def publish(self, info: JobInfo) -> None:
        """A job has changed. The first terminal state of a job is its last."""
        known = self._jobs.get(info.id)
        if known is not None and known.status.terminal:
            return
        self._jobs[info.id] = info
        if info.status is JobStatus.IN_PROGRESS and self._shown_rather(info):
            self._current = info.id
        for callback in self._listeners:
            try:
                callback(info)
            except Exception:
                log.exception("a listener failed on job %d", info.id)
        if info.status.terminal:
            if (future := self._done.pop(info.id, None)) is not None and not future.done():
                future.set_result(info)
            self._slim_before(info)
            self._trim()

    def _shown_rather(self, info: JobInfo) -> bool:
        """What runs beside a snapshot or a restore does not hide it."""
        shown = self.current
        busy = shown is not None and shown.status is JobStatus.IN_PROGRESS and shown.id != info.id
        return not (busy and shown is not None and info.kind.runs_beside(shown.kind))

    async def wait(self, job_id: int) -> JobInfo:
        """The job's terminal state. Raises KeyError for a job this process does not know."""
        info = self._jobs[job_id]
        if info.status.terminal:
            return info
        future = self._done.setdefault(job_id, asyncio.get_running_loop().create_future())
        return await asyncio.shield(future)

    def _slim_before(self, info: JobInfo) -> None:
        """The result of a job has been told; that of the one before is history."""
        before = self._jobs.get(self._whole.get(info.kind, 0))
        self._whole[info.kind] = info.id
        if before is not None and hasattr(before.result, "to_json"):
            self._jobs[before.id] = replace(before, result=before.result.to_json())

    def _trim(self) -> None:
        ended = sorted(i for i, info in self._jobs.items() if info.status.terminal)
        for job_id in ended[: max(0, len(ended) - 2 * RECENT)]:
            if job_id != self._current:
                del self._jobs[job_id]
