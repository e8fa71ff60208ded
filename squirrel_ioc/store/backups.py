"""Backups of restores: which one UNDO needs, and which of its PVs were written."""

from __future__ import annotations

from typing import Final

from squirrel_ioc.store.database import Database, id_or_none

__all__ = ["LAST_BACKUP", "Backups"]

LAST_BACKUP: Final = "SELECT max(id) FROM snapshot WHERE kind = 'backup'"
_KEEP: Final = """
INSERT INTO restore_touched (backup_id, touched) VALUES ($1, $2) ON CONFLICT (backup_id) DO UPDATE SET touched = $2
"""
_TOUCHED: Final = "SELECT touched FROM restore_touched WHERE backup_id = $1"


class Backups:
    """Those of one database. The errors are those of `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self) -> int:
        """The backup of the last restore that wrote something, which RESTORE:UNDO needs; 0 when there is none."""
        async with self._database.connection("looking for the last backup") as connection:
            return int(await connection.fetchval(LAST_BACKUP) or 0)

    async def keep_touched(self, backup_id: int, touched: bytes) -> None:
        """Keep which PVs of a backup its restore has written: a byte each, see `jobs.restore.ledger.Touched`."""
        async with self._database.transaction("storing what a restore wrote") as connection:
            await connection.execute(_KEEP, backup_id, touched)

    async def touched(self, backup_id: int) -> bytes | None:
        """What `keep_touched` has kept; None when nothing: the restore is under way, or was killed."""
        async with self._database.connection("reading what a restore wrote") as connection:
            touched: bytes | None = await connection.fetchval(_TOUCHED, id_or_none(backup_id))
        return touched
