"""Figures of the bench: samples, what they are judged by, and the machine they were taken on."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import psutil

__all__ = ["JUDGED_COUNT", "Figure", "Target", "machine_description"]

JUDGED_COUNT: Final = 40_000
"""The targets are for this many PVs; a bench with another number is not judged."""


@dataclass(frozen=True)
class Target:
    """What a figure is to be: at most, or at least. The worst sample is judged when `worst`, else the median."""

    limit: float
    sense: Literal["<=", ">="] = "<="
    worst: bool = False

    def __str__(self) -> str:
        return f"{self.sense} {self.limit:g}{' (worst)' if self.worst else ''}"

    def met_by(self, figure: Figure) -> bool:
        """Whether the figure is as good as it should be."""
        if self.sense == "<=":
            return (figure.maximum if self.worst else figure.median) <= self.limit
        return (figure.minimum if self.worst else figure.median) >= self.limit


@dataclass
class Figure:
    """One row: what was measured, its samples, or why there are none."""

    key: str
    title: str
    unit: str = "s"
    target: Target | None = None
    samples: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def minimum(self) -> float:
        """The best sample, where less is better."""
        return min(self.samples)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.samples)

    @property
    def maximum(self) -> float:
        """The worst sample, where less is better."""
        return max(self.samples)

    def verdict(self, *, judged: bool) -> Literal["pass", "MISS", "FAILED", ""]:
        """How it stands against its target."""
        if self.failure:
            return "FAILED"
        if self.target is None or not judged or not self.samples:
            return ""
        return "pass" if self.target.met_by(self) else "MISS"

    def as_json(self, *, judged: bool) -> dict[str, Any]:
        """For scripts."""
        figures = {}
        if self.samples:
            figures = {"min": self.minimum, "median": self.median, "max": self.maximum}
        return {
            "key": self.key,
            "title": self.title,
            "unit": self.unit,
            "samples": self.samples,
            **figures,
            "target": None if self.target is None else str(self.target),
            "verdict": self.verdict(judged=judged) or None,
            "failure": self.failure or None,
        }


def machine_description() -> dict[str, str]:
    """What the figures were taken on."""
    packages = ("squirrel-ioc", "aioca", "epicscorelibs", "caproto", "numpy", "asyncpg", "pgqueuer")
    return {
        "cpu": _cpu_name(),
        "cores": str(len(psutil.Process().cpu_affinity())),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "load before": ", ".join(f"{x:.2f}" for x in psutil.getloadavg()),
        "packages": ", ".join(f"{p} {version(p)}" for p in packages),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
