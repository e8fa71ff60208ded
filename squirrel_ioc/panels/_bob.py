"""Phoebus displays: the few widgets that the panels are made of, as XML.

Source of types, versions and property names: Phoebus, `app/display/model` (the widget classes and the example
displays) and `app/display/actions`.

A place `at` is x, y, width, height in pixels. PVs are named as in the PV reference, without the prefix, which is the
macro P; `<id>` in a name is the macro ID. A name that does not exist raises KeyError.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from functools import cache
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from squirrel_ioc.ioc.reference import static_pvs
from squirrel_ioc.panels._on_demand import ON_DEMAND
from squirrel_ioc.panels._xml import At, add, add_aligned, add_color, add_font, element, new_widget

__all__ = [
    "At",
    "as_xml",
    "bar",
    "checkbox",
    "choose",
    "command",
    "display",
    "enter",
    "group",
    "label",
    "lamp",
    "open_display",
    "pv",
    "rule",
    "run_script",
    "show",
    "spinner",
    "table",
    "tabs",
    "toggle",
    "write",
]

TITLE_HEIGHT: Final = 22
"""Of a group; its children's places count from below it, and from inside its border of one pixel."""

_STRING_FORMAT: Final = 6
_LOCAL: Final = "loc://"
_TITLE_STYLE: Final = 1
_BAR = (70, 90, 110)
_WHITE = (255, 255, 255)
_PAPER = (245, 246, 248)


@cache
def _types() -> dict[str, str]:
    """The type of every control PV, also of those that are made on demand."""
    types = {name: found.type for found in ON_DEMAND for name in found.names}
    return types | {info.name: info.type for info in static_pvs()}


def pv(name: str) -> str:
    """What a panel calls a PV. Raises KeyError for one that does not exist; local PVs are left as they are."""
    if name.startswith(_LOCAL):
        return name
    _types()[name]
    return f"$(P){name.replace('<id>', '$(ID)')}"


def display(name: str, width: int, height: int, widgets: Iterable[Element]) -> Element:
    """A whole display."""
    root = Element("display", version="2.0.0")
    add(root, "name", name)
    add(root, "width", width)
    add(root, "height", height)
    add_color(root, "background_color", _PAPER)
    add(root, "grid_step_x", 5)
    add(root, "grid_step_y", 5)
    root.extend(widgets)
    for number, widget in enumerate(root.iter("widget"), 1):
        if widget.find("name") is None:
            widget.insert(0, element("name", f"{widget.get('type')}_{number}"))
    return root


def as_xml(panel: Element) -> str:
    """The text of a display file."""
    root = deepcopy(panel)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, "unicode")}\n'


# Widgets that show


def label(at: At, text: str, *, font: str = "", align: str = "left") -> Element:
    """Fixed text."""
    widget = new_widget("label", at)
    add(widget, "text", text)
    add_font(widget, font)
    add_aligned(widget, align)
    return widget


def show(at: At, name: str, *, font: str = "", align: str = "left", wrap: bool = False) -> Element:
    """A PV's value, with its alarm as border."""
    widget = _pv_widget("textupdate", at, name)
    add_font(widget, font)
    if _is_text(name):
        add(widget, "format", _STRING_FORMAT)
    add_aligned(widget, align)
    if not wrap:
        add(widget, "wrap_words", "false")
    return widget


def lamp(at: At, name: str) -> Element:
    """On while a PV is not 0."""
    widget = _pv_widget("led", at, name)
    add_color(widget, "off_color", (215, 218, 222))
    add_color(widget, "on_color", (60, 140, 255))
    return widget


def bar(at: At, name: str) -> Element:
    """A number between the limits of its PV, as a bar."""
    widget = _pv_widget("progressbar", at, name)
    add_color(widget, "fill_color", (60, 140, 255))
    return widget


def table(
    at: At,
    columns: Sequence[tuple[str, int]],
    scripts: Iterable[tuple[str, Sequence[str]]],
    *,
    selection: str = "",
) -> Element:
    """Rows that scripts put together; a script has its text and its PVs, each of which triggers it, save a local one
    behind the first. `selection` is a local PV of type VTable, which tells of the selected rows.
    """
    widget = new_widget("table", at)
    found = SubElement(widget, "columns")
    for heading, width in columns:
        column = SubElement(found, "column")
        add(column, "name", heading)
        add(column, "width", width)
        add(column, "editable", "false")
    add(widget, "editable", "false")
    if selection:
        add(widget, "row_selection_mode", "true")
        add(widget, "selection_pv", selection)
    attached = SubElement(widget, "scripts")
    for text, names in scripts:
        script = SubElement(attached, "script", file="EmbeddedPy")
        add(script, "text", text)
        for number, name in enumerate(names):
            add(script, "pv_name", pv(name))
            if number and name.startswith(_LOCAL):
                script[-1].set("trigger", "false")
    return widget


# Widgets that write


def enter(at: At, name: str, *, lines: bool = False) -> Element:
    """A field to type a PV's value into."""
    widget = _pv_widget("textentry", at, name)
    if _is_text(name):
        add(widget, "format", _STRING_FORMAT)
    if name.startswith(_LOCAL):
        add(widget, "precision", 0)
    if lines:
        add(widget, "multi_line", "true")
        add(widget, "wrap_words", "true")
    return widget


def choose(at: At, name: str) -> Element:
    """One of the states of a PV."""
    return _pv_widget("combo", at, name)


def toggle(at: At, name: str, *, confirm: str = "") -> Element:
    """A button that is one of two states."""
    widget = _pv_widget("bool_button", at, name)
    add(widget, "labels_from_pv", "true")
    add_color(widget, "off_color", (215, 218, 222))
    add_color(widget, "on_color", (60, 200, 90))
    if confirm:
        add(widget, "show_confirm_dialog", 1)
        add(widget, "confirm_message", confirm)
    return widget


def checkbox(at: At, name: str) -> Element:
    """A PV of two states as a box to tick."""
    widget = _pv_widget("checkbox", at, name)
    add(widget, "label", "")
    return widget


def spinner(at: At, name: str, low: int, high: int) -> Element:
    """A whole number, one up or down."""
    widget = _pv_widget("spinner", at, name)
    add(widget, "precision", 0)
    add(widget, "limits_from_pv", "false")
    add(widget, "minimum", low)
    add(widget, "maximum", high)
    return widget


def write(at: At, text: str, values: Sequence[tuple[str, int]], *, confirm: str = "", font: str = "") -> Element:
    """A button that writes values to PVs, in this order. It is disabled while the last one cannot be written."""
    widget = _button(at, text, values[-1][0], font)
    actions = _actions(widget)
    if len(values) > 1:
        actions.set("execute_as_one", "true")
    for name, value in values:
        action = _action(actions, "write_pv", text)
        add(action, "pv_name", pv(name))
        add(action, "value", value)
    _confirm(widget, confirm)
    return widget


def command(at: At, text: str, name: str, *, confirm: str = "", font: str = "") -> Element:
    """A button that starts a command."""
    return write(at, text, [(name, 1)], confirm=confirm, font=font)


def run_script(at: At, text: str, name: str, script: str, *, confirm: str = "", font: str = "") -> Element:
    """A button with a PV that runs a script."""
    widget = _button(at, text, name, font)
    found = SubElement(_action(_actions(widget), "execute", text), "script", file="EmbeddedPy")
    add(found, "text", script)
    _confirm(widget, confirm)
    return widget


def open_display(at: At, text: str, file: str, *, target: str = "tab", font: str = "") -> Element:
    """A button that opens another of the panels, for the same prefix."""
    widget = _button(at, text, "", font)
    action = _action(_actions(widget), "open_display", text)
    add(action, "file", file)
    add(SubElement(action, "macros"), "P", "$(P)")
    add(action, "target", target)
    return widget


# What holds others, what changes others


def group(at: At, title: str, widgets: Iterable[Element]) -> Element:
    """A frame with a title. The places of its widgets count from inside it."""
    widget = new_widget("group", at)
    widget.insert(0, element("name", title))
    add(widget, "style", _TITLE_STYLE)
    add_font(widget, "title")
    add_color(widget, "foreground_color", _WHITE)
    add_color(widget, "line_color", _BAR)
    add_color(widget, "background_color", _PAPER)
    widget.extend(widgets)
    return widget


def tabs(at: At, pages: Sequence[tuple[str, Iterable[Element]]]) -> Element:
    """Pages of widgets, one of which is seen."""
    widget = new_widget("tabs", at)
    found = SubElement(widget, "tabs")
    for title, widgets in pages:
        page = SubElement(found, "tab")
        add(page, "name", title)
        SubElement(page, "children").extend(widgets)
    return widget


def rule(widget: Element, prop: str, expression: str, names: Sequence[str]) -> Element:
    """The widget, with a property that is the value of an expression of PVs (`pvInt0`, `pvStr1`, ...)."""
    found = SubElement(SubElement(widget, "rules"), "rule", name=prop, prop_id=prop, out_exp="true")
    add(SubElement(found, "exp", bool_exp="True"), "expression", expression)
    for name in names:
        add(found, "pv_name", pv(name))
    return widget


def _pv_widget(kind: str, at: At, name: str) -> Element:
    return new_widget(kind, at, pv(name))


def _button(at: At, text: str, name: str, font: str) -> Element:
    widget = new_widget("action_button", at, pv(name) if name else "")
    add(widget, "text", text)
    add_font(widget, font)
    return widget


def _actions(widget: Element) -> Element:
    return SubElement(widget, "actions")


def _action(actions: Element, kind: str, description: str) -> Element:
    action = SubElement(actions, "action", type=kind)
    add(action, "description", description)
    return action


def _confirm(widget: Element, message: str) -> None:
    if message:
        add(widget, "show_confirm_dialog", "true")
        add(widget, "confirm_message", message)


def _is_text(name: str) -> bool:
    return not name.startswith(_LOCAL) and _types()[name].startswith("CHAR[")
