"""What channels say of themselves, each distinct combination stored once."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.values import NO_META, Dbf, Meta
from squirrel_ioc.store.database import Connection

__all__ = ["Metas"]

_COLUMNS = ("digest", "dbf", "count", "units", "precision", "limits", "labels")
_STAGE = "CREATE TEMPORARY TABLE new_meta (LIKE meta INCLUDING DEFAULTS) ON COMMIT DROP"
_STAGE_KEY = "ALTER TABLE new_meta DROP COLUMN id"
_MAKE = """
INSERT INTO meta (digest, dbf, count, units, precision, limits, labels)
SELECT digest, dbf, count, units, precision, limits, labels FROM new_meta ORDER BY digest
ON CONFLICT (digest) DO NOTHING
"""
_FIND = "SELECT meta.id, meta.digest FROM meta JOIN new_meta USING (digest)"
_UNSTAGE = "DROP TABLE new_meta"
_LOAD = "SELECT id, dbf, count, units, precision, limits, labels FROM meta WHERE id = ANY ($1::int[])"


class Metas:
    """The meta data of the database, held in memory: there are few."""

    def __init__(self) -> None:
        self._ids: dict[Meta, int] = {}
        self._metas: dict[int, Meta] = {}
        self._last: tuple[tuple[Meta, ...], NDArray[np.int32]] = ((), np.zeros(0, np.int32))

    def forget(self) -> None:
        """Look everything up again: a server that took another's place may lack the last of what that had."""
        # Anew, not emptied: somebody may be in the middle of using them.
        self._ids = {}
        self._metas = {}
        self._last = (), np.zeros(0, np.int32)

    async def ensure(self, connection: Connection, metas: tuple[Meta, ...]) -> NDArray[np.int32]:
        """The numbers of meta data, int32. In a transaction; call `remember` with the result once it is committed."""
        known, numbers = self._last
        if metas is known:
            return numbers
        ids = self._ids
        new = [m for m in dict.fromkeys(metas) if m not in ids]
        added = await self._store(connection, new) if new else {}
        return np.array([added.get(m) or ids[m] for m in metas], np.int32)

    def remember(self, metas: tuple[Meta, ...], numbers: NDArray[np.int32]) -> None:
        """These meta data are in the database under these numbers."""
        if metas is self._last[0]:
            return
        for meta, number in zip(metas, numbers.tolist(), strict=True):
            self._ids[meta] = number
            self._metas[number] = meta
        self._last = metas, numbers

    async def load(
        self, connection: Connection, stored: NDArray[np.int32]
    ) -> tuple[tuple[Meta, ...], NDArray[np.int32]]:
        """The meta data of a stored column, and the column as indices into them. NO_META comes first."""
        used = np.flatnonzero(np.bincount(stored)) if len(stored) else np.zeros(0, np.int64)
        known, ids = self._metas, self._ids
        missing = [i for i in used.tolist() if i not in known]
        if missing:
            for row in await connection.fetch(_LOAD, missing):
                meta = _from_row(row)
                known[row["id"]] = meta
                ids[meta] = row["id"]
        index: dict[Meta, int] = {NO_META: 0}
        table = np.zeros(int(used[-1]) + 1 if len(used) else 0, np.int32)
        try:
            table[used] = [index.setdefault(known[i], len(index)) for i in used.tolist()]
        except KeyError as exc:
            raise StoreError(f"there is no meta data {exc} in the database") from None
        return tuple(index), table[stored]

    async def _store(self, connection: Connection, metas: Sequence[Meta]) -> dict[Meta, int]:
        by_digest = {_digest(m): m for m in metas}
        await connection.execute(_STAGE)
        await connection.execute(_STAGE_KEY)
        records = [
            (digest, int(m.dbf), m.count, m.units, m.precision, m.limits, m.labels) for digest, m in by_digest.items()
        ]
        await connection.copy_records_to_table("new_meta", records=records, columns=_COLUMNS)
        await connection.execute(_MAKE)
        found = {by_digest[row["digest"]]: row["id"] for row in await connection.fetch(_FIND)}
        await connection.execute(_UNSTAGE)
        return found


def _digest(meta: Meta) -> bytes:
    text = json.dumps([int(meta.dbf), meta.count, meta.units, meta.precision, meta.labels])
    return hashlib.sha256(struct.pack("<8d", *meta.limits) + text.encode()).digest()


def _from_row(row: Any) -> Meta:
    return Meta(
        Dbf(row["dbf"]),
        row["count"],
        row["units"],
        row["precision"],
        tuple(row["limits"]),
        tuple(row["labels"]),
    )
