"""What happens on DIFF:TRIGGER: two frames, or one and the live machine, side by side."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import numpy as np

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._rows import selected_rows
from squirrel_ioc.model.compare import Comparison, align, compare, tolerances
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.job import CompareRequest, CompareResult
from squirrel_ioc.model.selection import parse

__all__ = ["compare_snapshots", "LIVE", "REFERENCE"]

LIVE, REFERENCE = 0, -1
"""What stands for the live machine and for the reference snapshot in place of an id."""


@dataclass(frozen=True)
class _Sides:
    a: Frame
    b: Frame
    unread: int


async def compare_snapshots(job: JobContext, request: CompareRequest) -> CompareResult:
    """Compare b with a. Raises RefusedError when one of them does not exist or nothing is selected."""
    start = time.monotonic()
    sides = await _frames(job, request)
    job.check_abort()
    comparison = await asyncio.to_thread(_compare, job, request, sides)
    return CompareResult(request.a, request.b, comparison, sides.unread, time.monotonic() - start)


def _compare(job: JobContext, request: CompareRequest, sides: _Sides) -> Comparison:
    alignment = align(sides.a.channels, sides.b.channels)
    atol, rtol = tolerances(job.catalogue, alignment.channels, request.atol, request.rtol)
    return compare(sides.a, sides.b, atol, rtol, alignment)


async def _frames(job: JobContext, request: CompareRequest) -> _Sides:
    """Both sides, cut to the selection. The live machine is read for the channels of the other side."""
    if request.a == LIVE and request.b == LIVE:
        raise RefusedError("the live machine cannot be compared with itself")
    if request.a == LIVE:
        b = await _stored(job, request.b, request.selection)
        a = await _live(job, b.channels)
        return _Sides(a, b, int(np.count_nonzero(~a.valid)))
    a = await _stored(job, request.a, request.selection)
    if request.b == LIVE:
        b = await _live(job, a.channels)
        return _Sides(a, b, int(np.count_nonzero(~b.valid)))
    return _Sides(a, await _stored(job, request.b, request.selection), 0)


async def _stored(job: JobContext, snapshot_id: int, text: str) -> Frame:
    if snapshot_id == REFERENCE:
        reference = await job.store.reference()
        if reference is None:
            raise RefusedError("there is no reference snapshot")
        snapshot_id = reference.id
    elif await job.store.snapshot(snapshot_id) is None:
        raise RefusedError(f"snapshot {snapshot_id} does not exist")
    frame = await job.store.load_frame(snapshot_id)
    if not text.strip():
        return frame
    try:
        rows = await selected_rows(parse(text), frame.channels, job.catalogue, job.targets)
    except SelectionError as error:
        raise RefusedError(f"selection {text!r}: {error}") from error
    if not len(rows):
        raise RefusedError(f"selection {text!r} matches no PV of snapshot {snapshot_id}")
    return frame.take(rows)


async def _live(job: JobContext, channels: ChannelList) -> Frame:
    total = len(channels)
    job.report(0, total, f"reading {total} PVs", 0.0)
    return await job.targets.read(
        channels,
        progress=lambda done, of: job.report(done, of, f"reading {of} PVs", 80.0 * done / max(of, 1)),
        abort=lambda: job.aborted,
    )
