"""Commands about the service: run it, check its settings, migrate its database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from squirrel_ioc.config import Settings
    from squirrel_ioc.model.catalogue import Catalogue, Entry

__all__ = ["ConfigOption", "JsonOption", "run", "worker", "check", "migrate"]

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="Settings file (YAML).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def run(
    config: ConfigOption,
    wait_db: Annotated[
        bool, typer.Option("--wait-db", help="Wait for the database instead of giving up when it does not answer.")
    ] = False,
) -> None:
    """Run the service until Ctrl-C or SIGTERM."""
    import asyncio

    from squirrel_ioc.app import App
    from squirrel_ioc.cli._log import setup_logging
    from squirrel_ioc.cli._notify import serving
    from squirrel_ioc.cli._stop import run_until_stopped
    from squirrel_ioc.config import load_settings

    settings = load_settings(config)
    setup_logging(settings.log)

    async def serve(stop: asyncio.Event, ready: asyncio.Event) -> None:
        async with serving(stop, ready):
            await App(settings).run(stop, wait_db=wait_db, ready=ready)

    run_until_stopped(serve)


def worker(
    config: ConfigOption,
    area: Annotated[
        list[str], typer.Option("--area", "-a", help="An area of the service's settings; may be given several times.")
    ],
    wait_db: Annotated[
        bool, typer.Option("--wait-db", help="Wait for the database instead of giving up when it does not answer.")
    ] = False,
) -> None:
    """Read and write the PVs of areas for the service, until Ctrl-C or SIGTERM.

    Of the settings it needs `database` (or `state_dir`, on the machine of an embedded one), `ca` and `log`.
    """
    import asyncio

    from squirrel_ioc.areas import Worker
    from squirrel_ioc.cli._log import setup_logging
    from squirrel_ioc.cli._notify import serving
    from squirrel_ioc.cli._stop import run_until_stopped
    from squirrel_ioc.config import load_settings

    settings = load_settings(config)
    setup_logging(settings.log)

    async def work(stop: asyncio.Event, ready: asyncio.Event) -> None:
        async with serving(stop, ready):
            await Worker(settings, area).run(stop, wait_db=wait_db, ready=ready)

    run_until_stopped(work)


def check(
    file: Annotated[Path, typer.Argument(help="Settings file (YAML).")],
    json_wanted: JsonOption = False,
) -> None:
    """Validate settings and catalogue without starting anything."""
    from squirrel_ioc.config import load_settings
    from squirrel_ioc.errors import CatalogueError, SettingsError
    from squirrel_ioc.formats.catalogue.catalogue import load_catalogue
    from squirrel_ioc.model.catalogue import Catalogue

    try:
        settings = load_settings(file)
        catalogue = Catalogue.of(load_catalogue(settings.catalogue.files))
    except (SettingsError, CatalogueError) as e:
        if json_wanted:
            typer.echo(json.dumps({"ok": False, "problems": str(e).splitlines()}, indent=2))
        raise
    summary = _summary(settings, catalogue)
    if json_wanted:
        typer.echo(json.dumps({"ok": True, "problems": [], **summary}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    from squirrel_ioc.cli._rows import add_row

    table = Table(title=str(file), show_header=False)
    for key, value in summary.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        add_row(table, key.replace("_", " "), ", ".join(shown) if isinstance(shown, list) else str(shown))
    Console().print(table)
    typer.echo("Settings and catalogue are valid.")


def _summary(settings: Settings, catalogue: Catalogue) -> dict[str, Any]:
    entries = catalogue.entries
    groups: dict[str, set[str]] = {}
    for entry in entries:
        for group, tags in entry.tags.items():
            groups.setdefault(group, set()).update(tags)
    return {
        "prefix": settings.prefix,
        "port": settings.port,
        "interfaces": list(settings.interfaces),
        "database": _database(settings),
        "state_dir": str(settings.state_dir),
        "catalogue_files": [str(path) for path in settings.catalogue.files],
        "ca_addr_list": list(settings.ca.addr_list),
        "pvs": len(catalogue.channels),
        "setpoints": len(entries),
        "readbacks": len(catalogue.channels) - len(entries),
        "read_only": sum(e.read_only for e in entries),
        "ramped": sum(e.max_step is not None for e in entries),
        "slowest_ramp": _slowest_ramp(settings, entries),
        "orders": len({e.order for e in entries}),
        "tags": {group: len(tags) for group, tags in sorted(groups.items())},
    }


def _slowest_ramp(settings: Settings, entries: Sequence[Entry]) -> str:
    """How fast it is, and how far it comes in the time that a ramp may take."""
    ramped = [(e.max_step / e.step_period, e.setpoint) for e in entries if e.max_step is not None]
    if not ramped:
        return "none"
    speed, name = min(ramped)
    limit_s = settings.restore.max_ramp_s
    return f"{name}, {speed:g} per second: {speed * limit_s:g} in restore.max_ramp_s ({limit_s:g} s)"


def _database(settings: Settings) -> str:
    from squirrel_ioc.dsn import without_password

    dsn = settings.database.dsn
    return "embedded" if dsn is None else without_password(dsn.get_secret_value())


def migrate(config: ConfigOption) -> None:
    """Bring the database to the schema of this version; start the embedded one for it."""
    from squirrel_ioc.cli._log import setup_logging
    from squirrel_ioc.cli._stop import run_to_its_end
    from squirrel_ioc.config import load_settings
    from squirrel_ioc.store import Store

    settings = load_settings(config)
    setup_logging(settings.log)

    async def work() -> None:
        store = await Store.open(settings.database, settings.state_dir)
        await store.close()

    run_to_its_end(work())
    typer.echo("The database has the schema of this version.")
