"""The first panel: how everything stands, and the way to the others."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from squirrel_ioc.panels._bob import bar, display, group, label, open_display, show
from squirrel_ioc.panels._parts import DIFF, HEALTH, LIST, OPERATOR, values

__all__ = ["main"]

_WIDTH, _HEIGHT = 700, 420


def main() -> Element:
    """A line each for SNAP, RESTORE, DIFF and JOB; the PVs and the database."""
    return display("Squirrel", _WIDTH, _HEIGHT, [*_top(), group((10, 50, 680, 250), "Now", _now()), *_buttons()])


def _top() -> Iterable[Element]:
    yield label((10, 8, 200, 32), "Squirrel", font="big")
    yield label((215, 8, 200, 32), "$(P)", font="title")
    yield label((430, 10, 90, 28), "Database", align="right")
    yield show((525, 10, 165, 28), "DB:STATUS", font="bold", align="center")


def _now() -> Iterable[Element]:
    lines = (
        ("Snapshot", "SNAP:STATUS", "SNAP:MSG"),
        ("Restore", "RESTORE:STATUS", "RESTORE:MSG"),
        ("Comparison", "DIFF:STATUS", "DIFF:MSG"),
        ("Job", "JOB:STATUS", "JOB:MSG"),
    )
    for line, (text, status, message) in enumerate(lines):
        y = 10 + 34 * line
        yield label((10, y, 90, 28), text)
        yield show((105, y, 130, 28), status, font="bold", align="center")
        yield show((245, y, 423, 28), message)
    yield bar((105, 148, 563, 18), "JOB:PROGRESS")
    numbers = (
        ("PVs", "PVS:COUNT"),
        ("Connected", "PVS:CONNECTED"),
        ("Disconnected", "PVS:DISCONNECTED"),
        ("IOCs in trouble", "IOCS:OPEN"),
        ("Snapshots", "LIST:TOTAL"),
    )
    yield from values(10, 174, 131, numbers)


def _buttons() -> Iterable[Element]:
    panels = (("Snapshot and restore", OPERATOR), ("Compare", DIFF), ("Snapshots", LIST), ("Health", HEALTH))
    for place, (text, file) in enumerate(panels):
        x, y = 10 + 345 * (place % 2), 310 + 52 * (place // 2)
        yield open_display((x, y, 335, 44), text, file, font="title")
