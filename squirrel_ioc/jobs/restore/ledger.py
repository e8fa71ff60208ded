"""The ledger of a restore: every PV ends in exactly one verdict, with a reason in words where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.job import Outcome

__all__ = ["Verdict", "Ledger"]


class Verdict(IntEnum):
    """What became of one PV."""

    OPEN = 0
    WRITTEN = 1
    UNCHANGED = 2
    SKIPPED = 3
    FAILED = 4
    MISMATCH = 5


class Ledger:
    """Verdicts of `size` PVs. A verdict once given stays, but for a written PV that proves not to hold."""

    def __init__(self, size: int) -> None:
        self.verdict = np.zeros(size, np.uint8)
        self._reason = np.full(size, None, object)

    @property
    def open(self) -> NDArray[np.intp]:
        """Rows that have no verdict yet, ascending."""
        return np.flatnonzero(self.verdict == Verdict.OPEN)

    def rows(self, verdict: Verdict) -> NDArray[np.intp]:
        """Rows that have this verdict, ascending."""
        return np.flatnonzero(self.verdict == verdict)

    def settle(self, rows: NDArray[np.intp], verdict: Verdict, reason: str | Sequence[str] | None = None) -> None:
        """Give the open ones among `rows` a verdict; `reason` is one for all, or one a row."""
        still = self.verdict[rows] == Verdict.OPEN
        if reason is not None:
            reasons = np.full(len(rows), reason, object) if isinstance(reason, str) else np.array(reason, object)
            self._reason[rows[still]] = reasons[still]
        self.verdict[rows[still]] = verdict

    def retract(self, rows: NDArray[np.intp], reason: Sequence[str]) -> None:
        """Written PVs that do not read back as wanted."""
        self.verdict[rows] = Verdict.MISMATCH
        self._reason[rows] = np.array(reason, object)

    def count(self, verdict: Verdict) -> int:
        """How many PVs have this verdict."""
        return int(np.count_nonzero(self.verdict == verdict))

    def bad(self) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        """Rows that failed or mismatched, and why."""
        rows = np.flatnonzero(self.verdict >= Verdict.FAILED)
        return rows, tuple(self._reason[rows].tolist())

    def outcome(self) -> Outcome:
        """OK when nothing went wrong, FAILED when nothing went right."""
        bad = self.count(Verdict.FAILED) + self.count(Verdict.MISMATCH)
        if not bad:
            return Outcome.OK
        good = self.count(Verdict.WRITTEN) + self.count(Verdict.UNCHANGED)
        return Outcome.PARTIAL if good else Outcome.FAILED
