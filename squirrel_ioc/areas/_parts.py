"""The tables that the service and its workers share: areas, workers, parts of jobs.

Both are told of changes on one channel, as {"kind": ..., ...}: `areas` (their channels have changed), `worker` (what it
knows has), `part` (with `id`: claimed, further or ended), `cancel` (with `id`), `reset` (try every IOC again).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from squirrel_ioc.ca import IocState, IocStatus
from squirrel_ioc.errors import StoreError
from squirrel_ioc.jobs import queue_queries
from squirrel_ioc.store import Connection, Store

__all__ = ["CHANNEL", "LOST_S", "AreaList", "Part", "PartState", "Parts", "WorkerRow", "entrypoint", "message"]

CHANNEL: Final = "squirrel_area"

LOST_S: Final = 4.0
"""Silence after which a worker, or who asked it, counts as gone. A worker stops writing well before."""

_LOCK_KEY: Final = 0x5351_524C_0006
_LOCK = "SELECT pg_advisory_xact_lock($1)"
_NOTIFY = "SELECT pg_notify($1, $2)"

_PUBLISHED = "SELECT name, version, names, position FROM area"
_PUBLISH = """
INSERT INTO area (name, position, version, names) VALUES ($1, $2, 1, $3)
ON CONFLICT (name) DO UPDATE SET position = excluded.position, version = area.version + 1, names = excluded.names
RETURNING version
"""
_UNPUBLISH = "DELETE FROM area WHERE name <> ALL ($1::text[])"
_LISTS = "SELECT name, version, names FROM area WHERE name = ANY ($1::text[])"
_NAMES = "SELECT name FROM area ORDER BY position"

_WORKERS = """
SELECT id, area, process, version, live_no, extract(epoch FROM clock_timestamp() - seen)::float8 AS age
FROM area_worker ORDER BY id
"""
_LIVE = "SELECT version, live_no, live, iocs FROM area_worker WHERE id = $1"
_FORGET = "DELETE FROM area_worker WHERE seen < clock_timestamp() - interval '1 minute'"
_ENROL = "INSERT INTO area_worker (area, process) VALUES ($1, $2) RETURNING id"
_TELL = """
UPDATE area_worker SET seen = clock_timestamp(), version = $2, live_no = live_no + 1, live = $3, iocs = $4
WHERE id = $1 RETURNING true
"""
_RENEW = "UPDATE area_worker SET seen = clock_timestamp() WHERE id = ANY ($1::int[]) RETURNING id"
_LEAVE = "DELETE FROM area_worker WHERE id = ANY ($1::int[])"

_ASK = """
INSERT INTO area_part (id, area, generation, kind, version, body, timeout_s)
SELECT $1, $2, generation, $3, $4, $5, $6 FROM service_lease
"""
_LOOK = f"""
UPDATE area_part SET seen = clock_timestamp() WHERE id = $1
RETURNING worker_id IS NOT NULL AS claimed, done, finished,
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

_WANTED = f"""
NOT cancelled AND seen > clock_timestamp() - {LOST_S} * interval '1 second'
AND generation = (SELECT generation FROM service_lease)
"""
_CLAIM = f"""
UPDATE area_part SET worker_id = $2, worked = clock_timestamp() WHERE id = $1 AND worker_id IS NULL AND {_WANTED}
RETURNING area, kind, version, body, timeout_s
"""
_GO_ON = f"""
UPDATE area_part SET worked = clock_timestamp() WHERE id = $1 AND worker_id = $2 AND {_WANTED} RETURNING true
"""
_FURTHER = "UPDATE area_part SET done = $2 WHERE id = $1"
_ANSWER = "UPDATE area_part SET finished = true, done = $2, error = $3, result = $4 WHERE id = $1"

_PREFIX = "squirrel_area:"


def entrypoint(area: str) -> str:
    """The name under which the parts of an area stand in the queue; the payload is the part's id."""
    return _PREFIX + area


@dataclass(frozen=True)
class AreaList:
    """The channels of an area, and how often they have changed."""

    name: str
    version: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class WorkerRow:
    """A worker of an area; `age_s` since it was seen. `live_no` counts what it has told of its channels."""

    id: int
    area: str
    process: str
    version: int
    live_no: int
    age_s: float

    @property
    def fresh(self) -> bool:
        """Whether it lives."""
        return self.age_s < LOST_S


@dataclass(frozen=True)
class PartState:
    """How far a part is; `alive`: who has claimed it goes on with it."""

    claimed: bool
    done: int
    finished: bool
    alive: bool


@dataclass(frozen=True, eq=False)
class Part:
    """What a worker has claimed: rows of the area's list, in `body`."""

    id: UUID
    area: str
    kind: str
    version: int
    body: bytes
    timeout_s: float | None


async def tell(connection: Connection, kind: str, **more: Any) -> None:
    """Tell the others when this is committed."""
    await connection.execute(_NOTIFY, CHANNEL, json.dumps({"kind": kind, **more}))


class Parts:
    """The statements. Every method raises StoreError, and DatabaseDownError when the database does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # The service

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
            await c.execute(_UNPUBLISH, list(areas))
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
            if queued := [row[0] for row in await c.fetch(_QUEUED, _PREFIX)]:
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

    # A worker

    async def lists(self, areas: Sequence[str]) -> list[AreaList]:
        """Those of these areas that the service has published."""
        async with self._store.connection() as c:
            rows = await c.fetch(_LISTS, list(areas))
        return [AreaList(r["name"], r["version"], tuple(r["names"].split("\n")) if r["names"] else ()) for r in rows]

    async def area_names(self) -> list[str]:
        """All areas there are."""
        async with self._store.connection() as c:
            return [row["name"] for row in await c.fetch(_NAMES)]

    async def enrol(self, area: str, process: str) -> int:
        """A worker begins."""
        async with self._store.connection() as c:
            return int(await c.fetchval(_ENROL, area, process))

    async def tell_live(self, worker_id: int, version: int, live: bytes, iocs: Sequence[IocState]) -> bool:
        """What a worker knows; False when it is not enrolled."""
        states = json.dumps([(i.host, i.channels, i.connected, int(i.status), i.sweep_s) for i in iocs])
        async with self._store.transaction() as c:
            if not await c.fetchval(_TELL, worker_id, version, live, states):
                return False
            await tell(c, "worker")
        return True

    async def renew(self, worker_ids: Sequence[int]) -> bool:
        """It lives; False when it is not enrolled."""
        async with self._store.connection() as c:
            return len(await c.fetch(_RENEW, list(worker_ids))) == len(worker_ids)

    async def leave(self, worker_ids: Sequence[int]) -> None:
        """A worker ends."""
        async with self._store.transaction() as c:
            await c.execute(_LEAVE, list(worker_ids))
            await tell(c, "worker")

    async def claim(self, part_id: UUID, worker_id: int) -> Part | None:
        """Begin it; None when somebody else has, or nobody wants it any more."""
        async with self._store.transaction() as c:
            row = await c.fetchrow(_CLAIM, part_id, worker_id)
            if row is None:
                return None
            await tell(c, "part", id=part_id.hex)
        return Part(part_id, row["area"], row["kind"], row["version"], row["body"], row["timeout_s"])

    async def go_on(self, part_id: UUID, worker_id: int) -> bool:
        """Say that it goes on; False when it must not, because nobody waits for it any more."""
        async with self._store.connection() as c:
            return bool(await c.fetchval(_GO_ON, part_id, worker_id))

    async def further(self, part_id: UUID, done: int) -> None:
        """So many rows are done."""
        async with self._store.connection() as c:
            await c.execute(_FURTHER, part_id, done)
            await tell(c, "part", id=part_id.hex)

    async def answer(self, part_id: UUID, done: int, error: str, result: bytes) -> None:
        """It has ended."""
        async with self._store.transaction() as c:
            await c.execute(_ANSWER, part_id, done, error, result)
            await tell(c, "part", id=part_id.hex)


def message(payload: object) -> dict[str, Any]:
    """What somebody has told. Raises StoreError."""
    try:
        told = json.loads(str(payload))
    except ValueError:
        raise StoreError(f"not understood on channel {CHANNEL}: {payload}") from None
    if not isinstance(told, dict) or not isinstance(told.get("kind"), str):
        raise StoreError(f"not understood on channel {CHANNEL}: {payload}")
    return told
