"""The statements of a worker: what it is to hold, its signs of life, and the parts of jobs that it takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from squirrel_ioc.areas._parts import LOST_S, AreaList, Part, entrypoint, tell
from squirrel_ioc.ca import IocState
from squirrel_ioc.jobs import queue_queries
from squirrel_ioc.store import Store

__all__ = ["Taken"]

_ASIDE_S = 1.0
"""For so long a worker leaves a part to one that has more channels connected; then that has had its time."""

_LISTS = "SELECT name, version, names FROM area WHERE name = ANY ($1::text[])"
_NAMES = "SELECT name FROM area ORDER BY position"
# Not by the process alone: in containers, several may have the same name of the host and the same pid.
_FORGET = """
DELETE FROM area_worker WHERE id = ANY ($1::int[]) AND process = $2 OR seen < clock_timestamp() - interval '1 minute'
"""
_ENROL = "INSERT INTO area_worker (area, process) VALUES ($1, $2) RETURNING id"
# Never the same `live_no` twice: after a crash of the server the ids begin at 1 again, and then another has this id.
_TELL = """
UPDATE area_worker SET seen = clock_timestamp(), version = $2, live = $3, iocs = $4, connected = $5,
    live_no = greatest(live_no + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
WHERE id = $1 RETURNING true
"""
_RENEW = "UPDATE area_worker SET seen = clock_timestamp() WHERE id = ANY ($1::int[]) RETURNING id"
_LEAVE = "DELETE FROM area_worker WHERE id = ANY ($1::int[])"
_WANTED = f"""
NOT cancelled AND seen > clock_timestamp() - {LOST_S} * interval '1 second'
AND generation = (SELECT generation FROM service_lease)
"""
_BETTER = f"""
EXISTS (SELECT FROM area_worker AS me JOIN area_worker AS other USING (area)
    WHERE me.id = $2 AND other.connected > me.connected
    AND other.seen > clock_timestamp() - {LOST_S} * interval '1 second')
AND asked > clock_timestamp() - {_ASIDE_S} * interval '1 second'
"""
_CLAIM = f"""
UPDATE area_part SET worker_id = $2, worked = clock_timestamp()
WHERE id = $1 AND worker_id IS NULL AND {_WANTED} AND NOT ({_BETTER})
RETURNING area, kind, version, body, timeout_s
"""
_FOR_ANOTHER = f"SELECT area FROM area_part WHERE id = $1 AND worker_id IS NULL AND {_WANTED} AND {_BETTER}"
_GO_ON = f"""
UPDATE area_part SET worked = clock_timestamp() WHERE id = $1 AND worker_id = $2 AND {_WANTED} RETURNING true
"""
_FURTHER = "UPDATE area_part SET done = $2 WHERE id = $1"
_ANSWER = "UPDATE area_part SET finished = true, done = $2, error = $3, result = $4 WHERE id = $1"


class Taken:
    """Every method raises StoreError, and DatabaseDownError when the database does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def lists(self, areas: Sequence[str]) -> list[AreaList]:
        """Those of these areas that the service has published."""
        async with self._store.connection() as c:
            rows = await c.fetch(_LISTS, list(areas))
        return [AreaList(r["name"], r["version"], tuple(r["names"].split("\n")) if r["names"] else ()) for r in rows]

    async def area_names(self) -> list[str]:
        """All areas there are."""
        async with self._store.connection() as c:
            return [row["name"] for row in await c.fetch(_NAMES)]

    async def enrol(self, areas: Sequence[str], process: str, before: Sequence[int]) -> dict[str, int]:
        """A worker begins, perhaps anew: its ids `before`, and workers that are long gone, are forgotten.

        Returns its id in each area.
        """
        async with self._store.transaction() as c:
            await c.execute(_FORGET, list(before), process)
            return {area: await c.fetchval(_ENROL, area, process) for area in areas}

    async def tell_live(
        self, worker_id: int, version: int, live: bytes, iocs: Sequence[IocState], connected: int
    ) -> bool:
        """What a worker knows; False when it is not enrolled."""
        states = json.dumps([(i.host, i.channels, i.connected, int(i.status), i.sweep_s) for i in iocs])
        async with self._store.transaction() as c:
            if not await c.fetchval(_TELL, worker_id, version, live, states, connected):
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

    async def leave_to_another(self, part_id: UUID, worker_id: int) -> None:
        """Put it back into the queue, if another worker has more of the channels connected."""
        async with self._store.transaction() as c:
            area = await c.fetchval(_FOR_ANOTHER, part_id, worker_id)
            if area is not None:
                await queue_queries(c).enqueue(entrypoint(area), part_id.bytes)

    async def claim(self, part_id: UUID, worker_id: int) -> Part | None:
        """Begin it; None when somebody else has or should, or nobody wants it any more."""
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
