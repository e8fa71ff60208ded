"""The ledger of a restore: every PV ends in exactly one verdict, with a reason in words where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.job import Outcome

__all__ = ["Ledger", "Touched", "Verdict"]


class Verdict(IntEnum):
    """What became of one PV."""

    OPEN = 0
    WRITTEN = 1
    UNCHANGED = 2
    SKIPPED = 3
    FAILED = 4
    MISMATCH = 5
    PLANNED = 6
    """A dry run would have written it."""


class Touched(IntEnum):
    """What an undo has to know of one PV."""

    NO = 0
    YES = 1
    """It had the wanted value after the write."""
    MAYBE = 2
    """It may have any value: a write without an answer, a ramp that stopped, a mismatch."""


class Ledger:
    """Verdicts of `size` PVs. A verdict once given stays, unless the PV proves not to hold its value.

    `touched`, uint8[size], says whether a PV was written, a `Touched`, whatever its verdict.
    """

    def __init__(self, size: int) -> None:
        self.verdict = np.zeros(size, np.uint8)
        self.touched = np.zeros(size, np.uint8)
        self._reason = np.full(size, None, object)
        self._expected = np.zeros(size, bool)

    @property
    def open(self) -> NDArray[np.intp]:
        """Rows that have no verdict yet, ascending."""
        return np.flatnonzero(self.verdict == Verdict.OPEN)

    def rows(self, *verdicts: Verdict) -> NDArray[np.intp]:
        """Rows that have one of these verdicts, ascending."""
        return np.flatnonzero(np.isin(self.verdict, verdicts))

    def settle(
        self,
        rows: NDArray[np.intp],
        verdict: Verdict,
        reason: str | Sequence[str] | None = None,
        *,
        expected: bool = False,
    ) -> None:
        """Give the open ones among `rows` a verdict; `reason` is one for all, or one a row.

        `expected`: skipped on purpose, which is no reason for PARTIAL.
        """
        still = self.verdict[rows] == Verdict.OPEN
        if reason is not None:
            reasons = np.full(len(rows), reason, object) if isinstance(reason, str) else np.array(reason, object)
            self._reason[rows[still]] = reasons[still]
        self.verdict[rows[still]] = verdict
        self._expected[rows[still]] = expected

    def retract(self, rows: NDArray[np.intp], reason: Sequence[str]) -> None:
        """PVs that were written or unchanged, and do not read back as wanted."""
        self.verdict[rows] = Verdict.MISMATCH
        self._reason[rows] = np.array(reason, object)
        self.touched[rows[self.touched[rows] == Touched.YES]] = Touched.MAYBE

    def count(self, verdict: Verdict) -> int:
        """How many PVs have this verdict."""
        return int(np.count_nonzero(self.verdict == verdict))

    def bad(self) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        """Rows that failed or mismatched, and why."""
        rows = self.rows(Verdict.FAILED, Verdict.MISMATCH)
        return rows, tuple(self._reason[rows].tolist())

    def skipped(self) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        """Rows that were skipped, and why; those that were not skipped on purpose come first."""
        rows = self.rows(Verdict.SKIPPED)
        rows = rows[np.argsort(self._expected[rows], kind="stable")]
        return rows, tuple(self._reason[rows].tolist())

    def outcome(self) -> Outcome:
        """OK when every PV has its saved value but those that are skipped on purpose; FAILED when none has."""
        good = len(self.rows(Verdict.WRITTEN, Verdict.UNCHANGED, Verdict.PLANNED))
        expected = int(np.count_nonzero(self._expected))
        if not good:
            return Outcome.FAILED
        return Outcome.OK if good + expected == len(self.verdict) else Outcome.PARTIAL
