"""The panel of one snapshot, whose id is the macro ID: look at it, name it, keep it, restore it, delete it."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from squirrel_ioc.panels._bob import command, display, enter, group, label, show, toggle
from squirrel_ioc.panels._parts import field, values

__all__ = ["snapshot"]

_WIDTH, _HEIGHT = 600, 490


def snapshot() -> Element:
    """SNAP:<id>:..."""
    return display(
        "Snapshot $(ID)",
        _WIDTH,
        _HEIGHT,
        [
            label((10, 8, 330, 32), "Snapshot $(ID)", font="big"),
            label((345, 8, 245, 32), "$(P)", font="title"),
            group((10, 50, 580, 300), "What it is", _about()),
            group((10, 360, 580, 120), "What to do with it", _commands()),
        ],
    )


def _about() -> Iterable[Element]:
    yield from field(10, "Title", lambda at: enter(at, "SNAP:<id>:TITLE"), width=463)
    yield from field(42, "Comment", lambda at: enter(at, "SNAP:<id>:COMMENT", lines=True), width=463, height=80)
    yield from field(128, "Labels", lambda at: enter(at, "SNAP:<id>:LABELS"), width=463)
    yield from field(160, "Taken", lambda at: show(at, "SNAP:<id>:TIME"), width=250)
    yield label((360, 160, 30, 26), "by", align="center")
    yield show((395, 160, 173, 26), "SNAP:<id>:USER")
    yield from field(192, "On host", lambda at: show(at, "SNAP:<id>:HOST"), width=463)
    numbers = [("Values", "SNAP:<id>:COUNT"), ("Missing", "SNAP:<id>:MISSING"), ("Size", "SNAP:<id>:BYTES")]
    yield from values(10, 224, 185, numbers)


def _commands() -> Iterable[Element]:
    for place, (text, name) in enumerate((("Protect", "PROTECT"), ("Keep", "KEEP"), ("Reference", "REFERENCE"))):
        yield label((10 + 135 * place, 10, 70, 28), text, align="right")
        yield toggle((85 + 135 * place, 10, 56, 28), f"SNAP:<id>:{name}")
    restore = "Write snapshot $(ID) back to the machine?"
    yield command((425, 8, 70, 32), "Restore", "SNAP:<id>:RESTORE", confirm=restore)
    yield command((500, 8, 68, 32), "Delete", "SNAP:<id>:DELETE", confirm="Delete snapshot $(ID) for good?")
    yield show((10, 50, 558, 40), "SNAP:MSG", wrap=True)
