"""The operator's panel: take a snapshot, restore one, see what runs."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from squirrel_ioc.panels._bob import bar, choose, command, display, enter, group, label, lamp, show, table, toggle
from squirrel_ioc.panels._parts import OPERATOR, SELECTED_ID, field, header, restore_button, values
from squirrel_ioc.panels._scripts import ROWS

__all__ = ["operator"]

_WIDTH, _HEIGHT = 1000, 800


def operator(*, medm: bool = False) -> Element:
    """SNAP, RESTORE and JOB. For MEDM, without local PVs and tables."""
    return display(
        "Snapshot and restore",
        _WIDTH,
        _HEIGHT,
        [
            *header(_WIDTH, "Snapshot and restore", OPERATOR),
            group((10, 50, 485, 405), "Snapshot", _snapshot()),
            group((505, 50, 485, 405), "Restore", _restore(medm)),
            group((10, 465, 980, 175), "PVs that failed or do not read back as written", _bad(medm)),
            group((10, 650, 980, 140), "Job", _job()),
        ],
    )


def _snapshot() -> Iterable[Element]:
    yield show((10, 10, 300, 44), "SNAP:STATUS", font="big", align="center")
    yield lamp((320, 20, 24, 24), "SNAP:TRIGGER")
    yield command((355, 10, 118, 44), "Snapshot", "SNAP:TRIGGER", font="title")
    yield from field(66, "Title", lambda at: enter(at, "SNAP:TITLE"))
    yield from field(98, "Comment", lambda at: enter(at, "SNAP:COMMENT", lines=True), height=52)
    yield from field(156, "Labels", lambda at: enter(at, "SNAP:LABELS"))
    yield from field(188, "Selection", lambda at: enter(at, "SNAP:FILTER"))
    yield label((10, 220, 463, 20), "Press Enter after typing into a field", font="small")
    numbers = [
        ("Snapshot", "SNAP:ID"),
        ("Values", "SNAP:COUNT"),
        ("Missing", "SNAP:MISSING"),
        ("Invalid", "SNAP:INVALID"),
        ("Took", "SNAP:DURATION"),
    ]
    yield from values(10, 244, 93, numbers)
    yield from field(300, "Taken", lambda at: show(at, "SNAP:TIME"))
    yield show((10, 332, 463, 42), "SNAP:MSG", wrap=True)


def _restore(medm: bool) -> Iterable[Element]:
    yield show((10, 10, 300, 44), "RESTORE:STATUS", font="big", align="center")
    yield lamp((320, 20, 24, 24), "RESTORE:TRIGGER")
    yield command((355, 10, 118, 44), "Abort", "RESTORE:ABORT", font="title")
    if medm:
        yield from field(68, "Restore id", lambda at: enter(at, "RESTORE:ID"), width=110)
        yield command((225, 62, 120, 38), "Again", "RESTORE:TRIGGER")
    else:
        yield from field(68, "Snapshot", lambda at: enter(at, SELECTED_ID), width=110)
        yield restore_button((225, 62, 120, 38))
    yield toggle((355, 66, 118, 30), "RESTORE:ENABLE")
    yield from field(110, "Mode", lambda at: choose(at, "RESTORE:MODE"), width=110)
    yield from field(110, "Verify", lambda at: toggle(at, "RESTORE:VERIFY"), x=260, width=118)
    yield from field(142, "Selection", lambda at: enter(at, "RESTORE:FILTER"), width=225)
    yield label((340, 142, 55, 26), "Invalid", align="right")
    yield choose((400, 142, 73, 26), "RESTORE:INVALID")
    yield from field(176, "Backup", lambda at: show(at, "RESTORE:UNDO:ID"), width=110)
    undo = "Write back what stood before the last restore?"
    yield command((225, 174, 120, 30), "Undo", "RESTORE:UNDO", confirm=undo)
    numbers = [(name.capitalize(), f"RESTORE:{name}") for name in ("TOTAL", "WRITTEN", "UNCHANGED", "SKIPPED")]
    numbers += [("Failed", "RESTORE:FAILED"), ("Mismatch", "RESTORE:MISMATCH")]
    yield from values(10, 216, 77, numbers)
    yield from field(276, "Restored", lambda at: show(at, "RESTORE:ID"), width=110)
    yield from field(276, "Took", lambda at: show(at, "RESTORE:DURATION"), x=260, width=118)
    yield show((10, 312, 463, 62), "RESTORE:MSG", wrap=True)


def _bad(medm: bool) -> Iterable[Element]:
    if medm:  # which shows the first of an array
        yield from field(10, "The first", lambda at: show(at, "RESTORE:BAD:NAMES"), width=350)
        yield show((465, 10, 505, 26), "RESTORE:BAD:REASONS")
    else:
        pvs = ["RESTORE:BAD:NAMES:LONG", "RESTORE:BAD:REASONS:LONG"]
        yield table((5, 5, 968, 142), [("PV", 360), ("Why", 590)], [(ROWS, pvs)])


def _job() -> Iterable[Element]:
    yield show((10, 8, 200, 34), "JOB:STATUS", font="title", align="center")
    yield show((220, 12, 110, 26), "JOB:KIND")
    yield show((340, 12, 70, 26), "JOB:ID", align="right")
    yield label((420, 12, 30, 26), "for", align="center")
    yield show((455, 12, 130, 26), "JOB:USER")
    yield show((590, 12, 180, 26), "JOB:HOST")
    yield label((775, 12, 60, 26), "Waiting", align="right")
    yield show((840, 12, 40, 26), "JOB:QUEUED", align="right")
    yield command((890, 8, 80, 34), "Abort", "JOB:ABORT")
    yield bar((10, 50, 640, 26), "JOB:PROGRESS")
    yield show((660, 50, 90, 26), "JOB:DONE", align="right")
    yield label((752, 50, 26, 26), "of", align="center")
    yield show((780, 50, 90, 26), "JOB:TOTAL", align="right")
    yield show((880, 50, 90, 26), "JOB:ELAPSED", align="right")
    yield show((10, 82, 960, 28), "JOB:MSG")
