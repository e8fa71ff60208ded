"""Commands about what people see: the PV reference, the panels."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from squirrel_ioc.cli._service import JsonOption
from squirrel_ioc.errors import SquirrelError

__all__ = ["PanelsError", "panels", "reference"]


class PanelsError(SquirrelError):
    """The panels cannot be copied."""


def reference(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, with the notes on each group.")
    ] = False,
    json_wanted: JsonOption = False,
) -> None:
    """Print every control PV: name, type, what it is for."""
    from squirrel_ioc.panels.reference import COLUMNS, ON_DEMAND_COLUMNS, as_json, group_rows, markdown, on_demand_rows

    if json_wanted:
        typer.echo(json.dumps(as_json(), indent=2))
        return
    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    from rich.console import Console
    from rich.table import Table

    from squirrel_ioc.cli._rows import add_row

    tables = [(name, COLUMNS, rows) for name, rows in group_rows().items()]
    for title, columns, rows in [*tables, ("Made on demand", ON_DEMAND_COLUMNS, on_demand_rows())]:
        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            add_row(table, *row)
        Console().print(table)


def panels(
    folder: Annotated[Path, typer.Argument(help="Where to; it is made when it does not exist.")],
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite panels that are there.")] = False,
    prefix: Annotated[str, typer.Option(help="Prefix of the control PVs, for the command that is printed.")] = "SQRL:",
) -> None:
    """Copy the panels for Phoebus and MEDM to a folder."""
    from squirrel_ioc.panels import MAIN, MEDM_OPERATOR, panel_files

    found = panel_files()
    present = [name for name in found if (folder / name).exists()]
    if present and not force:
        raise PanelsError(f"{folder} has {', '.join(present)} already: --force overwrites them")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in found.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise PanelsError(f"{folder}: {error.strerror or error}") from error
    typer.echo(f"{len(found)} panels are in {folder}. The prefix is the macro P:")
    url = f"{(folder / MAIN).absolute().as_uri()}?P={quote(prefix, safe=':')}"
    typer.echo("  " + shlex.join(["phoebus.sh", "-resource", url]))
    typer.echo("  " + shlex.join(["medm", "-x", "-macro", f"P={prefix}", str(folder / MEDM_OPERATOR)]))
