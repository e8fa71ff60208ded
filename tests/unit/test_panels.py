"""The Phoebus panels: as they are made, of PVs that exist, in the language of Phoebus, nothing on top of another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

import pytest

from squirrel_ioc.ioc.reference import static_pvs
from squirrel_ioc.panels import MAIN, PANELS, panel_files
from squirrel_ioc.panels._bob import TITLE_HEIGHT, pv, show
from squirrel_ioc.panels._on_demand import ON_DEMAND

# Phoebus 5.0.5, app/display/model: properties of the widgets, as WidgetFactory lists them; of those only what is used.
_PLACE = "name x y width height"
_PV = f"{_PLACE} pv_name"
WIDGETS = {
    "action_button": ("3.0.0", f"{_PV} text font actions rules show_confirm_dialog confirm_message"),
    "bool_button": ("2.0.0", f"{_PV} labels_from_pv off_color on_color show_confirm_dialog confirm_message"),
    "checkbox": ("2.0.0", f"{_PV} label"),
    "combo": ("2.0.0", _PV),
    "group": ("3.0.0", f"{_PLACE} style font foreground_color line_color background_color"),
    "label": ("2.0.0", f"{_PLACE} text font horizontal_alignment vertical_alignment"),
    "led": ("2.0.0", f"{_PV} off_color on_color"),
    "progressbar": ("2.0.0", f"{_PV} fill_color"),
    "spinner": ("2.0.0", f"{_PV} precision limits_from_pv minimum maximum"),
    "table": ("2.0.0", f"{_PLACE} columns editable scripts row_selection_mode selection_pv"),
    "tabs": ("2.0.0", f"{_PLACE} tabs"),
    "textentry": ("3.0.0", f"{_PV} format precision multi_line wrap_words"),
    "textupdate": ("2.0.0", f"{_PV} font format horizontal_alignment vertical_alignment wrap_words"),
}
DISPLAY = "name width height background_color grid_step_x grid_step_y"
ACTIONS = {
    "execute": "description script",
    "open_display": "description file macros target",
    "write_pv": "description pv_name value",
}
TAB_HEIGHT = 30
WRITING = ("bool_button", "checkbox", "combo", "spinner", "textentry")

TYPES = {name: (found.type, found.writable) for found in ON_DEMAND for name in found.names}
TYPES |= {info.name: (info.type, info.writable) for info in static_pvs()}

SHIPPED = {name: text for name, text in panel_files().items() if name.endswith(".bob")}
TREES = {name: fromstring(text) for name, text in SHIPPED.items()}  # noqa: S314 - our own files
every_panel = pytest.mark.parametrize("panel", TREES.values(), ids=TREES)


@pytest.mark.parametrize("name", PANELS)
def test_panel_ships_as_it_is_made(name: str) -> None:
    assert PANELS[name]() == panel_files()[name], f"{name} is out of date: run `python -m squirrel_ioc.panels`"


@every_panel
def test_panel_is_what_phoebus_reads(panel: Element) -> None:
    assert (panel.tag, panel.get("version")) == ("display", "2.0.0")
    assert {e.tag for e in panel} - {"widget"} <= set(DISPLAY.split())
    names = []
    for widget in panel.iter("widget"):
        version, properties = WIDGETS[widget.attrib["type"]]
        assert widget.get("version") == version
        used = [e.tag for e in widget if e.tag != "widget"]
        assert set(used) <= set(properties.split())
        assert len(used) == len(set(used))
        names.append(widget.findtext("name"))
    for action in panel.iter("action"):
        assert {e.tag for e in action} == set(ACTIONS[action.attrib["type"]].split())
    for script in panel.iter("script"):
        assert script.get("file") == "EmbeddedPy"
    assert len(names) == len(set(names))


def pv_names(panel: Element) -> Iterator[str]:
    """Every control PV that a panel speaks of, as in the reference."""
    for element in panel.iter("pv_name"):
        if not (element.text or "").startswith("loc://"):
            yield _plain(element.text or "")
    for script in panel.iter("script"):
        for name in re.findall(r'prefix \+ "([^"]*)"', script.findtext("text") or ""):
            yield _plain(f"$(P){name}")


def _plain(name: str) -> str:
    assert name.startswith("$(P)")
    return name.removeprefix("$(P)").replace("$(ID)", "<id>")


@every_panel
def test_every_pv_exists(panel: Element) -> None:
    found = set(pv_names(panel))
    assert len(found) > 5
    assert found <= set(TYPES)


@every_panel
def test_only_what_can_be_written_is_written(panel: Element) -> None:
    written = [w.findtext("pv_name", "") for w in panel.iter("widget") if w.get("type") in WRITING]
    written += [a.findtext("pv_name", "") for a in panel.iter("action") if a.get("type") == "write_pv"]
    for name in written:
        assert name.startswith("loc://") or TYPES[_plain(name)][1], f"{name} is read-only"
    for script in panel.iter("script"):
        for name in re.findall(r'writePV\(prefix \+ "([^"]*)"', script.findtext("text") or ""):
            assert TYPES[name][1], f"{name} is read-only"


@every_panel
def test_texts_are_shown_as_text_and_not_as_numbers(panel: Element) -> None:
    for widget in panel.iter("widget"):
        name = widget.findtext("pv_name", "")
        if widget.get("type") in ("textentry", "textupdate") and not name.startswith("loc://"):
            assert (widget.findtext("format") == "6") == TYPES[_plain(name)][0].startswith("CHAR["), name


@every_panel
def test_local_pvs_are_the_same_everywhere(panel: Element) -> None:
    # Phoebus complains when two widgets initialize one local PV differently.
    found = {e.text for e in panel.iter() if e.tag in ("pv_name", "selection_pv") and (e.text or "").startswith("loc:")}
    assert found <= {"loc://squirrel:$(P)id<VLong>(0)", "loc://squirrel:$(P)selection<VTable>"}


@every_panel
def test_nothing_overlaps_or_sticks_out(panel: Element) -> None:
    def check(widgets: list[Element], width: int, height: int) -> None:
        for widget in widgets:
            x, y, w, h = _place(widget)
            assert min(x, y) >= 0, f"{_say(widget)} sticks out"
            assert x + w <= width, f"{_say(widget)} sticks out"
            assert y + h <= height, f"{_say(widget)} sticks out"
            if widget.get("type") == "group":
                check(widget.findall("widget"), w - 2, h - TITLE_HEIGHT - 1)
            for page in widget.findall("tabs/tab/children"):
                check(page.findall("widget"), w, h - TAB_HEIGHT)
        for a, b in combinations(widgets, 2):
            assert not _overlap(_place(a), _place(b)), f"{_say(a)} and {_say(b)} overlap"

    check(panel.findall("widget"), int(panel.findtext("width", "")), int(panel.findtext("height", "")))


def _place(widget: Element) -> tuple[int, int, int, int]:
    x, y, width, height = (int(widget.findtext(key, "")) for key in ("x", "y", "width", "height"))
    return x, y, width, height


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _say(widget: Element) -> str:
    return f"{widget.findtext('name')} {_place(widget)} {widget.findtext('pv_name') or widget.findtext('text') or ''}"


def test_main_panel_leads_to_all_others() -> None:
    def leads_to(name: str) -> set[str]:
        texts = [e.text or "" for e in TREES[name].iter("file")]
        scripts = [e.findtext("text") or "" for e in TREES[name].iter("script")]
        return {*texts, *(file for text in scripts for file in re.findall(r'openDisplay\(widget, "([^"]*)"', text))}

    reached, new = {MAIN}, {MAIN}
    while new:
        new = {file for name in new for file in leads_to(name)} - reached
        reached |= new
    assert reached == set(SHIPPED)


def test_operator_panel_has_all_of_snapshot_restore_and_job() -> None:
    shown = set(pv_names(TREES["squirrel_operator.bob"]))
    wanted = {name for name in TYPES if name.startswith(("SNAP:", "RESTORE:")) and "<id>" not in name}
    wanted -= {name for name in wanted if name.endswith((":S", ":EPOCH", "NAMES", "REASONS"))}
    assert wanted - shown <= {
        "SNAP:NOW",
        *("SNAP:DO", "SNAP:STICKY", "SNAP:REFUSED", "RESTORE:DO", "RESTORE:STICKY", "RESTORE:REFUSED"),
        *("RESTORE:LAST:ID", "RESTORE:PLAN:COUNT", "RESTORE:PLAN:FROM", "RESTORE:PLAN:TO", "RESTORE:PLAN:NAMES:LONG"),
        "SNAP:AWAY",
        "SNAP:MISSING:NAMES:LONG",
        "SNAP:INVALID:NAMES:LONG",
        "RESTORE:BACKUP:ID",
        "RESTORE:UNDO:OF",
        "RESTORE:UNDO:ALL",
        "RESTORE:SKIPPED:NAMES:LONG",
        "RESTORE:SKIPPED:REASONS:LONG",
    }
    assert {"JOB:STATUS", "JOB:PROGRESS", "JOB:MSG", "JOB:ABORT", "JOB:QUEUED"} <= shown


def test_unknown_pv_cannot_be_put_on_a_panel() -> None:
    assert pv("SNAP:<id>:TITLE") == "$(P)SNAP:$(ID):TITLE"
    with pytest.raises(KeyError, match="SNAP:TITEL"):
        show((0, 0, 10, 10), "SNAP:TITEL")


def test_nothing_else_is_in_the_folder_of_the_panels() -> None:
    import squirrel_ioc.panels

    folder = Path(squirrel_ioc.panels.__file__).parent
    assert {path.name for path in folder.iterdir() if path.suffix in (".bob", ".adl")} == set(PANELS)
