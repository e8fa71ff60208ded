"""Commands that read snapshots from the database; the service may be running meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

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
    from squirrel_ioc.model.frame import Frame
    from squirrel_ioc.model.snapshot import Snapshot
    from squirrel_ioc.store import Store

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="List and show snapshots.")

_WIDE: Final = 110
"""Columns of a terminal that has room for sizes and labels; `show` and `--json` have them at any width."""


@app.command("list")
def list_snapshots(
    config: ConfigOption,
    text: TextOption = "",
    label: LabelOption = "",
    user: UserOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    backups: Annotated[bool, typer.Option("--backups", help="Also those that restores took by themselves.")] = False,
    size: Annotated[int, typer.Option("--size", "-n", min=1, max=10_000, help="Rows of a page.")] = 20,
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    json_wanted: JsonOption = False,
) -> None:
    """List snapshots, newest first."""
    from squirrel_ioc.cli._rows import add_row, as_json, bytes_text, local_time

    wanted = replace(
        snapshot_filter(text, label, user, since, until),
        automatic=None if backups else False,
        page=page - 1,
        size=size,
    )
    found, total = read_store(config, lambda store: store.snapshots(wanted))
    if json_wanted:
        typer.echo(json.dumps({"total": total, "snapshots": [as_json(s) for s in found]}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    wide = console.width >= _WIDE
    table = Table(*("ID", "Taken", "Title", "User", "PVs", "Missing", "Flags"), *(("Size", "Labels") if wide else ()))
    table.columns[1].no_wrap = True
    for column in table.columns:
        if column.header in ("ID", "PVs", "Missing", "Size"):
            column.justify, column.no_wrap = "right", True
    for s in found:
        more = (bytes_text(s.size_bytes), ", ".join(s.labels)) if wide else ()
        counts = str(s.count), str(s.missing or "")
        add_row(table, str(s.id), local_time(s.taken), s.title, s.user, *counts, s.flags, *more)
    console.print(table)
    first = (page - 1) * size
    typer.echo(f"{first + 1 if found else 0} to {first + len(found)} of {total}")


@app.command("show")
def show_snapshot(
    snapshot_id: Annotated[int, typer.Argument(metavar="ID", help="The snapshot's id.")],
    config: ConfigOption,
    values: Annotated[bool, typer.Option("--values", help="Also every value.")] = False,
    select: Annotated[str, typer.Option("--filter", "-f", help="Only the values this selection matches.")] = "",
    json_wanted: JsonOption = False,
) -> None:
    """Show one snapshot, and its values if asked for."""
    from squirrel_ioc.cli._rows import add_row, as_json, short, value_rows

    snapshot, frame = read_store(
        config, lambda store: _load(store, snapshot_id, select, with_values=values or bool(select))
    )
    rows = [] if frame is None else value_rows(frame)
    if json_wanted:
        shown = as_json(snapshot)
        typer.echo(json.dumps(shown if frame is None else {**shown, "values": rows}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    about = Table(show_header=False)
    for key, value in as_json(snapshot).items():
        add_row(about, key.replace("_", " "), ", ".join(value) if isinstance(value, list) else str(value))
    console.print(about)
    if frame is not None:
        table = Table("PV", "Value", "Units", "Severity", "Time stamp")
        for row in rows:
            shown_value = row["value"] if row["state"] == "ok" else f"({row['state']})"
            add_row(table, row["pv"], short(shown_value), row["units"], row["severity"], row["time"] or "")
        console.print(table)


async def _load(store: Store, snapshot_id: int, select: str, *, with_values: bool) -> tuple[Snapshot, Frame | None]:
    from squirrel_ioc.cli._rows import selected_rows
    from squirrel_ioc.model.selection import parse

    selection = parse(select)
    snapshot = await store.snapshot(snapshot_id)
    if snapshot is None:
        raise NotFoundError(f"there is no snapshot {snapshot_id}")
    if not with_values:
        return snapshot, None
    frame = await store.load_frame(snapshot_id)
    if selection.everything:
        return snapshot, frame
    return snapshot, frame.take(selected_rows(selection, frame, await store.load_catalogue()))
