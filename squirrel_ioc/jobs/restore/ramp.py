"""Writing in steps: PVs with a `max_step` walk to their value, all of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs._ports import AbortCheck, Targets
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Dbf, WriteState

__all__ = ["needs_ramp", "cannot_ramp", "ramp"]

_ABORT_POLL_S = 0.1
_INTEGER = (Dbf.CHAR, Dbf.SHORT, Dbf.LONG)
_RAMPED = (Dbf.CHAR, Dbf.SHORT, Dbf.LONG, Dbf.FLOAT, Dbf.DOUBLE)


def needs_ramp(target: Frame, max_step: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool[N]: numeric scalars with a `max_step`, also those whose way is one step: it must be that when it is taken.

    A way that is not finite is one too, and cannot be walked: see `cannot_ramp`.
    """
    return np.isin(target.dbf, _RAMPED) & np.isfinite(max_step)


def cannot_ramp(target: Frame, start: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool[N]: from or to NaN or an infinity there are no steps, and one jump is what `max_step` forbids."""
    return ~(np.isfinite(target.number) & np.isfinite(start))


async def ramp(
    targets: Targets,
    target: Frame,
    start: NDArray[np.float64],
    max_step: NDArray[np.float64],
    step_period: NDArray[np.float64],
    connection: NDArray[np.int32],
    *,
    abort: AbortCheck,
    moved: Callable[[int, float], None],
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Walk every row of `target` from `start`, which was read in that `connection` (see `Live`).

    A row whose connection has been lost since then walks no further, also when it is back: its record may stand
    anywhere, and a step from there may be a jump.

    `moved(arrived, way)` after each round says how many rows walk no more, and which part of all steps is done.

    Returns a WriteState a row and the last value confirmed by the IOC. A row that fails stays where it is.
    """
    clock = asyncio.get_running_loop()
    # An integer PV walks in whole steps, of at least one.
    step = np.where(np.isin(target.dbf, _INTEGER), np.maximum(np.floor(max_step), 1.0), max_step)
    steps = np.maximum(np.ceil(np.abs(target.number - start) / step), 1).astype(np.int64)
    taken = np.zeros(len(target), np.int64)
    reached = start.copy()
    state = np.full(len(target), WriteState.NOT_ISSUED, np.uint8)
    walking = np.ones(len(target), bool)
    due_at = np.full(len(target), clock.time())
    while walking.any() and not abort():
        wait = due_at[walking].min() - clock.time()
        if wait > 0:
            await asyncio.sleep(min(wait, _ABORT_POLL_S))
            continue
        now = clock.time()
        rows = np.flatnonzero(walking & (due_at <= now))
        taken[rows] += 1
        last = taken[rows] == steps[rows]
        on_the_way = start[rows] + np.sign(target.number[rows] - start[rows]) * step[rows] * taken[rows]
        values = np.where(last, target.number[rows], on_the_way)
        outcome = np.full(len(rows), WriteState.DISCONNECTED, np.uint8)
        held = np.flatnonzero(targets.live(target.channels).connection[rows] == connection[rows])
        if len(held):
            step_values = replace(target.take(rows[held]), number=values[held])
            outcome[held] = await targets.write(step_values, abort=abort, retry=False)
        done = outcome == WriteState.DONE
        reached[rows[done]] = values[done]
        state[rows[~done]] = outcome[~done]
        arrived = done & last
        state[rows[arrived]] = WriteState.DONE
        walking[rows[~done | arrived]] = False
        due_at[rows] = now + step_period[rows]  # a late step is never made up for by a quick one
        moved(int(np.count_nonzero(~walking)), float(np.where(walking, taken, steps).sum() / steps.sum()))
    return state, reached
