"""The panel that shows how the service is, and the PVs and IOCs it watches."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from squirrel_ioc.panels._bob import command, display, enter, group, label, show, table
from squirrel_ioc.panels._parts import HEALTH, field, header, values
from squirrel_ioc.panels._scripts import ROWS

__all__ = ["health"]

_WIDTH, _HEIGHT = 1080, 800


def health() -> Element:
    """HEALTH, PVS, IOCS, AREAS and what ran last."""
    return display(
        "Health",
        _WIDTH,
        _HEIGHT,
        [
            *header(_WIDTH, "Health", HEALTH),
            group((10, 50, 525, 225), "Service", _service()),
            group((545, 50, 525, 225), "IOCs", _iocs()),
            group((10, 285, 525, 505), "PVs", _pvs()),
            group((545, 285, 525, 505), "Last jobs", [_jobs()]),
        ],
    )


def _service() -> Iterable[Element]:
    left = (("Version", "VERSION"), ("Role", "ROLE"), ("Database", "DB:STATUS"), ("Answers in", "DB:LATENCY"))
    right = (("Started", "STARTTOD"), ("Up", "UPTIME"), ("Heartbeat", "HEARTBEAT"), ("Clients", "CA_CLNT_CNT"))
    yield from _lines(10, 110, (*left, ("CPU", "SYS_CPU_LOAD"), ("Memory", "MEM_USED")))
    yield from _lines(225, 190, (*right, ("Channels", "CA_CONN_CNT"), ("Trouble", "DB:MSG")))


def _lines(x: int, width: int, pvs: Iterable[tuple[str, str]]) -> Iterable[Element]:
    for line, (text, name) in enumerate(pvs):
        y = 10 + 32 * line
        yield label((x, y, 90, 26), text)
        yield show((x + 95, y, width, 26), name)


def _iocs() -> Iterable[Element]:
    yield from field(8, "Do not answer", lambda at: show(at, "IOCS:OPEN", font="bold", align="center"), width=80)
    yield command((413, 6, 100, 30), "Try again", "IOCS:RESET")
    pvs = ["IOCS:HOSTS:LONG", "IOCS:COUNTS", "IOCS:STATES"]
    yield table((5, 44, 513, 84), [("IOC", 300), ("PVs", 90), ("State", 100)], [(ROWS, pvs)])
    areas = ["AREAS:NAMES:LONG", "AREAS:COUNTS", "AREAS:WORKERS"]
    yield table((5, 132, 513, 66), [("Area", 300), ("PVs", 90), ("Workers", 100)], [(ROWS, areas)])


def _pvs() -> Iterable[Element]:
    numbers = [(name.capitalize(), f"PVS:{name}") for name in ("COUNT", "CONNECTED", "DISCONNECTED")]
    numbers += [("Read-only", "PVS:READONLY")]
    yield from values(10, 8, 125, numbers)
    yield from field(62, "Add", lambda at: enter(at, "PVS:ADD"), width=408)
    yield from field(92, "Remove", lambda at: enter(at, "PVS:REMOVE"), width=408)
    yield from field(122, "Find", lambda at: enter(at, "PVS:FIND"), width=318)
    yield show((428, 122, 85, 26), "PVS:FOUND", align="right")
    yield show((10, 152, 413, 40), "PVS:MSG", wrap=True)
    yield command((428, 152, 85, 40), "Reload", "PVS:RELOAD")
    yield table((5, 198, 254, 279), [("Not connected", 235)], [(ROWS, ["PVS:DISCONNECTED:NAMES:LONG"])])
    yield table((264, 198, 254, 279), [("Found", 235)], [(ROWS, ["PVS:FOUND:NAMES:LONG"])])


def _jobs() -> Element:
    columns = [("Job", 50), ("Kind", 75), ("Result", 65), ("Who", 110), ("Title", 200)]
    parts = ("IDS", "KINDS", "OUTCOMES", "USERS", "TITLES:LONG")
    pvs = [f"JOB:RECENT:{part}" for part in parts]
    return table((5, 5, 513, 472), columns, [(ROWS, pvs)])
