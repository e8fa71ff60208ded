"""The rows of jobs: what was asked, how far it is, how it ended. Delivering them is the queue's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus
from squirrel_ioc.store.database import Connection, Database, id_or_none

__all__ = ["JobRows"]

_COLUMNS = """
id, kind, status, title, username, host, attempt, done, total, percent, message, result, created, started, finished
"""
_CREATE = """
INSERT INTO job (kind, status, title, username, host, request, created)
VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, clock_timestamp())) RETURNING id
"""
_UPDATE = """
UPDATE job SET status = $2, attempt = $3, done = $4, total = $5, percent = $6, message = $7,
    result = coalesce($8, result), started = coalesce($9, started),
    finished = CASE WHEN $10 THEN coalesce($11, clock_timestamp()) END
WHERE id = $1 AND finished IS NULL RETURNING id
"""
_NOTE = "UPDATE job SET total = $2, result = $3 WHERE id = $1 AND finished IS NULL"
_ONE = "SELECT" + _COLUMNS + "FROM job WHERE id = $1"
_REQUEST = "SELECT request FROM job WHERE id = $1"
_RECENT = "SELECT" + _COLUMNS + "FROM job ORDER BY id DESC LIMIT $1"
_UNFINISHED = "SELECT" + _COLUMNS + "FROM job WHERE finished IS NULL ORDER BY id"


class JobRows:
    """The jobs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        connection: Connection | None,
        kind: JobKind,
        request: Mapping[str, Any],
        title: str,
        user: str,
        host: str,
        created: datetime | None,
    ) -> int:
        """See `Store.create_job`."""
        arguments = (int(kind), int(JobStatus.PENDING), title, user, host, _to_json(request), created)
        async with self._database.transaction("storing a job", connection) as c:
            return int(await c.fetchval(_CREATE, *arguments))

    async def update(self, info: JobInfo, connection: Connection | None) -> bool:
        """See `Store.update_job`."""
        job_id = id_or_none(info.id)
        result = info.result.to_json() if hasattr(info.result, "to_json") else info.result
        async with self._database.transaction(f"updating job {info.id}", connection) as c:
            changed = await c.fetchval(
                _UPDATE,
                job_id,
                int(info.status),
                info.attempt,
                info.done,
                info.total,
                info.percent,
                info.message,
                None if result is None else _to_json(result),
                info.started,
                info.status.terminal,
                info.finished,
            )
            if changed is None and await c.fetchval(_ONE, job_id) is None:
                raise StoreError(f"job {info.id} does not exist")
        return changed is not None

    async def note(self, job_id: int, total: int, result: Mapping[str, Any], connection: Connection) -> None:
        """See `Store.note_job`."""
        await connection.execute(_NOTE, id_or_none(job_id), total, _to_json(result))

    async def get(self, job_id: int) -> JobInfo | None:
        """See `Store.job`."""
        async with self._database.connection("reading a job") as connection:
            row = await connection.fetchrow(_ONE, id_or_none(job_id))
        return None if row is None else _info(row)

    async def request(self, job_id: int) -> dict[str, Any]:
        """See `Store.job_request`."""
        async with self._database.connection("reading a job") as connection:
            text = await connection.fetchval(_REQUEST, id_or_none(job_id))
        if text is None:
            raise StoreError(f"job {job_id} does not exist")
        request: dict[str, Any] = json.loads(text)
        return request

    async def recent(self, count: int) -> list[JobInfo]:
        """See `Store.recent_jobs`."""
        return await self._list(_RECENT, count)

    async def unfinished(self) -> list[JobInfo]:
        """See `Store.unfinished_jobs`."""
        return await self._list(_UNFINISHED)

    async def _list(self, query: str, *arguments: int) -> list[JobInfo]:
        async with self._database.connection("listing jobs") as connection:
            return [_info(row) for row in await connection.fetch(query, *arguments)]


def _to_json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise StoreError(f"a job's data do not fit in JSON: {exc}") from exc


def _info(row: Any) -> JobInfo:
    return JobInfo(
        id=row["id"],
        kind=JobKind(row["kind"]),
        status=JobStatus(row["status"]),
        title=row["title"],
        user=row["username"],
        host=row["host"],
        attempt=row["attempt"],
        done=row["done"],
        total=row["total"],
        message=row["message"],
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        percent=row["percent"],
        result=None if row["result"] is None else json.loads(row["result"]),
    )
