"""The bench: how fast snapshot and restore are, and what faults cost, as clients see it, on a simulated machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console

from squirrel_ioc.bench._faults import Faults
from squirrel_ioc.bench._figures import JUDGED_COUNT, Figure, machine_description
from squirrel_ioc.bench._interruption import heed_signals
from squirrel_ioc.bench._measure import Progress
from squirrel_ioc.bench._report import print_report, progress_display, write_json
from squirrel_ioc.bench._rig import CA_TIMEOUT_S, IOCS, Rig
from squirrel_ioc.bench._scenarios import Bench
from squirrel_ioc.bench._workers import IOCS_AN_AREA, Workers

__all__ = ["run_bench", "run_faults", "run_workers"]

PIPE_WIDTH: Final = 110
"""Where there is no terminal to say how wide it is."""


def run_bench(count: int, *, iterations: int, dead: float, restore: bool, json_file: Path | None) -> bool:
    """Measure, print the report, and tell whether nothing failed and every target was met.

    Raises SimulationError when the simulated machine does not start. Everything is stopped, however it ends.
    """

    def bench(rig: Rig, progress: Progress) -> Bench:
        return Bench(rig, iterations=iterations, with_restore=restore, progress=progress)

    return _run(bench, count, dead, f"{iterations} iterations, {100 * dead:g}% absent", json_file)


def run_faults(count: int, *, iterations: int, json_file: Path | None) -> bool:
    """As `run_bench`, of what is seen while IOCs, the database and the service itself hang and die."""

    def bench(rig: Rig, progress: Progress) -> Faults:
        return Faults(rig, iterations=iterations, progress=progress)

    return _run(bench, count, 0.0, f"{iterations} iterations, with faults", json_file)


def run_workers(count: int, workers: int, *, iterations: int, json_file: Path | None) -> bool:
    """As `run_bench`, of a service with so many workers, each on an area of `count` PVs."""

    def bench(rig: Rig, progress: Progress) -> Workers:
        return Workers(rig, workers, iterations=iterations, progress=progress)

    about = f"{iterations} iterations, {workers} areas"
    return _run(bench, count, 0.0, about, json_file, areas=workers, iocs=workers * IOCS_AN_AREA)


def _run(
    make: Callable[[Rig, Progress], Bench | Faults | Workers],
    count: int,
    dead: float,
    about: str,
    json_file: Path | None,
    *,
    areas: int = 1,
    iocs: int = IOCS,
) -> bool:
    heed_signals()
    setup = f"{iocs} IOCs, ca.timeout_s {CA_TIMEOUT_S:g}, {about}"
    machine = {"setup": setup, **machine_description()}
    figures: list[Figure] = []
    try:
        with progress_display(Console(stderr=True)) as progress, Rig(areas * count, dead, iocs) as rig:
            bench = make(rig, progress)
            figures = bench.measurements.figures
            bench.run()
    finally:
        # What has been measured is worth seeing, also when the rest came to nothing.
        if figures:
            print_report(Console(width=None if sys.stdout.isatty() else PIPE_WIDTH), figures, machine, count)
    if json_file is not None:
        write_json(json_file, figures, machine, count)
    judged = count == JUDGED_COUNT
    return not any(figure.verdict(judged=judged) in ("FAILED", "MISS") for figure in figures)
