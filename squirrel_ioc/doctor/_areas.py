"""The areas of the settings: whether somebody works in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from squirrel_ioc.areas import AreaReport
from squirrel_ioc.doctor._finding import Finding, Verdict
from squirrel_ioc.doctor._machine import TWICE_ADVICE
from squirrel_ioc.model.inventory import few

__all__ = ["check_areas"]


def check_areas(wanted: Collection[str], reports: Sequence[AreaReport]) -> Iterator[Finding]:
    """`wanted` are those of the settings, `reports` what there is."""
    known = {report.name: report for report in reports}
    for name in wanted:
        report = known.get(name)
        start = f"start `squirrel-ioc worker --area {name}`"
        if report is None:
            yield Finding(
                "areas", Verdict.WARNING, f"{name}: the service has not run with it yet", "start the service again"
            )
        elif not report.channels:
            yield Finding(
                "areas", Verdict.WARNING, f"{name}: no PV of the catalogue belongs to it", "see its selection"
            )
        elif not report.workers:
            missing = f"{name}: its {report.channels} PVs have no worker, and are missing in snapshots"
            yield Finding("areas", Verdict.WARNING, missing, start)
        else:
            who = ", ".join(report.workers)
            text = f"{name}: {report.connected} of {report.channels} PVs are connected; {who}"
            whole = report.connected == report.channels
            advice = "" if whole else "are its IOCs on, and in ca.addr_list of the worker's settings?"
            yield Finding("areas", Verdict.OK if whole else Verdict.WARNING, text, advice)
            yield from _behind(report)
            if report.duplicates:
                text = f"{name}: PVs that two IOCs serve: {few(report.duplicates)}"
                yield Finding("areas", Verdict.WARNING, text, TWICE_ADVICE, report.duplicates)


def _behind(report: AreaReport) -> Iterator[Finding]:
    for worker, connected in zip(report.workers, report.connected_each, strict=True):
        if connected < report.connected:
            text = f"{report.name}: {worker} has only {connected} PVs, another worker {report.connected}"
            advice = "jobs that it is given miss the others: correct ca.addr_list of its settings, or stop it"
            yield Finding("areas", Verdict.WARNING, text, advice)
