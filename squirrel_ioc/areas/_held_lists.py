"""The lists of channels that a worker holds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.areas._parts import AreaList
from squirrel_ioc.ca import Machine
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList

__all__ = ["Held"]

_VERSIONS: Final = 3
_PARTS: Final = 32
_CATCH_UP_S: Final = 1.5


class Held:
    """The newest list of each area, the ones before it, and the parts of lists asked for before.

    A list stays the same object, which makes reading it again fast.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lists: dict[str, OrderedDict[int, ChannelList]] = {}
        self._parts: OrderedDict[tuple[str, int, bytes], ChannelList] = OrderedDict()
        self._changed = asyncio.Condition()

    async def hold(self, areas: Iterable[AreaList]) -> None:
        """Hold these, and no others."""
        newest: dict[str, ChannelList] = {}
        for area in areas:
            lists = self._lists.setdefault(area.name, OrderedDict())
            if area.version not in lists or lists[area.version].names != area.names:
                self._forget_parts(area.name, area.version)
                lists[area.version] = ChannelList.of(area.names)
                while len(lists) > _VERSIONS:
                    lists.popitem(last=False)
            lists.move_to_end(area.version)
            newest[area.name] = lists[area.version]
        for gone in self._lists.keys() - newest.keys():
            del self._lists[gone]
        together = list(newest.values())
        one = len(together) == 1
        await self._machine.watch(
            together[0] if one else ChannelList.of(dict.fromkeys(n for c in together for n in c.names))
        )
        async with self._changed:
            self._changed.notify_all()

    def _forget_parts(self, area: str, version: int) -> None:
        for key in [key for key in self._parts if key[:2] == (area, version)]:
            del self._parts[key]

    def newest(self, area: str) -> tuple[int, ChannelList] | None:
        """Version and channels."""
        lists = self._lists.get(area)
        return next(reversed(lists.items())) if lists else None

    async def channels(self, area: str, version: int, rows: NDArray[np.int32] | None) -> ChannelList:
        """Rows of a version of an area's list; None is all. Waits a moment for a version that is still to come.

        Raises StoreError when it does not come, or has not these rows.
        """
        try:
            async with asyncio.timeout(_CATCH_UP_S), self._changed:
                await self._changed.wait_for(lambda: version in self._lists.get(area, ()))
        except TimeoutError:
            raise StoreError(f"version {version} of area {area} is not known here") from None
        whole = self._lists[area][version]
        if rows is None:
            return whole
        if len(rows) and not (rows[0] >= 0 and rows[-1] < len(whole) and bool(np.all(np.diff(rows) > 0))):
            raise StoreError(f"area {area} has no such rows")
        key = area, version, rows.tobytes()
        part = self._parts.pop(key, None)
        if part is None:
            part = whole.take(rows.astype(np.intp))
        self._parts[key] = part
        while len(self._parts) > _PARTS:
            self._parts.popitem(last=False)
        return part
