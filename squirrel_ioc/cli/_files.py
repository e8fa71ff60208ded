"""The commands `import` and `export`: snapshots from files of other tools, and snapshots as such files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from squirrel_ioc.cli._exit import NotFoundError
from squirrel_ioc.cli._pv_files import read_options
from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.cli._store import read_store
from squirrel_ioc.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from squirrel_ioc.formats import ReadOptions, SnapshotFile
    from squirrel_ioc.jobs.importing import Imported
    from squirrel_ioc.model.snapshot import Snapshot
    from squirrel_ioc.store import Store

__all__ = ["export_values", "import_values"]

FormatOption = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="autosave, burt, psi, phoebus or jsonl.")
]


def import_values(
    file: Annotated[Path, typer.Argument(help="A file with values: .sav, .snap, .csv, .jsonl ...")],
    config: ConfigOption,
    format_name: FormatOption = None,
    title: Annotated[str, typer.Option(help="Instead of the file's.")] = "",
    comment: Annotated[str, typer.Option(help="Instead of the file's.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="Instead of the file's; may be repeated.")] = None,
    macros: Annotated[str, typer.Option(metavar="A=1,B=2", help="Macros in the names of PVs.")] = "",
    encoding: Annotated[str, typer.Option(help="Of the text in the file.")] = "utf-8",
    json_wanted: JsonOption = False,
) -> None:
    """Make a snapshot of another tool's file. Without --format, the file itself tells.

    The snapshot has the title, comment, labels and time of the file. Lists of PVs are imported with `pvs import`.
    """
    from squirrel_ioc.cli._rows import as_json, local_time

    options = read_options(macros, encoding)
    described = (title, comment, tuple(label or ()))
    snapshot, made = read_store(config, lambda store: _import(store, file, format_name, options, described))
    for warning in made.warnings:
        typer.echo(f"squirrel-ioc: {file.name}: {warning}", err=True)
    if json_wanted:
        told = {"snapshot": as_json(snapshot), "format": made.format, "warnings": list(made.warnings)}
        typer.echo(json.dumps(told, indent=2))
        return
    missing = f", {snapshot.missing} PVs without one" if snapshot.missing else ""
    typer.echo(
        f"snapshot {snapshot.id}: {snapshot.count} values{missing} of {file.name} ({made.format}), "
        f"taken {local_time(snapshot.taken)}"
    )


async def _import(
    store: Store,
    file: Path,
    format_name: str | None,
    options: ReadOptions,
    described: tuple[str, str, tuple[str, ...]],
) -> tuple[Snapshot, Imported]:
    import getpass
    import socket
    from dataclasses import replace

    from squirrel_ioc.jobs.file_types import stored_types
    from squirrel_ioc.jobs.importing import read_import
    from squirrel_ioc.model.snapshot import NewSnapshot

    title, comment, labels = described
    new = NewSnapshot(title, comment, labels, user=getpass.getuser(), host=socket.gethostname())
    types = await stored_types(store)
    made = read_import(file, format_name, replace(options, live=types), new, await store.load_catalogue())
    return await store.save_snapshot(made.frame, made.new), made


def export_values(
    snapshot_id: Annotated[str, typer.Argument(metavar="ID", help="The snapshot's id, or 'reference'.")],
    file: Annotated[Path, typer.Argument(help="Where to write it; - is standard output.")],
    config: ConfigOption,
    format_name: FormatOption = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a snapshot to a file of another tool, and say what its format cannot hold.

    Without --format, the end of the name tells: .sav, .csv (Phoebus), .jsonl.
    """
    import sys

    from squirrel_ioc.formats import format_named, write_snapshot
    from squirrel_ioc.jobs.exporting import export_format

    to_stdout = str(file) == "-"
    chosen = export_format(file.name, format_name or ("jsonl" if to_stdout else ""))
    if not to_stdout and not force and file.exists():
        raise FormatError([f"{file}: is there already; --force writes over it"])
    content = read_store(config, lambda store: _content(store, snapshot_id, chosen))
    if to_stdout:
        warnings: Sequence[str] = format_named(chosen).write_snapshot(sys.stdout.write, content)
    else:
        warnings = write_snapshot(file, content, chosen, replace=force)
        typer.echo(f"{int(content.frame.valid.sum())} values written to {file} ({chosen}).")
    for warning in warnings:
        typer.echo(f"squirrel-ioc: {file.name}: {warning}", err=True)


async def _content(store: Store, text: str, chosen: str) -> SnapshotFile:
    from squirrel_ioc.jobs.exporting import snapshot_file

    if text != "reference" and not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"ID is {text!r}: it must be a snapshot's id or 'reference'")
    snapshot = await (store.reference() if text == "reference" else store.snapshot(int(text)))
    if snapshot is None:
        raise NotFoundError("there is no reference snapshot" if text == "reference" else f"there is no snapshot {text}")
    frame, catalogue = await store.load_frame(snapshot.id), await store.load_catalogue()
    return snapshot_file(snapshot, frame, catalogue, with_attributes=chosen == "jsonl")
