"""What becomes of jobs whose process died: decided once, when the service starts and nobody else works."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from squirrel_ioc.errors import DatabaseDownError, StoreError
from squirrel_ioc.jobs._queue_tables import ENTRYPOINT, queries
from squirrel_ioc.jobs._runner import MAX_ATTEMPTS
from squirrel_ioc.model.job import (
    FileResult,
    JobInfo,
    JobKind,
    JobStatus,
    Outcome,
    RestoreMode,
    RestoreResult,
    SnapshotResult,
)
from squirrel_ioc.model.snapshot import Snapshot
from squirrel_ioc.model.values import State
from squirrel_ioc.store import Store

__all__ = ["recover"]

_RETRY_WITHIN = timedelta(minutes=5)
_MAY_BE = "interrupted: it may have been written"

log = logging.getLogger(__name__)


async def recover(store: Store) -> None:
    """Retry interrupted snapshots, end interrupted restores, and leave nothing else in the queue."""
    unfinished = await store.unfinished_jobs()
    async with store.transaction() as connection:
        queue = queries(connection)
        await queue.clear_queue(ENTRYPOINT)
        for info in unfinished:
            settled = await _settle(store, info)
            await store.update_job(settled, connection)
            if not settled.status.terminal:
                await queue.enqueue(ENTRYPOINT, str(info.id).encode())
            log.warning("job %d (%s): %s", info.id, info.title, settled.message, extra={"job": info.id})


async def _settle(store: Store, info: JobInfo) -> JobInfo:
    now = datetime.now(UTC)
    snapshot = await store.snapshot_of_job(info.id)
    if info.kind is JobKind.SNAPSHOT:
        if snapshot is not None:
            message = f"snapshot {snapshot.id} was stored before the service stopped"
            result = await _taken(store, snapshot)
            return replace(info, status=JobStatus.COMPLETED, message=message, finished=now, result=result)
        return _again(info, now)
    if info.kind is JobKind.IMPORT and snapshot is not None:
        message = f"snapshot {snapshot.id} was stored before the service stopped"
        file_format, _, name = snapshot.origin.partition(":")
        done = FileResult(snapshot.id, name, file_format, snapshot.count, snapshot.missing)
        return replace(info, status=JobStatus.COMPLETED, message=message, finished=now, result=done)
    if info.kind.beside and info.status is JobStatus.IN_PROGRESS:
        return replace(info, status=JobStatus.FAILED, message="the service stopped before its end", finished=now)
    if info.kind is JobKind.RESTORE and info.status is JobStatus.IN_PROGRESS:
        account = _account(info, await store.job_request(info.id), snapshot)
        message = f"snapshot {account.snapshot_id}: interrupted before the first write"
        if snapshot is not None:
            account = await _named(store, account, snapshot)
            message = (
                f"snapshot {account.snapshot_id}: interrupted after at least {account.written} of {account.total} PVs "
                f"were written; "
                f"snapshot {snapshot.id} holds what stood before"
            )
        return replace(info, status=JobStatus.FAILED, message=message, finished=now, result=account)
    return replace(info, status=JobStatus.FAILED, message="the service stopped before it was started", finished=now)


async def _taken(store: Store, snapshot: Snapshot) -> SnapshotResult:
    """What the job would have told, had it come to it. How long it took, nobody knows."""
    names: list[str] = []
    reasons: list[str] = []
    if snapshot.missing:
        frame = await store.load_frame(snapshot.id)
        rows = (frame.state != State.VALUE).nonzero()[0]
        names = frame.channels.array[rows].tolist()
        reasons = [State(int(state)).reason for state in frame.state[rows]]
    return SnapshotResult(
        snapshot.id, snapshot.title, snapshot.taken, snapshot.count, snapshot.missing, tuple(names), tuple(reasons)
    )


async def _named(store: Store, account: RestoreResult, backup: Snapshot) -> RestoreResult:
    """With the PVs that may have been written, where it is known which: all of the backup, while none is known."""
    try:
        frame = await store.load_frame(backup.id)
    except DatabaseDownError:
        raise
    except StoreError as error:  # it cannot be read: no reason not to start
        log.warning("%s", error)
        return account
    known = set(account.bad_names)
    names = [name for name in frame.channels.array[frame.state == State.VALUE].tolist() if name not in known]
    if account.written or account.mismatch or len(names) + len(known) != account.failed:
        return account
    reasons = (_MAY_BE,) * len(names)
    return replace(account, bad_names=(*account.bad_names, *names), bad_reasons=(*account.bad_reasons, *reasons))


def _again(info: JobInfo, now: datetime) -> JobInfo:
    """A snapshot that is not there. One that has not begun waits on; another one is tried again, while it is young."""
    young = info.created is not None and now - info.created < _RETRY_WITHIN
    if young and info.status is not JobStatus.IN_PROGRESS:
        return replace(info, message="the service stopped; it is still to be taken")
    if young and info.attempt < MAX_ATTEMPTS:
        again = replace(info, status=JobStatus.RETRYING, attempt=info.attempt + 1, done=0, percent=0.0)
        return replace(again, message="the service stopped; trying again")
    return replace(info, status=JobStatus.FAILED, message="the service stopped before it was taken", finished=now)


def _account(info: JobInfo, request: Mapping[str, Any], backup: Snapshot | None) -> RestoreResult:
    """What is known of an interrupted restore: what its row says, and of the rest nothing good.

    The row has an account from the backup on. Without a backup nothing was written: the rest was skipped.
    """
    row = info.result if isinstance(info.result, dict) else {}
    known = {key: int(row.get(key, 0)) for key in ("written", "unchanged", "skipped", "mismatch")}
    total = int(row.get("total", max(info.total, backup.count if backup is not None else 0)))
    rest = total - sum(known.values())
    if backup is None:
        known["skipped"], rest = known["skipped"] + rest, 0
    return RestoreResult(
        snapshot_id=int(request["snapshot_id"]),
        mode=RestoreMode(request["mode"]),
        outcome=Outcome.FAILED,
        total=total,
        failed=rest,
        backup_id=backup.id if backup is not None else 0,
        bad_names=tuple(row.get("bad_names", ())),
        bad_reasons=tuple(row.get("bad_reasons", ())),
        skipped_names=tuple(row.get("skipped_names", ())),
        skipped_reasons=tuple(row.get("skipped_reasons", ())),
        subject=str(row.get("subject", "")),
        written=known["written"],
        unchanged=known["unchanged"],
        skipped=known["skipped"],
        mismatch=known["mismatch"],
    )
