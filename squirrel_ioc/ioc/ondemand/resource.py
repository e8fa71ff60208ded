"""What the PVs that are made on demand have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from caproto.server.server import PVSpec

from squirrel_ioc.ioc.kinds.database import Database
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.ondemand.store_index import StoreIndex
from squirrel_ioc.ioc.ondemand.value_loader import Loader
from squirrel_ioc.ioc.protocol.pending_pv import Waiting
from squirrel_ioc.ioc.service import Service
from squirrel_ioc.ioc.tasks import Tasks

__all__ = ["Context", "Resource", "SPEC", "number_of"]

SPEC: Final[Any] = PVSpec(attr="resource")
"""Stands for a declaration."""

_DIGITS: Final = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What resources work on. `drop` makes PVs unknown, and disconnects those who have a channel to them."""

    service: Service
    database: Database
    index: StoreIndex
    loader: Loader
    tasks: Tasks
    reading: asyncio.Semaphore
    """Held by who asks the database for something else than values: others want connections, too."""
    drop: Callable[[Collection[Pv]], None]

    def fetched(self, pv: Pv, good: bool) -> None:
        """What a PV has waited for is there. If it is not to be had, the PV is not to be found any more."""
        waiting, pv.waiting = pv.waiting, None
        if not good:
            self.database.discard(pv)
        if waiting is not None:
            waiting.end(good)


class Resource:
    """Stands for a PVGroup: what a PV made on demand belongs to. Its PVs keep it alive."""

    # What caproto's constructor of a PV asks a group for.
    name = "resource"
    log = log
    group_read = None
    group_write = None

    def __init__(self, context: Context) -> None:
        self.context = context

    def label(self, pvname: str) -> str:
        """A PV's name as people say it: without the prefix of the service."""
        return pvname.removeprefix(self.context.database.prefix)

    def refused(self, pv: Pv, reason: str) -> None:
        """A write to `pv` was refused: say why."""

    def wait_for(self, pv: Pv) -> Pv:
        """Clients get their channel when `Context.fetched` is called for this PV."""
        pv.waiting = Waiting()
        return pv


def number_of(text: str) -> int | None:
    """The number of a snapshot or a job, written as it is."""
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS or text[0] == "0":
        return None
    return int(text)
