"""The catalogue in the database: list it, and change it; a running service goes over to it at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squirrel_ioc.cli import _pv_away, _pv_files, _pv_tags
from squirrel_ioc.cli._pv_change import (
    CLEAR,
    DryRunOption,
    FilterOption,
    change,
    fields,
    meant,
    named_or_meant,
    tags,
    tell,
)
from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.cli._store import read_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from squirrel_ioc.model.catalogue import Entry
    from squirrel_ioc.model.inventory import Inventory
    from squirrel_ioc.store import Store

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="List and change the catalogue; a running service follows at once.")

NamesArgument = Annotated[list[str], typer.Argument(metavar="PV", help="Names of setpoints.")]
OptionalNames = Annotated[list[str] | None, typer.Argument(metavar="PV", help="Names of setpoints.")]
SomeFilter = Annotated[
    str | None, typer.Option("--filter", "-f", metavar="SELECTION", help="Instead of names: what the selection means.")
]
ReadbackOption = Annotated[
    str | None, typer.Option(metavar="PV", help=f"Saved and compared with it, never written; {CLEAR}: there is none.")
]
DescriptionOption = Annotated[str | None, typer.Option(metavar="TEXT", help="For people.")]
DeviceOption = Annotated[str | None, typer.Option(metavar="TEXT", help="What it belongs to.")]
AtolOption = Annotated[str | None, typer.Option(metavar="NUMBER", help=f"Absolute tolerance, or {CLEAR}.")]
RtolOption = Annotated[str | None, typer.Option(metavar="NUMBER", help=f"Relative tolerance, or {CLEAR}.")]
OrderOption = Annotated[str | None, typer.Option(metavar="INTEGER", help="Writes go in ascending order.")]
StepOption = Annotated[str | None, typer.Option(metavar="NUMBER", help=f"Ramped in such steps, or {CLEAR}.")]
PeriodOption = Annotated[str | None, typer.Option(metavar="SECONDS", help="Between the steps of a ramp.")]
CompletionOption = Annotated[
    str | None, typer.Option(metavar="wait|no|SECONDS", help="How long a restore waits for a write to complete.")
]
VerifyOption = Annotated[
    str | None, typer.Option(metavar="setpoint|readback|no", help="What a restore reads to verify it.")
]
ReadOnlyOption = Annotated[bool | None, typer.Option("--read-only/--writable", help="Whether it is never written.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="GROUP=TAG", help="A tag; may be repeated.")]


@app.command("list")
def list_pvs(
    config: ConfigOption,
    select: FilterOption = "",
    removed: Annotated[
        bool, typer.Option("--removed", help="Those that stand in a file, but were removed by hand.")
    ] = False,
    size: Annotated[int, typer.Option("--size", "-n", min=0, help="Rows of the table at most; 0: all.")] = 1000,
    json_wanted: JsonOption = False,
) -> None:
    """List the setpoints of the catalogue, and how each is treated."""
    from squirrel_ioc.cli._rows import add_row
    from squirrel_ioc.model.catalogue import Catalogue

    async def load(store: Store) -> tuple[list[Entry], Inventory]:
        stored = await store.load_inventory()
        listed = Catalogue.of(list(stored.inventory.removed.values())) if removed else stored.catalogue
        return meant(listed, select), stored.inventory

    entries, inventory = read_store(config, load)
    if json_wanted:
        rows = [_as_json(e, inventory) for e in entries]
        typer.echo(json.dumps({"total": len(rows), "pvs": rows}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("Setpoint", "Readback", "Tolerances", "Written", "Tags", "From", "Description")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    shown = entries[: size or None]
    for e in shown:
        add_row(table, *_cells(e, inventory))
    Console().print(table)
    typer.echo(f"{len(shown)} of {len(entries)}")


def _cells(e: Entry, inventory: Inventory) -> tuple[str, ...]:
    tolerances = [f"{name} {value:g}" for name, value in (("atol", e.atol), ("rtol", e.rtol)) if value is not None]
    written = [f"order {e.order}"] if e.order else []
    if e.completion is not None:
        written.append(f"completes within {e.completion:g} s" if e.completion else "completion not waited for")
    if e.max_step is not None:
        written.append(f"in steps of {e.max_step:g} every {e.step_period:g} s")
    return (
        e.setpoint,
        e.readback or "",
        ", ".join(tolerances),
        "never" if e.read_only else ", ".join(written),
        "; ".join(f"{group}={','.join(found)}" for group, found in e.tags.items()),
        _origin(e.setpoint, inventory),
        e.description,
    )


def _origin(name: str, inventory: Inventory) -> str:
    if name in inventory.added:
        return "added"
    return "file, changed" if name in inventory.filed else "file"


def _as_json(e: Entry, inventory: Inventory) -> dict[str, Any]:
    from squirrel_ioc.model.catalogue import TREATMENT

    return {
        "setpoint": e.setpoint,
        "tags": {group: list(found) for group, found in e.tags.items()},
        **{name: getattr(e, name) for name in TREATMENT},
        "origin": "added" if e.setpoint in inventory.added else "file",
        "changed": e.setpoint in inventory.filed,
        "removed": e.setpoint in inventory.removed,
    }


@app.command("add")
def add_pvs(
    names: NamesArgument,
    config: ConfigOption,
    readback: ReadbackOption = None,
    description: DescriptionOption = None,
    device: DeviceOption = None,
    atol: AtolOption = None,
    rtol: RtolOption = None,
    order: OrderOption = None,
    max_step: StepOption = None,
    step_period: PeriodOption = None,
    completion: CompletionOption = None,
    verify: VerifyOption = None,
    read_only: ReadOnlyOption = None,
    tag: TagOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Take up PVs. Those that were in the catalogue once come back as they were, but for the options given."""
    from squirrel_ioc.formats.catalogue.catalogue import pv_problem
    from squirrel_ioc.model.pv_names import canonical

    names = list(map(canonical, names))
    if bad := [problem for name in names if (problem := pv_problem(name)) is not None]:
        raise typer.BadParameter("; ".join(bad))
    values = fields(
        readback=_one_readback(names, readback),
        description=description,
        device=device,
        atol=atol,
        rtol=rtol,
        order=order,
        max_step=max_step,
        step_period=step_period,
        completion=completion,
        verify=verify,
    )
    if read_only is not None:
        values["read_only"] = read_only
    more = tags(tag)

    def edit(inventory: Inventory, former: Mapping[str, Entry]) -> Inventory:
        taken = inventory.with_added(names, former)
        there = taken.by_name()
        return taken.with_changed({n: _with_tags(replace(there[n], **values), more) for n in names})

    stored, summary = change(config, "add", edit, names=names)
    tell(stored, summary, json_wanted=json_wanted)


def _one_readback(names: Sequence[str] | None, readback: str | None) -> str | None:
    if readback not in (None, CLEAR) and len(names or ()) != 1:
        raise typer.BadParameter("a readback can be given for one PV at a time only")
    return readback


def _with_tags(entry: Entry, more: Mapping[str, tuple[str, ...]]) -> Entry:
    if not more:
        return entry
    found = dict(entry.tags)
    for group, new in more.items():
        found[group] = tuple(dict.fromkeys((*found.get(group, ()), *new)))
    return replace(entry, tags=found)


@app.command("set")
def set_pvs(
    config: ConfigOption,
    names: OptionalNames = None,
    select: SomeFilter = None,
    readback: ReadbackOption = None,
    description: DescriptionOption = None,
    device: DeviceOption = None,
    atol: AtolOption = None,
    rtol: RtolOption = None,
    order: OrderOption = None,
    max_step: StepOption = None,
    step_period: PeriodOption = None,
    completion: CompletionOption = None,
    verify: VerifyOption = None,
    read_only: ReadOnlyOption = None,
    dry_run: DryRunOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Change how PVs are treated: those named, or all that a selection means. What is not given stays."""
    find = named_or_meant(names, select)
    values = fields(
        readback=_one_readback(names, readback),
        description=description,
        device=device,
        atol=atol,
        rtol=rtol,
        order=order,
        max_step=max_step,
        step_period=step_period,
        completion=completion,
        verify=verify,
    )
    if read_only is not None:
        values["read_only"] = read_only
    if not values:
        raise typer.BadParameter("there is nothing to change: give --atol, --order, --read-only ...")

    def edit(inventory: Inventory, _: Mapping[str, Entry]) -> Inventory:
        return inventory.with_changed({e.setpoint: replace(e, **values) for e in find(inventory)})

    stored, summary = change(config, "set", edit, dry_run=dry_run)
    tell(stored, summary, dry_run=dry_run, json_wanted=json_wanted)


@app.command("remove")
def remove_pvs(
    config: ConfigOption,
    names: OptionalNames = None,
    select: SomeFilter = None,
    dry_run: DryRunOption = False,
    json_wanted: JsonOption = False,
) -> None:
    """Take PVs out: those named, or all that a selection means. Snapshots keep their values.

    A PV that stands in a catalogue file stays away until it is added again.
    """
    find = named_or_meant(names, select)

    def edit(inventory: Inventory, _: Mapping[str, Entry]) -> Inventory:
        return inventory.without([e.setpoint for e in find(inventory)])

    stored, summary = change(config, "remove", edit, dry_run=dry_run)
    tell(stored, summary, dry_run=dry_run, json_wanted=json_wanted)


app.add_typer(_pv_tags.app, name="tag")
app.add_typer(_pv_away.app, name="away")
app.command("import")(_pv_files.import_file)
app.command("export")(_pv_files.export_file)
