"""Writing in steps: PVs with a `max_step` walk to their value, all of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs._ports import AbortCheck, Targets
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Dbf, State, WriteState

__all__ = ["Steps", "Walked", "ramp", "ramp_seconds", "ramped"]

_ABORT_POLL_S = 0.1
_LAG_S: Final = 1.0
"""A record may take this long to show the step it was given; then it has been moved by somebody else."""

_LAG_POLL_S = 0.1
_SINGLE: Final = 1e-6
"""Relative resolution of a single precision number."""

_INTEGER = (Dbf.CHAR, Dbf.SHORT, Dbf.LONG)
_RAMPED = (*_INTEGER, Dbf.FLOAT, Dbf.DOUBLE)


def ramped(target: Frame, max_step: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool[N]: numeric scalars with a `max_step`, also those that are one step away."""
    return np.isin(target.dbf, _RAMPED) & np.isfinite(max_step)


def step_sizes(target: Frame, max_step: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[N]: an integer PV walks in whole steps, of at least one."""
    sizes: NDArray[np.float64] = np.where(np.isin(target.dbf, _INTEGER), np.maximum(np.floor(max_step), 1.0), max_step)
    return sizes


def ramp_seconds(
    target: Frame, start: NDArray[np.float64], max_step: NDArray[np.float64], step_period: NDArray[np.float64]
) -> NDArray[np.float64]:
    """float64[N]: how long each ramp takes at least; 0 where there is no way."""
    steps = np.ceil(np.abs(target.number - start) / step_sizes(target, max_step))
    return np.where(np.isfinite(steps), np.maximum(steps - 1, 0) * step_period, 0.0)


@dataclass(frozen=True, eq=False)
class Steps:
    """How each row walks, float64[N]: steps of `size` every `period_s`, and how far off its place a PV may be found."""

    size: NDArray[np.float64]
    period_s: NDArray[np.float64]
    atol: NDArray[np.float64]
    rtol: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Walked:
    """How ramps ended.

    outcome  uint8[N]    a WriteState
    reached  float64[N]  the last value whose write has completed, NaN where there is none
    problems             why rows stopped, where it was not a write that failed
    """

    outcome: NDArray[np.uint8]
    reached: NDArray[np.float64]
    problems: dict[int, str]


async def ramp(
    targets: Targets,
    target: Frame,
    steps: Steps,
    connection: NDArray[np.int32],
    *,
    abort: AbortCheck,
    moved: Callable[[int, float, int], None],
) -> Walked:
    """Walk every row of `target` from the value it has now.

    Before each step a PV is read: it must have the value that the last step gave it, or the ramp of that PV ends. A
    step begins at the value that was read, so that none is larger than it may be.
    A row whose connection is not the one of `connection` any more (see `Live`) walks no further, also when it is back.

    `moved(arrived, part, row)` after each round says how many rows walk no more, which part of all ways is done, and
    the row that has farthest to go.
    """
    walk = _Walk(targets, target, steps, connection, abort)
    clock = asyncio.get_running_loop()
    while walk.walking.any() and not abort():
        wait = walk.due_at[walk.walking].min() - clock.time()
        if wait > 0:
            await asyncio.sleep(min(wait, _ABORT_POLL_S))
            continue
        now = clock.time()
        await walk.round(np.flatnonzero(walk.walking & (walk.due_at <= now)), now)
        moved(*walk.progress())
    return Walked(walk.outcome, walk.reached, walk.problems)


class _Walk:
    """The ramps of one order while they are under way."""

    def __init__(
        self, targets: Targets, target: Frame, steps: Steps, connection: NDArray[np.int32], abort: AbortCheck
    ) -> None:
        count = len(target)
        self.walking = np.ones(count, bool)
        self.due_at = np.full(count, asyncio.get_running_loop().time())
        self.outcome = np.full(count, WriteState.NOT_ISSUED, np.uint8)
        self.reached = np.full(count, np.nan)
        self.problems: dict[int, str] = {}
        self._targets = targets
        self._target = target
        self._steps = steps
        self._step = step_sizes(target, steps.size)
        self._connection = connection
        self._abort = abort
        self._began_at = np.full(count, np.nan)
        self._at = np.full(count, np.nan)
        self._late_since = np.full(count, np.nan)

    def progress(self) -> tuple[int, float, int]:
        whole = np.abs(self._target.number - self._began_at)
        left = np.where(self.walking, np.abs(self._target.number - self._at), 0.0)
        whole, left = np.nan_to_num(whole, posinf=0.0), np.nan_to_num(left, posinf=0.0)
        rounds = np.ceil(left / self._step)
        part = 1.0 - rounds.sum() / max(np.ceil(whole / self._step).sum(), 1.0)
        return int(np.count_nonzero(~self.walking)), float(max(part, 0.0)), int(rounds.argmax())

    async def round(self, rows: NDArray[np.intp], now: float) -> None:
        """One step of the rows that are due."""
        held = self._targets.live(self._target.channels).connection[rows] == self._connection[rows]
        self._end(rows[~held], WriteState.DISCONNECTED)
        rows = await self._read(rows[held], now)
        if not len(rows):
            return
        way = self._target.number[rows] - self._at[rows]
        last = np.abs(way) <= self._step[rows] * (1 + 1e-9)
        values = np.where(last, self._target.number[rows], self._at[rows] + np.sign(way) * self._step[rows])
        written = await self._targets.write(
            replace(self._target.take(rows), number=values), abort=self._abort, retry=False
        )
        done = written == WriteState.DONE
        self.reached[rows[done]] = values[done]
        self._at[rows[done]] = values[done]
        self._end(rows[done & last], WriteState.DONE)
        for row, state in zip(rows[~done], written[~done], strict=True):
            self._end(np.array([row]), WriteState(int(state)))
        self.due_at[rows] = now + self._steps.period_s[rows]  # a late step is never made up for by a quick one

    async def _read(self, rows: NDArray[np.intp], now: float) -> NDArray[np.intp]:
        """Where these rows are now; the ones that may take their step."""
        if not len(rows):
            return rows
        got = await self._targets.read(self._target.channels.take(rows), abort=self._abort)
        if self._abort():
            return rows[:0]
        unread = got.state != State.VALUE
        for row, state in zip(rows[unread].tolist(), got.state[unread].tolist(), strict=True):
            self._stop(row, f"could not be read before its step: {State(state).reason}")
        rows, found = rows[~unread], got.number[~unread]
        endless = ~(np.isfinite(found) & np.isfinite(self._target.number[rows]))
        for row, value in zip(rows[endless].tolist(), found[endless].tolist(), strict=True):
            self._stop(row, f"there are no steps from {value:g} to {self._target.number[row]:g}")
        rows, found = rows[~endless], found[~endless]
        first = np.isnan(self._at[rows])
        self._at[rows[first]] = found[first]
        self._began_at[rows[first]] = found[first]
        there = first | (np.abs(found - self._at[rows]) <= self._off(rows))
        self._late_since[rows[there]] = np.nan
        self._at[rows[there]] = found[there]
        self._wait_or_stop(rows[~there], found[~there], now)
        going: NDArray[np.intp] = rows[there]
        return going

    def _off(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far from its place a PV may be found: its tolerance, or the resolution of its type."""
        place = np.abs(self._at[rows])
        resolution = np.where(self._target.dbf[rows] == Dbf.FLOAT, _SINGLE, 1e-12) * np.maximum(place, self._step[rows])
        tolerance: NDArray[np.float64] = self._steps.atol[rows] + self._steps.rtol[rows] * place
        off: NDArray[np.float64] = np.maximum(tolerance, resolution)
        return off

    def _wait_or_stop(self, rows: NDArray[np.intp], found: NDArray[np.float64], now: float) -> None:
        """A PV that is elsewhere may be late; after a while somebody else has moved it."""
        fresh = np.isnan(self._late_since[rows])
        self._late_since[rows[fresh]] = now
        self.due_at[rows] = now + _LAG_POLL_S
        for row, value in zip(rows.tolist(), found.tolist(), strict=True):
            if now - self._late_since[row] >= _LAG_S:
                self._stop(row, f"moved by somebody else: it has {value:g}, the ramp had written {self._at[row]:g}")

    def _stop(self, row: int, reason: str) -> None:
        self.problems[row] = reason
        self._end(np.array([row]), WriteState.NOT_ISSUED)

    def _end(self, rows: NDArray[np.intp], state: WriteState) -> None:
        self.outcome[rows] = state
        self.walking[rows] = False
