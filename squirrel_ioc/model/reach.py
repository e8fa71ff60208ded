"""How much of the machine a service reaches, and when another one that reaches more should be active instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FRESH_S", "Preference", "Reach"]

FRESH_S: Final = 4.0
"""What was told longer ago says nothing: it is told every second."""

_CLEARLY: Final = 0.1
_QUIET: Final = 10


@dataclass(frozen=True)
class Reach:
    """PVs of the catalogue that are connected, and all of them."""

    connected: int
    total: int

    def clearly_exceeds(self, other: Reach) -> bool:
        """By a tenth of all PVs, at least by one. Never, while the two go by catalogues of different size."""
        more = self.connected - other.connected
        return self.total == other.total and more >= max(1.0, _CLEARLY * self.total)

    def __str__(self) -> str:
        return f"{self.connected} of {self.total} PVs"


class Preference:
    """Of the active service: whether it should give way. Looked at every second or so.

    It should when the other one has reached clearly more for all of `prefer_s` (0: never), unless one has given way to
    the other less than ten times as long ago: where the reach of both comes and goes, the lease does not go with it.
    """

    def __init__(self, prefer_s: float) -> None:
        self._prefer_s = prefer_s
        self._since: float | None = None
        self._looked = 0.0

    def forget(self) -> None:
        """Begin anew: this service is not the active one, or knows nothing of the other."""
        self._since = None

    def look(self, now: float, ours: Reach, theirs: Reach | None, handed_over_s: float | None) -> bool:
        """Whether to give way now. `theirs` is None when it is not known, or was told too long ago; `handed_over_s`
        is how long ago one last gave way, None for never.
        """
        stood_still = now - self._looked > FRESH_S
        self._looked = now
        if not self._prefer_s or theirs is None or not theirs.clearly_exceeds(ours):
            self._since = None
            return False
        if self._since is None or stood_still:
            self._since = now
        # Ages below 0: the clock of the database was put back.
        quiet = handed_over_s is not None and 0 <= handed_over_s < _QUIET * self._prefer_s
        return now - self._since >= self._prefer_s and not quiet
