"""The statements of the service: what the areas are, who works, and the parts of jobs that it asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from squirrel_ioc.areas._parts import ENTRYPOINTS, LOST_S, Part, entrypoint, tell
from squirrel_ioc.ca import IocState, IocStatus
from squirrel_ioc.jobs import queue_queries
from squirrel_ioc.store import Store

__all__ = ["Asked", "PartState", "WorkerRow"]

_LOCK_KEY: Final = 0x5351_524C_0006
_LOCK = "SELECT pg_advisory_xact_lock($1)"
_PUBLISHED = "SELECT name, version, names, position FROM area"
# Never the same version for other channels, not even when an area has been gone meanwhile, or the database put back:
# a worker that has not noticed would write to others.
_PUBLISH = """
INSERT INTO area (name, position, version, names)
VALUES ($1, $2, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $3)
ON CONFLICT (name) DO UPDATE
SET position = excluded.position, version = greatest(excluded.version, area.version + 1), names = excluded.names
RETURNING version
"""
_UNPUBLISH = "DELETE FROM area WHERE name <> ALL ($1::text[])"
_WORKERS = """
SELECT id, area, process, version, live_no, extract(epoch FROM clock_timestamp() - seen)::float8 AS age
FROM area_worker ORDER BY id
"""
_LIVE = "SELECT version, live_no, live, iocs FROM area_worker WHERE id = $1"
_FORGET = "DELETE FROM area_worker WHERE seen < clock_timestamp() - interval '1 minute'"
_ASK = """
INSERT INTO area_part (id, area, generation, kind, version, body, timeout_s)
SELECT $1, $2, generation, $3, $4, $5, $6 FROM service_lease
"""
_LOOK = f"""
UPDATE area_part SET seen = clock_timestamp() WHERE id = $1
RETURNING worker_id, done, finished,
    coalesce(worked > clock_timestamp() - {LOST_S} * interval '1 second', false) AS alive
"""
_WITHDRAW = "DELETE FROM area_part WHERE id = $1 AND worker_id IS NULL RETURNING true"
_CANCEL = "UPDATE area_part SET cancelled = true WHERE id = $1"
_FETCH = "DELETE FROM area_part WHERE id = $1 AND finished RETURNING error, result"
_DROP = "DELETE FROM area_part WHERE id = $1"
_CANCEL_ALL = "UPDATE area_part SET cancelled = true"
_RUNNING = f"""
SELECT count(*) FROM area_part WHERE NOT finished AND worked > clock_timestamp() - {LOST_S} * interval '1 second'
"""
_DROP_ALL = "DELETE FROM area_part"
_QUEUED = "SELECT DISTINCT entrypoint FROM pgqueuer WHERE starts_with(entrypoint, $1)"


@dataclass(frozen=True)
class WorkerRow:
    """A worker of an area; `age_s` since it was seen. `live_no` counts what it has told of its channels."""

    id: int
    area: str
    process: str
    version: int
    live_no: int
    age_s: float

    def is_of(self, other: WorkerRow | None) -> bool:
        """Whether both are of the same process, for the same area."""
        return other is not None and (self.process, self.area) == (other.process, other.area)


@dataclass(frozen=True)
class PartState:
    """How far a part is; `alive`: who has claimed it goes on with it."""

    worker_id: int | None
    done: int
    finished: bool
    alive: bool


class Asked:
    """The statements. Every method raises StoreError, and DatabaseDownError when the database does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def publish(self, areas: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """These are the areas, in this order, and their channels; returns their versions."""
        versions: dict[str, int] = {}
        changed = False
        async with self._store.transaction() as c:
            await c.execute(_LOCK, _LOCK_KEY)
            before = {row["name"]: row for row in await c.fetch(_PUBLISHED)}
            for position, (name, channels) in enumerate(areas.items()):
                text = "\n".join(channels)
                old = before.get(name)
                if old is not None and (old["names"], old["position"]) == (text, position):
                    versions[name] = old["version"]
                else:
                    versions[name] = await c.fetchval(_PUBLISH, name, position, text)
                    changed = True
            if before.keys() - areas.keys():
                await c.execute(_UNPUBLISH, list(areas))
                changed = True
            if changed:
                await tell(c, "areas")
        return versions

    async def workers(self) -> list[WorkerRow]:
        """All that there are."""
        async with self._store.connection() as c:
            rows = await c.fetch(_WORKERS)
        return [WorkerRow(r["id"], r["area"], r["process"], r["version"], r["live_no"], r["age"]) for r in rows]

    async def live(self, worker_id: int) -> tuple[int, int, bytes, list[IocState]] | None:
        """Its `version` and `live_no`, what it knows of its channels and of its IOCs; None when it has left."""
        async with self._store.connection() as c:
            row = await c.fetchrow(_LIVE, worker_id)
        if row is None:
            return None
        iocs = [IocState(h, n, up, IocStatus(s), t) for h, n, up, s, t in json.loads(row["iocs"])]
        return row["version"], row["live_no"], row["live"], iocs

    async def forget_workers(self) -> None:
        """Those that have been gone for long."""
        async with self._store.transaction() as c:
            await c.execute(_FORGET)

    async def ask(self, part: Part) -> None:
        """Put a part in the queue."""
        async with self._store.transaction() as c:
            await c.execute(_ASK, part.id, part.area, part.kind, part.version, part.body, part.timeout_s)
            await queue_queries(c).enqueue(entrypoint(part.area), part.id.bytes)

    async def look(self, part_id: UUID) -> PartState | None:
        """Say that it is still waited for, and see how far it is; None when the server has lost it."""
        async with self._store.connection() as c:
            row = await c.fetchrow(_LOOK, part_id)
        return None if row is None else PartState(**dict(row))

    async def withdraw(self, part_id: UUID) -> bool:
        """Take it back; False when it is claimed."""
        async with self._store.connection() as c:
            return bool(await c.fetchval(_WITHDRAW, part_id))

    async def cancel(self, part_id: UUID) -> None:
        """Have it end before its next write."""
        async with self._store.connection() as c:
            await c.execute(_CANCEL, part_id)
            await tell(c, "cancel", id=part_id.hex)

    async def fetch(self, part_id: UUID) -> tuple[str, bytes] | None:
        """What has gone wrong, or the answer, and forget the part. None when it has not ended."""
        async with self._store.connection() as c:
            row = await c.fetchrow(_FETCH, part_id)
        return None if row is None else (row["error"], row["result"])

    async def drop(self, part_id: UUID) -> None:
        """Forget a part."""
        async with self._store.connection() as c:
            await c.execute(_DROP, part_id)

    async def cancel_all(self) -> int:
        """Cancel what an earlier service has left; how many parts are running still."""
        async with self._store.transaction() as c:
            if queued := [row[0] for row in await c.fetch(_QUEUED, ENTRYPOINTS)]:
                await queue_queries(c).clear_queue(queued)
            await c.execute(_CANCEL_ALL)
            await tell(c, "cancel", id="")
            return int(await c.fetchval(_RUNNING))

    async def drop_all(self) -> None:
        """Forget all parts."""
        async with self._store.transaction() as c:
            await c.execute(_DROP_ALL)

    async def reset(self) -> None:
        """Have the workers try every IOC again."""
        async with self._store.connection() as c:
            await tell(c, "reset")
