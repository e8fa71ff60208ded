"""All panels: as they are made, and as they ship."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from squirrel_ioc.panels._adl import convert
from squirrel_ioc.panels._bob import as_xml
from squirrel_ioc.panels._diff import diff
from squirrel_ioc.panels._health import health
from squirrel_ioc.panels._list import snapshot_list
from squirrel_ioc.panels._main import main
from squirrel_ioc.panels._operator import operator
from squirrel_ioc.panels._parts import DIFF, HEALTH, LIST, MAIN, MEDM_DIFF, MEDM_OPERATOR, OPERATOR, SNAPSHOT
from squirrel_ioc.panels._snapshot import snapshot

__all__ = ["PANELS", "panel_files", "write_panels"]

MEDM: Final = {OPERATOR: MEDM_OPERATOR, DIFF: MEDM_DIFF}
"""The panels that are there for MEDM, too."""

PANELS: Final[Mapping[str, Callable[[], str]]] = {
    MAIN: lambda: as_xml(main()),
    OPERATOR: lambda: as_xml(operator()),
    DIFF: lambda: as_xml(diff()),
    LIST: lambda: as_xml(snapshot_list()),
    SNAPSHOT: lambda: as_xml(snapshot()),
    HEALTH: lambda: as_xml(health()),
    MEDM_OPERATOR: lambda: convert(MEDM_OPERATOR, operator(medm=True), MEDM),
    MEDM_DIFF: lambda: convert(MEDM_DIFF, diff(medm=True), MEDM),
}
"""What makes the text of each file."""


def panel_files() -> dict[str, str]:
    """The panels that ship with the program: file names and texts."""
    folder = files(__package__)
    return {name: folder.joinpath(name).read_text("utf-8") for name in PANELS}


def write_panels(folder: Path) -> None:
    """Make every panel and write it to a folder."""
    for name, make in PANELS.items():
        (folder / name).write_text(make(), "utf-8")
