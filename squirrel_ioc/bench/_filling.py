"""As many snapshots as a year makes, without taking them one by one: copies of one that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.store import Store

__all__ = ["fill_store"]

_BATCH: Final = 50

_ORIGINAL = "SELECT id FROM snapshot WHERE kind = 'snapshot' ORDER BY count DESC, id DESC LIMIT 1"
_COPY = """
WITH copy AS (
    INSERT INTO snapshot (kind, title, comment, labels, taken, username, host, count, missing, size_bytes, origin,
        list_id)
    SELECT kind, 'copy ' || i, comment, labels, taken + i * interval '1 second', username, host, count, missing,
        size_bytes, origin, list_id
    FROM snapshot, generate_series($2::int, $3::int) AS i WHERE id = $1 RETURNING id
), value AS (
    INSERT INTO snapshot_chunk (snapshot_id, chunk_no, state, dbf, count, severity, status, second, nanosecond, number,
        meta, side_row, side_end, side)
    SELECT copy.id, chunk_no, state, dbf, count, severity, status, second, nanosecond, number, meta, side_row, side_end,
        side
    FROM snapshot_chunk, copy WHERE snapshot_id = $1
)
SELECT id FROM copy ORDER BY id
"""
_ROWS = """
INSERT INTO snapshot (kind, title, comment, labels, taken, username, host, count, missing, size_bytes, origin, list_id)
SELECT kind, 'row ' || i, repeat('comment ', 20), ARRAY['night', 'label ' || i % 9],
    taken - interval '1 day' - i * interval '1 minute', 'user' || i % 5, host, count, missing, size_bytes, origin,
    list_id
FROM snapshot, generate_series(1, $2::int - (SELECT count(*)::int FROM snapshot)) AS i WHERE id = $1
"""


async def fill_store(state_dir: str, snapshots: int, listed: int) -> list[int]:
    """Copy the fullest snapshot so often, and list so many in all; returns the copies, oldest first.

    What is only listed is older than anything else, and has no values.
    """
    store = await Store.open(DatabaseSettings(), Path(state_dir), exclusive=False)
    try:
        original = await store.pool.fetchval(_ORIGINAL)
        ids: list[int] = []
        for first in range(1, snapshots + 1, _BATCH):
            last = min(first + _BATCH - 1, snapshots)
            ids += [row["id"] for row in await store.pool.fetch(_COPY, original, first, last)]
        await store.pool.execute(_ROWS, original, listed)
        return ids
    finally:
        await store.close()
