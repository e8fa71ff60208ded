"""Elements of a Phoebus display file: plain values, colours, fonts, places."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element, SubElement

__all__ = ["At", "add", "add_aligned", "add_color", "add_font", "element", "new_widget"]

At = tuple[int, int, int, int]
"""x, y, width, height in pixels."""

_FONTS: Final = {
    "small": ("Fine Print", "REGULAR", 12.0),
    "bold": ("Default Bold", "BOLD", 14.0),
    "title": ("Header 3", "BOLD", 16.0),
    "big": ("Header 1", "BOLD", 22.0),
}
"""Those that every Phoebus has, by our names."""

_ALIGN: Final = {"left": 0, "center": 1, "right": 2}
_MIDDLE: Final = 1
_VERSIONS: Final = {"action_button": "3.0.0", "group": "3.0.0", "textentry": "3.0.0"}


def element(tag: str, text: object) -> Element:
    """An element with a text."""
    found = Element(tag)
    found.text = str(text)
    return found


def add(parent: Element, tag: str, text: object) -> None:
    """A property that is a text or a number."""
    parent.append(element(tag, text))


def new_widget(kind: str, at: At, pv_name: str = "") -> Element:
    """A widget at a place, perhaps with a PV."""
    widget = Element("widget", type=kind, version=_VERSIONS.get(kind, "2.0.0"))
    if pv_name:
        add(widget, "pv_name", pv_name)
    for key, number in zip(("x", "y", "width", "height"), at, strict=True):
        add(widget, key, number)
    return widget


def add_aligned(widget: Element, align: str) -> None:
    """Left, center or right, and in the middle of the height."""
    if align != "left":
        add(widget, "horizontal_alignment", _ALIGN[align])
    add(widget, "vertical_alignment", _MIDDLE)


def add_font(widget: Element, font: str) -> None:
    """One of our fonts; the default one when empty."""
    if font:
        name, style, size = _FONTS[font]
        found = SubElement(widget, "font")
        SubElement(found, "font", name=name, family="Liberation Sans", style=style, size=str(size))


def add_color(widget: Element, tag: str, rgb: tuple[int, int, int]) -> None:
    """A colour, 0 to 255 each."""
    red, green, blue = map(str, rgb)
    SubElement(SubElement(widget, tag), "color", red=red, green=green, blue=blue)
