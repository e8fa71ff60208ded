"""What has failed in passing, and may be tried once more: the second round of a bulk read or write."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._meta import MetaStore

__all__ = ["WAIT_SHARE", "fit_for_again", "same_kind"]

WAIT_SHARE = 0.5
"""Of the time of the second round, what may pass before it begins: until channels that are back have told what they
are, and an IOC that was too slow has answered its probe."""


def fit_for_again(engine: Engine, slots: NDArray[np.intp], now: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool[n] each: whether the channels in these slots can be tried again now; and whether soon perhaps.

    Now: connected, known anew, and on an IOC that answers. Soon: connected, but still to tell what they are, or on
    an IOC that has let requests time out while it answered others. For all others nobody waits.
    """
    table, iocs = engine.table, engine.iocs
    there = (slots >= 0) & table.connected[slots]
    if not there.any():
        return there, there
    quiet = np.array([ioc.open or (ioc.gave_up and not iocs.talks(ioc, now)) for ioc in iocs.all], bool)
    unsure = np.array([ioc.gave_up for ioc in iocs.all], bool)
    index = table.ioc[slots]
    there &= (index >= 0) & ~quiet[index]
    soon = there & (~table.ready[slots] | unsure[index])
    return there & ~soon, soon


def same_kind(metas: MetaStore, before: NDArray[np.int32], now: NDArray[np.int32]) -> NDArray[np.bool_]:
    """bool[n]: whether type, element count and state labels of channels are what they were, by index of meta data."""
    same: NDArray[np.bool_] = np.equal(before, now)
    every = metas.all
    for row in np.flatnonzero(~same).tolist():
        a, b = every[before[row]], every[now[row]]
        same[row] = (a.dbf, a.count, a.labels) == (b.dbf, b.count, b.labels)
    return same
