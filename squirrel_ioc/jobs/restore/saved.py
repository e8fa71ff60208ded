"""The saved values that a restore is about: which are asked for, and whether the machine reads them back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._selected import selected_rows
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.compare import differs
from squirrel_ioc.model.display import text
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import RestoreRequest
from squirrel_ioc.model.selection import parse
from squirrel_ioc.model.values import State

__all__ = ["mismatch", "reads_back_else", "saved_values"]


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


def reads_back_else(wanted: Frame, got: Frame, catalogue: Catalogue, entries: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[N]: rows that do not read back as wanted, within the tolerances of their catalogue `entries`."""
    atol, rtol = np.nan_to_num(catalogue.atol[entries]), np.nan_to_num(catalogue.rtol[entries])
    return np.logical_or(differs(wanted, got, atol, rtol), ~got.valid)


def mismatch(wanted: Frame, got: Frame, row: int) -> str:
    """In words, for a row that does not read back as wanted."""
    if got.state[row] != State.VALUE:
        return f"written, but could not be read back: {State(int(got.state[row])).reason}"
    return f"wrote {text(wanted, row, 40)}, reads back {text(got, row, 40)}"
