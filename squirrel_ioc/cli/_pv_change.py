"""What the commands that change the catalogue have in common: they work on the database, the service follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from squirrel_ioc.cli._store import read_store
from squirrel_ioc.errors import CatalogueError

if TYPE_CHECKING:
    from pathlib import Path

    from squirrel_ioc.model.catalogue import Catalogue, Entry
    from squirrel_ioc.model.inventory import Edit, Inventory, Summary
    from squirrel_ioc.store import Store, StoredCatalogue

__all__ = [
    "CLEAR",
    "DryRunOption",
    "FilterOption",
    "change",
    "fields",
    "meant",
    "named_or_meant",
    "tags",
    "tell",
]

CLEAR: Final = "none"
"""Written for a number or a readback: there is to be none."""

FilterOption = Annotated[str, typer.Option("--filter", "-f", metavar="SELECTION", help="Of the setpoints.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")]


def change(
    config: Path, command: str, edit: Edit, *, names: Collection[str] = (), dry_run: bool = False
) -> tuple[StoredCatalogue, Summary]:
    """Change the catalogue in the database. A running service goes over to it."""
    import getpass
    import socket

    from squirrel_ioc.model.inventory import Summary

    made_by = f"squirrel-ioc pvs {command}, {getpass.getuser()}@{socket.gethostname()}"

    async def work(store: Store) -> tuple[StoredCatalogue, Summary]:
        if dry_run:
            stored = await store.load_inventory()
            return stored, Summary.of(stored.inventory, edit(stored.inventory, {}))
        return await store.change_catalogue(edit, made_by=made_by, names=names)

    return read_store(config, work)


def tell(stored: StoredCatalogue, summary: Summary, *, dry_run: bool = False, json_wanted: bool = False) -> None:
    """What has come of it."""
    if json_wanted:
        shown = {"added": summary.added, "removed": summary.removed, "changed": summary.changed, "dry_run": dry_run}
        typer.echo(json.dumps({**shown, "version": stored.catalogue.version}, indent=2))
    elif dry_run:
        typer.echo(f"It would be: {summary}.")
    else:
        typer.echo(f"{summary}; {len(stored.catalogue)} setpoints in the catalogue.")


def meant(catalogue: Catalogue, selection: str) -> list[Entry]:
    """The entries whose setpoints a selection means. Raises BadParameter when it asks for the state of the machine."""
    from itertools import compress

    from squirrel_ioc.model.selection import parse

    wanted = parse(selection)
    if wanted.needs_live:
        raise typer.BadParameter(f"{selection}: only the service knows what is connected; use PVS:FIND")
    if wanted.everything:
        return list(catalogue.entries)
    return list(compress(catalogue.entries, wanted.match(catalogue)[: len(catalogue)].tolist()))


def named_or_meant(names: Sequence[str] | None, selection: str | None) -> Callable[[Inventory], list[Entry]]:
    """The entries that are named, or those that the selection means; there must be one of the two."""
    from squirrel_ioc.errors import UnknownPvError
    from squirrel_ioc.model.catalogue import Catalogue
    from squirrel_ioc.model.inventory import few
    from squirrel_ioc.model.pv_names import known_as

    if bool(names) == (selection is not None):
        raise typer.BadParameter("give the names of PVs, or --filter with a selection")

    def find(inventory: Inventory) -> list[Entry]:
        if selection is not None:
            return meant(Catalogue.of(inventory.entries), selection)
        known = inventory.by_name()
        wanted = [known_as(name, known) for name in names or ()]
        if unknown := [name for name in wanted if name not in known]:
            raise UnknownPvError(f"no setpoint of the catalogue: {few(unknown)}")
        return [known[name] for name in wanted]

    return find


def fields(**texts: str | None) -> dict[str, Any]:
    """Fields of an entry, from options; those not given (None) are not among them. Raises BadParameter."""
    from squirrel_ioc.formats.catalogue.catalogue import pv_problem, read_fields
    from squirrel_ioc.model.catalogue import Entry
    from squirrel_ioc.model.pv_names import canonical

    default = Entry("")
    given = {name: text.strip() for name, text in texts.items() if text is not None}
    cleared = {name: getattr(default, name) for name, text in given.items() if text in ("", CLEAR)}
    written = {name: text for name, text in given.items() if name not in cleared}
    readback = written.pop("readback", None)
    readback = None if readback is None else canonical(readback)
    if readback is not None and (problem := pv_problem(readback)) is not None:
        raise typer.BadParameter(f"readback: {problem}")
    try:
        values = read_fields(written)
    except CatalogueError as e:
        raise typer.BadParameter(str(e)) from None
    return {**cleared, **values, **({} if readback is None else {"readback": readback})}


def tags(texts: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Tags, from options `Group=Tag`. Raises BadParameter."""
    from squirrel_ioc.formats.catalogue.catalogue import read_tags

    try:
        return read_tags(";".join(texts or ()))
    except CatalogueError as e:
        raise typer.BadParameter(str(e)) from None
