"""The saved values that a restore is about."""

from __future__ import annotations

import numpy as np

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._selected import selected_rows
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import RestoreRequest
from squirrel_ioc.model.selection import parse

__all__ = ["saved_values"]


async def saved_values(job: JobContext, request: RestoreRequest) -> Frame:
    """The saved setpoints that are asked for, in the snapshot's order. Raises RefusedError when there are none."""
    whole = await job.store.load_frame(request.snapshot_id)
    channels = whole.channels.setpoint_list
    rows = np.arange(len(channels))
    if request.names is not None:
        wanted = set(request.names)
        if unknown := wanted.difference(channels.names):
            raise RefusedError(f"snapshot {request.snapshot_id} has no setpoint {min(unknown)!r}")
        rows = np.flatnonzero(np.fromiter((name in wanted for name in channels.names), bool, len(channels)))
    if request.selection.strip():
        try:
            taken = await selected_rows(parse(request.selection), channels, job.catalogue, job.targets)
        except SelectionError as error:
            raise RefusedError(f"selection {request.selection!r}: {error}") from error
        rows = np.intersect1d(rows, taken)
    if not len(rows):
        asked = f"selection {request.selection!r} matches" if request.selection.strip() else "there is"
        raise RefusedError(f"{asked} no setpoint of snapshot {request.snapshot_id}")
    return whole.take(rows, channels if len(rows) == len(channels) else None)
