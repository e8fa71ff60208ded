"""The panel to browse the snapshots, and to look after the one that is picked."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from squirrel_ioc.ioc.reference import BOUNDS
from squirrel_ioc.panels._bob import display, enter, group, label, run_script, show, spinner, table
from squirrel_ioc.panels._parts import LIST, SELECTED_ID, SNAPSHOT, field, header, restore_button
from squirrel_ioc.panels._scripts import PICK_ID, ROWS, open_id, write_id

__all__ = ["snapshot_list"]

_WIDTH, _HEIGHT = 1080, 800
_LIVE = 0
_SELECTION = "loc://squirrel:$(P)selection<VTable>"
_COLUMNS = (("Id", 80), ("Taken", 260), ("Title", 330), ("User", 110), ("Values", 90), ("Missing", 80), ("Flags", 70))
_PVS = ("IDS", "TIMES", "TITLES:LONG", "USERS", "COUNTS", "MISSING", "FLAGS")


def snapshot_list() -> Element:
    """LIST, and the resources of one snapshot."""
    scripts = [(ROWS, [f"LIST:{name}" for name in _PVS]), (PICK_ID, [_SELECTION, SELECTED_ID])]
    return display(
        "Snapshots",
        _WIDTH,
        _HEIGHT,
        [
            *header(_WIDTH, "Snapshots", LIST),
            group((10, 50, 1060, 126), "Which", _filters()),
            table((10, 186, 1060, 500), _COLUMNS, scripts, selection=_SELECTION),
            group((10, 696, 1060, 94), "The one that was clicked", _picked()),
        ],
    )


def _filters() -> Iterable[Element]:
    yield from field(8, "Text", lambda at: enter(at, "LIST:TEXT"), width=420)
    yield from field(8, "User", lambda at: enter(at, "LIST:USER"), x=545, width=150)
    yield from field(8, "Label", lambda at: enter(at, "LIST:LABEL"), x=800, width=150)
    yield from field(40, "Since", lambda at: enter(at, "LIST:SINCE"), width=160)
    yield from field(40, "Until", lambda at: enter(at, "LIST:UNTIL"), x=270, width=160)
    yield from field(40, "Page", lambda at: spinner(at, "LIST:PAGE", 1, 1_000_000), x=545, width=80)
    yield label((730, 40, 20, 26), "of")
    yield show((755, 40, 60, 26), "LIST:PAGES")
    yield show((825, 40, 80, 26), "LIST:TOTAL", align="right")
    yield label((910, 40, 75, 26), "snapshots")
    yield from field(72, "Rows", lambda at: spinner(at, "LIST:SIZE", 1, BOUNDS["size"]), x=545, width=80)
    yield show((10, 72, 515, 26), "LIST:MSG")
    flags = "P protected, K kept, R reference, A automatic"
    yield label((740, 72, 310, 26), flags, font="small")


def _picked() -> Iterable[Element]:
    yield from field(18, "Snapshot", lambda at: enter(at, SELECTED_ID), width=90)
    yield restore_button((210, 14, 120, 36))
    yield run_script((340, 16, 90, 32), "Details", SELECTED_ID, open_id(SNAPSHOT))
    with_live = write_id(("DIFF:A", None), ("DIFF:B", _LIVE))
    yield run_script((435, 16, 160, 32), "Compare with live", SELECTED_ID, with_live)
    yield run_script((600, 16, 60, 32), "as A", SELECTED_ID, write_id(("DIFF:A", None)))
    yield run_script((665, 16, 60, 32), "as B", SELECTED_ID, write_id(("DIFF:B", None)))
    yield label((730, 18, 65, 26), "Restore", align="right")
    yield show((800, 18, 90, 26), "RESTORE:STATUS", font="bold", align="center")
    yield label((890, 18, 70, 26), "Compare", align="right")
    yield show((965, 18, 90, 26), "DIFF:STATUS", font="bold", align="center")
