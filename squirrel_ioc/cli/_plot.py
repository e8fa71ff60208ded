"""Pictures, with matplotlib: an extra, because it is large and only this needs it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from squirrel_ioc.errors import SquirrelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from squirrel_ioc.model.snapshot import History
    from squirrel_ioc.model.values import Meta

__all__ = ["PlotError", "check_plot", "draw"]

SUFFIXES: Final = (".png", ".pdf", ".svg")
_MOST_LABELS: Final = 16


class PlotError(SquirrelError):
    """A picture cannot be drawn."""


def check_plot(file: Path) -> None:
    """Before any work is done. Raises BadParameter for what is no picture, PlotError without matplotlib."""
    if file.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"--plot {file}: the name must end in {', '.join(SUFFIXES)}")
    if not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"--plot {file}: there is no such folder")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as e:
        raise PlotError("--plot needs matplotlib: pip install 'squirrel-ioc[plot]'") from e


def draw(file: Path, pv: str, points: History, meta: Meta) -> None:
    """Draw a history into a file. Raises PlotError when that cannot be written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.add_subplot()
    # A PV keeps its value until the next snapshot says something else.
    times = [datetime.fromtimestamp(epoch) for epoch in points.epochs.tolist()]
    axes.plot(times, points.numbers, drawstyle="steps-post", marker="o", markersize=4, linewidth=1)  # type: ignore[arg-type]
    axes.set_title(pv, parse_math=False)
    axes.set_ylabel(meta.units, parse_math=False)
    axes.grid(alpha=0.3)
    _label_states(axes, meta)
    try:
        figure.savefig(file, dpi=120)
    except OSError as e:
        raise PlotError(f"{file} cannot be written: {e.strerror or e}") from e


def _label_states(axes: Axes, meta: Meta) -> None:
    if meta.labels:
        labels = meta.labels[:_MOST_LABELS]
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
        axes.set_ylim(-0.5, len(labels) - 0.5)
