"""The catalogue in files of other tools, and of our own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from squirrel_ioc.cli._pv_change import DryRunOption, FilterOption, change, meant, tags, tell
from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.cli._store import read_store
from squirrel_ioc.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from squirrel_ioc.formats import Format, ReadOptions
    from squirrel_ioc.model.catalogue import Entry
    from squirrel_ioc.model.inventory import Inventory

__all__ = ["export_file", "import_file", "read_options"]

FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="autosave, burt, psi, phoebus, squirrel, catalogue or jsonl."),
]


def import_file(
    file: Annotated[Path, typer.Argument(help="A catalogue file, or another tool's list of PVs.")],
    config: ConfigOption,
    format_name: FormatOption = None,
    macros: Annotated[str, typer.Option(metavar="A=1,B=2", help="Macros of a request file.")] = "",
    path: Annotated[
        list[Path] | None, typer.Option(help="Where included files are looked for as well; may be repeated.")
    ] = None,
    inherit_macros: Annotated[
        bool, typer.Option("--inherit-macros", help="Included files see the macros of the file that includes them.")
    ] = False,
    encoding: Annotated[str, typer.Option(help="Of the text in the file.")] = "utf-8",
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="GROUP=TAG", help="Given to every PV of the file.")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Also change PVs that are there already, where the file says something.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="The catalogue becomes what the file says: nothing else stays.")
    ] = False,
    dry_run: DryRunOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Take up the PVs of a file, all of them or none. PVs that are there already stay as they are."""
    from squirrel_ioc.formats import read_catalogue

    if update and replace:
        raise typer.BadParameter("--update and --replace do not go together")
    found = read_catalogue(file, format_name, read_options(macros, encoding, path or (), inherit_macros=inherit_macros))
    for warning in found.warnings:
        typer.echo(f"squirrel-ioc: {file.name}: {warning}", err=True)
    entries = _tagged(found.entries, tags(tag))
    present = 0

    def edit(inventory: Inventory, _: Mapping[str, Entry]) -> Inventory:
        nonlocal present
        there = inventory.by_name()
        present = sum(e.setpoint in there for e in entries)
        if replace:
            return inventory.replaced(entries)
        return inventory.with_imported(entries, update=update)

    stored, summary = change(config, f"import {file.name}", edit, dry_run=dry_run)
    if not json_wanted:
        typer.echo(f"{file.name}: {len(entries)} PVs, {present} of them were in the catalogue already.")
    tell(stored, summary, dry_run=dry_run, json_wanted=json_wanted)


def read_options(macros: str, encoding: str, path: Sequence[Path] = (), *, inherit_macros: bool = False) -> ReadOptions:
    """How a file is to be read, from the options of a command. Raises BadParameter."""
    import codecs

    from squirrel_ioc.formats import MacroError, ReadOptions, parse_macros

    try:
        codecs.lookup(encoding)
    except LookupError:
        raise typer.BadParameter(f"encoding {encoding!r} is not known") from None
    try:
        given = parse_macros(macros)
    except MacroError as e:
        raise typer.BadParameter(f"macros: {e}") from None
    return ReadOptions(given, tuple(path), inherit_macros=inherit_macros, encoding=encoding)


def _tagged(entries: list[Entry], more: Mapping[str, tuple[str, ...]]) -> list[Entry]:
    from dataclasses import replace

    if not more:
        return entries
    return [
        replace(e, tags={**e.tags, **{g: tuple(dict.fromkeys((*e.tags.get(g, ()), *t))) for g, t in more.items()}})
        for e in entries
    ]


def export_file(
    file: Annotated[Path, typer.Argument(help="Where to write it; - is standard output.")],
    config: ConfigOption,
    format_name: FormatOption = None,
    select: FilterOption = "",
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write the catalogue to a file, and say what its format cannot hold. Without --format, its name tells."""
    import sys

    from squirrel_ioc.formats import Kind, write_catalogue

    to_stdout = str(file) == "-"
    chosen = _format_of(file, format_name or ("catalogue" if to_stdout else None))
    if Kind.CATALOGUE not in chosen.writes:
        raise FormatError([f"{chosen.title} holds no catalogue"])
    if not to_stdout and not force and file.exists():
        raise FormatError([f"{file}: is there already; --force writes over it"])
    entries = meant(read_store(config, lambda store: store.load_catalogue()), select)
    if to_stdout:
        warnings = chosen.write_catalogue(sys.stdout.write, entries)
    else:
        warnings = write_catalogue(file, entries, chosen.name)
        typer.echo(f"{len(entries)} PVs written to {file} as {chosen.title}.")
    for warning in warnings:
        typer.echo(f"squirrel-ioc: {warning}", err=True)


def _format_of(file: Path, format_name: str | None) -> Format:
    from squirrel_ioc.formats import format_named

    if format_name is not None:
        return format_named(format_name)
    by_suffix = {".csv": "catalogue", ".jsonl": "jsonl"}
    if (name := by_suffix.get(file.suffix.lower())) is None:
        raise typer.BadParameter(f"{file.name}: its name does not tell the format, give --format")
    return format_named(name)
