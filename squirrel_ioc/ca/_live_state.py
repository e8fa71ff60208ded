"""What is known of channels now, for others to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._iocs import Ioc, IocState, IocStatus
from squirrel_ioc.model.values import Dbf, Meta

__all__ = ["Live", "ioc_states", "live"]


@dataclass(frozen=True, eq=False)
class Live:
    """Channels as they stand, one row a channel, all columns of length N.

    connected, readable, writable   bool; the latter two are access rights, and False when not connected
    dbf     uint8  native type, a `Dbf`; NONE when never connected
    count   int32  maximum element count; 0 when never connected
    meta    int32  index into `metas`; that of NO_META when never connected
    ioc     int32  index into `iocs`, the names of the IOCs; -1 when never connected
    connection   int32   grows whenever the connection comes or goes; -1 when not watched
    ignored  by row: an IOC that serves the same name, and is not used
    away    bool, or None for nowhere: somebody else is to hold the channel, and is not there

    What a channel was stays when it loses its connection.
    """

    connected: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    writable: NDArray[np.bool_]
    dbf: NDArray[np.uint8]
    count: NDArray[np.int32]
    meta: NDArray[np.int32]
    metas: tuple[Meta, ...]
    ioc: NDArray[np.int32]
    iocs: tuple[str, ...]
    connection: NDArray[np.int32]
    away: NDArray[np.bool_] | None = None
    ignored: Mapping[int, str] = field(default_factory=dict)


def live(engine: Engine, slots: NDArray[np.intp], ignored: Mapping[int, str]) -> Live:
    """Of the channels in these slots, -1 for one that is not watched."""
    table = engine.table
    known = slots >= 0
    return Live(
        known & table.connected[slots],
        known & table.readable[slots],
        known & table.writable[slots],
        np.where(known, table.dbf[slots], np.uint8(Dbf.NONE)).astype(np.uint8),
        np.where(known, table.count[slots], 0).astype(np.int32),
        np.where(known, table.meta[slots], 0).astype(np.int32),
        engine.metas.all,
        np.where(known, table.ioc[slots], -1).astype(np.int32),
        engine.iocs.hosts,
        np.where(known, table.connection[slots], -1).astype(np.int32),
        ignored=ignored,
    )


def ioc_states(engine: Engine, besides: NDArray[np.intp]) -> list[IocState]:
    """Every IOC that has channels, those in the slots `besides` left out; in the order in which they were met."""
    table, iocs, size = engine.table, engine.iocs.all, engine.table.size
    ioc_of = table.ioc[:size].copy()  # each column is read once: the engine's thread goes on
    used = (table.chid[:size] != 0) & (ioc_of >= 0)
    used[besides[besides < size]] = False
    index = ioc_of[used]
    channels = np.bincount(index, minlength=len(iocs)).tolist()
    connected = np.bincount(index[table.connected[:size][used]], minlength=len(iocs)).tolist()
    return [
        IocState(ioc.host, n, up, _status(ioc, up, engine.iocs.slow_s), ioc.sweep_s)
        for ioc, n, up in zip(iocs, channels, connected, strict=False)
        if n
    ]


def _status(ioc: Ioc, connected: int, slow_s: float) -> IocStatus:
    if not connected:
        return IocStatus.DOWN
    if ioc.open:
        return IocStatus.OPEN
    return IocStatus.SLOW if ioc.sweep_s > slow_s else IocStatus.OK
