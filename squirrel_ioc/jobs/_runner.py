"""Runs one job: its states, its progress, its end. The queue delivers; the job's row is what counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import DatabaseDownError, NotActiveError, SquirrelError, StoreError
from squirrel_ioc.jobs._context import JobAbortedError, JobContext
from squirrel_ioc.jobs._lanes import Lanes
from squirrel_ioc.jobs._ports import Targets
from squirrel_ioc.jobs._progress import JobProgress
from squirrel_ioc.jobs._state import JobBoard
from squirrel_ioc.jobs.compare import compare_snapshots
from squirrel_ioc.jobs.exporting import export_snapshot
from squirrel_ioc.jobs.importing import import_file
from squirrel_ioc.jobs.restore import restore_snapshot
from squirrel_ioc.jobs.snapshot import take_snapshot
from squirrel_ioc.model.away import Away
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus, Outcome, RestoreResult, request_from_json, running_job
from squirrel_ioc.store import Store

__all__ = ["JobRunner", "RetryLaterError", "MAX_ATTEMPTS"]

MAX_ATTEMPTS = 3
"""Times a snapshot is tried before it is FAILED for good. A restore is tried once."""

_BACK_OFF_S = 1.0
_SAVE_AGAIN_S = 0.2
_SAVE_LATER_S = 1.0

log = logging.getLogger(__name__)

Handler = Callable[[JobContext, Any], Awaitable[Any]]
HANDLERS: Mapping[JobKind, Handler] = {
    JobKind.SNAPSHOT: take_snapshot,
    JobKind.RESTORE: restore_snapshot,
    JobKind.COMPARE: compare_snapshots,
    JobKind.IMPORT: import_file,
    JobKind.EXPORT: export_snapshot,
}


class RetryLaterError(SquirrelError):
    """The job is to be delivered again after `delay_s`."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"retry in {delay_s:g} s")
        self.delay_s = delay_s


class JobRunner:
    """Takes jobs that the queue delivers; `Lanes` says which of them run at the same time."""

    def __init__(
        self,
        store: Store,
        targets: Targets,
        catalogue: Callable[[], Catalogue],
        settings: Settings,
        board: JobBoard,
        away: Callable[[], Mapping[str, Away]],
    ) -> None:
        self._store = store
        self._targets = targets
        self._catalogue = catalogue
        self._settings = settings
        self._board = board
        self._away = away
        self._lanes = Lanes()
        self._contexts: dict[int, JobContext] = {}
        self._unsaved: dict[int, JobInfo] = {}
        self._saving: asyncio.Task[None] | None = None
        self._withdrawn: set[int] = set()
        self._closed = False
        self.released: list[Callable[[], None]] = []
        """Called when a job does not need its catalogue any more."""

    @property
    def catalogues(self) -> list[Catalogue]:
        """Those that the running jobs started with."""
        return [context.catalogue for context in self._contexts.values()]

    def abort(self, job_id: int, by: str) -> bool:
        """Ask a running job to stop; False when it does not run here."""
        context = self._contexts.get(job_id)
        if context is None:
            return False
        context.abort(by)
        return True

    async def withdraw(self, info: JobInfo) -> None:
        """End a job that waits for its turn as `info` says; from now on it does not start."""
        self._withdrawn.add(info.id)
        await self._end(info)

    def disown(self, job_id: int) -> None:
        """A job that was refused, although nobody knows whether the database has it: should it come, it is not run."""
        self._withdrawn.add(job_id)

    def close(self, by: str) -> None:
        """Start nothing any more, and ask what runs to stop."""
        self._closed = True
        for job_id in self._contexts:
            self.abort(job_id, by)

    async def run(self, job_id: int) -> None:
        """Run a delivered job to its end. Delivering a job twice does no harm. Raises RetryLaterError."""
        info = self._board.job(job_id) or await self._store.job(job_id)
        if info is None:
            return
        running_job.set(job_id)  # in the context of this delivery
        async with self._lanes.turn(info) as beside:
            info = self._board.job(job_id) or info
            waits = info.status in (JobStatus.PENDING, JobStatus.RETRYING)
            # What a service that stops has not begun is settled at its next start.
            if waits and not self._closed:
                if job_id in self._withdrawn:
                    message = "it was refused: the database did not answer when it was asked for"
                    await self._end(_ended(info, JobStatus.ABORTED, message, None))
                else:
                    await self._run(info, beside)

    async def _run(self, info: JobInfo, beside: str) -> None:
        info = replace(info, status=JobStatus.IN_PROGRESS, started=datetime.now(UTC), message="")
        progress = JobProgress(self._store, self._board, info, lambda: context.partial)
        context = JobContext(
            id=info.id,
            user=info.user,
            host=info.host,
            attempt=info.attempt,
            store=self._store,
            targets=self._targets,
            catalogue=self._catalogue(),
            settings=self._settings,
            report=progress.report,
            beside=beside,
            away=self._away(),
        )
        self._contexts[info.id] = context
        try:
            request = await self._store.job_request(info.id)
            await self._store.update_job(info)
            self._unsaved.pop(info.id, None)
            self._board.publish(info)
            result = await HANDLERS[info.kind](context, request_from_json(info.kind, request))
            await progress.close()
            await self._end(_completed(progress.info, result))
        except JobAbortedError as error:
            await progress.close()
            await self._end(_ended(progress.info, JobStatus.ABORTED, str(error), error.result))
        except asyncio.CancelledError:
            await progress.close()
            message = _interrupted(context)
            await asyncio.shield(self._end(_ended(progress.info, JobStatus.FAILED, message, context.partial)))
            raise
        except Exception as error:
            await progress.close()
            await self._failed(progress.info, context, error)
        finally:
            del self._contexts[info.id]
            for callback in self.released:
                callback()

    async def _failed(self, info: JobInfo, context: JobContext, error: Exception) -> None:
        """A snapshot that hit a fault of the database is tried again; everything else is final."""
        if not isinstance(error, SquirrelError):
            log.exception("job %d (%s) failed", info.id, info.title, exc_info=error)
        message = str(error) if isinstance(error, SquirrelError) else f"internal error: {error!r}"
        if info.kind is JobKind.SNAPSHOT and isinstance(error, DatabaseDownError) and info.attempt < MAX_ATTEMPTS:
            delay = _BACK_OFF_S * 2 ** (info.attempt - 1)
            text = f"attempt {info.attempt} failed: {message}; next one in {delay:g} s"
            again = replace(
                info, status=JobStatus.RETRYING, attempt=info.attempt + 1, message=text, done=0, percent=0.0
            )
            self._board.publish(again)
            await self._save(again)
            raise RetryLaterError(delay)
        if info.kind is JobKind.SNAPSHOT and isinstance(error, DatabaseDownError):
            message += "; if it was stored all the same, it is on the list"
        result = context.partial
        if isinstance(result, RestoreResult) and result.written:
            message = f"{_interrupted(context)}: {message}"
        await self._end(_ended(info, JobStatus.FAILED, message, result))

    async def _end(self, info: JobInfo) -> None:
        """Commit the end of a job, then tell it: a status is reported after the commit, never before."""
        if await self._save(info):
            how = info.status.name, info.message
            log.info("job %d (%s): %s: %s", info.id, info.title, *how, extra={"job": info.id})
            self._board.publish(info)

    async def _save(self, info: JobInfo) -> bool:
        """Write the job's row; when the database cannot take it, keep it and try again until it can.

        A service that shares the database does not keep it: False when the job is now for the other one to settle.
        """
        while self._store.acts():
            try:
                await self._store.update_job(info)
            except NotActiveError:
                break
            except StoreError as error:
                log.warning("job %d: that it is %s could not be stored yet: %s", info.id, info.status.name, error)
                if self._store.lease is None:
                    self._unsaved[info.id] = info
                    if self._saving is None or self._saving.done():
                        self._saving = asyncio.create_task(self._save_later(), name="ends of jobs")
                    return True
                await asyncio.sleep(_SAVE_AGAIN_S)
            else:
                self._unsaved.pop(info.id, None)
                return True
        log.warning("job %d (%s) is left to the service that is active next", info.id, info.title)
        return False

    async def _save_later(self) -> None:
        while self._unsaved:
            await asyncio.sleep(_SAVE_LATER_S)
            if self._store.status.ok:
                await self._save_unsaved()

    async def _save_unsaved(self) -> None:
        for job_id, info in list(self._unsaved.items()):
            try:
                await self._store.update_job(info)
            except StoreError as error:
                log.debug("job %d: its state could not be stored: %s", job_id, error)
            else:
                log.info("job %d: that it is %s is stored now", job_id, info.status.name)
                if self._unsaved.get(job_id) is info:
                    del self._unsaved[job_id]

    async def settle(self) -> None:
        """A last try to store what could not be stored."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.wait([self._saving])
        await self._save_unsaved()
        for info in self._unsaved.values():
            log.error("job %d: that it is %s (%s) is not stored", info.id, info.status.name, info.message)


def _completed(info: JobInfo, result: Any) -> JobInfo:
    outcome = getattr(result, "outcome", Outcome.OK)
    status = JobStatus.FAILED if outcome is Outcome.FAILED else JobStatus.COMPLETED
    return _ended(replace(info, done=info.total), status, result.summary(), result)


def _ended(info: JobInfo, status: JobStatus, message: str, result: Any) -> JobInfo:
    return replace(info, status=status, message=message, finished=datetime.now(UTC), result=result)


def _interrupted(context: JobContext) -> str:
    result = context.partial
    if not isinstance(result, RestoreResult):
        return "interrupted"
    message = f"snapshot {result.snapshot_id}: interrupted after {result.written} of {result.total} PVs were written"
    return f"{message}; snapshot {result.backup_id} holds what stood before" if result.backup_id else message
