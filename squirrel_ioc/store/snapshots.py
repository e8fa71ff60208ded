"""Snapshots as a whole: their rows, searching them, changing and deleting them, a channel's past."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

import asyncpg
import numpy as np

from squirrel_ioc.errors import RefusedError, StoreError
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.snapshot import BACKUP, History, NewSnapshot, Snapshot, SnapshotChange, SnapshotFilter
from squirrel_ioc.store import frames
from squirrel_ioc.store.backups import LAST_BACKUP
from squirrel_ioc.store.database import Connection, Database, id_or_none
from squirrel_ioc.store.filters import CONDITIONS, arguments
from squirrel_ioc.store.history import read_history
from squirrel_ioc.store.lists import ChannelLists
from squirrel_ioc.store.metas import Metas

__all__ = ["LOCK_REFERENCE", "REFERENCE_KEY", "Snapshots", "snapshot_of"]

REFERENCE_KEY: Final = 0x5351_524C_0003

AlsoDo = Callable[[Connection, Snapshot], Awaitable[None]]

_NEXT_ID = "SELECT nextval(pg_get_serial_sequence('snapshot', 'id'))"
_INSERT = (
    """
INSERT INTO snapshot (id, kind, title, comment, labels, taken, username, host, count, missing, origin, job_id, list_id,
    size_bytes)
VALUES ($1, $2, $3, $4, $5, coalesce($6, clock_timestamp()), $7, $8, $9, $10, $11, $12, $13, ("""
    + frames.SIZE
    + """)) RETURNING *
"""
)
_OF_JOB = "SELECT * FROM snapshot WHERE job_id = $1"
_ONE = "SELECT * FROM snapshot WHERE id = $1"
_LOCK = "SELECT * FROM snapshot WHERE id = $1 FOR NO KEY UPDATE"
_REFERENCE = "SELECT * FROM snapshot WHERE reference"
_LIST_OF = "SELECT list_id FROM snapshot WHERE id = $1"
_DELETE = "DELETE FROM snapshot WHERE id = $1"
_UPDATE = """
UPDATE snapshot SET title = coalesce($2, title), comment = coalesce($3, comment), labels = coalesce($4, labels),
    protected = coalesce($5, protected), kept = coalesce($6, kept), reference = coalesce($7, reference)
WHERE id = $1 RETURNING *
"""
LOCK_REFERENCE = "SELECT pg_advisory_xact_lock($1)"
_UNREFERENCE = "UPDATE snapshot SET reference = false WHERE reference AND id <> $1"

_WHERE = " FROM snapshot WHERE " + CONDITIONS
_COUNT = "SELECT count(*)" + _WHERE
_PAGE = f"SELECT *, id = ({LAST_BACKUP}) AS undo" + _WHERE + "ORDER BY taken DESC, id DESC LIMIT $9 OFFSET $10"


class Snapshots:
    """Snapshots of one database."""

    def __init__(self, database: Database, lists: ChannelLists, metas: Metas) -> None:
        self._database = database
        self._lists = lists
        self._metas = metas

    async def save(self, frame: Frame, new: NewSnapshot, also_do: AlsoDo | None) -> Snapshot:
        """See `Store.save_snapshot`."""
        try:
            return await self._save(frame, new, also_do)
        except StoreError as exc:
            # The same job saved it meanwhile, in another process.
            if isinstance(exc.__cause__, asyncpg.UniqueViolationError) and new.job_id is not None:
                return await self._save(frame, new, also_do)
            raise

    async def _save(self, frame: Frame, new: NewSnapshot, also_do: AlsoDo | None) -> Snapshot:
        async with self._database.transaction("storing a snapshot") as connection:
            if new.job_id is not None and (row := await connection.fetchrow(_OF_JOB, new.job_id)) is not None:
                snapshot = snapshot_of(row)
                if also_do is not None:
                    await also_do(connection, snapshot)
                return snapshot
            list_id, channels = await self._lists.ensure(connection, frame.channels)
            numbers = await self._metas.ensure(connection, frame.metas)
            snapshot_id = await connection.fetchval(_NEXT_ID)
            await frames.write_chunks(connection, snapshot_id, frame, numbers)
            count = int(np.count_nonzero(frame.valid))
            row = await connection.fetchrow(
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
                new.origin,
                new.job_id,
                list_id,
            )
            snapshot = snapshot_of(row)
            if also_do is not None:
                await also_do(connection, snapshot)
        self._lists.remember(list_id, channels)
        self._metas.remember(frame.metas, numbers)
        return snapshot

    async def get(self, snapshot_id: int) -> Snapshot | None:
        """See `Store.snapshot`."""
        return await self._find(_ONE, snapshot_id)

    async def of_job(self, job_id: int) -> Snapshot | None:
        """See `Store.snapshot_of_job`."""
        return await self._find(_OF_JOB, job_id)

    async def reference(self) -> Snapshot | None:
        """See `Store.reference`."""
        return await self._find(_REFERENCE)

    async def page(self, wanted: SnapshotFilter) -> tuple[list[Snapshot], int]:
        """See `Store.snapshots`."""
        async with self._database.connection("listing snapshots") as connection:
            total = await connection.fetchval(_COUNT, *arguments(wanted))
            rows = await connection.fetch(_PAGE, *arguments(wanted), wanted.size, wanted.page * wanted.size)
        return [snapshot_of(row) for row in rows], total

    async def load_frame(self, snapshot_id: int, names: Collection[str] | None) -> Frame:
        """See `Store.load_frame`."""
        async with self._database.connection(f"loading snapshot {snapshot_id}") as connection:
            list_id = await connection.fetchval(_LIST_OF, id_or_none(snapshot_id))
            if list_id is None:
                raise StoreError(f"snapshot {snapshot_id} does not exist")
            channels = await self._lists.load(connection, list_id)
            rows = None
            if names is not None:
                index = channels.index
                rows = np.array(sorted({index[name] for name in names if name in index}), np.intp)
            return await frames.read_rows(connection, snapshot_id, channels, self._metas, rows)

    async def history(self, name: str, limit: int, wanted: SnapshotFilter) -> History:
        """See `Store.history`."""
        async with self._database.connection(f"history of {name}") as connection:
            return await read_history(connection, name, limit, wanted)

    async def update(self, snapshot_id: int, change: SnapshotChange) -> Snapshot:
        """See `Store.update_snapshot`."""
        async with self._database.transaction(f"changing snapshot {snapshot_id}") as connection:
            if change.reference:
                await connection.execute(LOCK_REFERENCE, REFERENCE_KEY)
            old = await self._lock(connection, snapshot_id)
            _check_change(old, change)
            if change.reference:
                await self._unreference_others(connection, old)
            row = await connection.fetchrow(
                _UPDATE,
                snapshot_id,
                change.title,
                change.comment,
                change.labels,
                change.protected,
                change.kept,
                change.reference,
            )
        return snapshot_of(row)

    async def delete(self, snapshot_id: int) -> None:
        """See `Store.delete_snapshot`."""
        async with self._database.transaction(f"deleting snapshot {snapshot_id}") as connection:
            old = await self._lock(connection, snapshot_id)
            if old.protected:
                raise RefusedError(f"snapshot {snapshot_id} is protected: unprotect it before deleting it")
            if old.kind == BACKUP and snapshot_id == await connection.fetchval(LAST_BACKUP):
                raise RefusedError(f"snapshot {snapshot_id} is the backup of the last restore: UNDO needs it")
            await connection.execute(_DELETE, snapshot_id)
            await self._lists.drop_unused(connection, old.channel_list_id)

    async def _unreference_others(self, connection: Connection, new: Snapshot) -> None:
        row = await connection.fetchrow(_REFERENCE + " FOR NO KEY UPDATE")
        if row is not None and row["id"] != new.id:
            if row["protected"]:
                raise RefusedError(f"snapshot {row['id']} is the reference and protected: unprotect it first")
            await connection.execute(_UNREFERENCE, new.id)

    async def _lock(self, connection: Connection, snapshot_id: int) -> Snapshot:
        row = await connection.fetchrow(_LOCK, id_or_none(snapshot_id))
        if row is None:
            raise RefusedError(f"snapshot {snapshot_id} does not exist")
        return snapshot_of(row)

    async def _find(self, query: str, *keys: int) -> Snapshot | None:
        async with self._database.connection("reading a snapshot") as connection:
            row = await connection.fetchrow(query, *map(id_or_none, keys))
        return None if row is None else snapshot_of(row)


def _check_change(old: Snapshot, change: SnapshotChange) -> None:
    """What `protected` forbids, unless the same change unprotects."""
    if not old.protected or change.protected is False:
        return
    what = [
        word
        for word, new, present in (
            ("title", change.title, old.title),
            ("comment", change.comment, old.comment),
            ("labels", change.labels, old.labels),
        )
        if new is not None and new != present
    ]
    if change.kept is False and old.kept:
        what.append("keep flag")
    if what:
        raise RefusedError(f"snapshot {old.id} is protected: unprotect it before changing its {' and '.join(what)}")
    if change.reference is False and old.reference:
        raise RefusedError(f"snapshot {old.id} is protected: unprotect it before it stops being the reference")


def snapshot_of(row: Any) -> Snapshot:
    """A row of the table snapshot."""
    return Snapshot(
        id=row["id"],
        kind=row["kind"],
        title=row["title"],
        comment=row["comment"],
        labels=tuple(row["labels"]),
        taken=row["taken"],
        user=row["username"],
        host=row["host"],
        count=row["count"],
        missing=row["missing"],
        size_bytes=row["size_bytes"],
        protected=row["protected"],
        kept=row["kept"],
        reference=row["reference"],
        origin=row["origin"],
        job_id=row["job_id"],
        channel_list_id=row["list_id"],
        undo=row.get("undo") or False,
    )
