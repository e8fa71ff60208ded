"""Which area a channel belongs to, and what that makes of a list of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.areas._parts import AreaList
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.selection import parse

__all__ = ["HERE", "Assignment", "Share", "joined"]

HERE: Final = ""
"""Where the channels are that belong to no area: in the service itself."""


class Assignment:
    """The areas of a service: a name and a selection each. The first one that a setpoint fits has it, and its readback.

    Until `assign`, and for channels that were never in the catalogue, there is no area.
    """

    def __init__(self, areas: Mapping[str, str]) -> None:
        self.names: Final = tuple(areas)
        self._selections = [parse(text) for text in areas.values()]
        self._area_of: dict[str, int] = {}

    def assign(self, catalogue: Catalogue) -> bool:
        """Settle where the channels of a catalogue belong; whether any has moved. Former channels stay where they are.

        Raises SelectionError when a selection asks for the state of the machine.
        """
        area = np.full(len(catalogue), -1, np.int64)
        for k, selection in reversed(list(enumerate(self._selections))):
            area[selection.match(catalogue)[: len(catalogue)]] = k
        rows = catalogue.entry_row
        new = dict(zip(catalogue.channels.names, area[rows].tolist(), strict=True))
        before = self._area_of
        # In one go: the loop reads it meanwhile.
        self._area_of = {**before, **new} if before.keys() - new.keys() else new
        return any(before.get(name, k) != k for name, k in new.items())

    def split(self, channels: ChannelList) -> dict[str, NDArray[np.intp]]:
        """The rows of each area that has any; HERE is always among them."""
        column = np.fromiter(map(self._area_of.get, channels.names, repeat(-1)), np.int64, len(channels))
        found = {name: np.flatnonzero(column == k) for k, name in enumerate(self.names)}
        return {HERE: np.flatnonzero(column < 0)} | {name: rows for name, rows in found.items() if len(rows)}

    def names_of(self, channels: ChannelList) -> dict[str, tuple[str, ...]]:
        """The channels of every area, also of one that has none."""
        split = self.split(channels)
        return {name: tuple(channels.array[split[name]].tolist()) if name in split else () for name in self.names}


@dataclass(frozen=True, eq=False)
class Share:
    """An area's share of a list of channels.

    rows     intp[n] of the list asked for, in the order of the area's own list
    places   int32[n] in the area's own list; None when it is all of it
    strange  intp[m] rows of the list asked for that the area does not hold
    """

    area: AreaList
    rows: NDArray[np.intp]
    places: NDArray[np.int32] | None
    strange: NDArray[np.intp]

    @classmethod
    def of(cls, area: AreaList, held: ChannelList, channels: ChannelList, rows: NDArray[np.intp]) -> Share:
        """`held` is the area's list, `rows` those of `channels` that belong to it."""
        index = held.index
        places = np.fromiter((index.get(name, -1) for name in channels.array[rows]), np.int32, len(rows))
        known = places >= 0
        strange, rows, places = rows[~known], rows[known], places[known]
        order = np.argsort(places, kind="stable")
        rows, places = rows[order], places[order]
        return cls(area, rows, None if len(places) == len(held) else places, strange)


def joined(frames: Sequence[Frame], rows: Sequence[NDArray[np.intp]], channels: ChannelList) -> Frame:
    """One frame of `channels`; row i of a frame is row `rows[i]` of it."""
    together = Frame.concatenate(frames, channels)
    place = np.concatenate(rows)
    if np.array_equal(place, np.arange(len(channels))):
        return together
    order = np.empty(len(channels), np.intp)
    order[place] = np.arange(len(channels))
    return together.reordered(order, channels)


class Shares:
    """The areas' lists as published, and the shares of lists that are asked for again and again."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.lists: dict[str, tuple[AreaList, ChannelList]] = {}
        self._known: WeakKeyDictionary[ChannelList, _Known] = WeakKeyDictionary()

    def set(self, lists: Mapping[str, tuple[AreaList, ChannelList]]) -> None:
        """Other lists are published."""
        self.lists = dict(lists)
        self.forget()

    def forget(self) -> None:
        """Channels belong elsewhere."""
        self._known.clear()

    def of(self, channels: ChannelList) -> _Known:
        """Which rows are here, and the shares of the areas."""
        known = self._known.get(channels)
        if known is None:
            split = self._assignment.split(channels)
            here = split.pop(HERE)
            shares = [
                Share.of(*self.lists.get(name, (AreaList(name, 0, ()), ChannelList.of(()))), channels, rows)
                for name, rows in split.items()
            ]
            part = channels if not shares else channels.take(here)
            known = self._known[channels] = _Known(here, None if not shares else part, shares)
        return known


@dataclass(frozen=True, eq=False)
class _Known:
    """`list_here` is None when all are here: it is the list itself then, which must not be held from here."""

    here: NDArray[np.intp]
    list_here: ChannelList | None
    shares: list[Share]

    def here_of(self, channels: ChannelList) -> ChannelList:
        """Those of `channels` that are here."""
        return channels if self.list_here is None else self.list_here

    @cached_property
    def size(self) -> int:
        """Rows in all."""
        return len(self.here) + sum(len(s.rows) + len(s.strange) for s in self.shares)
