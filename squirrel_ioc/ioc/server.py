"""The control PVs: the groups put together, and served."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from squirrel_ioc.ioc.groups.areas import AreasGroup
from squirrel_ioc.ioc.groups.diff import DiffGroup
from squirrel_ioc.ioc.groups.file import FileGroup
from squirrel_ioc.ioc.groups.health import HealthGroup
from squirrel_ioc.ioc.groups.job import JobsGroup
from squirrel_ioc.ioc.groups.job_feed import JobFeed
from squirrel_ioc.ioc.groups.list import ListGroup
from squirrel_ioc.ioc.groups.pvs import IocsGroup, PvsGroup
from squirrel_ioc.ioc.groups.ref import RefGroup
from squirrel_ioc.ioc.groups.restore import RestoreGroup
from squirrel_ioc.ioc.groups.restore_enable import RestoreSwitch
from squirrel_ioc.ioc.groups.snap import SnapGroup
from squirrel_ioc.ioc.kinds.database import Database
from squirrel_ioc.ioc.kinds.group import Group
from squirrel_ioc.ioc.ondemand.resources import Resources
from squirrel_ioc.ioc.protocol.server import CaServer
from squirrel_ioc.ioc.service import Service

__all__ = ["GROUPS", "VIEW_GROUPS", "ControlIoc"]

GROUPS: tuple[type[Group], ...] = (
    SnapGroup,
    RestoreGroup,
    JobsGroup,
    DiffGroup,
    ListGroup,
    RefGroup,
    PvsGroup,
    IocsGroup,
    AreasGroup,
    HealthGroup,
    FileGroup,
)

VIEW_GROUPS: tuple[type[Group], ...] = (SnapGroup, RestoreGroup, DiffGroup, ListGroup)
"""The groups that every view has a copy of."""

log = logging.getLogger(__name__)


class ControlIoc:
    """Serves the control PVs of a service, those that are always there and those that are made on demand."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self.database = Database(settings.prefix)
        self._feed = JobFeed(service.jobs)
        self._groups = [group(settings.prefix) for group in GROUPS]
        restorer = next(group for group in self._groups if isinstance(group, RestoreGroup))
        teller = next(group for group in self._groups if isinstance(group, SnapGroup))
        self._server = CaServer(self.database, settings.interfaces, settings.port, service.acts)
        self._resources = Resources(service, self._feed, self.database, restorer, teller, self._server.disconnect)
        self._connect_restores(self._groups, switch := RestoreSwitch())
        for view in settings.views:
            groups = [kind(f"{settings.prefix}{view}:") for kind in VIEW_GROUPS]
            self._connect_restores(groups, switch)
            for group in groups:
                group.is_view = True
                if isinstance(group, ListGroup):
                    self._resources.add_view(view, group)
            self._groups += groups
        for group in self._groups:
            group.attach(service, self._feed)
            self.database.update(group.pvdb)
        self._started: list[Group] = []

    @staticmethod
    def _connect_restores(groups: Sequence[Group], switch: RestoreSwitch) -> None:
        """What is selected in DIFF is restored by the RESTORE beside it; all of them have one switch."""
        restorer = next(group for group in groups if isinstance(group, RestoreGroup))
        restorer.switch = switch
        for group in groups:
            if isinstance(group, DiffGroup):
                group.restorer = restorer

    async def start(self) -> None:
        """Show how things stand, then answer searches. Raises ControlPvError when the port cannot be had."""
        try:
            for group in self._groups:
                if isinstance(group, HealthGroup):
                    group.connections = lambda: self._server.connections
                self._started.append(group)
                await group.start()
            await self._resources.start()
            await self._server.start()
        except BaseException:
            await self.stop()
            raise
        log.debug("%d PVs", len(self.database))

    async def stop(self) -> None:
        """Disconnect the clients and end every task. Jobs go on."""
        self._feed.close()
        await self._server.stop()
        await self._resources.stop()
        for group in reversed(self._started):
            group.unfollow()
            await group.stop()
        self._started.clear()
