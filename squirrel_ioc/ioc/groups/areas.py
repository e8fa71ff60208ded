"""AREAS: the parts of the catalogue that workers read and write."""

from __future__ import annotations

from typing import Any

from squirrel_ioc.config import MAX_AREAS
from squirrel_ioc.ioc.kinds.declare import integer, integers, strings
from squirrel_ioc.ioc.kinds.group import Group, post_all
from squirrel_ioc.ioc.kinds.pv import now

__all__ = ["AreasGroup"]


class AreasGroup(Group):
    """The areas of the settings, in their order. Without any, the arrays are empty."""

    section = "AREAS:"

    names = strings("NAMES", "Areas, in their order", length=MAX_AREAS)
    counts = integers("COUNTS", "PVs of each", length=MAX_AREAS)
    workers = integers("WORKERS", "Workers of each that live", length=MAX_AREAS)
    down = integer("DOWN", "Areas with PVs and without a worker", alarm_above=0)

    async def start(self) -> None:
        """Show the areas as they stand, and follow."""
        self.follow(self.service.machine.listen(self.refresh))
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Show the areas as they stand."""
        areas = self.service.areas()
        post_all(
            [
                (self.names, [name for name, _, _ in areas]),
                (self.counts, [channels for _, channels, _ in areas]),
                (self.workers, [workers for _, _, workers in areas]),
                (self.down, sum(channels > 0 and not workers for _, channels, workers in areas)),
            ],
            now(),
        )
