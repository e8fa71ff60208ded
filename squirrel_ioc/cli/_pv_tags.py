"""Tags of many PVs at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from squirrel_ioc.cli._pv_change import DryRunOption, FilterOption, change, meant, tags, tell
from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.cli._store import read_store

if TYPE_CHECKING:
    from pathlib import Path

    from squirrel_ioc.model.catalogue import Entry
    from squirrel_ioc.model.inventory import Inventory

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Tags: list, add, rename, remove them. Snapshots are not touched.")

Tags = Mapping[str, tuple[str, ...]]


@app.command("list")
def list_tags(config: ConfigOption, select: FilterOption = "", json_wanted: JsonOption = False) -> None:
    """List the tags, and how many setpoints have each."""
    from squirrel_ioc.cli._rows import add_row

    entries = meant(read_store(config, lambda store: store.load_catalogue()), select)
    counts = Counter((group, tag) for e in entries for group, found in e.tags.items() for tag in found)
    groups: dict[str, dict[str, int]] = {}
    for (group, tag), count in sorted(counts.items()):
        groups.setdefault(group, {})[tag] = count
    if json_wanted:
        typer.echo(json.dumps(groups, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("Group", "Tag", "Setpoints")
    table.columns[2].justify = "right"
    for group, found in groups.items():
        for tag, count in found.items():
            add_row(table, group, tag, str(count))
    Console().print(table)


@app.command("add")
def add_tags(
    tag: Annotated[list[str], typer.Argument(metavar="GROUP=TAG", help="Tags to add.")],
    config: ConfigOption,
    select: Annotated[
        str, typer.Option("--filter", "-f", metavar="SELECTION", help="Of the setpoints; '' is all of them.")
    ],
    dry_run: DryRunOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Add tags to all that a selection means."""
    new = tags(tag)

    def add(have: Tags) -> Tags:
        return _tidy([*_pairs(have), *_pairs(new)])

    _retag(config, "tag add", add, select, dry_run=dry_run, json_wanted=json_wanted)


@app.command("remove")
def remove_tag(
    tag: Annotated[str, typer.Argument(metavar="GROUP=TAG", help="A tag; GROUP alone is all tags of it.")],
    config: ConfigOption,
    select: FilterOption = "",
    dry_run: DryRunOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Remove a tag, or a group of tags, from all that a selection means."""
    group, one = _which(tag)

    def remove(have: Tags) -> Tags:
        return _tidy([(g, t) for g, t in _pairs(have) if g != group or one not in (None, t)])

    _retag(config, "tag remove", remove, select, dry_run=dry_run, json_wanted=json_wanted)


@app.command("rename")
def rename_tag(
    tag: Annotated[str, typer.Argument(metavar="OLD", help="GROUP=TAG or GROUP.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="What it is to be: GROUP=TAG or GROUP.")],
    config: ConfigOption,
    select: FilterOption = "",
    dry_run: DryRunOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Rename a tag (Area=L1 to Area=LI01) or a group (Area to Region), wherever a selection means."""
    old_group, old_tag = _which(tag)
    new_group, new_tag = _which(new)
    if (old_tag is None) != (new_tag is None):
        raise typer.BadParameter("give two tags, GROUP=TAG, or two groups")

    def renamed(group: str, tag: str) -> tuple[str, str]:
        if group != old_group or old_tag not in (None, tag):
            return group, tag
        return new_group, new_tag or tag

    def rename(have: Tags) -> Tags:
        return _tidy([renamed(group, tag) for group, tag in _pairs(have)])

    _retag(config, "tag rename", rename, select, dry_run=dry_run, json_wanted=json_wanted)


def _which(text: str) -> tuple[str, str | None]:
    """The group and the tag of GROUP=TAG; of GROUP alone, no tag. Raises BadParameter."""
    given = tags([text if "=" in text else f"{text}=x"])
    if len(given) != 1 or len(next(iter(given.values()))) != 1:
        raise typer.BadParameter(f"{text!r} is not one GROUP=TAG")
    ((group, (tag,)),) = given.items()
    return group, tag if "=" in text else None


def _pairs(have: Tags) -> list[tuple[str, str]]:
    return [(group, tag) for group, found in have.items() for tag in found]


def _tidy(pairs: list[tuple[str, str]]) -> Tags:
    """Each tag once, by its group."""
    found: dict[str, tuple[str, ...]] = {}
    for group, tag in dict.fromkeys(pairs):
        found[group] = (*found.get(group, ()), tag)
    return found


def _retag(
    config: Path, command: str, new: Callable[[Tags], Tags], select: str, *, dry_run: bool, json_wanted: bool
) -> None:
    from squirrel_ioc.model.catalogue import Catalogue

    def edit(inventory: Inventory, _: Mapping[str, Entry]) -> Inventory:
        entries = meant(Catalogue.of(inventory.entries), select)
        return inventory.with_changed({e.setpoint: replace(e, tags=new(e.tags)) for e in entries})

    stored, summary = change(config, command, edit, dry_run=dry_run)
    tell(stored, summary, dry_run=dry_run, json_wanted=json_wanted)
