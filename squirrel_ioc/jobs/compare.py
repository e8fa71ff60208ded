"""What happens on DIFF:TRIGGER: two frames, or one and the live machine, side by side."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._rows import selected_rows
from squirrel_ioc.model.compare import Comparison, align, compare, tolerances
from squirrel_ioc.model.difftable import LIVE, REFERENCE, DiffTable, tabulate
from squirrel_ioc.model.display import STRING_LIMIT
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.job import CompareRequest, CompareResult
from squirrel_ioc.model.selection import parse
from squirrel_ioc.store import Store

__all__ = ["check_compare", "compare_snapshots"]


@dataclass(frozen=True)
class _Sides:
    """Both frames, and the snapshots they are of; 0 is the live machine."""

    a: Frame
    b: Frame
    snapshot_a: int
    snapshot_b: int

    @property
    def unread(self) -> int:
        """PVs of the live machine that gave no value."""
        live = [frame for frame, id_ in ((self.a, self.snapshot_a), (self.b, self.snapshot_b)) if id_ == LIVE]
        return sum(int(np.count_nonzero(~frame.valid)) for frame in live)


async def check_compare(store: Store, request: CompareRequest) -> None:
    """Raise RefusedError for what cannot be compared, before anything is queued."""
    if request.a == LIVE and request.b == LIVE:
        raise RefusedError("the live machine cannot be compared with itself")
    for side in dict.fromkeys((request.a, request.b)):
        if side != LIVE:
            await _snapshot_id(store, side)


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
        sides.snapshot_a,
        sides.snapshot_b,
        comparison,
        table,
        sides.unread,
        time.monotonic() - start,
    )


def _compare(job: JobContext, request: CompareRequest, sides: _Sides) -> tuple[Comparison, DiffTable]:
    alignment = align(sides.a.channels, sides.b.channels)
    atol, rtol = tolerances(job.catalogue, alignment.channels, request.atol, request.rtol)
    comparison = compare(sides.a, sides.b, atol, rtol, alignment)
    return comparison, tabulate(comparison, request.show, STRING_LIMIT)


async def _sides(job: JobContext, request: CompareRequest) -> _Sides:
    """Both sides, cut to the selection. The live machine is read, each time, for the channels of the other side."""
    if request.a == LIVE and request.b == LIVE:
        raise RefusedError("the live machine cannot be compared with itself")
    ids = [side if side == LIVE else await _snapshot_id(job.store, side) for side in (request.a, request.b)]
    stored = await _stored(job, [id_ for id_ in dict.fromkeys(ids) if id_ != LIVE], request.selection)
    live = await _live(job, next(iter(stored.values())).channels) if LIVE in ids else None
    a, b = (stored[id_] if live is None or id_ != LIVE else live for id_ in ids)
    return _Sides(a, b, *ids)


async def _snapshot_id(store: Store, side: int) -> int:
    """The snapshot that a side of the request stands for."""
    if side == REFERENCE:
        reference = await store.reference()
        if reference is None:
            raise RefusedError("there is no reference snapshot")
        return reference.id
    if await store.snapshot(side) is None:
        raise RefusedError(f"snapshot {side} does not exist")
    return side


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
    return await job.targets.read(
        channels,
        progress=lambda done, of: job.report(done, of, f"reading {of} PVs", 80.0 * done / max(of, 1)),
        abort=lambda: job.aborted,
    )
