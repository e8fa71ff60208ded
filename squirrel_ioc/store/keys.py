"""What there is, by number and name: small enough to be kept in memory, so that a question need not come here."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Collection
from typing import Final

from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.snapshot import SnapshotKeys
from squirrel_ioc.store import pgcopy
from squirrel_ioc.store.database import Database
from squirrel_ioc.store.lists import ChannelLists

__all__ = ["Keys"]

_SNAPSHOTS: Final = """
SELECT array_send(coalesce(array_agg(id ORDER BY id), '{}')) AS ids,
    array_send(coalesce(array_agg(list_id ORDER BY id), '{}')) AS lists,
    coalesce(max(id) FILTER (WHERE reference), 0) AS reference
FROM snapshot
"""
_SOME = _SNAPSHOTS + "WHERE id = ANY ($1::int[]) OR reference"
_JOBS = "SELECT array_send(coalesce(array_agg(id ORDER BY id), '{}')) FROM job"
_COUNT_NAMES = "SELECT count(*) FROM channel"
_SEPARATOR = "\x1f"
_NAMES = "SELECT string_agg(name, chr(31)) FROM channel"


class Keys:
    """Numbers of snapshots and jobs, and the names of channels. Raises as the methods of `Store` do."""

    def __init__(self, database: Database, lists: ChannelLists) -> None:
        self._database = database
        self._lists = lists

    async def snapshots(self, ids: Collection[int] | None = None) -> SnapshotKeys:
        """Which snapshots there are: all, or those of `ids` and the reference."""
        async with self._database.connection("listing snapshots") as connection:
            query = (_SNAPSHOTS,) if ids is None else (_SOME, list(ids))
            (row,) = await connection.fetch(*query)
        lists = dict(
            zip(pgcopy.INT4.join([row["ids"]]).tolist(), pgcopy.INT4.join([row["lists"]]).tolist(), strict=True)
        )
        return SnapshotKeys(lists, row["reference"])

    async def jobs(self) -> array[int]:
        """Which jobs there are: int32, ascending."""
        async with self._database.connection("listing jobs") as connection:
            ids = pgcopy.INT4.join([await connection.fetchval(_JOBS)])
        return array("i", ids.tobytes())

    async def channel_names(self, known: int = -1) -> frozenset[str] | None:
        """Every channel ever seen; None when they are `known` by number, because none is ever removed."""
        async with self._database.connection("listing channels") as connection:
            if await connection.fetchval(_COUNT_NAMES) == known:
                return None
            text = await connection.fetchval(_NAMES)
        return await asyncio.to_thread(frozenset, text.split(_SEPARATOR)) if text else frozenset()

    async def channel_list(self, list_id: int) -> ChannelList:
        """A list of channels, as `Snapshot.channel_list_id` names it. Raises StoreError when there is none."""
        async with self._database.connection("reading a list of channels") as connection:
            return await self._lists.load(connection, list_id)

    def known_list(self, list_id: int) -> ChannelList | None:
        """A list of channels, if it is in memory: then `Store.load_frame` need not read it either."""
        return self._lists.known(list_id)
