"""The command that says what is wrong, and what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from squirrel_ioc.cli._exit import ExitCode
from squirrel_ioc.cli._service import ConfigOption, JsonOption

if TYPE_CHECKING:
    from squirrel_ioc.config import Settings
    from squirrel_ioc.doctor import Finding
    from squirrel_ioc.model.catalogue import Entry

__all__ = ["doctor"]


def doctor(
    config: ConfigOption,
    area: Annotated[
        list[str] | None, typer.Option("--area", "-a", help="Look at it as the settings of a worker of this area.")
    ] = None,
    json_wanted: JsonOption = False,
) -> None:
    """Look at settings, database, port, network and PVs; say what is wrong, and what to do. Changes nothing."""
    from squirrel_ioc.cli._stop import run_to_its_end
    from squirrel_ioc.doctor import Finding, Verdict, examine, examine_worker

    findings, settings, entries = _read(config)
    if area and settings is not None:
        findings = [Finding("settings", Verdict.OK, f"{config}, for a worker of {', '.join(area)}")]

    async def work() -> None:
        assert settings is not None  # noqa: S101
        async for finding in examine_worker(settings, area) if area else examine(settings, entries):
            findings.append(finding)
            if not json_wanted:
                _print(finding)

    if not json_wanted:
        for finding in findings:
            _print(finding)
    if settings is not None:
        run_to_its_end(work())
    bad = [finding for finding in findings if finding.verdict is Verdict.BAD]
    warnings = [finding for finding in findings if finding.verdict is Verdict.WARNING]
    if json_wanted:
        typer.echo(json.dumps({"ok": not bad, "checks": [asdict(finding) for finding in findings]}, indent=2))
    else:
        typer.echo(_summary("worker" if area else "service", len(bad), len(warnings)))
    if bad:
        raise typer.Exit(_code(bad))


def _read(config: Path) -> tuple[list[Finding], Settings | None, list[Entry]]:
    """Settings and the entries of the catalogue files, as far as they can be read, and what there is to say."""
    from squirrel_ioc.config import load_settings
    from squirrel_ioc.doctor import Finding, Verdict
    from squirrel_ioc.errors import CatalogueError, SettingsError
    from squirrel_ioc.formats.catalogue.catalogue import load_catalogue

    try:
        settings = load_settings(config)
    except SettingsError as error:
        return [Finding("settings", Verdict.BAD, line, "correct it") for line in str(error).splitlines()], None, []
    findings = [Finding("settings", Verdict.OK, f"{config}: prefix {settings.prefix}, port {settings.port}")]
    entries: list[Entry] = []
    files = settings.catalogue.files
    try:
        entries = list(load_catalogue(files)) if files else []
    except CatalogueError as error:
        findings += [Finding("catalogue", Verdict.BAD, line, "correct it") for line in error.problems]
    else:
        words = (
            f"{len(entries)} setpoints in {', '.join(p.name for p in files)}"
            if files
            else "no files: PVs are added with PVS:ADD"
        )
        findings.append(Finding("catalogue", Verdict.OK, words))
    return findings, settings, entries


def _print(finding: Finding) -> None:
    """Names come over the network: nothing of them reaches the terminal but what can be printed."""
    typer.echo(f"{finding.verdict:<8}{finding.check:<12}{_plain(finding.message)}")
    if finding.advice:
        typer.echo(f"{'':<20}-> {_plain(finding.advice)}")


def _plain(text: Any) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _summary(what: str, bad: int, warnings: int) -> str:
    if bad:
        return f"{bad} thing{'s' if bad > 1 else ''} must be put right."
    if warnings:
        return f"The {what} can run; {warnings} thing{'s' if warnings > 1 else ''} to look at."
    return "All is well."


def _code(bad: list[Finding]) -> ExitCode:
    checks = {finding.check for finding in bad}
    if checks & {"settings", "catalogue"}:
        return ExitCode.CONFIGURATION
    return ExitCode.DATABASE if "database" in checks else ExitCode.FAILED
