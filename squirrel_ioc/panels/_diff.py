"""The panel to compare: two snapshots, or one with the live machine; and to restore some of what differs."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from squirrel_ioc.ioc.reference import BOUNDS
from squirrel_ioc.panels._bob import (
    checkbox,
    choose,
    command,
    display,
    enter,
    group,
    label,
    lamp,
    run_script,
    show,
    spinner,
    table,
    tabs,
    write,
)
from squirrel_ioc.panels._parts import DIFF, SELECTED_ID, field, header, values
from squirrel_ioc.panels._scripts import ROWS, write_id

__all__ = ["diff"]

_WIDTH, _HEIGHT = 1180, 900
_LIVE, _REFERENCE = 0, -1
_COLUMNS = (("", 64), ("PV", 370), ("A", 240), ("B", 240), ("B - A", 220))
_ROW = 23


def diff(*, medm: bool = False) -> Element:
    """DIFF. For MEDM, without local PVs."""
    return display(
        "Compare",
        _WIDTH,
        _HEIGHT,
        [
            *header(_WIDTH, "Compare", DIFF),
            group((10, 50, 1160, 136), "What to compare", _request(medm)),
            group((10, 194, 1160, 86), "What differs", _result()),
            tabs((10, 288, 1160, 602), [("Rows, to select", _rows()), ("All rows", [_all_rows()])]),
        ],
    )


def _request(medm: bool) -> Iterable[Element]:
    yield from field(10, "A", lambda at: enter(at, "DIFF:A"), width=80)
    yield from field(10, "B", lambda at: enter(at, "DIFF:B"), x=200, width=80)
    yield command((385, 6, 110, 34), "Compare", "DIFF:TRIGGER", font="title")
    yield write((505, 8, 150, 30), "A with live", [("DIFF:B", _LIVE)])
    yield write((660, 8, 170, 30), "Reference with live", [("DIFF:A", _REFERENCE), ("DIFF:B", _LIVE)])
    if not medm:
        yield from field(10, "In the list", lambda at: enter(at, SELECTED_ID), x=845, width=70)
        yield run_script((1015, 8, 65, 30), "as A", SELECTED_ID, write_id(("DIFF:A", None)))
        yield run_script((1085, 8, 65, 30), "as B", SELECTED_ID, write_id(("DIFF:B", None)))
    yield from field(48, "Selection", lambda at: enter(at, "DIFF:FILTER"), width=725)
    yield from field(48, "List", lambda at: choose(at, "DIFF:SHOW"), x=845, width=210)
    yield from field(80, "atol", lambda at: enter(at, "DIFF:ATOL"), width=110)
    yield from field(80, "rtol", lambda at: enter(at, "DIFF:RTOL"), x=230, width=110)
    yield label((450, 80, 700, 26), "0 is the live machine, -1 the reference. Writing B compares.", font="small")


def _result() -> Iterable[Element]:
    yield show((10, 10, 170, 44), "DIFF:STATUS", font="big", align="center")
    yield lamp((190, 20, 24, 24), "DIFF:TRIGGER")
    numbers = [("Compared", "DIFF:COMPARED"), ("Differ", "DIFF:COUNT"), ("On one side", "DIFF:MISSING")]
    yield from values(225, 6, 95, numbers)
    yield show((520, 6, 628, 50), "DIFF:MSG", wrap=True)


def _rows() -> Iterable[Element]:
    x = 10
    places = []
    for text, width in _COLUMNS:
        places.append((x, width - 4))
        if text:
            yield label((x, 6, width - 4, 20), text, font="bold")
        x += width
    (tick_x, tick_width), *cells = places
    for row in range(BOUNDS["rows"]):
        name, y = f"DIFF:ROW{row + 1:02d}", 28 + _ROW * row
        yield checkbox((tick_x, y, tick_width, _ROW - 2), f"{name}:SEL")
        for (cell_x, width), part in zip(cells, ("NAME", "A", "B", "DELTA"), strict=True):
            yield show((cell_x, y, width, _ROW - 2), f"{name}:{part}")
    y = 28 + _ROW * BOUNDS["rows"] + 8
    yield from field(y + 2, "Page", lambda at: spinner(at, "DIFF:PAGE", 1, 10_000), width=80)
    yield label((190, y + 2, 20, 26), "of")
    yield show((215, y + 2, 60, 26), "DIFF:PAGES")
    yield from field(y + 2, "Select", lambda at: choose(at, "DIFF:SELECT"), x=300, width=110)
    yield show((515, y + 2, 70, 26), "DIFF:SELECTED", align="right")
    yield label((590, y + 2, 70, 26), "selected")
    confirm = "Write A's value of the selected rows to the machine?"
    yield command((670, y, 180, 30), "Restore selected", "DIFF:RESTORE", confirm=confirm, font="title")
    yield show((860, y + 2, 270, 26), "RESTORE:STATUS", font="bold", align="center")


def _all_rows() -> Element:
    columns = [("PV", 360), ("Role", 90), ("A", 240), ("B", 240), ("B - A", 190)]
    pvs = ["DIFF:NAMES:LONG", "DIFF:ROLE", "DIFF:A:STR", "DIFF:B:STR", "DIFF:DELTA"]
    return table((5, 5, 1148, 560), columns, [(ROWS, pvs)])
