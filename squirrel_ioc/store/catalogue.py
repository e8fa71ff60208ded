"""The catalogue in the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.inventory import Edit, Inventory, Summary
from squirrel_ioc.store._entry_rows import (
    COLUMNS,
    SELECT,
    Positions,
    Row,
    entries_by_name,
    inventory_of,
    records,
)
from squirrel_ioc.store.database import Connection, Database
from squirrel_ioc.store.lists import ChannelLists

__all__ = ["Catalogues", "StoredCatalogue"]

_LOCK_KEY: Final = 0x5351_524C_0004
_LOCK = "SELECT pg_advisory_xact_lock($1)"
_CURRENT = "SELECT id, list_id, made_by, summary FROM catalogue_version ORDER BY id DESC LIMIT 1"
_NEW_VERSION = """
INSERT INTO catalogue_version (size, list_id, made_by, summary) VALUES ($1, $2, $3, $4) RETURNING id
"""
_OLD_LISTS = """
WITH old AS (SELECT id, list_id FROM catalogue_version WHERE id < $1 AND list_id IS NOT NULL),
    gone AS (UPDATE catalogue_version SET list_id = NULL FROM old WHERE catalogue_version.id = old.id)
SELECT DISTINCT list_id FROM old
"""

_IN_FORCE = f"{SELECT} WHERE retired_at IS NULL OR removed ORDER BY position"
_FORMER = f"{SELECT} WHERE setpoint.name = ANY ($1::text[]) AND retired_at IS NOT NULL"
_STAGE = "CREATE TEMPORARY TABLE new_pv (LIKE pv INCLUDING DEFAULTS) ON COMMIT DROP"
_RETIRE = """
UPDATE pv SET retired_at = coalesce(retired_at, now()), file_entry = NULL, removed = false
WHERE channel_id = ANY ($1::int[])
"""
_MERGE = """
INSERT INTO pv SELECT * FROM new_pv ORDER BY position
ON CONFLICT (channel_id) DO UPDATE SET readback_id = excluded.readback_id, description = excluded.description,
    device = excluded.device, tags = excluded.tags, atol = excluded.atol, rtol = excluded.rtol,
    read_only = excluded.read_only, write_order = excluded.write_order, max_step = excluded.max_step,
    step_period = excluded.step_period,
    completion = excluded.completion, verify = excluded.verify, position = excluded.position,
    retired_at = CASE WHEN excluded.removed THEN coalesce(pv.retired_at, excluded.retired_at) END,
    origin = excluded.origin, file_entry = excluded.file_entry, removed = excluded.removed
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StoredCatalogue:
    """A version of the catalogue, where its entries come from, who made it, and what that changed, in words.

    The rest is the store's own.
    """

    catalogue: Catalogue
    inventory: Inventory
    made_by: str
    summary: str
    list_id: int
    positions: Positions


_NEVER: Final = StoredCatalogue(Catalogue((), ChannelList((), np.zeros(0, np.int32), 0)), Inventory(), "", "", 0, {})


class Catalogues:
    """The catalogue of one database and its versions. Changes are one after the other, whoever makes them."""

    def __init__(self, database: Database, lists: ChannelLists) -> None:
        self._database = database
        self._lists = lists
        self._known = _NEVER

    async def load(self) -> StoredCatalogue:
        """See `Store.load_inventory`."""
        async with (
            self._database.connection("loading the catalogue") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await self.read(connection)

    async def change(
        self, edit: Edit, made_by: str, names: Collection[str], existing: Connection | None = None
    ) -> tuple[StoredCatalogue, Summary]:
        """See `Store.change_catalogue`. In the transaction of `existing`, where given, which its owner commits."""
        async with self._database.transaction("storing the catalogue", existing) as connection:
            await connection.execute(_LOCK, _LOCK_KEY)
            before = await self.read(connection)
            former = entries_by_name(await connection.fetch(_FORMER, list(names))) if names else {}
            change = await asyncio.to_thread(lambda: _Change(before, edit(before.inventory, former)))
            if before.catalogue.version and not change.rows and not change.gone:
                return before, change.summary
            stored = await self._store(connection, change, made_by)
        if existing is not None:
            return stored, change.summary
        stored = self._committed(stored)
        await self._drop_old_lists(stored.catalogue.version)
        return stored, change.summary

    async def read(self, connection: Connection) -> StoredCatalogue:
        """The catalogue in force."""
        current = await connection.fetchrow(_CURRENT)
        if current is None:
            return _NEVER
        if current["id"] == self._known.catalogue.version:
            return self._known
        rows = await connection.fetch(_IN_FORCE)
        inventory, positions, channels = await asyncio.to_thread(inventory_of, rows)
        channels = self._lists.remember(current["list_id"], channels)
        catalogue = Catalogue(inventory.entries, channels, current["id"])
        made_by, summary = current["made_by"], current["summary"]
        return self._keep(StoredCatalogue(catalogue, inventory, made_by, summary, current["list_id"], positions))

    async def _store(self, connection: Connection, change: _Change, made_by: str) -> StoredCatalogue:
        before, number = change.before, change.number
        if change.unknown:
            ids = await self._lists.number(connection, change.unknown)
            number.update(zip(change.unknown, ids.tolist(), strict=True))
        list_id, channels = before.list_id, before.catalogue.channels
        if change.channels is not None or not list_id:
            names = change.channels or ()
            ids = np.fromiter(map(number.__getitem__, names), np.int32, len(names))
            list_id, channels = await self._lists.ensure(connection, ChannelList(names, ids, len(change.after)))
        await connection.execute(_STAGE)
        rows = records(change.rows, number, datetime.now(UTC))
        await connection.copy_records_to_table("new_pv", records=rows, columns=COLUMNS)
        await connection.execute(_RETIRE, [number[name] for name in change.gone])
        await connection.execute(_MERGE)
        await connection.execute("DROP TABLE new_pv")
        summary = str(change.summary)
        version = await connection.fetchval(_NEW_VERSION, len(change.after), list_id, made_by, summary)
        catalogue = Catalogue(change.after.entries, channels, version)
        return StoredCatalogue(catalogue, change.after, made_by, summary, list_id, change.positions)

    def _committed(self, stored: StoredCatalogue) -> StoredCatalogue:
        """Once it is committed: its channels are the one object of their list."""
        catalogue = stored.catalogue
        channels = self._lists.remember(stored.list_id, catalogue.channels)
        if channels is not catalogue.channels:
            stored = replace(stored, catalogue=replace(catalogue, channels=channels))
        return self._keep(stored)

    def _keep(self, stored: StoredCatalogue) -> StoredCatalogue:
        if stored.catalogue.version > self._known.catalogue.version:
            self._known = stored
        return stored

    async def _drop_old_lists(self, version: int) -> None:
        """The lists of older versions, as far as no snapshot has them. That this fails does no harm."""
        try:
            async with self._database.transaction("dropping old lists of channels") as connection:
                for row in await connection.fetch(_OLD_LISTS, version):
                    await self._lists.drop_unused(connection, row["list_id"])
        except StoreError as error:
            _log.warning("%s", error)


class _Change:
    """What is to be written to get from a stored catalogue to another one.

    `rows` are those that are not as they were, `gone` the names of rows to be retired, `positions` those of all
    entries, `channels` the names of all channels (None: they are the same). `number` are the numbers that are known
    of channels, `unknown` the names that need one.
    """

    def __init__(self, before: StoredCatalogue, after: Inventory) -> None:
        self.before, self.after = before, after
        self.summary = Summary.of(before.inventory, after)
        self.positions = _positions(before.positions, [e.setpoint for e in after.entries])
        self.rows = [*_rows_in_force(before, after, self.positions), *_rows_removed(before.inventory, after)]
        there = self.positions.keys() | after.removed.keys()
        self.gone = list((before.positions.keys() | before.inventory.removed.keys()) - there)
        old, names = before.catalogue.channels, tuple(Catalogue.channel_names(after.entries))
        self.channels = None if old.names == names and old.setpoints == len(after) else names
        self.number: dict[str, int] = dict(zip(old.names, old.ids.tolist(), strict=True))
        others = Catalogue.channel_names([row.entry for row in self.rows if row.removed])
        self.unknown = [n for n in dict.fromkeys((*names, *self.gone, *others)) if n not in self.number]


def _rows_in_force(before: StoredCatalogue, after: Inventory, positions: Positions) -> Iterator[Row]:
    was = before.inventory
    old = was.by_name()
    for e in after.entries:
        name = e.setpoint
        known = old.get(name)
        added, filed = name in after.added, after.filed.get(name)
        if (
            (known is e or known == e)
            and before.positions[name] == positions[name]
            and (name in was.added) == added
            and was.filed.get(name) == filed
        ):
            continue
        yield Row(e, positions[name], added, filed)


def _rows_removed(before: Inventory, after: Inventory) -> Iterator[Row]:
    for name, e in after.removed.items():
        filed = after.filed.get(name)
        if before.removed.get(name) != e or before.filed.get(name) != filed:
            yield Row(e, 0, False, filed, removed=True)


def _positions(old: Positions, names: Sequence[str]) -> dict[str, int]:
    """Positions for these names in this order: those they have, where that can be, so that few rows change."""
    positions: dict[str, int] = {}
    last = -1
    for name in names:
        position = old.get(name, last + 1)
        if position <= last:
            return {name: i for i, name in enumerate(names)}
        positions[name] = last = position
    return positions
