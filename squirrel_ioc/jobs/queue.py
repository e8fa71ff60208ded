"""The jobs of the service: asked for here, delivered through Postgres by pgqueuer, run one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime

from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import PgqException
from pgqueuer.domain.models import Job as Delivery

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import DatabaseDownError, RefusedError, StoreError
from squirrel_ioc.jobs._ports import Targets
from squirrel_ioc.jobs._queue_tables import ENTRYPOINT, queries
from squirrel_ioc.jobs._recovery import recover
from squirrel_ioc.jobs._runner import JobRunner, RetryLaterError
from squirrel_ioc.jobs._state import JobBoard
from squirrel_ioc.jobs.compare import check_compare
from squirrel_ioc.jobs.exporting import check_export
from squirrel_ioc.jobs.importing import check_import
from squirrel_ioc.model.away import Away
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.difftable import side_text
from squirrel_ioc.model.job import (
    CompareRequest,
    ExportRequest,
    ImportRequest,
    JobInfo,
    JobKind,
    JobStatus,
    Request,
    RestoreRequest,
    SnapshotRequest,
)
from squirrel_ioc.store import Store

__all__ = ["Jobs"]

MAX_QUEUED = 20
"""Jobs that may wait. More are refused, so that nobody can fill the queue over the network."""

_RECONNECT_S, _RECONNECT_WITHIN_S, _UNDELIVERED_S = 0.3, 2.0, 10.0
_BACK_WITHIN_S, _LOOK_S = 8.0, 0.5
"""A snapshot is not tried again while the database is away, unless it stays away for longer than a restart takes."""

_STOP_S = 5.0
"""For a job to end, once the IOCs have answered or their time is up."""

log = logging.getLogger(__name__)

# They log the statements of every delivery; and, when the database has gone, a trace for every try. That it has gone
# is told by the store and by the queue below.
logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)
logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)


class Jobs:
    """Submit jobs, follow them, abort them."""

    def __init__(
        self,
        store: Store,
        targets: Targets,
        catalogue: Callable[[], Catalogue],
        settings: Settings,
        away: Callable[[], Mapping[str, Away]] = dict,
    ) -> None:
        self._store = store
        self._settings = settings
        self._board = JobBoard()
        self._runner = JobRunner(store, targets, catalogue, settings, self._board, away)
        self._task: asyncio.Task[None] | None = None
        self._manager: QueueManager | None = None
        self._stopping = False
        self._connected = asyncio.Event()
        self._told = ""
        self._delivered: set[int] = set()

    @property
    def current(self) -> JobInfo | None:
        """The job now running, or the last one that ran."""
        return self._board.current

    @property
    def queued(self) -> int:
        """Jobs that wait for their turn."""
        return self._board.queued

    @property
    def idle(self) -> bool:
        """Whether no job runs, and none waits."""
        return not self._board.unfinished()

    @property
    def recent(self) -> list[JobInfo]:
        """The last 50 jobs, newest first."""
        return self._board.recent

    def job(self, job_id: int) -> JobInfo | None:
        """A recent job as it stands."""
        return self._board.job(job_id)

    def listen(self, callback: Callable[[JobInfo], None]) -> None:
        """Call back on every change of every job, in the event loop."""
        self._board.listen(callback)

    def catalogues_in_use(self) -> list[Catalogue]:
        """The catalogues that the running jobs started with."""
        return self._runner.catalogues

    def listen_release(self, callback: Callable[[], None]) -> None:
        """Call back, in the event loop, when a job does not need its catalogue any more."""
        self._runner.released.append(callback)

    async def start(self) -> None:
        """Settle what an earlier process left behind, then take jobs."""
        await recover(self._store)
        self._board.load(await self._store.recent_jobs())
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._take_jobs(ready), name="jobs")
        await ready.wait()

    async def stop(self) -> None:
        """Take no more jobs, stop the running one before its next write, and wait for its end; bounded."""
        self._stopping = True
        self._runner.close("the service stopping")
        if self._manager is not None:
            self._manager.shutdown.set()
        if self._task is not None:
            within_s = max(self._settings.ca.timeout_s, self._settings.ca.put_timeout_s) + _STOP_S
            for info in self._board.unfinished():
                if info.status is JobStatus.IN_PROGRESS:
                    log.info("waiting for job %d (%s) to stop, %g s at most", info.id, info.title, within_s)
            try:
                done, _ = await asyncio.wait([self._task], timeout=within_s)
                if not done:
                    log.error("a job did not stop within %g s; it is cancelled", within_s)
            finally:  # also when nobody wants to wait
                self._task.cancel()
                with suppress(asyncio.CancelledError):
                    await self._task
        await self._runner.settle()

    async def submit(self, request: Request, *, user: str, host: str) -> int:
        """Queue a job and return its id.

        Raises RefusedError when the queue is full or the service stops, DatabaseDownError without a database.
        """
        if self._stopping:
            raise RefusedError("the service is stopping")
        if self.queued >= MAX_QUEUED:
            raise RefusedError(f"{self.queued} jobs are waiting already")
        if isinstance(request, RestoreRequest):
            await self._check_restore(request)
        elif isinstance(request, CompareRequest):
            await check_compare(self._store, request)
        elif isinstance(request, ImportRequest):
            await check_import(self._settings, request)
        elif isinstance(request, ExportRequest):
            await check_export(self._settings, self._store, request)
        await self._check_queue()
        row = {f.name: getattr(request, f.name) for f in fields(request)}
        now = datetime.now(UTC)
        job_id = 0
        try:
            async with self._store.transaction("queueing the job") as connection:
                job_id = await self._store.create_job(
                    connection, request.kind, row, title=_title(request), user=user, host=host, created=now
                )
                await queries(connection).enqueue(ENTRYPOINT, str(job_id).encode())
        except StoreError:
            self._runner.disown(job_id)  # it may have been committed, without an answer
            raise
        if self._board.job(job_id) is None:  # it may be running already
            self._board.publish(
                JobInfo(job_id, request.kind, JobStatus.PENDING, _title(request), user, host, created=now)
            )
        return job_id

    async def _check_queue(self) -> None:
        """A job that cannot be delivered would wait for nobody knows how long."""
        if not self._store.status.ok:
            raise DatabaseDownError(self._store.status.message)
        if self._told:
            try:
                async with asyncio.timeout(_RECONNECT_WITHIN_S):
                    await self._connected.wait()
            except TimeoutError:
                raise DatabaseDownError(self._told) from None

    async def _check_restore(self, request: RestoreRequest) -> None:
        """Never two restores at once, and none of what does not exist."""
        for info in self._board.unfinished():
            if info.kind is JobKind.RESTORE:
                state = "running" if info.status is JobStatus.IN_PROGRESS else "waiting"
                raise RefusedError(f"{info.title} (job {info.id}, {info.user}@{info.host}) is {state}")
        if await self._store.snapshot(request.snapshot_id) is None:
            raise RefusedError(f"snapshot {request.snapshot_id} does not exist")

    async def wait(self, job_id: int) -> JobInfo:
        """The job in its terminal state."""
        return await self._board.wait(job_id)

    async def abort(self, job_id: int, by: str) -> bool:
        """Stop a job: a running one before its next write, a waiting one at once. False when it has ended."""
        info = self._board.job(job_id)
        if info is None or info.status.terminal:
            return False
        if self._runner.abort(job_id, by):
            return True
        ended = replace(
            info, status=JobStatus.ABORTED, message=f"aborted by {by} while waiting", finished=datetime.now(UTC)
        )
        await self._runner.withdraw(ended)
        return True

    async def _give_up_waiting(self) -> None:
        """End what waits to be delivered, while nobody knows when the database will be back."""
        for info in self._board.unfinished():
            if info.status is JobStatus.PENDING and info.id not in self._delivered:
                message = f"not begun: {self._told}"
                await self._runner.withdraw(
                    replace(info, status=JobStatus.FAILED, message=message, finished=datetime.now(UTC))
                )

    async def _take_jobs(self, ready: asyncio.Event) -> None:
        """Keep a queue manager going, through every loss of the database."""
        loop = asyncio.get_running_loop()
        lost_at = loop.time()
        while not self._stopping:
            try:
                async with self._store.own_connection() as connection:
                    manager = self._manager = QueueManager(queries(connection))
                    manager.entrypoint(ENTRYPOINT)(self._deliver)
                    connection.add_termination_listener(self._connection_lost)
                    ready.set()
                    self._told = ""
                    self._connected.set()
                    try:
                        await manager.run(shutdown_on_listener_failure=True)
                    finally:
                        lost_at = loop.time()
            except (StoreError, PgqException) as error:
                if (trouble := str(error) or type(error).__name__) != self._told:
                    self._told = trouble
                    log.warning("the job queue has lost the database: %s", trouble)
            except Exception:
                log.exception("the job queue")
            finally:
                self._manager = None
                self._connected.clear()
                self._told = self._told or "the job queue: the connection is lost"
            if not self._stopping:
                if loop.time() - lost_at > _UNDELIVERED_S:
                    await self._give_up_waiting()
                await asyncio.sleep(_RECONNECT_S)

    def _connection_lost(self, _connection: object) -> None:
        if self._manager is not None:
            self._manager.shutdown.set()

    async def _deliver(self, delivery: Delivery) -> None:
        """What pgqueuer calls with a job."""
        job_id = int(delivery.payload or b"0")
        self._delivered.add(job_id)
        try:
            await self._carry_out(job_id)
        finally:
            self._delivered.discard(job_id)

    async def _carry_out(self, job_id: int) -> None:
        """Run it, again if need be. Nothing leaves here: pgqueuer could only put a job back while the database is
        there, and forgets one that has failed.
        """
        loop = asyncio.get_running_loop()
        back_by: float | None = None
        while True:
            try:
                await self._runner.run(job_id)
            except RetryLaterError as retry:
                back_by = back_by or loop.time() + _BACK_WITHIN_S
                await asyncio.sleep(retry.delay_s)
                while not (self._stopping or await self._store.answers(_LOOK_S) or loop.time() > back_by):
                    pass
                continue
            except DatabaseDownError as error:
                log.warning("job %d cannot be read yet: %s", job_id, error)
                if not self._stopping:
                    await asyncio.sleep(_RECONNECT_S)
                    continue
            except Exception:
                log.exception("job %d", job_id)
            return


def _title(request: Request) -> str:
    match request:
        case SnapshotRequest():
            return request.title or "snapshot"
        case RestoreRequest():
            return f"restore of snapshot {request.snapshot_id}"
        case ImportRequest():
            return f"import of {request.file}"
        case ExportRequest():
            return f"export of snapshot {request.snapshot_id} to {request.file}"
        case CompareRequest():
            return f"compare {side_text(request.a)} with {side_text(request.b)}"
