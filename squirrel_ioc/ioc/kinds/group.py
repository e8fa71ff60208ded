"""What the groups of control PVs have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from caproto.server import PVGroup

from squirrel_ioc.ioc.groups.job_feed import JobFeed
from squirrel_ioc.ioc.kinds.arrays import Text
from squirrel_ioc.ioc.kinds.pv import Pv, now
from squirrel_ioc.ioc.service import Service

__all__ = ["Group", "post_all"]

log = logging.getLogger(__name__)


def post_all(values: Iterable[tuple[Pv, Any]], stamp: Any) -> None:
    """Post the PVs of one result: in this order, with one time stamp, and nothing in between."""
    for pv, value in values:
        pv.post(value, stamp)


class Group(PVGroup):  # type: ignore[misc]  # caproto is not typed
    """One group of the interface. `section` is what its names begin with, after the prefix of the service."""

    section: ClassVar[str] = ""
    msg: Text | None = None
    """The group's MSG, where it has one."""

    is_view: bool = False
    """Whether it is a view's copy."""

    service: Service
    feed: JobFeed

    def __init__(self, prefix: str) -> None:
        self._service_prefix = prefix
        self._ends: list[Callable[[], None]] = []
        # caproto expands {macros} in names.
        super().__init__((prefix + self.section).replace("{", "{{").replace("}", "}}"))
        for pv in list(self.pvdb.values()):
            pv.twins = tuple(pv.make_twins())
            self.pvdb.update({twin.pvname: twin for twin in pv.twins})

    def label(self, pvname: str) -> str:
        """A PV's name as people say it: without the prefix of the service."""
        return pvname.removeprefix(self._service_prefix)

    def attach(self, service: Service, feed: JobFeed) -> None:
        """Before `start`: what the group works on."""
        self.service = service
        self.feed = feed

    async def start(self) -> None:
        """Show how things stand, and follow them."""

    async def stop(self) -> None:
        """End what still runs."""

    def follow(self, end: Callable[[], None]) -> None:
        """The group listens to something; `end` ends it."""
        self._ends.append(end)

    def unfollow(self) -> None:
        """Follow nothing any more. The parts of the service may go on without these control PVs."""
        for end in self._ends:
            end()
        self._ends.clear()

    def refused(self, pv: Pv, reason: str) -> None:
        """A write to `pv` was refused: say why."""
        if self.msg is not None:
            self.msg.post(reason, now())
