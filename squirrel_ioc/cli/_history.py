"""The command `history`: a PV across snapshots, as a table, as JSON, as a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squirrel_ioc.cli._exit import NotFoundError
from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.cli._store import (
    LabelOption,
    SinceOption,
    TextOption,
    UntilOption,
    UserOption,
    read_store,
    snapshot_filter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from squirrel_ioc.model.frame import Frame
    from squirrel_ioc.model.snapshot import History, Snapshot, SnapshotFilter
    from squirrel_ioc.store import Store

__all__ = ["history"]


@dataclass(frozen=True)
class _Past:
    """A PV's past. `newest` is its newest value, with what it says of itself; `snapshots` are those it is in."""

    points: History
    newest: Frame
    snapshots: Mapping[int, Snapshot]


def history(
    pv: Annotated[str, typer.Argument(metavar="PV", help="The PV's name.")],
    config: ConfigOption,
    text: TextOption = "",
    label: LabelOption = "",
    user: UserOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="The newest so many.")] = 1000,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw it: .png, .pdf or .svg. Needs matplotlib.")
    ] = None,
    json_wanted: JsonOption = False,
) -> None:
    """Show the number of a PV across snapshots, oldest first."""
    if plot is not None:
        from squirrel_ioc.cli._plot import check_plot

        check_plot(plot)
    wanted = snapshot_filter(text, label, user, since, until)
    past = read_store(config, lambda store: _load(store, pv, limit, wanted))
    texts = _texts(past)
    if json_wanted:
        typer.echo(json.dumps(_as_json(pv, past, texts), indent=2))
    elif plot is None:
        _print(past, texts)
    if plot is not None:
        from squirrel_ioc.cli._plot import draw

        draw(plot, pv, past.points, past.newest.metas[int(past.newest.meta[0])])
        if not json_wanted:
            typer.echo(f"{plot}: {len(past.points)} values of {pv}")


async def _load(store: Store, pv: str, limit: int, wanted: SnapshotFilter) -> _Past:
    points = await store.history(pv, limit, wanted)
    if not len(points):
        raise NotFoundError(f"none of the snapshots has {pv}")
    first = datetime.fromtimestamp(points.epochs[0] - 0.001, UTC)
    page = replace(wanted, since=first, size=1000)
    found: dict[int, Snapshot] = {}
    while snapshots := (await store.snapshots(page))[0]:
        found |= {s.id: s for s in snapshots}
        page = replace(page, page=page.page + 1)
    return _Past(points, await store.load_frame(int(points.ids[-1]), [pv]), found)


def _texts(past: _Past) -> list[str]:
    """The values as people read them, in the units and with the labels of the newest one."""
    import numpy as np

    from squirrel_ioc.model.display import texts
    from squirrel_ioc.model.frame import ChannelList, Frame
    from squirrel_ioc.model.values import Dbf, State

    points, newest = past.points, past.newest
    n = len(points)
    meta = newest.metas[int(newest.meta[0])]
    is_number = ~np.isnan(points.numbers) | np.isin(meta.dbf, (Dbf.FLOAT, Dbf.DOUBLE)) & (meta.count <= 1)
    frame = Frame(
        ChannelList.of([""] * n),
        points.states,
        np.full(n, meta.dbf, np.uint8),
        np.ones(n, np.int32),
        np.zeros(n, np.int16),
        np.zeros(n, np.int16),
        np.zeros(n, np.int64),
        np.where(is_number, points.numbers, 0.0),
        np.zeros(n, np.int32),
        (meta,),
    )
    shown = texts(frame)
    odd = ~is_number & (points.states == State.VALUE)
    return ["no number" if o else t for o, t in zip(odd.tolist(), shown, strict=True)]


def _as_json(pv: str, past: _Past, texts: list[str]) -> dict[str, Any]:
    from squirrel_ioc.cli._rows import plain
    from squirrel_ioc.model.values import State

    points = past.points
    rows = zip(
        points.ids.tolist(), points.epochs.tolist(), points.numbers.tolist(), points.states.tolist(), texts, strict=True
    )
    return {
        "pv": pv,
        "units": past.newest.metas[int(past.newest.meta[0])].units,
        "points": [
            {
                "id": i,
                "taken": datetime.fromtimestamp(epoch).astimezone().isoformat(),
                "number": plain(number),
                "text": text,
                "state": State(state).reason,
                "title": past.snapshots[i].title if i in past.snapshots else "",
            }
            for i, epoch, number, state, text in rows
        ],
    }


def _print(past: _Past, texts: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from squirrel_ioc.cli._rows import add_row, local_time

    table = Table("ID", "Taken", "Value", "Title")
    table.columns[0].justify = "right"
    table.columns[1].no_wrap = True
    for i, epoch, text in zip(past.points.ids.tolist(), past.points.epochs.tolist(), texts, strict=True):
        title = past.snapshots[i].title if i in past.snapshots else ""
        add_row(table, str(i), local_time(datetime.fromtimestamp(epoch)), text, title)
    Console().print(table)
    typer.echo(f"{len(texts)} values")
