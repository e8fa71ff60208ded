"""Many snapshots as one: read as they stood at one moment, and written all or none. What dump and load are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.snapshot import Snapshot
from squirrel_ioc.model.values import Meta
from squirrel_ioc.store import frames
from squirrel_ioc.store.catalogue import Catalogues
from squirrel_ioc.store.database import Connection, Database, id_or_none
from squirrel_ioc.store.lists import ChannelLists
from squirrel_ioc.store.metas import Metas
from squirrel_ioc.store.snapshots import LOCK_REFERENCE, REFERENCE_KEY, snapshot_of

__all__ = ["Loader", "Reader", "Transfer"]

_LOAD_KEY: Final = 0x5351_524C_0010
_MOST_SKIPPED: Final = 100_000
"""Numbers that may be left out, to give a snapshot the number it had elsewhere."""

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_CHOSEN = """
SELECT * FROM snapshot
WHERE ($1::int[] IS NULL OR id = ANY ($1)) AND (NOT $2 OR kept OR protected OR reference) ORDER BY id
"""
_TAKEN = "SELECT * FROM snapshot WHERE taken = $1 AND kind = $2 AND count = $3 AND missing = $4 ORDER BY id"
_REFERENCE = "SELECT * FROM snapshot WHERE reference"
_LOCK = "SELECT * FROM snapshot WHERE id = $1 FOR NO KEY UPDATE"
_UNREFERENCE = "UPDATE snapshot SET reference = false WHERE reference AND id <> $1 AND NOT protected"
_UPDATE = """
UPDATE snapshot SET title = $2, comment = $3, labels = $4, username = $5, host = $6, origin = $7, protected = $8,
    kept = $9, reference = $10
WHERE id = $1
"""
_LAST_ID = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('snapshot', 'id')::regclass), 0)"
_NEXT_IDS = "SELECT nextval(pg_get_serial_sequence('snapshot', 'id'))::int AS id FROM generate_series(1, $1)"
_USED_IDS = "SELECT id FROM snapshot WHERE id = ANY ($1::int[])"
_INSERT = (
    """
INSERT INTO snapshot (id, kind, title, comment, labels, taken, username, host, count, missing, protected, kept,
    reference, origin, list_id, size_bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, ("""
    + frames.SIZE
    + "))"
)


class Transfer:
    """Dump and load of one database. Raises as the methods of `Store` do."""

    def __init__(self, database: Database, lists: ChannelLists, metas: Metas, catalogues: Catalogues) -> None:
        self._database = database
        self._lists = lists
        self._metas = metas
        self._catalogues = catalogues

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """Everything that is read in the block is as it stood when it began."""
        async with (
            self._database.connection("dumping") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield Reader(connection, self._lists, self._metas)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Loader]:
        """What is written in the block is committed at its end, all of it, or nothing when it raises.

        Raises RefusedError when somebody else is loading.
        """
        async with self._database.transaction("loading") as connection:
            if not await connection.fetchval(_TRY_LOCK, _LOAD_KEY):
                raise RefusedError("somebody else is loading into this database")
            yield Loader(connection, self._lists, self._metas, self._catalogues)

    async def prepare(self, lists: Collection[ChannelList], metas: Collection[Meta]) -> None:
        """Give channels, lists and meta data their numbers, committed at once, before they are used in `writing`.

        A long transaction that did this would keep everybody waiting who stores the same, or even be waited for by
        those it waits for. What is not used after all does no harm.
        """
        for channels in lists:
            async with self._database.transaction("loading") as connection:
                made = await self._lists.ensure(connection, channels)
            self._lists.remember(*made)
        known = tuple(metas)
        async with self._database.transaction("loading") as connection:
            numbers = await self._metas.ensure(connection, known)
        self._metas.remember(known, numbers)


class Reader:
    """Reads on one connection."""

    def __init__(self, connection: Connection, lists: ChannelLists, metas: Metas) -> None:
        self._connection = connection
        self._lists = lists
        self._metas = metas

    async def snapshots(self, ids: Collection[int] | None, *, kept: bool) -> list[Snapshot]:
        """All, or those of `ids`, in the order of their numbers; with `kept` those only that are not to be lost."""
        wanted = None if ids is None else [id_or_none(i) for i in ids]
        return [snapshot_of(row) for row in await self._connection.fetch(_CHOSEN, wanted, kept)]

    async def frame(self, snapshot: Snapshot) -> Frame:
        """The values of a snapshot."""
        channels = await self._lists.load(self._connection, snapshot.channel_list_id)
        return await frames.read_rows(self._connection, snapshot.id, channels, self._metas, None)


class Loader(Reader):
    """Writes, too. Snapshots that are given are as they are to be stored, whatever their `id`."""

    def __init__(self, connection: Connection, lists: ChannelLists, metas: Metas, catalogues: Catalogues) -> None:
        super().__init__(connection, lists, metas)
        self._catalogues = catalogues
        # What is known of this transaction alone, until it is committed.
        self._stored_lists: dict[ChannelList, tuple[int, ChannelList]] = {}
        self._stored_metas: dict[Meta, int] = {}

    async def taken_at(self, taken: datetime, kind: str, count: int, missing: int) -> list[Snapshot]:
        """Snapshots of this kind and size that were taken at this very moment."""
        rows = await self._connection.fetch(_TAKEN, taken, kind, count, missing)
        return [snapshot_of(row) for row in rows]

    async def reference(self) -> Snapshot | None:
        """The reference snapshot."""
        row = await self._connection.fetchrow(_REFERENCE)
        return None if row is None else snapshot_of(row)

    async def locked(self, snapshot_id: int) -> Snapshot | None:
        """A snapshot as it stands now; nobody else changes it any more."""
        row = await self._connection.fetchrow(_LOCK, snapshot_id)
        return None if row is None else snapshot_of(row)

    async def unreference_others(self, snapshot_id: int) -> None:
        """No other snapshot is the reference, unless it is protected: there cannot be another one then."""
        await self._connection.execute(LOCK_REFERENCE, REFERENCE_KEY)
        await self._connection.execute(_UNREFERENCE, snapshot_id)

    async def update(self, snapshot_id: int, to: Snapshot) -> None:
        """Give a snapshot all that `to` has beside its values."""
        flags = (to.protected, to.kept, to.reference)
        await self._connection.execute(
            _UPDATE, snapshot_id, to.title, to.comment, to.labels, to.user, to.host, to.origin, *flags
        )

    async def numbers(self, wanted: Sequence[int]) -> list[int]:
        """Numbers for new snapshots that nobody else has or gets: the wanted ones as far as they are free."""
        last = await self._connection.fetchval(_LAST_ID)
        ahead = max(wanted, default=0) - last
        drawn = await self._draw(ahead) if 0 < ahead <= _MOST_SKIPPED else set()
        candidates = {i for i in wanted if 0 < i <= last} | (drawn & set(wanted))
        candidates -= {row["id"] for row in await self._connection.fetch(_USED_IDS, sorted(candidates))}
        numbers = []
        for number in wanted:
            if number in candidates:
                candidates.remove(number)
            else:
                (number,) = await self._draw(1)
            numbers.append(number)
        return numbers

    async def insert(self, snapshot_id: int, new: Snapshot, frame: Frame) -> None:
        """Store a snapshot under a number of `numbers`."""
        list_id = await self._list(frame.channels)
        await frames.write_chunks(self._connection, snapshot_id, frame, await self._meta_numbers(frame.metas))
        count = int(np.count_nonzero(frame.valid))
        await self._connection.execute(
            _INSERT,
            snapshot_id,
            new.kind,
            new.title,
            new.comment,
            new.labels,
            new.taken,
            new.user,
            new.host,
            count,
            len(frame) - count,
            new.protected,
            new.kept,
            new.reference,
            new.origin,
            list_id,
        )

    async def catalogue(self) -> tuple[Entry, ...]:
        """The entries of the catalogue in force."""
        return (await self._catalogues.read(self._connection)).inventory.entries

    async def replace_catalogue(self, entries: Sequence[Entry], made_by: str) -> None:
        """Make these entries the catalogue."""
        await self._catalogues.change(lambda inventory, _: inventory.replaced(entries), made_by, (), self._connection)

    async def _draw(self, count: int) -> set[int]:
        return {row["id"] for row in await self._connection.fetch(_NEXT_IDS, count)}

    async def _list(self, channels: ChannelList) -> int:
        if channels not in self._stored_lists:
            self._stored_lists[channels] = await self._lists.ensure(self._connection, channels)
        return self._stored_lists[channels][0]

    async def _meta_numbers(self, metas: tuple[Meta, ...]) -> NDArray[np.int32]:
        new = tuple(m for m in dict.fromkeys(metas) if m not in self._stored_metas)
        if new:
            numbers = await self._metas.ensure(self._connection, new)
            self._stored_metas.update(zip(new, numbers.tolist(), strict=True))
        return np.array([self._stored_metas[m] for m in metas], np.int32)
