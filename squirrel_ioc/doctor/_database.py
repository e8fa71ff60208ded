"""The database: is it there, is it right, who works on it, and which catalogue is in force."""

from __future__ import annotations

from typing import Final

from squirrel_ioc.areas import area_reports
from squirrel_ioc.config import Settings
from squirrel_ioc.doctor._areas import check_areas
from squirrel_ioc.doctor._finding import Finding, Verdict
from squirrel_ioc.errors import DatabaseDownError, StoreError
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.store import DatabaseReport, EmbeddedServer, Store, inspect

__all__ = ["check_database"]

_SLOW_S: Final = 0.1
_OLDEST: Final = 14


async def check_database(settings: Settings) -> tuple[list[Finding], Catalogue | None]:
    """What is found, and the catalogue in force where there is one."""
    if settings.database.dsn is None and not EmbeddedServer(settings.state_dir).exists:
        return [Finding("database", Verdict.OK, "the embedded one: the first start of the service makes it")], None
    try:
        report = await inspect(settings.database, settings.state_dir)
        findings = list(_findings(report, settings.standby))
        catalogue = None
        if not report.pending:
            store = await Store.open(settings.database, settings.state_dir, exclusive=False)
            try:
                catalogue = await store.load_catalogue()
                if settings.areas:
                    findings += check_areas(settings.areas, await area_reports(store))
            finally:
                await store.close()
    except DatabaseDownError as error:
        what = "start it, or correct database.dsn" if settings.database.dsn else "see `log` in state_dir/postgres"
        return [Finding("database", Verdict.BAD, str(error), what)], None
    except StoreError as error:
        return [Finding("database", Verdict.BAD, str(error), "nothing can be stored like this")], None
    return findings, catalogue if catalogue is not None and len(catalogue) else None


def _findings(report: DatabaseReport, standby: bool) -> list[Finding]:
    size = f"{report.size_bytes / (1 << 20):.0f} MB"
    about = f"{report.description}: PostgreSQL {report.version}, {size}, answers in {1000 * report.latency_s:.1f} ms"
    findings = [Finding("database", Verdict.OK, about)]
    if report.major < _OLDEST:
        findings.append(Finding("database", Verdict.BAD, f"it must be PostgreSQL {_OLDEST} or newer", "upgrade it"))
    if report.encoding != "UTF8":
        advice = "make a database with ENCODING 'UTF8' TEMPLATE template0"
        findings.append(Finding("database", Verdict.BAD, f"its encoding is {report.encoding}", advice))
    if report.replica:
        findings.append(Finding("database", Verdict.BAD, "it is a replica, and read-only", "name the primary"))
    if report.latency_s > _SLOW_S:
        findings.append(Finding("database", Verdict.WARNING, "it is slow to answer", "look at its load"))
    if report.pending:
        names = ", ".join(report.pending)
        running = "stop every service on it, then " if report.services else ""
        findings.append(
            Finding(
                "database",
                Verdict.WARNING,
                f"its schema is older than this program: it lacks {names}",
                f"{running}start the service, or run `squirrel-ioc migrate`; make a backup first",
            )
        )
    findings.append(_services(report, standby))
    return findings


def _named(report: DatabaseReport, service: str) -> str:
    """With what it reaches, where that is known."""
    reach = report.reaches.get(service)
    return service if reach is None else f"{service} ({reach})"


def _services(report: DatabaseReport, standby: bool) -> Finding:
    if not report.services:
        return Finding("services", Verdict.OK, "no service runs on this database")
    waiting = [name for name in report.services if name != report.active]
    text = f"active: {_named(report, report.active) or 'none'}"
    if waiting:
        text = f"{text}; standing by: {', '.join(_named(report, name) for name in waiting)}"
        ours = report.reaches.get(report.active)
        if ours and any(report.reaches[name].clearly_exceeds(ours) for name in waiting if name in report.reaches):
            advice = "see what cuts the active one off; it hands over after standby_prefer_s"
            return Finding("services", Verdict.WARNING, text, advice)
        return Finding("services", Verdict.OK, text)
    if standby:
        return Finding("services", Verdict.WARNING, f"{text}; nobody stands by", "start the service on the other host")
    return Finding("services", Verdict.OK, text)
