"""What a bulk read of a list of channels needs, laid out once and used while connections stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._bulk import LaneRange
from squirrel_ioc.ca._channels import ChannelTable
from squirrel_ioc.ca._layout import NOT_ANSWERED
from squirrel_ioc.model.values import Dbf

__all__ = ["Buffer", "lanes_of"]

_ALIGN = 8


def lanes_of(ioc: NDArray[np.int32]) -> tuple[NDArray[np.intp], list[LaneRange]]:
    """An order in which requests to one IOC are neighbours, and where each IOC's begin and end."""
    order = np.argsort(ioc, kind="stable")
    sorted_ = ioc[order]
    starts = np.flatnonzero(np.concatenate(([True], sorted_[1:] != sorted_[:-1]))) if len(ioc) else np.zeros(0, int)
    ends = [*starts[1:].tolist(), len(ioc)]
    lanes = [(int(sorted_[s]), s, e) for s, e in zip(starts.tolist(), ends, strict=False)]
    return order, lanes


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory for one element of each of n channels, each native type in one block, and the requests to fill it.

    Requests are in lane order: request i is channel `order[i]` of those given. `views[dbf]` are structures of
    `dtypes[dbf]`, for the channels `rows[dbf]` of those given, ascending.
    """

    order: NDArray[np.intp]
    lanes: list[LaneRange]
    chids: list[int]
    types: list[int]
    pointers: list[int]
    status: NDArray[np.int16]
    status_at: NDArray[np.int64]
    views: dict[Dbf, NDArray[Any]]
    rows: dict[Dbf, NDArray[np.intp]]

    @classmethod
    def of(cls, table: ChannelTable, slots: NDArray[np.intp], dtypes: dict[Dbf, np.dtype[np.void]], dbr: int) -> Buffer:
        """For the channels in these slots, read as native type + `dbr`."""
        dbf = table.dbf[slots]
        offset = np.zeros(len(slots), np.int64)
        rows: dict[Dbf, NDArray[np.intp]] = {}
        starts: dict[Dbf, int] = {}
        size = 0
        for kind, dtype in dtypes.items():
            found = np.flatnonzero(dbf == kind)
            if len(found):
                rows[kind], starts[kind] = found, size
                offset[found] = size + np.arange(len(found)) * dtype.itemsize
                size += -(-len(found) * dtype.itemsize // _ALIGN) * _ALIGN
        memory = np.zeros(size // _ALIGN, np.int64)
        order, lanes = lanes_of(table.ioc[slots])
        offset = offset[order]
        return cls(
            order,
            lanes,
            table.chid[slots][order].tolist(),
            (dbf[order].astype(np.int64) + dbr).tolist(),
            (offset + memory.ctypes.data).tolist(),
            memory.view(np.int16),
            offset // 2,
            {k: np.frombuffer(memory, dtypes[k], len(r), starts[k]) for k, r in rows.items()},
            rows,
        )

    def clear(self) -> None:
        """Mark everything as not answered."""
        self.status[self.status_at] = NOT_ANSWERED
