"""The command line. Heavy modules are imported inside the commands, so that `--help` is there at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from squirrel_ioc.cli import (
    _diff,
    _docs,
    _doctor,
    _dump,
    _files,
    _history,
    _machine,
    _panels,
    _pvs,
    _service,
    _snapshots,
)
from squirrel_ioc.cli._exit import EXIT_CODES, ExitCode, exit_code
from squirrel_ioc.errors import SquirrelError

__all__ = ["app", "main"]

app = typer.Typer(
    name="squirrel-ioc",
    help="Snapshot and restore of EPICS machines, driven over Channel Access.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(_service.run)
app.command("worker")(_service.worker)
app.command("demo")(_machine.demo)
app.command("sim")(_machine.sim)
app.command("check")(_service.check)
app.command("doctor")(_doctor.doctor)
app.command("migrate")(_service.migrate)
app.add_typer(_snapshots.app, name="snapshots")
app.add_typer(_pvs.app, name="pvs")
app.command("diff")(_diff.diff)
app.command("history")(_history.history)
app.command("import")(_files.import_values)
app.command("export")(_files.export_values)
app.command("dump")(_dump.dump)
app.command("load")(_dump.load)
app.command("docs")(_docs.docs)
app.command("reference")(_panels.reference)
app.command("panels")(_panels.panels)
app.command("bench")(_machine.bench)


def _version(wanted: bool) -> None:
    if wanted:
        from squirrel_ioc import __version__

        typer.echo(f"squirrel-ioc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; what went wrong is a plain message on standard error and an exit code."""
    try:
        app()
    except SquirrelError as e:
        typer.echo(f"squirrel-ioc: {e}", err=True)
        sys.exit(exit_code(e))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
