"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Verdict"]


class Verdict(StrEnum):
    """How good it is. With a warning the service works, but perhaps not as somebody thinks."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """The result of one check, and what to do about it; `items` are all names it concerns."""

    check: str
    verdict: Verdict
    message: str
    advice: str = ""
    items: tuple[str, ...] = ()
