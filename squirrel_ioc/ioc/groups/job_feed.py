"""The way of a job's changes to the control PVs, in the order that the contract wants.

When a job ends, first the group that asked for it publishes its results, its MSG and its STATUS, then JOB:* follow,
then the group's command becomes 0, then the clients that wait are answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from squirrel_ioc.ioc.kinds.pv import now
from squirrel_ioc.ioc.protocol.client import Client
from squirrel_ioc.ioc.service import Jobs
from squirrel_ioc.model.job import JobInfo, Request

__all__ = ["JobFeed", "JobOwner"]


class JobOwner(Protocol):
    """Who has asked for a job."""

    def job_moved(self, info: JobInfo, stamp: Any) -> None:
        """Show how far it is; `result` is what it has to show so far."""
        ...

    def job_ended(self, info: JobInfo, stamp: Any) -> None:
        """Publish results, MSG and STATUS."""
        ...

    def job_released(self, stamp: Any) -> None:
        """Set the command back."""
        ...


class JobFeed:
    """Submits jobs for the groups and brings back how they end."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._owners: dict[int, JobOwner] = {}
        self._observers: list[Callable[[JobInfo, Any], None]] = []
        self._submitting = 0
        self._held: list[JobInfo] = []
        self._closed = False
        jobs.listen(self._changed)

    def observe(self, observer: Callable[[JobInfo, Any], None]) -> None:
        """Tell of every change of every job, with the time stamp to publish it with."""
        self._observers.append(observer)

    def close(self) -> None:
        """Bring nothing any more."""
        self._closed = True

    async def submit(self, request: Request, client: Client, owner: JobOwner) -> int:
        """Queue a job for `owner`. Raises RefusedError, DatabaseDownError."""
        self._submitting += 1
        job_id = None
        try:
            job_id = await self._jobs.submit(request, user=client.user, host=client.host)
            self._owners[job_id] = owner
        finally:
            self._submitting -= 1
            if job_id is None:
                self._release_held()
        return job_id

    def adopt(self, job_id: int, owner: JobOwner) -> None:
        """A job that nobody here has asked for belongs to `owner` from now on."""
        self._owners[job_id] = owner

    async def end(self, job_id: int) -> JobInfo:
        """Follow a job of `submit` to its end. What it ends with has then been published."""
        self._release_held()
        try:
            info = await self._jobs.wait(job_id)
            # The end was published when it came; unless it has got lost on the way.
            if job_id in self._owners:
                self._publish(info)
        finally:
            self._owners.pop(job_id, None)
        return info

    def _changed(self, info: JobInfo) -> None:
        if self._closed:
            return
        # A short job can end before `submit` is back and says whose it is.
        if self._submitting and info.status.terminal and info.id not in self._owners:
            self._held.append(info)
        else:
            self._publish(info)

    def _release_held(self) -> None:
        held, self._held = self._held, []
        for info in held:
            self._changed(info)

    def _publish(self, info: JobInfo) -> None:
        stamp = now()
        ended = info.status.terminal
        owner = self._owners.pop(info.id, None) if ended else self._owners.get(info.id)
        if owner is not None:
            (owner.job_ended if ended else owner.job_moved)(info, stamp)
        for observer in self._observers:
            observer(info, stamp)
        if owner is not None and ended:
            owner.job_released(stamp)
