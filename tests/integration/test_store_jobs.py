"""The rows of jobs, and settings."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from pgqueuer.adapters.persistence.queries import Queries

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.job import (
    JobInfo,
    JobKind,
    JobStatus,
    Outcome,
    RestoreMode,
    RestoreRequest,
    RestoreResult,
    request_from_json,
)
from squirrel_ioc.store import Store

NOW = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)


async def new_job(store: Store, title: str = "t") -> int:
    return await store.create_job(None, JobKind.RESTORE, {"a": 1}, title=title, user="anna", host="opi7", created=NOW)


async def test_a_new_job_is_pending(store: Store) -> None:
    job = await new_job(store)
    assert await store.job(job) == JobInfo(job, JobKind.RESTORE, JobStatus.PENDING, "t", "anna", "opi7", created=NOW)
    assert await store.unfinished_jobs() == await store.recent_jobs() == [await store.job(job)]


async def test_the_request_comes_back(store: Store) -> None:
    request = RestoreRequest(3, RestoreMode.ALL, "@Magnet", names=("T:A", "T:ü"))
    job = await store.create_job(None, JobKind.RESTORE, asdict(request), title="", user="", host="")
    assert request_from_json(JobKind.RESTORE, await store.job_request(job)) == request
    assert (await store.job(job)).created is not None


async def test_from_start_to_end(store: Store) -> None:
    job = await new_job(store)
    info = await store.job(job)
    running = replace(
        info, status=JobStatus.IN_PROGRESS, attempt=2, done=3, total=10, percent=12.5, message="m", started=NOW
    )
    assert await store.update_job(running)
    assert await store.job(job) == running
    result = RestoreResult(3, RestoreMode.ALL, Outcome.PARTIAL, 10, 8, 1, 0, 1, 0, 4, ("T:A",), ("refused",), 0.5)
    ended = replace(running, status=JobStatus.COMPLETED, done=10, finished=NOW + timedelta(seconds=1), result=result)
    assert await store.update_job(ended)
    stored = await store.job(job)
    assert stored == ended
    assert stored.result["bad_names"] == ["T:A"]
    assert stored.result["outcome"] == Outcome.PARTIAL
    assert await store.unfinished_jobs() == []


async def test_the_end_of_a_job_is_final(store: Store) -> None:
    for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.ABORTED):
        job = await new_job(store)
        await store.update_job(replace(await store.job(job), status=status, message="end", result={"x": 1}))
        ended = await store.job(job)
        assert ended.finished is not None
        assert not await store.update_job(replace(ended, status=JobStatus.IN_PROGRESS, message="late progress"))
        assert await store.job(job) == ended


async def test_a_job_and_its_delivery_are_one_commit(store: Store) -> None:
    async def submit() -> int:
        async with store.transaction() as connection:
            job = await store.create_job(connection, JobKind.SNAPSHOT, {}, title="t", user="u", host="h")
            await Queries.from_asyncpg_connection(connection).enqueue("job", str(job).encode())
            if job > 1:
                raise StoreError("changed my mind")
            return job

    job = await submit()
    with pytest.raises(StoreError, match="changed my mind"):
        await submit()
    assert [j.id for j in await store.recent_jobs()] == [job]
    assert await store.pool.fetchval("SELECT count(*) FROM pgqueuer") == 1


async def test_recent_jobs_newest_first(store: Store) -> None:
    jobs = [await new_job(store, str(i)) for i in range(5)]
    await store.update_job(replace(await store.job(jobs[1]), status=JobStatus.FAILED))
    assert [j.id for j in await store.recent_jobs(3)] == jobs[:1:-1]
    assert [j.id for j in await store.unfinished_jobs()] == [jobs[0], *jobs[2:]]


async def test_an_unknown_job(store: Store) -> None:
    for unknown in (0, -1, 99, 2**40):
        assert await store.job(unknown) is None
        with pytest.raises(StoreError, match=f"job {unknown} does not exist"):
            await store.job_request(unknown)
        with pytest.raises(StoreError, match=f"job {unknown} does not exist"):
            await store.update_job(JobInfo(unknown, JobKind.SNAPSHOT, JobStatus.FAILED))


async def test_what_does_not_fit_in_json(store: Store) -> None:
    for bad in ({"a": float("nan")}, {"a": object()}, {"a": "\0"}):
        with pytest.raises(StoreError):
            await store.create_job(None, JobKind.SNAPSHOT, bad, title="", user="", host="")
        with pytest.raises(StoreError):
            await store.set_setting("a", bad)
    assert await store.recent_jobs() == []


async def test_settings(store: Store) -> None:
    assert await store.get_setting("a") is None
    assert await store.get_setting("a", 5) == 5
    for value in ({"x": [1, 2.5, "ü", None, True]}, 0, "", False, None):
        await store.set_setting("a", value)
        assert await store.get_setting("a", "other") == value
    with pytest.raises(StoreError):
        await store.set_setting("x" * 201, 1)
