"""Comparing, as a client of DIFF:* sees it: from the trigger to the answer, when all arrays are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._measure import Measurements, expect, snapshot
from squirrel_ioc.bench._peer_process import MeasurementError
from squirrel_ioc.bench._rig import CONTROL, Rig, Service

__all__ = ["compare_rows"]

SAME = Target(0.1)
DIFFERENT = Target(0.25)
LIVE = Target(0.2)
LATENCY = Target(0.05, worst=True)

ARRAYS: Final = ("NAMES", "A:VAL", "B:VAL", "DELTA", "A:STR", "B:STR", "SEVR", "ROLE")


def compare_rows(m: Measurements, rig: Rig, service: Service) -> None:
    """Compare snapshots of states in which no value is the same, of one state, and one with the machine."""
    count = rig.count
    ids = []
    for state in "ABB":
        rig.bulk.ask("write", name=state)
        snapshot(service, count)
        ids.append(int(service.one("SNAP:ID")))
    first, other, same = ids

    def compare(a: int, b: int, different: int) -> Callable[[int], float]:
        return lambda _: _compare(service, a, b, count, different)

    m.measure("compare_same", "Compare, no difference", compare(other, same, 0), m.times, SAME)
    m.measure("compare_different", "Compare, all different", compare(first, other, count), m.times, DIFFERENT)
    m.measure("compare_live", "Compare with live, no difference", compare(same, 0, 0), m.times, LIVE)
    m.measure("compare_live_different", "Compare with live, all different", compare(first, 0, count), m.times)
    m.measure("latency_compare", "HEARTBEAT during a comparison, caget", _latency(rig, service, ids), m.times, LATENCY)


def _compare(service: Service, a: int, b: int, count: int, different: int) -> float:
    service.put("DIFF:A", a)
    try:
        elapsed = service.put("DIFF:B", b)
    except MeasurementError as e:
        raise MeasurementError(f"{e}; DIFF:MSG: {service.one('DIFF:MSG')}") from e
    got = service.get("DIFF:STATUS", "DIFF:COMPARED", "DIFF:COUNT", "DIFF:MISSING")
    expect("compare: STATUS, COMPARED, COUNT, MISSING", got, ["OK", count, different, 0])
    expect("length of DIFF:NAMES", len(service.one("DIFF:NAMES")), different)
    return elapsed


def _latency(rig: Rig, service: Service, ids: list[int]) -> Callable[[int], float]:
    """What another client waits, with all arrays going to a panel that monitors them."""

    def sample(i: int) -> float:
        with _panel(rig, service), rig.probing(service) as worst:
            _compare(service, ids[i % 2], ids[1 - i % 2], rig.count, rig.count)
        return worst[0]

    return sample


@contextmanager
def _panel(rig: Rig, service: Service) -> Iterator[None]:
    panel = rig.peer("client", service.addr_list)
    panel.ask("watch", names=[f"{CONTROL}DIFF:{name}" for name in ARRAYS])
    try:
        yield
    finally:
        panel.stop()
