"""REF: which snapshot is the reference. The values in it are PVs of their own, made on demand."""

from __future__ import annotations

import logging

from squirrel_ioc.errors import SquirrelError
from squirrel_ioc.ioc.groups.results import iso_time
from squirrel_ioc.ioc.kinds.declare import integer, string, text
from squirrel_ioc.ioc.kinds.group import Group, post_all
from squirrel_ioc.ioc.kinds.pv import now
from squirrel_ioc.ioc.tasks import Tasks
from squirrel_ioc.store import RESYNC, StoreEvent

__all__ = ["RefGroup"]

log = logging.getLogger(__name__)


class RefGroup(Group):
    """It follows the database."""

    section = "REF:"

    snapshot_id = integer("ID", "The reference snapshot, 0: none")
    title = text("TITLE", 256, "Its title")
    taken = string("TIME", "When it was taken")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._tasks = Tasks()
        self._again = False

    async def start(self) -> None:
        """Show it, and follow."""
        self.follow(self.service.store.listen(self._changed))
        await self._show()

    async def stop(self) -> None:
        """Follow no more."""
        await self._tasks.stop()

    def _changed(self, event: StoreEvent) -> None:
        if event.kind in ("snapshot", RESYNC):
            self._again = True
            if not self._tasks:
                self._tasks.start(self._follow(), f"refresh of {self.snapshot_id.label}")

    async def _follow(self) -> None:
        while self._again:
            self._again = False
            await self._show()

    async def _show(self) -> None:
        try:
            reference = await self.service.store.reference()
        except SquirrelError as error:  # a RESYNC follows when the database is back
            log.warning("%s is not up to date: %s", self.snapshot_id.label, error)
            return
        if reference is None:
            post_all([(self.title, ""), (self.taken, ""), (self.snapshot_id, 0)], now())
        else:
            values = (self.title, reference.title), (self.taken, iso_time(reference.taken))
            post_all([*values, (self.snapshot_id, reference.id)], now())
