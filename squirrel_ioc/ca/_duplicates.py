"""Names that two IOCs serve: libca connects to the one that answers first, and tells of the other (ECA_DBLCHNL).

That is known as of a channel's last search: a second IOC that starts later is met when the channel searches again.
Source: EPICS base `msgForMultiplyDefinedPV.cpp`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._channels import ChannelTable
from squirrel_ioc.model.channels import ChannelList

__all__ = ["DUPLICATE", "Duplicates"]

DUPLICATE: Final = re.compile(rb'Channel: "(.*)", Connecting to: (.*), Ignored: (.*)', re.DOTALL)
"""How libca tells: name, who is used, who is not, each cut at 63 characters."""

_CUT: Final = 63


class Duplicates:
    """Belongs to the event loop's thread, save `note`. `slot_of` are the channels that are held, by name."""

    def __init__(self, table: ChannelTable, slot_of: Mapping[str, int], changed: Callable[[], None]) -> None:
        self._table = table
        self._slot_of = slot_of
        self._changed = changed
        self._notes: deque[tuple[str, str]] = deque()
        self._found: dict[str, tuple[str, int]] = {}

    def note(self, name: str, ignored: str) -> None:
        """In a thread of libca."""
        self._notes.append((name, ignored))
        self._changed()

    def look(self) -> None:
        """Take up what was noted: of each channel, in which connection this is so, the present or the coming one."""
        if not self._notes:
            return
        table, slot_of = self._table, self._slot_of
        long: dict[str, list[str]] = {}
        for name in slot_of:
            if len(name) >= _CUT:
                long.setdefault(name[:_CUT], []).append(name)
        for _ in range(len(self._notes)):
            text, ignored = self._notes.popleft()
            for name in long.get(text, [text]):
                if (slot := slot_of.get(name)) is not None:
                    self._found[name] = ignored, int(table.connection[slot]) + (not table.connected[slot])

    def of(self, channels: ChannelList, slots: NDArray[np.intp]) -> dict[int, str]:
        """By row of these channels: the IOC that serves the same name and is not used."""
        self.look()
        table = self._table
        rows = {}
        for name, (ignored, connection) in list(self._found.items()):
            slot = self._slot_of.get(name)
            if slot is None or table.connection[slot] > connection:
                del self._found[name]
            elif (row := channels.index.get(name)) is not None and slots[row] == slot and table.connected[slot]:
                rows[row] = ignored
        return rows
