"""The catalogue in the database."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.store.database import Connection, Database
from squirrel_ioc.store.lists import ChannelLists

__all__ = ["Catalogues"]

_LOCK_KEY: Final = 0x5351_524C_0004
_LOCK = "SELECT pg_advisory_xact_lock($1)"
_CURRENT = "SELECT id, digest, list_id FROM catalogue_version ORDER BY id DESC LIMIT 1"
_NEW_VERSION = "INSERT INTO catalogue_version (digest, size, list_id) VALUES ($1, $2, $3) RETURNING id"

_COLUMNS: Final = (
    "channel_id",
    "readback_id",
    "description",
    "device",
    "tags",
    "atol",
    "rtol",
    "read_only",
    "write_order",
    "max_step",
    "step_period",
    "position",
)
_STAGE = "CREATE TEMPORARY TABLE new_pv (LIKE pv INCLUDING DEFAULTS) ON COMMIT DROP"
_RETIRE = """
UPDATE pv SET retired_at = now()
WHERE retired_at IS NULL AND NOT EXISTS (SELECT FROM new_pv WHERE new_pv.channel_id = pv.channel_id)
"""
_MERGE = """
INSERT INTO pv SELECT * FROM new_pv ORDER BY position
ON CONFLICT (channel_id) DO UPDATE SET readback_id = excluded.readback_id, description = excluded.description,
    device = excluded.device, tags = excluded.tags, atol = excluded.atol, rtol = excluded.rtol,
    read_only = excluded.read_only, write_order = excluded.write_order, max_step = excluded.max_step,
    step_period = excluded.step_period, position = excluded.position, retired_at = NULL
"""
_LOAD = """
SELECT setpoint.name AS setpoint, readback.name AS readback, description, device, tags, atol, rtol, read_only,
    write_order, max_step, step_period
FROM pv JOIN channel AS setpoint ON setpoint.id = channel_id LEFT JOIN channel AS readback ON readback.id = readback_id
WHERE retired_at IS NULL ORDER BY position
"""


class Catalogues:
    """The catalogue of one database and its versions."""

    def __init__(self, database: Database, lists: ChannelLists) -> None:
        self._database = database
        self._lists = lists

    async def save(self, entries: Sequence[Entry]) -> Catalogue:
        """See `Store.save_catalogue`."""
        digest, tags = await asyncio.to_thread(_digest, entries)
        names = Catalogue.channel_names(entries)
        async with self._database.transaction("storing the catalogue") as connection:
            await connection.execute(_LOCK, _LOCK_KEY)
            current = await connection.fetchrow(_CURRENT)
            if current is not None and current["digest"] == digest:
                channels = await self._lists.load(connection, current["list_id"])
                return Catalogue(tuple(entries), channels, current["id"])
            ids = await self._lists.number(connection, names)
            new = ChannelList(tuple(names), ids, len(entries))
            list_id, channels = await self._lists.ensure(connection, new)
            await _write_entries(connection, entries, tags, channels)
            version = await connection.fetchval(_NEW_VERSION, digest, len(entries), list_id)
        return Catalogue(tuple(entries), self._lists.remember(list_id, channels), version)

    async def load(self) -> Catalogue:
        """See `Store.load_catalogue`."""
        async with (
            self._database.connection("loading the catalogue") as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            current = await connection.fetchrow(_CURRENT)
            if current is None:
                return Catalogue((), ChannelList((), np.zeros(0, np.int32), 0))
            rows = await connection.fetch(_LOAD)
            channels = await self._lists.load(connection, current["list_id"])
        entries = await asyncio.to_thread(lambda: tuple(map(_entry, rows)))
        return Catalogue(entries, channels, current["id"])


async def _write_entries(
    connection: Connection, entries: Sequence[Entry], tags: Sequence[str], channels: ChannelList
) -> None:
    number = dict(zip(channels.names, channels.ids.tolist(), strict=True))
    records = (
        (
            number[e.setpoint],
            number[e.readback] if e.readback else None,
            e.description,
            e.device,
            t,
            e.atol,
            e.rtol,
            e.read_only,
            e.order,
            e.max_step,
            e.step_period,
            position,
        )
        for position, (e, t) in enumerate(zip(entries, tags, strict=True))
    )
    await connection.execute(_STAGE)
    await connection.copy_records_to_table("new_pv", records=records, columns=_COLUMNS)
    await connection.execute(_RETIRE)
    await connection.execute(_MERGE)
    await connection.execute("DROP TABLE new_pv")


def _digest(entries: Sequence[Entry]) -> tuple[bytes, list[str]]:
    """What tells two catalogues apart, and the tags of each entry as JSON."""
    digest = hashlib.sha256()
    tags = []
    for e in entries:
        text = json.dumps(dict(e.tags), sort_keys=True)
        tags.append(text)
        numbers = (e.atol, e.rtol, e.read_only, e.order, e.max_step, e.step_period)
        digest.update(json.dumps((e.setpoint, e.readback, e.description, e.device, text, *numbers)).encode())
    return digest.digest(), tags


def _entry(row: Any) -> Entry:
    return Entry(
        setpoint=row["setpoint"],
        readback=row["readback"],
        description=row["description"],
        device=row["device"],
        tags=_tags(row["tags"]),
        atol=row["atol"],
        rtol=row["rtol"],
        read_only=row["read_only"],
        order=row["write_order"],
        max_step=row["max_step"],
        step_period=row["step_period"],
    )


def _tags(text: str) -> Mapping[str, tuple[str, ...]]:
    return {group: tuple(values) for group, values in json.loads(text).items()}
