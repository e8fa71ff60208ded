"""Snapshot and restore while PVs are absent, or an IOC hangs."""

from __future__ import annotations

import time
from typing import Final

from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._measure import Measurements, restore, snapshot
from squirrel_ioc.bench._rig import CA_TIMEOUT_S, IOCS, Rig, Service

__all__ = ["NO_PENALTY", "SNAPSHOT", "RESTORE", "absent_rows", "hung_rows", "two_states", "wait_back"]

SNAPSHOT: Final = Target(0.25)
RESTORE: Final = Target(0.8)
HUNG_FIRST: Final = Target(CA_TIMEOUT_S + 0.5)
NO_PENALTY: Final = Target(1.2)

HUNG: Final = 0
"""The IOC that hangs."""


def two_states(rig: Rig, service: Service, missing: int = 0) -> dict[str, int]:
    """Snapshots of two states of the machine, A and B, in which no value is the same; it is left in B."""
    ids = {}
    for name in "AB":
        rig.bulk.ask("write", name=name)
        snapshot(service, rig.count, missing)
        ids[name] = int(service.one("SNAP:ID"))
    return ids


def absent_rows(
    m: Measurements, rig: Rig, service: Service, gone: int, *, key: str = "absent", with_restore: bool = True
) -> None:
    """With a catalogue of which so many PVs are not there."""
    count = rig.count
    share = f"{100 * gone / count:g}% absent"
    m.measure(f"{key}_snapshot", f"Snapshot, {share}", lambda _: snapshot(service, count, gone), m.times)
    if not with_restore:
        return
    ids = two_states(rig, service, gone)
    m.measure(
        f"{key}_restore",
        f"Restore, all changed, verified, {share}",
        lambda i: restore(service, ids["AB"[i % 2]], "Partial", written=count - gone, skipped=gone),
        m.times,
    )


def hung_rows(m: Measurements, rig: Rig, service: Service, ids: dict[str, int], times: int) -> None:
    """One IOC stands still: first, when it is not known yet, and again; and until it is taken in when it goes on.

    Without `ids` of the two states, snapshots only.
    """
    count, lost = rig.count, len(rig.machine.names_of_ioc(HUNG))
    again: list[float] = []
    back: list[float] = []

    def first(_: int) -> float:
        with rig.hung(HUNG):
            elapsed = snapshot(service, count, missing=lost)
            again.append(snapshot(service, count, missing=lost))
        back.append(wait_back(rig, service))
        return elapsed

    title = f"1 of {IOCS} IOCs hung"
    m.measure("hung_first", f"Snapshot, {title}, first", first, times, HUNG_FIRST)
    m.rest("hung_second", f"Snapshot, {title}, again", again, SNAPSHOT)
    if ids:
        restored: list[float] = []

        def first_restore(_: int) -> float:
            rig.bulk.ask("write", name="A")
            with rig.hung(HUNG):
                counts = {"written": count - lost, "failed": lost}
                elapsed = restore(service, ids["B"], "Partial", **counts)
                restored.append(restore(service, ids["A"], "Partial", **counts))
            back.append(wait_back(rig, service))
            return elapsed

        m.measure("hung_restore_first", f"Restore, {title}, first", first_restore, times)
        m.rest("hung_restore_second", f"Restore, {title}, again", restored, RESTORE)
    m.rest("hung_back", "Hung IOC goes on (SIGCONT): all of it taken in again", back)


def wait_back(rig: Rig, service: Service) -> float:
    """Until every IOC is taken in again, and a snapshot has all PVs. Seconds, without the snapshot."""
    start = time.perf_counter()
    service.wait_for("IOCS:OPEN", 0)
    service.wait_for("PVS:CONNECTED", rig.count)
    elapsed = time.perf_counter() - start
    snapshot(service, rig.count)
    return elapsed
