"""A group that runs jobs: its commands, STATUS and MSG."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from caproto import AlarmSeverity

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.groups.parameters import Parameters
from squirrel_ioc.ioc.groups.results import iso_time, outcome_of, result_of
from squirrel_ioc.ioc.kinds.arrays import Text
from squirrel_ioc.ioc.kinds.command import Command
from squirrel_ioc.ioc.kinds.group import Group, post_all
from squirrel_ioc.ioc.kinds.pv import Pv, now, stamp_of
from squirrel_ioc.ioc.kinds.scalars import Binary, Choice
from squirrel_ioc.ioc.protocol.client import Client, FailedError, accept, current_client
from squirrel_ioc.ioc.service import Jobs
from squirrel_ioc.model.difftable import side_text
from squirrel_ioc.model.job import (
    CompareRequest,
    ExportRequest,
    ImportRequest,
    JobInfo,
    JobKind,
    Outcome,
    Request,
    RestoreMode,
    RestoreRequest,
    Result,
    SnapshotRequest,
    Undo,
)

__all__ = ["JobGroup", "STATUS_ALARMS", "STATUS_STATES", "abort_job"]

STATUS_STATES = ("None", "Running", "OK", "Partial", "Failed", "Refused", "Aborted")
STATUS_ALARMS: dict[int, AlarmSeverity] = {
    Outcome.PARTIAL: AlarmSeverity.MINOR_ALARM,
    Outcome.FAILED: AlarmSeverity.MAJOR_ALARM,
    Outcome.REFUSED: AlarmSeverity.MINOR_ALARM,
    Outcome.ABORTED: AlarmSeverity.MINOR_ALARM,
}

ABORT_TIMEOUT_S = 60.0
"""A job that is told to stop has stopped within this time, or the client that waits is told that it has not."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Run:
    """A job of this group, from the moment it is asked for."""

    command: Command | None
    client: Client
    started: float | None = field(default_factory=time.monotonic)
    """None when it was asked for before this process started."""
    job_id: int = 0
    outcome: Outcome = Outcome.RUNNING
    note: str = ""
    """What its MSG adds: parameters that somebody else has set."""


class JobGroup(Group):
    """One job at a time. Subclasses declare the PVs and say what a result looks like."""

    kind: ClassVar[JobKind]
    noun: str
    result_type: ClassVar[type[Result]]
    status: Choice
    msg: Text
    sticky: Binary
    refusal: Text | None = None
    """Who was refused last, what and why: MSG may soon tell of somebody else's job."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.starters: frozenset[Pv] = frozenset()
        self.resumed: Command | None = None
        """The command that reads 1 while a job runs that was asked for before a restart."""
        self._run: _Run | None = None

    def results(self, info: JobInfo, result: Any, duration_s: float) -> Iterable[tuple[Pv, Any]]:
        """The PVs of a result, in the order they are posted. `result` is a `result_type`."""
        raise NotImplementedError

    def nothing(self) -> Iterable[tuple[Pv, Any]]:
        """What is posted when a job ends without a result, so that none stands there that is not its own."""
        return ()

    async def start(self) -> None:
        """Show how the last jobs of this kind ended, also when that was before a restart; follow one that goes on."""
        going_on = None
        for info in reversed(self.service.jobs.recent):
            if self.is_view or not self.is_ours(info.kind):
                continue
            if info.status.terminal:
                self._publish(info, None, stamp_of(info.finished.timestamp()) if info.finished else now())
            else:
                going_on = info
        if going_on is not None:
            self._resume(going_on)

    def _resume(self, info: JobInfo) -> None:
        self._run = _Run(self.resumed, Client(info.user, info.host), None, info.id)
        self.feed.adopt(info.id, self)
        begun: list[tuple[Pv, Any]] = [(self.msg, info.message), (self.status, Outcome.RUNNING)]
        post_all(begun if self.resumed is None else [*begun, (self.resumed, 1)], now())

    def is_ours(self, kind: JobKind) -> bool:
        """Whether the group shows how jobs of this kind end."""
        return kind is self.kind

    async def run_job(
        self,
        request: Request,
        command: Command | None,
        accepted: Sequence[tuple[Pv, Any]] = (),
        parameters: Parameters | None = None,
    ) -> None:
        """Run a job to its end. `accepted` is posted when it is queued, and `command`, if any, reads 1 until it ends.
        The `parameters` that went into the request are back at their defaults then, unless STICKY says otherwise.

        Raises RefusedError, DatabaseDownError when nothing is started; FailedError when it ends badly.
        """
        if self._run is not None:
            raise RefusedError(self._running(self._run))
        run = self._run = _Run(command, current_client())
        if parameters is not None and (others := parameters.set_by_others()):
            run.note = f"; {others}"
        try:
            run.job_id = await self.feed.submit(request, run.client, self)
            log.info("%s: %s (job %d)", _doing(request), run.client, run.job_id, extra={"job": run.job_id})
            started: list[tuple[Pv, Any]] = [
                (self.msg, f"{_doing(request)} for {run.client} (job {run.job_id}){run.note}"),
                (self.status, Outcome.RUNNING),
            ]
            if parameters is not None:
                started += parameters.used(bool(self.sticky.value))
            if command is not None:
                started.append((command, 1))
            post_all([*accepted, *started], now())
            accept()
            await self.feed.end(run.job_id)
        except asyncio.CancelledError:  # the service stops, the job does not
            self._run = None
            raise
        finally:
            if self._run is run:
                self._lost(run)
        if run.outcome in (Outcome.FAILED, Outcome.ABORTED):
            raise FailedError(self.msg.value)

    def _lost(self, run: _Run) -> None:
        """Nobody knows how the job ends: it was refused, or cannot be followed."""
        self._run = None
        if run.job_id:
            stamp = now()
            post_all([(self.msg, f"job {run.job_id} cannot be followed"), (self.status, Outcome.FAILED)], stamp)
            if run.command is not None:
                run.command.post(0, stamp)

    def _running(self, run: _Run) -> str:
        info = self.service.jobs.current
        if info is None or info.id != run.job_id:
            return f"a {self.noun} ({run.client}) waits for its turn"
        title = info.title if info.title.startswith(self.noun) else f"{self.noun} {info.title!r}"
        return f"{title} ({run.client}) is running: {info.done} of {info.total} done"

    # What the feed calls

    def job_moved(self, info: JobInfo, stamp: Any) -> None:
        """Nothing: JOB:* show how far it is."""

    def job_ended(self, info: JobInfo, stamp: Any) -> None:
        """Results, then MSG, then STATUS."""
        started = self._run.started if self._run is not None else None
        duration_s = None if started is None else time.monotonic() - started
        outcome = self._publish(info, duration_s, stamp)
        if self._run is not None:
            self._run.outcome = outcome

    def job_released(self, stamp: Any) -> None:
        """The command is 0, and the next one may come."""
        run, self._run = self._run, None
        if run is not None and run.command is not None:
            run.command.post(0, stamp)

    def _publish(self, info: JobInfo, duration_s: float | None, stamp: Any) -> Outcome:
        message = info.message
        try:
            result = result_of(info, self.result_type)
            outcome = outcome_of(info, result)
            shown: list[tuple[Pv, Any]] = []
            if result is not None:
                shown += self.results(info, result, result.duration_s if duration_s is None else duration_s)
            else:
                shown += self.nothing()
        except Exception as error:  # a result of another version must not leave STATUS at Running
            log.exception("job %d: its result cannot be shown", info.id)
            shown, outcome, message = [], Outcome.FAILED, f"job {info.id}: its result cannot be shown: {error!r}"
        if self._run is not None:
            message += self._run.note
        post_all([*shown, (self.msg, message), (self.status, outcome)], stamp)
        return outcome

    def refused(self, pv: Pv, reason: str) -> None:
        """MSG says why. STATUS becomes Refused when it was a job that was asked for, and none is running."""
        stamp = now()
        self.msg.post(reason, stamp)
        if self.refusal is not None:
            self.refusal.post(f"{iso_time(datetime.now(UTC))} {current_client()}, {pv.label}: {reason}", stamp)
        if pv in self.starters and self._run is None:
            self.status.post(Outcome.REFUSED, stamp)


def _doing(request: Request) -> str:
    match request:
        case SnapshotRequest():
            return f"taking a snapshot{_of(request.selection)}"
        case RestoreRequest(undo=Undo.NO):
            dry = "DRY RUN, nothing is written: " if request.mode is RestoreMode.DRY_RUN else ""
            mode = ", mode All" if request.mode is RestoreMode.ALL else ""
            return f"{dry}restoring snapshot {request.snapshot_id}{mode}{_of(request.selection)}"
        case RestoreRequest():
            return f"undoing a restore: backup {request.snapshot_id}"
        case ImportRequest():
            return f"importing {request.file}"
        case ExportRequest():
            return f"exporting snapshot {request.snapshot_id} to {request.file}"
        case CompareRequest():
            return f"comparing {side_text(request.a)} with {side_text(request.b)}"


def _of(selection: str) -> str:
    return f", filter {selection}" if selection.strip() else ""


async def abort_job(jobs: Jobs, info: JobInfo, command: Command) -> None:
    """Abort a job, and wait until it has ended. Raises RefusedError, FailedError."""
    if info.status.terminal:
        raise RefusedError(f"{info.title} has ended already")
    log.info("%s: %s by %s", command.label, info.title, current_client())
    with command.busy():
        try:
            async with asyncio.timeout(ABORT_TIMEOUT_S):
                await jobs.abort(info.id, str(current_client()))
                await jobs.wait(info.id)
        except TimeoutError:
            reason = f"{info.title} has not stopped within {ABORT_TIMEOUT_S:g} s"
            command.group.refused(command, reason)
            raise FailedError(reason) from None
