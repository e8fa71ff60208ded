"""Files of other tools, as a client of FILE:* sees it: from the name to the answer, file and database included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._measure import Measurements, expect, snapshot
from squirrel_ioc.bench._peer_process import MeasurementError
from squirrel_ioc.bench._rig import Rig, Service

__all__ = ["format_rows"]

FILE = Target(1.5)
LATENCY = Target(0.05, worst=True)

FILES: Final = {"autosave": "sav", "burt": "snap", "psi": "snap", "phoebus": "csv", "jsonl": "jsonl"}
"""Suffixes by format."""


def format_rows(m: Measurements, rig: Rig, service: Service) -> None:
    """Export a snapshot in every format, import each of these files, and see what another client waits meanwhile."""
    snapshot(service, rig.count)
    taken = int(service.one("SNAP:ID"))

    def exporting(form: str) -> Callable[[int], float]:
        def sample(i: int) -> float:
            service.put("FILE:ID", taken)
            return _put(service, "FILE:EXPORT", form, i)

        return sample

    def importing(form: str) -> Callable[[int], float]:
        def sample(i: int) -> float:
            elapsed = _put(service, "FILE:IMPORT", form, i)
            expect("values of the import", service.one(f"SNAP:{int(service.one('FILE:ID'))}:COUNT"), rig.count)
            return elapsed

        return sample

    for form in FILES:
        m.measure(f"export_{form}", f"Export, {form}", exporting(form), m.times, FILE)
        m.measure(f"import_{form}", f"Import, {form}", importing(form), m.times, FILE)

    def latency(i: int) -> float:
        with rig.probing(service) as worst:
            _put(service, "FILE:IMPORT", "burt", i)
        return worst[0]

    m.measure("latency_import", "HEARTBEAT during an import, caget", latency, m.times, LATENCY)


def _put(service: Service, command: str, form: str, number: int) -> float:
    service.put("FILE:FORMAT", form)
    try:
        elapsed = service.put(command, f"{form}{number}.{FILES[form]}", text=True)
    except MeasurementError as e:
        raise MeasurementError(f"{e}; FILE:MSG: {service.one('FILE:MSG')}") from e
    expect("FILE:STATUS", service.one("FILE:STATUS"), "OK")
    return elapsed
