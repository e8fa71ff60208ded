"""Of two services that share the database: each tells what it reaches of the machine, and hears of the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.reach import FRESH_S, Preference, Reach
from squirrel_ioc.store.database import APPLICATION, Connection, Database
from squirrel_ioc.store.failures import translated
from squirrel_ioc.store.lease import Lease, boot_clock

__all__ = ["ReachWatch", "reaches"]

_TELL_S: Final = 1.0

_FORGET = "DELETE FROM service_reach WHERE told < clock_timestamp() - interval '1 day'"
_TELL = """
WITH told AS (
    INSERT INTO service_reach VALUES ($1, $2, $3, clock_timestamp())
    ON CONFLICT (service) DO UPDATE
    SET connected = excluded.connected, total = excluded.total, told = excluded.told
)
SELECT service, connected, total, extract(epoch FROM clock_timestamp() - handed_over)::float8 AS handed_over_s
FROM service_lease LEFT JOIN service_reach
    ON service <> $1 AND abs(extract(epoch FROM clock_timestamp() - told)) <= $4
ORDER BY connected DESC NULLS LAST LIMIT 1
"""
_REACHES = """
SELECT service, connected, total FROM service_reach WHERE abs(extract(epoch FROM clock_timestamp() - told)) <= $1
"""

_log = logging.getLogger(__name__)


async def reaches(connection: Connection) -> dict[str, Reach]:
    """What the services that share the database reach, by their names; of those that have told it just now."""
    with translated("reach of the services"):
        rows = await connection.fetch(_REACHES, FRESH_S)
    return {row["service"]: Reach(row["connected"], row["total"]) for row in rows}


class ReachWatch:
    """Tells and hears, as long as it runs, and says when the other one should be active."""

    def __init__(self, database: Database, lease: Lease, prefer_s: float, reach: Callable[[], Reach]) -> None:
        self._database = database
        self._lease = lease
        self._reach = reach
        self._prefer_s = prefer_s
        self._preference = Preference(prefer_s)
        self._looked = asyncio.Event()
        self._give_way = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._run(), name="reach")

    async def stop(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def until_better(self, idle: Callable[[], bool]) -> None:
        """Wait until the other one should be active instead of this one, and this one is `idle`."""
        while True:
            self._looked.clear()
            await self._looked.wait()
            if self._give_way and idle():
                _log.warning("handing over: %s", self._give_way)
                return

    async def _run(self) -> None:
        forgotten = False
        while True:
            self._give_way = ""
            try:
                async with self._database.connection("reach of the services") as connection:
                    if not forgotten:
                        await connection.execute(_FORGET)
                        forgotten = True
                    await self._look(connection)
            except StoreError as error:
                # That the database is away, or cannot be written, others tell.
                _log.debug("%s", error)
                self._preference.forget()
            except Exception:  # the boundary of the task: it has to go on
                _log.exception("telling what this service reaches")
                self._preference.forget()
            await asyncio.sleep(_TELL_S)

    async def _look(self, connection: Connection) -> None:
        ours = self._reach()
        (row,) = await connection.fetch(_TELL, APPLICATION, ours.connected, ours.total, FRESH_S)
        theirs = None if row["service"] is None else Reach(row["connected"], row["total"])
        if not self._lease.held:
            self._preference.forget()
        elif self._preference.look(boot_clock(), ours, theirs, row["handed_over_s"]):
            self._give_way = (
                f"{row['service']} reaches {theirs}, this service {ours}, for {self._prefer_s:g} s (standby_prefer_s)"
            )
        self._looked.set()
