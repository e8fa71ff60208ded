"""The commands `dump` and `load`: everything into a file, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from squirrel_ioc.cli._exit import NotFoundError
from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.cli._store import read_store
from squirrel_ioc.errors import RefusedError

if TYPE_CHECKING:
    from squirrel_ioc.jobs.dump_files import Loaded

__all__ = ["dump", "load"]

_SHOWN = 10
FILE = "JSON lines; a name that ends in .gz or .zst is compressed."


def dump(
    file: Annotated[Path, typer.Argument(help=FILE)],
    config: ConfigOption,
    everything: Annotated[bool, typer.Option("--all", help="Every snapshot: also without this option.")] = False,
    kept: Annotated[
        bool, typer.Option("--kept", help="Only snapshots that are kept, protected or the reference.")
    ] = False,
    ids: Annotated[list[int] | None, typer.Option("--id", help="Only this snapshot; may be repeated.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write the catalogue and the snapshots, with all they are, to a file that `load` reads. The service may run."""
    from squirrel_ioc.jobs import dump_files

    if everything + kept + bool(ids) > 1:
        raise typer.BadParameter("--all, --kept and --id do not go together")
    try:
        with _progress(f"dumping to {file.name}") as progress:
            count = read_store(
                config,
                lambda store: dump_files.dump(store, file, ids or None, kept=kept, replace=force, progress=progress),
            )
    except RefusedError as e:
        raise NotFoundError(str(e)) from e
    from squirrel_ioc.cli._rows import bytes_text

    typer.echo(f"{count} snapshots written to {file}, {bytes_text(file.stat().st_size)}.")


def load(
    file: Annotated[Path, typer.Argument(help=FILE)],
    config: ConfigOption,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and only say what would be done.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="What is there gets the file's title, comment, labels and flags; the catalogue is replaced.",
        ),
    ] = False,
    json_wanted: JsonOption = False,
) -> None:
    """Bring what `dump` wrote into the database: all of it or nothing. Loading it again changes nothing.

    Snapshots keep their numbers where these are free. The service may run. What is protected is not changed.
    """
    import getpass
    import socket

    from squirrel_ioc.jobs import dump_files

    made_by = f"{getpass.getuser()}@{socket.gethostname()}: load {file.name}"
    with _progress(f"loading {file.name}") as progress:
        result = read_store(
            config,
            lambda store: dump_files.load(
                store, file, replace=replace, dry_run=dry_run, made_by=made_by, progress=progress
            ),
        )
    if json_wanted:
        typer.echo(json.dumps(_as_json(result, dry_run=dry_run), indent=2))
    else:
        _tell(result, dry_run=dry_run)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=max(total, 1))


def _as_json(result: Loaded, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "new": [{"in_file": old, "id": new or None} for old, new in result.new],
        "same": [{"in_file": old, "id": new} for old, new in result.same],
        "changed": result.changed,
        "kept": result.kept,
        "catalogue": result.catalogue,
        "notes": result.notes,
    }


def _tell(result: Loaded, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    typer.echo(f"{len(result.new)} snapshots {would}stored, {len(result.same)} were there already.")
    moved = [f"{old} is now {new}" for old, new in result.new if new not in (0, old)]
    if moved:
        more = f" and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
        typer.echo(f"Numbers that were taken: {', '.join(moved[:_SHOWN])}{more}.")
    if result.changed:
        typer.echo(f"{len(result.changed)} of them {would}changed to what the file says.")
    if result.kept:
        typer.echo(
            f"{len(result.kept)} of them have another title, comment, labels or flags here: --replace changes them."
        )
    typer.echo(f"Catalogue: {result.catalogue}.")
    for note in result.notes:
        typer.echo(f"squirrel-ioc: {note}", err=True)
