"""What several know of channels and IOCs, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import IocState, Live
from squirrel_ioc.model.values import NO_META, Dbf, Meta

__all__ = ["Columns", "iocs_together"]


class Columns:
    """The columns of a `Live`, filled row by row from others."""

    def __init__(self, size: int) -> None:
        self._flags = [np.zeros(size, bool) for _ in range(3)]
        self._dbf = np.full(size, Dbf.NONE, np.uint8)
        self._count, self._meta = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._ioc = np.full(size, -1, np.int32)
        self._connection = np.zeros(size, np.int32)
        self._away = np.zeros(size, bool)
        self._metas: tuple[Meta, ...] = (NO_META,)
        self._iocs: tuple[str, ...] = ()
        self._ignored: dict[int, str] = {}

    def put(
        self, rows: NDArray[np.intp], known: Live, places: NDArray[np.int32] | NDArray[np.intp] | None = None
    ) -> None:
        """`rows` are what `known` says of its own rows `places`; None: all of them."""
        part = slice(None) if places is None else places
        for mine, theirs in zip(self._flags, (known.connected, known.readable, known.writable), strict=True):
            mine[rows] = theirs[part]
        self._dbf[rows] = known.dbf[part]
        self._count[rows] = known.count[part]
        self._meta[rows] = known.meta[part] + len(self._metas)
        self._connection[rows] = known.connection[part]
        ioc = known.ioc[part]
        self._ioc[rows] = np.where(ioc >= 0, ioc + len(self._iocs), -1)
        self._metas += known.metas
        self._iocs += known.iocs
        if known.ignored:
            row_of = dict(zip((range(len(rows)) if places is None else places.tolist()), rows.tolist(), strict=True))
            self._ignored |= {row_of[row]: host for row, host in known.ignored.items() if row in row_of}

    def missing(self, rows: NDArray[np.intp]) -> None:
        """Nobody is there who could know of these."""
        self._away[rows] = True

    def live(self) -> Live:
        """All of them."""
        connected, readable, writable = self._flags
        return Live(
            connected,
            readable,
            writable,
            self._dbf,
            self._count,
            self._meta,
            self._metas,
            self._ioc,
            self._iocs,
            self._connection,
            self._away,
            self._ignored,
        )


def iocs_together(parts: Sequence[Sequence[IocState]]) -> list[IocState]:
    """Every IOC once; of one that several have channels of, the worst that is known of it."""
    together: dict[str, IocState] = {}
    for ioc in (ioc for part in parts for ioc in part):
        if (other := together.get(ioc.host)) is not None:
            ioc = replace(
                ioc,
                channels=ioc.channels + other.channels,
                connected=ioc.connected + other.connected,
                status=max(ioc.status, other.status),
                sweep_s=max(ioc.sweep_s, other.sweep_s),
            )
        together[ioc.host] = ioc
    return list(together.values())
