"""Comparing frames: which PVs differ, and by how much. Vector arithmetic, no loop over PVs.

Two values are equal when `abs(a - b) <= atol + rtol * abs(a)`. NaN equals NaN, an infinity itself, -0.0 equals 0.0.
Arrays are compared element by element; another length is a difference, unless both are texts in characters that differ
in NULs at their end only. Strings are compared byte by byte to their
NUL. Enums know no tolerance: they are equal when the index is the same and means the same; where one side has no
labels, the index decides. Numbers of different types are compared by value, a text and a number never.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model._classify import Kind, Tolerance, classify
from squirrel_ioc.model._row_pairs import Side
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList, Frame

__all__ = ["Kind", "Alignment", "Comparison", "Tolerance", "align", "compare", "differs", "tolerances"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The channels of two frames by name: setpoints of a, those that only b has, then the readbacks likewise.

    `row_a` and `row_b`, intp, are the rows of each frame, -1 where it has no such channel; `same` tells that the
    frames have the same channels in the same order.
    """

    channels: ChannelList
    row_a: NDArray[np.intp]
    row_b: NDArray[np.intp]
    same: bool


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison of frames a and b found, one row a channel.

    row_a, row_b  intp    row of the frame, -1 where it has no such channel
    kind          uint8   a `Kind`
    delta         float64 b - a of numeric scalars (of enums, of their indices); of arrays the largest absolute
                          difference of elements; NaN where there is no number
    """

    a: Frame
    b: Frame
    channels: ChannelList
    row_a: NDArray[np.intp]
    row_b: NDArray[np.intp]
    kind: NDArray[np.uint8]
    delta: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def compared(self) -> NDArray[np.bool_]:
        """bool[N]: both sides have a value."""
        return np.less(self.kind, Kind.MISSING_A)

    @property
    def different(self) -> NDArray[np.bool_]:
        """bool[N]: both sides have a value, and not the same."""
        return np.greater(self.kind, Kind.EQUAL) & self.compared

    @property
    def missing(self) -> NDArray[np.bool_]:
        """bool[N]: one side only has a value."""
        return np.isin(self.kind, (Kind.MISSING_A, Kind.MISSING_B))

    @property
    def number_a(self) -> NDArray[np.float64]:
        """float64[N]: the numeric scalars of a, NaN where a value is no number."""
        return Side(self.a, self.row_a).number

    @property
    def number_b(self) -> NDArray[np.float64]:
        """float64[N]: the numeric scalars of b, NaN where a value is no number."""
        return Side(self.b, self.row_b).number

    def count(self, kind: Kind) -> int:
        """How many PVs turned out so."""
        return int(np.count_nonzero(self.kind == kind))

    def take(self, rows: NDArray[np.intp]) -> Comparison:
        """The comparison of these rows, which must be ascending."""
        return Comparison(
            self.a,
            self.b,
            self.channels.take(rows),
            self.row_a[rows],
            self.row_b[rows],
            self.kind[rows],
            self.delta[rows],
        )


def align(a: ChannelList, b: ChannelList) -> Alignment:
    """Two channel lists by name; fast where they are the same."""
    row_a = np.arange(len(a))
    if a.same_as(b):
        return Alignment(a, row_a, row_a, True)
    row_b = b.find(a)
    only_b = np.ones(len(b), bool)
    only_b[row_b[row_b >= 0]] = False
    extra = np.flatnonzero(only_b)
    if not len(extra):
        return Alignment(a, row_a, row_b, False)
    setpoints = int(np.count_nonzero(extra < b.setpoints))
    insert = np.repeat([a.setpoints, len(a)], [setpoints, len(extra) - setpoints])
    names = np.insert(a.array, insert, b.array[extra])
    channels = ChannelList(
        tuple(names.tolist()), np.insert(a.ids, insert, b.ids[extra]).astype(np.int32), a.setpoints + setpoints
    )
    return Alignment(channels, np.insert(row_a, insert, -1), np.insert(row_b, insert, extra), False)


def tolerances(
    catalogue: Catalogue, channels: ChannelList, atol: float = 0.0, rtol: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """atol and rtol, float64[channels], from the catalogue; the given ones where it has none or no such channel."""
    of_catalogue = catalogue.atol, catalogue.rtol
    if channels is not catalogue.channels:
        rows = catalogue.channels.find(channels)
        of_catalogue = (_pick(of_catalogue[0], rows), _pick(of_catalogue[1], rows))
    absolute, relative = of_catalogue
    return np.where(np.isnan(absolute), atol, absolute), np.where(np.isnan(relative), rtol, relative)


def compare(
    a: Frame, b: Frame, atol: Tolerance = None, rtol: Tolerance = None, alignment: Alignment | None = None
) -> Comparison:
    """Compare b with a, aligned by name. Tolerances that are arrays go with the rows of `alignment`."""
    if alignment is None:
        alignment = align(a.channels, b.channels)
    rows = (None, None) if alignment.same else (alignment.row_a, alignment.row_b)
    kind, delta = classify(Side(a, rows[0]), Side(b, rows[1]), atol, rtol)
    return Comparison(a, b, alignment.channels, alignment.row_a, alignment.row_b, kind, delta)


def differs(saved: Frame, live: Frame, atol: Tolerance = None, rtol: Tolerance = None) -> NDArray[np.bool_]:
    """bool[N]: saved values that `live`, a frame of the same channels, does not have.

    A row without a live value is one: nothing says that it is the same. A row without a saved value is none.
    Raises ValueError when the frames are not equally long.
    """
    if len(saved) != len(live):
        raise ValueError(f"frames of {len(saved)} and {len(live)} channels")
    kind, _ = classify(Side(saved), Side(live), atol, rtol)
    return np.not_equal(kind, Kind.EQUAL) & saved.valid


def _pick(column: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.append(column, np.nan)[rows]
