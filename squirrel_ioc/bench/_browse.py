"""Browsing, as clients see it: LIST, stored values by their names, histories, deleting; among many snapshots."""

from __future__ import annotations

import random
import statistics
from typing import Final

from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._measure import Measurements, expect
from squirrel_ioc.bench._peer_process import PeerProcess
from squirrel_ioc.bench._rig import CONTROL, Rig, Service

__all__ = ["browse_rows"]

SNAPSHOTS: Final = 1_000
"""With values."""
LISTED: Final = 10_000
"""With those that are only rows of the list."""
FILL_S: Final = 300.0

PAGE = Target(0.02)
HISTORY = Target(0.15)
DELETE = Target(0.05)
FIRST = Target(0.02)
THOUSAND = Target(1.0)
LATENCY = Target(0.05, worst=True)

VALUES: Final = 1_000
FIRSTS: Final = 10
UNKNOWN_RATE: Final = 10_000
UNKNOWN_S: Final = 3.0

FIELDS: Final = ("DESC", "RTYP", "NAME", "SCAN", "PINI", "SEVR", "STAT", "HOPR", "LOPR", "EGU", "DISP", "UDF")
"""Of SNAP:COUNT: channels that nobody has connected to yet."""


def browse_rows(m: Measurements, rig: Rig, service: Service) -> None:
    """Fill the database, then look into it in every way."""
    ids = [
        int(i)
        for i in rig.bulk.ask(
            "fill_store", timeout_s=FILL_S, state_dir=str(rig.folder / "state"), snapshots=SNAPSHOTS, listed=LISTED
        )
    ]
    service.put("LIST:AUTO", 1)
    service.wait_for("LIST:TOTAL", LISTED)
    client = rig.peer("client", service.addr_list)
    _list_rows(m, service)
    _value_rows(m, rig, service, client, ids)
    _history_row(m, rig, client)
    _delete_row(m, service, ids)
    _latency_rows(m, rig, service, ids)
    client.stop()


def _list_rows(m: Measurements, service: Service) -> None:
    pages = int(service.one("LIST:PAGES"))

    def page(_: int) -> float:
        elapsed = service.put("LIST:PAGE", random.randint(1, pages))  # noqa: S311 - nothing to guess
        expect("rows of LIST:IDS", len(service.one("LIST:IDS")), 20)
        return elapsed

    def text(i: int) -> float:
        elapsed = service.put("LIST:TEXT", f"row {1 + i % 9}", text=True)
        expect("whether LIST:TOTAL is small", 0 < service.one("LIST:TOTAL") < LISTED // 2, True)
        return elapsed

    for name in ("LIST:PAGE", "LIST:TEXT"):  # connected
        service.get(name)
    m.measure("list_page", f"LIST: another page of {LISTED} snapshots", page, m.times, PAGE)
    m.measure("list_filter", f"LIST: another text, {LISTED} snapshots", text, m.times, PAGE)
    service.put("LIST:TEXT", "", text=True)


def _value_rows(m: Measurements, rig: Rig, service: Service, client: PeerProcess, ids: list[int]) -> None:
    names = list(rig.machine.names)
    any_pv = client.ask("first_reads", names=[f"{CONTROL}SNAP:COUNT.{field}" for field in FIELDS])
    m.measure("first_any", "First caget of any PV (libca waits 32 ms)", any_pv.__getitem__, len(any_pv))
    few = random.sample(names, min(FIRSTS, len(names)))
    first = client.ask("first_reads", names=[f"{CONTROL}SNAP:{ids[0]}:VAL:{name}" for name in few])
    m.measure("first_value", "First caget of a stored value", first.__getitem__, len(first))
    wait = statistics.median(any_pv)
    m.measure("first_more", "... more than of any PV", lambda i: max(0.0, first[i] - wait), len(first), FIRST)

    def many(i: int) -> float:
        return float(client.ask("read_many", names=_values(rig, ids[1 + i])))

    m.measure("values", f"{VALUES} stored values connected and read", many, min(m.times, len(ids) - 1), THOUSAND)


def _values(rig: Rig, snapshot_id: int) -> list[str]:
    names = rig.machine.names
    return [f"{CONTROL}SNAP:{snapshot_id}:VAL:{name}" for name in random.sample(names, min(VALUES, len(names)))]


def _history_row(m: Measurements, rig: Rig, client: PeerProcess) -> None:
    few = random.sample(list(rig.machine.names), min(m.times, rig.count))
    taken = client.ask("first_reads", names=[f"{CONTROL}HIST:{name}" for name in few])
    title = f"HIST of a PV across {SNAPSHOTS} snapshots, first caget"
    m.measure("history", title, taken.__getitem__, len(taken), HISTORY)


def _delete_row(m: Measurements, service: Service, ids: list[int]) -> None:
    def delete(i: int) -> float:
        name = f"SNAP:{ids[-1 - i]}:DELETE"
        service.get(name)  # connected
        return service.put(name, 1)

    m.measure("delete", "Delete a snapshot", delete, m.times, DELETE)


def _latency_rows(m: Measurements, rig: Rig, service: Service, ids: list[int]) -> None:
    def during_values(i: int) -> float:
        client = rig.peer("client", service.addr_list)
        with rig.probing(service) as worst:
            client.ask("read_many", names=_values(rig, ids[-100 - i]))
        client.stop()
        return worst[0]

    def during_searches(_: int) -> float:
        client = rig.peer("client", service.addr_list)
        with rig.probing(service) as worst:
            sent = client.ask("search_unknown", prefix=CONTROL, rate=UNKNOWN_RATE, seconds=UNKNOWN_S)
        client.stop()
        expect("whether it was searched fast enough", sent >= 0.9 * UNKNOWN_RATE * UNKNOWN_S, True)
        return worst[0]

    title = f"HEARTBEAT while {VALUES} values are read, caget"
    m.measure("latency_values", title, during_values, min(m.times, 50), LATENCY)
    title = f"HEARTBEAT, {UNKNOWN_RATE} unknown names a second, caget"
    m.measure("latency_unknown", title, during_searches, min(m.times, 3), LATENCY)
