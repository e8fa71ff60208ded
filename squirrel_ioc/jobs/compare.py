"""What happens on DIFF:TRIGGER: two frames, or one and the live machine, side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._selected import selected_rows
from squirrel_ioc.jobs.file_types import alike
from squirrel_ioc.model.away import marked
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.compare import Comparison, align, compare, tolerances
from squirrel_ioc.model.difftable import LIVE, REFERENCE, DiffTable, tabulate
from squirrel_ioc.model.display import STRING_LIMIT
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.job import CompareRequest, CompareResult
from squirrel_ioc.model.selection import parse
from squirrel_ioc.model.snapshot import Snapshot
from squirrel_ioc.model.values import State
from squirrel_ioc.store import Store

__all__ = ["check_compare", "compare_sides", "compare_snapshots"]


@dataclass(frozen=True)
class _Sides:
    """Both frames, and the snapshots they are of; None is the live machine."""

    a: Frame
    b: Frame
    of_a: Snapshot | None
    of_b: Snapshot | None

    @property
    def unread(self) -> int:
        """PVs of the live machine that gave no value."""
        return sum(int(np.count_nonzero(~frame.valid)) for frame in self._live) - self.away

    @property
    def away(self) -> int:
        """PVs of the live machine that gave no value, and are known to be away."""
        return sum(int(np.count_nonzero(frame.state == State.AWAY)) for frame in self._live)

    @property
    def _live(self) -> list[Frame]:
        return [frame for frame, of in ((self.a, self.of_a), (self.b, self.of_b)) if of is None]


async def check_compare(store: Store, request: CompareRequest) -> None:
    """Raise RefusedError for what cannot be compared, before anything is queued."""
    if request.a == LIVE and request.b == LIVE:
        raise RefusedError("the live machine cannot be compared with itself")
    for side in dict.fromkeys((request.a, request.b)):
        if side != LIVE:
            await _snapshot(store, side)


async def compare_snapshots(job: JobContext, request: CompareRequest) -> CompareResult:
    """Compare b with a. Raises RefusedError when one of them does not exist or nothing is selected."""
    start = time.monotonic()
    sides = await _sides(job, request)
    job.check_abort()
    comparison, table = await asyncio.to_thread(_compare, job, request, sides)
    job.check_abort()
    return CompareResult(
        request.a,
        request.b,
        LIVE if sides.of_a is None else sides.of_a.id,
        LIVE if sides.of_b is None else sides.of_b.id,
        comparison,
        table,
        sides.unread,
        sides.away,
        request.selection.strip(),
        job.beside if LIVE in (request.a, request.b) else "",
        time.monotonic() - start,
    )


def compare_sides(
    sides: Sequence[tuple[Frame, Snapshot | None]], catalogue: Catalogue, atol: float, rtol: float
) -> Comparison:
    """Compare two frames, by the tolerances of the catalogue and else by these; None is the live machine.

    Values from files that know no types are given those of the other side first.
    """
    (a, of_a), (b, of_b) = sides
    a, b = alike(a, b, *("" if of is None else of.file_format for of in (of_a, of_b)))
    alignment = align(a.channels, b.channels)
    return compare(a, b, *tolerances(catalogue, alignment.channels, atol, rtol), alignment)


def _compare(job: JobContext, request: CompareRequest, sides: _Sides) -> tuple[Comparison, DiffTable]:
    both = (sides.a, sides.of_a), (sides.b, sides.of_b)
    comparison = compare_sides(both, job.catalogue, request.atol, request.rtol)
    return comparison, tabulate(comparison, request.show, STRING_LIMIT)


async def _sides(job: JobContext, request: CompareRequest) -> _Sides:
    """Both sides, cut to the selection. The live machine is read, each time, for the channels of the other side."""
    if request.a == LIVE and request.b == LIVE:
        raise RefusedError("the live machine cannot be compared with itself")
    snapshots = [None if side == LIVE else await _snapshot(job.store, side) for side in (request.a, request.b)]
    ids = list(dict.fromkeys(snapshot.id for snapshot in snapshots if snapshot is not None))
    stored = await _stored(job, ids, request.selection)
    sides: dict[Snapshot | None, Frame] = {s: stored[s.id] for s in snapshots if s is not None}
    if None in snapshots:
        sides[None] = await _live(job, next(iter(stored.values())).channels)
    a, b = snapshots
    return _Sides(sides[a], sides[b], a, b)


async def _snapshot(store: Store, side: int) -> Snapshot:
    """The snapshot that a side of the request stands for."""
    if side == REFERENCE:
        reference = await store.reference()
        if reference is None:
            raise RefusedError("there is no reference snapshot")
        return reference
    snapshot = await store.snapshot(side)
    if snapshot is None:
        raise RefusedError(f"snapshot {side} does not exist")
    return snapshot


async def _stored(job: JobContext, ids: list[int], text: str) -> dict[int, Frame]:
    """The frames of one or two snapshots, cut to the selection, which must take something of one of them."""
    frames = dict(zip(ids, await _load(job.store, ids), strict=True))
    if not text.strip():
        return frames
    taken: dict[ChannelList, NDArray[np.intp]] = {}
    try:
        selection = parse(text)
        for frame in frames.values():
            if frame.channels not in taken:
                taken[frame.channels] = await selected_rows(selection, frame.channels, job.catalogue, job.targets)
    except SelectionError as error:
        raise RefusedError(f"selection {text!r}: {error}") from error
    if not any(map(len, taken.values())):
        raise RefusedError(f"selection {text!r} matches no PV of snapshot {' or '.join(map(str, ids))}")
    # Frames of one channel list keep having one; the whole list stays the object that the machine knows.
    lists = {c: c if len(rows) == len(c) else c.take(rows) for c, rows in taken.items()}
    return {id_: f.take(taken[f.channels], lists[f.channels]) for id_, f in frames.items()}


async def _load(store: Store, ids: list[int]) -> list[Frame]:
    """Side by side; neither is left alone when the other one fails."""
    frames: list[Frame] = []
    for loaded in await asyncio.gather(*map(store.load_frame, ids), return_exceptions=True):
        if isinstance(loaded, BaseException):
            raise loaded
        frames.append(loaded)
    return frames


async def _live(job: JobContext, channels: ChannelList) -> Frame:
    total = len(channels)
    job.report(0, total, f"reading {total} PVs", 0.0)
    frame = await job.targets.read(
        channels,
        progress=lambda done, of: job.report(done, of, f"reading {of} PVs", 80.0 * done / max(of, 1)),
        abort=lambda: job.aborted,
    )
    return marked(_without_those_that_left(frame, job.catalogue), job.away)


def _without_those_that_left(frame: Frame, catalogue: Catalogue) -> Frame:
    """PVs that are not in the catalogue any more are not read: nobody shall look for their IOC."""
    left = (catalogue.channels.find(frame.channels) < 0) & (frame.state == State.DISCONNECTED)
    if not left.any():
        return frame
    return replace(frame, state=np.where(left, np.uint8(State.NOT_READ), frame.state))
