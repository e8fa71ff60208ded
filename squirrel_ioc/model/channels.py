"""Channel lists: which channels the rows of a frame belong to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChannelList"]


@dataclass(frozen=True, eq=False)
class ChannelList:
    """An ordered, immutable list of channels. Compared by identity: two lists are two objects.

    `ids` are the store's channel numbers, int32, same length; zero where the store has not seen a channel.
    The first `setpoints` channels are setpoints, which a restore may write; those that follow are readbacks. The
    store keeps this number with the list.
    """

    names: tuple[str, ...]
    ids: NDArray[np.int32]
    setpoints: int

    @classmethod
    def of(cls, names: Iterable[str], setpoints: int | None = None) -> ChannelList:
        """A list the store knows nothing of; all setpoints unless said otherwise."""
        t = tuple(names)
        return cls(t, np.zeros(len(t), np.int32), len(t) if setpoints is None else setpoints)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """Row of each name."""
        return {name: i for i, name in enumerate(self.names)}

    @cached_property
    def array(self) -> NDArray[np.object_]:
        """The names as an object array, for fancy indexing."""
        a = np.empty(len(self.names), object)
        a[:] = self.names
        return a

    @property
    def setpoint_list(self) -> ChannelList:
        """The setpoints alone; always the same object."""
        return self if self.setpoints == len(self) else self._setpoint_part

    @cached_property
    def _setpoint_part(self) -> ChannelList:
        # Apart from the above: a list that kept itself would be garbage in a circle.
        return self.take(np.arange(self.setpoints))

    def same_as(self, other: ChannelList) -> bool:
        """Whether both have the same names in the same order."""
        return self is other or self.names == other.names

    def find(self, other: ChannelList) -> NDArray[np.intp]:
        """intp[other]: the row here of each channel of `other`, -1 where this list has it not."""
        if self.same_as(other):
            return np.arange(len(self))
        return np.fromiter(map(self.index.get, other.names, repeat(-1)), np.intp, len(other))

    def take(self, rows: NDArray[np.intp]) -> ChannelList:
        """The sub-list of these rows, which must be ascending."""
        return ChannelList(
            tuple(self.array[rows].tolist()), self.ids[rows], int(np.count_nonzero(rows < self.setpoints))
        )
