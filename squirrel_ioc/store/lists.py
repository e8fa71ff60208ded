"""Channel numbers and channel lists: what a row of a chunk belongs to."""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.store import pgcopy
from squirrel_ioc.store.database import Connection

__all__ = ["ChannelLists", "CHUNK", "chunk_bounds"]

CHUNK: Final = 993
"""Channels of a chunk. Stored snapshots depend on it.

PostgreSQL cuts large values into pieces of 1996 bytes, four to a page (TOAST_MAX_CHUNK_SIZE). An array of so many
int4 is exactly two pieces, one of float8 just four: with 1000, a rest of each array leaves a quarter of a page empty.
"""

_CACHED_CHANNELS: Final = 1_000_000
"""Channels of all lists held in memory although nobody else holds them."""

_LOCK_KEY: Final = 0x5351_524C_0002

_SHARE = "SELECT pg_advisory_xact_lock_shared($1), EXISTS (SELECT FROM channel_list WHERE id = $2)"
_EXCLUDE = "SELECT pg_advisory_xact_lock($1)"
_NUMBER = """
INSERT INTO channel (name)
SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, position)
WHERE NOT EXISTS (SELECT FROM channel WHERE channel.name = wanted.name)
GROUP BY name ORDER BY min(position)
ON CONFLICT (name) DO NOTHING
"""
_NUMBERS = """
SELECT array_send(coalesce(array_agg(channel.id ORDER BY position), '{}'))
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, position) JOIN channel USING (name)
"""
_NAMES = "SELECT id, name FROM channel WHERE id = ANY ($1::int[])"
_FIND = "SELECT id FROM channel_list WHERE digest = $1"
_MAKE = "INSERT INTO channel_list (digest, size, setpoints) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING id"
_HEAD = "SELECT size, setpoints FROM channel_list WHERE id = $1"
_CHUNKS = "SELECT array_send(channel) FROM channel_list_chunk WHERE list_id = $1 ORDER BY chunk_no"
_COLUMNS: Final = ("list_id", "chunk_no", "setpoints", "lowest", "highest", "channel")
_DROP_UNUSED = """
DELETE FROM channel_list AS list
WHERE id = $1 AND NOT EXISTS (SELECT FROM snapshot WHERE list_id = list.id)
  AND NOT EXISTS (SELECT FROM catalogue_version WHERE list_id = list.id)
RETURNING id
"""


def chunk_bounds(size: int) -> list[tuple[int, int]]:
    """First and last-plus-one row of each chunk of a list."""
    return [(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]


class ChannelLists:
    """The lists of the database, each one object as long as somebody holds it."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._lists: WeakValueDictionary[int, ChannelList] = WeakValueDictionary()
        self._ids: WeakKeyDictionary[ChannelList, int] = WeakKeyDictionary()
        self._recent: OrderedDict[int, ChannelList] = OrderedDict()

    def forget(self) -> None:
        """Look everything up again: a server that took another's place may lack the last of what that had."""
        # Anew, not emptied: somebody may be in the middle of using them.
        self._names = {}
        self._lists = WeakValueDictionary()
        self._ids = WeakKeyDictionary()
        self._recent = OrderedDict()

    async def ensure(self, connection: Connection, channels: ChannelList) -> tuple[int, ChannelList]:
        """The number of a list, made when the database has not seen it, and the list with its channels' numbers.

        To be called in a transaction; call `remember` with the result once it is committed. The list cannot be
        dropped by others until then.
        """
        known = self._ids.get(channels, 0)
        if await connection.fetchval(_SHARE, _LOCK_KEY, known, column=1):
            return known, channels
        if not channels.ids.all():
            ids = await self.number(connection, channels.names)
            channels = ChannelList(channels.names, ids, channels.setpoints)
        digest = hashlib.sha256(struct.pack("<i", channels.setpoints) + channels.ids.astype("<i4").tobytes()).digest()
        found = await connection.fetchval(_FIND, digest)
        if found is None:
            found = await connection.fetchval(_MAKE, digest, len(channels), channels.setpoints)
            if found is None:  # another process made it meanwhile
                found = await connection.fetchval(_FIND, digest)
            else:
                await connection.copy_to_table(
                    "channel_list_chunk", source=_encode(found, channels), columns=_COLUMNS, format="binary"
                )
        return int(found), self._lists.get(found, channels)

    def remember(self, list_id: int, channels: ChannelList) -> ChannelList:
        """The one object of a list that is in the database: `channels`, if there is none yet."""
        kept = self._lists.setdefault(list_id, channels)
        self._ids[kept] = list_id
        self._touch(list_id, kept)
        return kept

    def known(self, list_id: int) -> ChannelList | None:
        """A list that is in memory."""
        return self._lists.get(list_id)

    async def load(self, connection: Connection, list_id: int) -> ChannelList:
        """A list by its number. Raises StoreError when there is none."""
        kept = self._lists.get(list_id)
        if kept is None:
            head = await connection.fetchrow(_HEAD, list_id)
            if head is None:
                raise StoreError(f"there is no channel list {list_id}")
            ids = pgcopy.INT4.join(r[0] for r in await connection.fetch(_CHUNKS, list_id))
            names = await self.names(connection, ids)
            kept = self._lists.setdefault(list_id, ChannelList(names, ids, head["setpoints"]))
            self._ids[kept] = list_id
        self._touch(list_id, kept)
        return kept

    async def number(self, connection: Connection, names: Sequence[str]) -> NDArray[np.int32]:
        """The numbers of channels, int32; new ones get theirs in the order given."""
        await connection.execute(_NUMBER, names)
        numbers: NDArray[np.int32] = pgcopy.INT4.join([await connection.fetchval(_NUMBERS, names)])
        return numbers

    async def names(self, connection: Connection, ids: NDArray[np.int32]) -> tuple[str, ...]:
        """The names of channels."""
        wanted, known = ids.tolist(), self._names
        missing = [i for i in wanted if i not in known]
        if missing:
            known.update({row["id"]: row["name"] for row in await connection.fetch(_NAMES, missing)})
        return tuple(map(known.__getitem__, wanted))

    async def drop_unused(self, connection: Connection, list_id: int) -> None:
        """Remove a list that nothing refers to any more. To be called in a transaction."""
        await connection.execute(_EXCLUDE, _LOCK_KEY)
        if await connection.fetchval(_DROP_UNUSED, list_id) is not None:
            # Forgotten before the commit: should that fail, the list is only read again.
            self._recent.pop(list_id, None)
            if (kept := self._lists.pop(list_id, None)) is not None:
                self._ids.pop(kept, None)

    def _touch(self, list_id: int, channels: ChannelList) -> None:
        self._recent[list_id] = channels
        self._recent.move_to_end(list_id)
        held = sum(map(len, self._recent.values()))
        while held > _CACHED_CHANNELS and len(self._recent) > 1:
            held -= len(self._recent.popitem(last=False)[1])


async def _encode(list_id: int, channels: ChannelList) -> AsyncIterator[bytes]:
    yield pgcopy.HEADER
    bounds = chunk_bounds(len(channels))
    for number, ((start, stop), array) in enumerate(zip(bounds, pgcopy.INT4.fields(channels.ids, bounds), strict=True)):
        part = channels.ids[start:stop]
        setpoints = min(max(channels.setpoints - start, 0), stop - start)
        numbers = (list_id, number, setpoints, int(part.min()), int(part.max()))
        yield pgcopy.row([*map(pgcopy.int4_field, numbers), array])
    yield pgcopy.TRAILER
