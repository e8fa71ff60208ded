"""The bench's report: a table for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from squirrel_ioc.bench._figures import JUDGED_COUNT, Figure

__all__ = ["print_report", "progress_display", "write_json"]

COUNTED: Final = ("PVs", "tries")
"""Units of whole numbers."""
_STYLE: Final = {"pass": "green", "MISS": "red", "FAILED": "bold red", "": ""}


@contextmanager
def progress_display(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Shows which sample of what is being taken: a bar on a terminal, a line a measurement elsewhere."""
    if not console.is_terminal:

        def say(title: str, sample: int, _of: int) -> None:
            if sample == 0:
                console.print(title, markup=False, highlight=False)

        yield say
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with RichProgress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("Starting the simulated machine", total=None)
        yield lambda title, sample, of: bar.update(task, description=title, completed=sample, total=of)


def _number(value: float, unit: str) -> str:
    if unit in COUNTED:
        return f"{value:g}"
    return f"{value:.4f}" if unit == "s" and value < 0.1 else f"{value:.3f}" if unit == "s" else f"{value:.2f}"


def print_report(console: Console, figures: Sequence[Figure], machine: Mapping[str, str], count: int) -> None:
    """Print what was measured, against its targets, and the machine it was measured on."""
    judged = count == JUDGED_COUNT
    table = Table("What", "", "Min", "Median", "Max", "Target", "", title=f"{count} PVs")
    for column in table.columns[2:5]:
        column.justify = "right"
    for figure in figures:
        verdict = figure.verdict(judged=judged)
        numbers = ["", "", ""]
        if figure.samples:
            numbers = [_number(x, figure.unit) for x in (figure.minimum, figure.median, figure.maximum)]
        target = str(figure.target) if figure.target and judged else ""
        table.add_row(figure.title, figure.unit, *numbers, target, verdict, style=_STYLE[verdict])
    console.print(table)
    for figure in figures:
        if figure.failure:
            console.print(f"FAILED {figure.title}: {figure.failure}", style="red", markup=False, highlight=False)
    if not judged:
        console.print(f"The targets are for {JUDGED_COUNT} PVs: nothing is judged.")
    for key, value in machine.items():
        console.print(f"{key}: {value}", markup=False, highlight=False)


def write_json(path: Path, figures: Sequence[Figure], machine: Mapping[str, str], count: int) -> None:
    """Write everything that was measured."""
    judged = count == JUDGED_COUNT
    report = {
        "count": count,
        "machine": dict(machine),
        "figures": [figure.as_json(judged=judged) for figure in figures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
