"""PVs that are known to be away: list them, put them on the list, take them off; a running service follows at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from squirrel_ioc.cli._service import ConfigOption, JsonOption
from squirrel_ioc.cli._store import read_store

if TYPE_CHECKING:
    from squirrel_ioc.store import Store

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="PVs known to be away: what they lack makes no snapshot Partial.")

NamesArgument = Annotated[list[str], typer.Argument(metavar="PV", help="Names of PVs of the catalogue.")]


@app.command("list")
def list_away(config: ConfigOption, json_wanted: JsonOption = False) -> None:
    """List them, and why they are away."""
    from squirrel_ioc.cli._rows import add_row
    from squirrel_ioc.model.away import AWAY_SETTING, away_from_json

    away = away_from_json(read_store(config, lambda store: store.get_setting(AWAY_SETTING)))
    if json_wanted:
        rows = [
            {"pv": name, "reason": a.reason, "user": a.user, "since": a.since.isoformat()} for name, a in away.items()
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("PV", "Reason", "Who", "Since")
    for name, a in away.items():
        add_row(table, name, a.reason, a.user, f"{a.since.astimezone():%Y-%m-%d %H:%M}")
    Console().print(table)


@app.command("add")
def add_away(
    names: NamesArgument,
    config: ConfigOption,
    reason: Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why they are away.")],
) -> None:
    """Put PVs on the list."""
    import getpass
    import socket
    from datetime import UTC, datetime

    from squirrel_ioc.errors import UnknownPvError
    from squirrel_ioc.model.away import AWAY_SETTING, Away, with_added
    from squirrel_ioc.model.inventory import few
    from squirrel_ioc.model.pv_names import known_as

    new = Away(reason, f"{getpass.getuser()}@{socket.gethostname()}", datetime.now(UTC))

    async def work(store: Store) -> None:
        channels = (await store.load_catalogue()).channels.index
        meant = [known_as(name, channels) for name in names]
        if unknown := [name for name in meant if name not in channels]:
            raise UnknownPvError(f"no PV of the catalogue: {few(unknown)}")
        await store.change_setting(AWAY_SETTING, lambda kept: with_added(kept, dict.fromkeys(meant, new)))

    read_store(config, work)


@app.command("remove")
def remove_away(names: NamesArgument, config: ConfigOption) -> None:
    """Take PVs off the list."""
    from squirrel_ioc.model.away import AWAY_SETTING, without_removed
    from squirrel_ioc.model.pv_names import known_as

    async def work(store: Store) -> None:
        await store.change_setting(
            AWAY_SETTING, lambda kept: without_removed(kept, [known_as(name, kept or {}) for name in names])
        )

    read_store(config, work)
