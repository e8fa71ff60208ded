"""A channel across snapshots."""

from __future__ import annotations

from typing import Final

import numpy as np

from squirrel_ioc.model.snapshot import History, SnapshotFilter
from squirrel_ioc.store import pgcopy
from squirrel_ioc.store.database import Connection
from squirrel_ioc.store.filters import CONDITIONS, arguments

__all__ = ["read_history"]

_CHANNEL = "SELECT id FROM channel WHERE name = $1"
_HISTORY: Final = (
    """
WITH place AS MATERIALIZED (
    SELECT list_id, chunk_no, array_position(channel, $9) AS position
    FROM channel_list_chunk WHERE $9 BETWEEN lowest AND highest
), newest AS MATERIALIZED (
    SELECT id, taken, chunk_no, position FROM snapshot JOIN place USING (list_id)
    WHERE position IS NOT NULL AND """
    + CONDITIONS
    + """
    ORDER BY taken DESC, id DESC LIMIT $10
), value AS MATERIALIZED (
    SELECT id, taken, number[position] AS number, state[position] AS state
    FROM newest JOIN snapshot_chunk ON snapshot_id = id AND snapshot_chunk.chunk_no = newest.chunk_no
)
SELECT array_send(coalesce(array_agg(id ORDER BY taken, id), '{}')) AS ids,
    array_send(coalesce(array_agg(extract(epoch FROM taken)::float8 ORDER BY taken, id), '{}')) AS epochs,
    array_send(coalesce(array_agg(number ORDER BY taken, id), '{}')) AS numbers,
    array_send(coalesce(array_agg(state ORDER BY taken, id), '{}')) AS states
FROM value
"""
)


async def read_history(connection: Connection, name: str, limit: int, wanted: SnapshotFilter) -> History:
    """A channel across the newest `limit` of the wanted snapshots that hold it; empty for a channel never seen.

    `page` and `size` of the filter do not matter.
    """
    channel = await connection.fetchval(_CHANNEL, name)
    if channel is None:
        channel = 0
    (row,) = await connection.fetch(_HISTORY, *arguments(wanted), channel, limit)
    return History(
        pgcopy.INT4.join([row["ids"]]),
        pgcopy.FLOAT8.join([row["epochs"]]),
        pgcopy.FLOAT8.join([row["numbers"]]),
        pgcopy.INT2.join([row["states"]]).astype(np.uint8),
    )
