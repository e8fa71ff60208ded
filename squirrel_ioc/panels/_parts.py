"""What several panels have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from xml.etree.ElementTree import Element

from squirrel_ioc.panels._bob import At, label, open_display, rule, run_script, show
from squirrel_ioc.panels._scripts import write_id

__all__ = [
    "DIFF",
    "HEALTH",
    "LIST",
    "MAIN",
    "MEDM_DIFF",
    "MEDM_OPERATOR",
    "OPERATOR",
    "SELECTED_ID",
    "SNAPSHOT",
    "field",
    "header",
    "restore_button",
    "values",
]

MAIN: Final = "squirrel.bob"
OPERATOR: Final = "squirrel_operator.bob"
DIFF: Final = "squirrel_diff.bob"
LIST: Final = "squirrel_list.bob"
HEALTH: Final = "squirrel_health.bob"
SNAPSHOT: Final = "squirrel_snapshot.bob"
"""Of one snapshot; needs the macro ID."""

MEDM_OPERATOR: Final = "squirrel_operator.adl"
MEDM_DIFF: Final = "squirrel_diff.adl"

SELECTED_ID: Final = "loc://squirrel:$(P)id<VLong>(0)"
"""The snapshot that is picked in the list and typed in the other panels: one for all panels of a Phoebus."""

_PANELS: Final = (("Operate", OPERATOR), ("Compare", DIFF), ("List", LIST), ("Health", HEALTH))


def header(width: int, title: str, file: str) -> Iterable[Element]:
    """The top of a panel: what it is, of which service, and the way to the others. 40 pixels high, from 8 on."""
    yield label((10, 8, 330, 32), title, font="big")
    yield label((345, 8, 160, 32), "$(P)", font="title")
    others = [(text, other) for text, other in _PANELS if other != file]
    for place, (text, other) in enumerate(reversed(others)):
        yield open_display((width - 10 - 100 * (place + 1) + 5, 10, 95, 28), text, other)


def field(
    y: int, text: str, make: Callable[[At], Element], *, x: int = 10, width: int = 368, height: int = 26
) -> list[Element]:
    """A text of 90 pixels, and a widget right of it."""
    return [label((x, y, 90, 26), text), make((x + 95, y, width, height))]


def values(x: int, y: int, width: int, pvs: Iterable[tuple[str, str]]) -> Iterable[Element]:
    """Numbers side by side, with a caption over each. 48 pixels high."""
    for text, name in pvs:
        yield label((x, y, width - 4, 18), text, font="small", align="center")
        yield show((x + 2, y + 20, width - 8, 28), name, font="bold", align="center")
        x += width


def restore_button(at: At) -> Element:
    """Restores the selected snapshot; asks first, and says which."""
    button = run_script(at, "Restore", SELECTED_ID, write_id(("RESTORE:ID", None)), confirm="Restore it?", font="title")
    return rule(button, "confirm_message", '"Write snapshot " + str(pvInt0) + " back to the machine?"', [SELECTED_ID])
