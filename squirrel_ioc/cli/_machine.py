"""Commands around the simulated machine: sim, demo and bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from squirrel_ioc.cli._exit import ExitCode
from squirrel_ioc.cli._service import JsonOption

__all__ = ["bench", "demo", "sim"]

ABSENT: Final = 0.01
"""Share of absent PVs in the bench where none is given."""

CountOption = Annotated[int, typer.Option("--count", "-n", min=1, max=1_000_000, help="Records, readbacks included.")]


def sim(
    count: CountOption = 1000,
    prefix: Annotated[str, typer.Option(help="Begins every name.")] = "T:",
    iocs: Annotated[int, typer.Option(min=1, max=100, help="IOC processes that share the records.")] = 1,
    port: Annotated[
        int | None, typer.Option(min=1024, max=65535, help="CA port of the first IOC; the others follow.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="Where database and catalogue are kept; a temporary folder by default.")
    ] = None,
    json_wanted: JsonOption = False,
) -> None:
    """Run a simulated machine of real EPICS IOCs on loopback until Ctrl-C or SIGTERM."""
    import asyncio
    import json

    from squirrel_ioc.cli._stop import run_until_stopped
    from squirrel_ioc.sim import SimulatedMachine

    machine = SimulatedMachine(
        count, prefix, iocs=iocs, ports=range(port, port + iocs) if port else None, directory=directory
    )

    async def serve(stop: asyncio.Event, ready: asyncio.Event) -> None:
        async with machine:
            ready.set()
            if json_wanted:
                about = {
                    "addr_list": machine.addr_list,
                    "catalogue": str(machine.catalogue_file),
                    "count": len(machine.names),
                    "pids": machine.processes,
                }
                typer.echo(json.dumps(about))
            else:
                typer.echo(_sim_guide(machine.addr_list, machine.catalogue_file, machine.names[0], len(machine.names)))
            await stop.wait()

    run_until_stopped(serve)


def _sim_guide(addr_list: str, catalogue: Path, name: str, count: int) -> str:
    return f"""\
{count} PVs are there. Settings for a service that saves and restores them:

    prefix: "SQRL:"
    catalogue:
      files: ["{catalogue}"]
    ca:
      addr_list: "{addr_list}"

Any CA client finds them:

    export EPICS_CA_AUTO_ADDR_LIST=NO EPICS_CA_ADDR_LIST="{addr_list}"
    caproto-get --no-repeater {name}

Ctrl-C ends it."""


def demo(
    count: CountOption = 1000,
    state: Annotated[
        Path | None, typer.Option(help="Where the data are kept; squirrel-demo under the current folder by default.")
    ] = None,
) -> None:
    """Run a simulated machine, an embedded database and the service on loopback, until Ctrl-C."""
    from squirrel_ioc.cli._log import setup_logging
    from squirrel_ioc.cli._stop import run_until_stopped
    from squirrel_ioc.config import LogSettings
    from squirrel_ioc.demo import run_demo

    setup_logging(LogSettings(level="WARNING"))
    folder = state or Path("squirrel-demo")
    typer.echo(f"Starting a simulated machine, a database in {folder} and the service ...")
    run_until_stopped(lambda stop, ready: run_demo(stop, ready, count, folder, typer.echo))
    typer.echo("Everything is stopped.")


def bench(
    count: CountOption = 40_000,
    iterations: Annotated[int, typer.Option(min=1, max=1000, help="Runs of each measurement.")] = 5,
    dead: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.5, help="Share of the catalogue that is absent.", show_default=f"{ABSENT:g}"),
    ] = None,
    skip_restore: Annotated[bool, typer.Option("--skip-restore", help="Measure snapshots only.")] = False,
    faults: Annotated[
        bool,
        typer.Option("--faults", help="Measure instead what is seen while IOCs, database and service hang and die."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=20, help="Measure instead a service with so many workers, on --count PVs each."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")] = None,
) -> None:
    """Measure snapshot and restore on a simulated machine of four IOCs, and judge the figures by the targets."""
    from squirrel_ioc.bench import run_bench, run_faults, run_workers

    if (faults or workers) and (dead is not None or skip_restore):
        raise typer.BadParameter(f"--dead and --skip-restore are not for --{'faults' if faults else 'workers'}")
    if faults and workers:
        raise typer.BadParameter("--faults or --workers, not both")
    if workers:
        good = run_workers(count, workers, iterations=iterations, json_file=json_file)
    elif faults:
        good = run_faults(count, iterations=iterations, json_file=json_file)
    else:
        share = ABSENT if dead is None else dead
        good = run_bench(count, iterations=iterations, dead=share, restore=not skip_restore, json_file=json_file)
    if not good:
        raise typer.Exit(ExitCode.FAILED)
