"""The command `diff`: two snapshots, or one and the live machine, side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squirrel_ioc.cli._exit import ExitCode, NotFoundError
from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.errors import DatabaseDownError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from squirrel_ioc.config import Settings
    from squirrel_ioc.model.compare import Comparison
    from squirrel_ioc.model.difftable import Show
    from squirrel_ioc.model.frame import ChannelList, Frame
    from squirrel_ioc.model.selection import LiveFlags, Selection
    from squirrel_ioc.model.snapshot import Snapshot
    from squirrel_ioc.store import Store

__all__ = ["diff"]

LIVE, REFERENCE = "live", "reference"


class Rows(Enum):
    """What --show can be."""

    DIFFERENT = "different"
    MISSING = "missing"
    ALL = "all"


@dataclass(frozen=True)
class _Found:
    """What was compared: a snapshot each, or None for the live machine."""

    a: Snapshot | None
    b: Snapshot | None
    comparison: Comparison

    @property
    def same(self) -> bool:
        """No PV differs, none has a value on one side only."""
        return not (self.comparison.different.any() or self.comparison.missing.any())

    @property
    def unread(self) -> int:
        """PVs of the live machine that gave no value."""
        sides = (self.a, self.comparison.a), (self.b, self.comparison.b)
        return sum(int((~frame.valid).sum()) for snapshot, frame in sides if snapshot is None)


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A snapshot's id, 'reference' or 'live'.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with; likewise.")],
    config: ConfigOption,
    select: Annotated[str, typer.Option("--filter", "-f", help="Only the PVs this selection matches.")] = "",
    show: Annotated[Rows, typer.Option(help="Which PVs are listed.")] = Rows.DIFFERENT,
    atol: Annotated[float, typer.Option(min=0.0, help="Absolute tolerance where the catalogue has none.")] = 0.0,
    rtol: Annotated[float, typer.Option(min=0.0, help="Relative tolerance where the catalogue has none.")] = 0.0,
    size: Annotated[int, typer.Option("--size", "-n", min=1, help="Rows of the table; JSON has all.")] = 1000,
    json_wanted: JsonOption = False,
) -> None:
    """Compare snapshots with each other, or one with the live machine.

    Like diff(1), the exit code tells: 0 when all is the same, 6 when a PV differs or has a value on one side only.
    """
    from squirrel_ioc.cli._stop import run_to_its_end
    from squirrel_ioc.config import load_settings
    from squirrel_ioc.model.difftable import Show
    from squirrel_ioc.model.selection import parse

    sides = (_side("A", a), _side("B", b))
    if sides == (LIVE, LIVE):
        raise typer.BadParameter("the live machine cannot be compared with itself")
    for name, value in (("--atol", atol), ("--rtol", rtol)):
        if value != value:
            raise typer.BadParameter(f"{name} is no number")
    settings = load_settings(config)
    if settings.database.dsn is None and not settings.state_dir.is_dir():
        raise DatabaseDownError(f"there is no database in {settings.state_dir} yet: the service makes it")
    found = run_to_its_end(_compare(settings, sides, parse(select), (atol, rtol)))
    rows = Show[show.name]
    if json_wanted:
        typer.echo(json.dumps(_as_json(found, rows), indent=2))
    else:
        _print(found, rows, size)
    if not found.same:
        raise typer.Exit(ExitCode.DIFFERENT)


def _side(name: str, text: str) -> int | str:
    """An id, LIVE or REFERENCE; also as the numbers that DIFF:A and DIFF:B take."""
    word = {"0": LIVE, "-1": REFERENCE}.get(text, text.lower())
    if word in (LIVE, REFERENCE):
        return word
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"{name} is {text!r}: it must be a snapshot's id, 'reference' or 'live'")
    return int(text)


async def _compare(
    settings: Settings, sides: tuple[int | str, int | str], selection: Selection, limits: tuple[float, float]
) -> _Found:
    import numpy as np

    from squirrel_ioc.jobs.compare import compare_sides
    from squirrel_ioc.store import Store

    # The service may be running: it has the database for itself only as far as changes go.
    store = await Store.open(settings.database, settings.state_dir, exclusive=False)
    try:
        catalogue = await store.load_catalogue()
        snapshots = [None if side == LIVE else await _snapshot(store, side) for side in sides]
        frames: dict[Snapshot | None, Frame] = {s: await store.load_frame(s.id) for s in snapshots if s is not None}
    finally:
        await store.close()
    flags = None
    if None in snapshots:
        frames[None], flags = await _live(settings, next(iter(frames.values())).channels)
    whole = [frames[s] for s in snapshots]
    cut = [f.take(np.flatnonzero(selection.match_channels(f.channels, catalogue, flags))) for f in whole]
    if not any(map(len, cut)):
        raise NotFoundError(f"selection {selection} matches no PV of what is compared")
    comparison = compare_sides(tuple(zip(cut, snapshots, strict=True)), catalogue, *limits)
    return _Found(snapshots[0], snapshots[1], comparison)


async def _snapshot(store: Store, side: int | str) -> Snapshot:
    snapshot = await (store.reference() if side == REFERENCE else store.snapshot(int(side)))
    if snapshot is None:
        raise NotFoundError("there is no reference snapshot" if side == REFERENCE else f"there is no snapshot {side}")
    return snapshot


async def _live(settings: Settings, channels: ChannelList) -> tuple[Frame, LiveFlags]:
    """The values of these channels now, and how they are connected."""
    from rich.console import Console

    from squirrel_ioc.ca import Machine
    from squirrel_ioc.model.selection import LiveFlags

    machine = Machine(settings.ca)
    await machine.start()
    try:
        with Console(stderr=True).status(f"connecting to {len(channels)} PVs"):
            await machine.watch(channels)
            await machine.settled(settings.ca.connect_timeout_s)
        known = machine.live(channels)
        return await machine.read(channels), LiveFlags(known.connected, known.writable)
    finally:
        await machine.stop()


def _print(found: _Found, show: Show, size: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from squirrel_ioc.cli._rows import add_row
    from squirrel_ioc.model.difftable import tabulate
    from squirrel_ioc.model.display import delta_texts

    comparison = found.comparison
    rows = tabulate(comparison, show, 60)
    if len(rows):
        table = Table("PV", "A", "B", "Difference", "")
        table.columns[0].no_wrap = True
        deltas = delta_texts(comparison, rows.rows, 60)
        cells = zip(rows.names, rows.text_a, rows.text_b, deltas, rows.role, strict=True)
        for *values, role in islice(cells, size):
            add_row(table, *values, "" if role == "setpoint" else role)
        Console().print(table)
    if len(rows) > size:
        typer.echo(f"{len(rows) - size} more rows are not shown: --size {len(rows)} shows all")
    for name, snapshot in (("A", found.a), ("B", found.b)):
        typer.echo(f"{name}: {_words(snapshot)}")
    summary = f"{int(comparison.different.sum())} of {int(comparison.compared.sum())} PVs differ"
    if missing := int(comparison.missing.sum()):
        summary += f", {missing} on one side only"
    if found.unread:
        summary += f", {found.unread} could not be read"
    typer.echo(summary)


def _words(snapshot: Snapshot | None) -> str:
    from squirrel_ioc.cli._rows import local_time

    if snapshot is None:
        return "the live machine"
    title = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in snapshot.title)
    return f"snapshot {snapshot.id}, {local_time(snapshot.taken)}, {title}"


def _as_json(found: _Found, show: Show) -> dict[str, Any]:
    from squirrel_ioc.cli._rows import as_json
    from squirrel_ioc.model.compare import Kind
    from squirrel_ioc.model.difftable import tabulate

    comparison = found.comparison
    rows = tabulate(comparison, show)
    side_a, side_b = (
        _values(comparison.a, comparison.row_a[rows.rows]),
        _values(comparison.b, comparison.row_b[rows.rows]),
    )
    return {
        "a": None if found.a is None else as_json(found.a),
        "b": None if found.b is None else as_json(found.b),
        "compared": int(comparison.compared.sum()),
        "different": int(comparison.different.sum()),
        "missing": int(comparison.missing.sum()),
        "unread": found.unread,
        "rows": [
            {
                "pv": name,
                "role": role,
                "kind": Kind(kind).name.lower(),
                "delta": delta if delta - delta == 0.0 else None,
                "a": value_a and {**value_a, "text": text_a},
                "b": value_b and {**value_b, "text": text_b},
            }
            for name, role, kind, delta, value_a, value_b, text_a, text_b in zip(
                rows.names,
                rows.role,
                comparison.kind[rows.rows].tolist(),
                rows.delta.tolist(),
                side_a,
                side_b,
                rows.text_a,
                rows.text_b,
                strict=True,
            )
        ],
    }


def _values(frame: Frame, rows: Any) -> Sequence[dict[str, Any] | None]:
    """What each row of a side is; None where it has no such channel."""
    from squirrel_ioc.cli._rows import value_rows

    here = iter(value_rows(frame, rows[rows >= 0].tolist()))
    values = []
    for row in rows.tolist():
        value = None if row < 0 else next(here)
        if value is not None:
            del value["pv"]
        values.append(value)
    return values
