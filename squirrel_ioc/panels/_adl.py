"""MEDM displays, made of the Phoebus ones: what MEDM has no widget for is left out.

Source of the file format: MEDM, the functions `writeDl...` of `medmCommon.c`, `medmControl.c`, `medmMonitor.c` and of
the file of each widget; the colours are its default map, `siteSpecific.h`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Final
from xml.etree.ElementTree import Element

from squirrel_ioc.ioc.reference import static_pvs
from squirrel_ioc.panels._bob import TITLE_HEIGHT
from squirrel_ioc.panels._xml import At

__all__ = ["convert"]

Lines = Iterator[str]

_COLORS: Final = """
ffffff ececec dadada c8c8c8 bbbbbb aeaeae 9e9e9e 919191 858585 787878 696969 5a5a5a 464646 2d2d2d 000000 00d800
1ebb00 339900 2d7f00 216c00 fd0000 de1309 be190b a01207 820400 5893ff 597ee1 4b6ec7 3a5eab 27548d fbf34a f9da3c
eeb62b e19015 cd6100 ffb0ff d67fe2 ae4ebc 8b1a96 610a75 a4aaff 8793e2 6a73c1 4d52a4 343386 c7bb6d b79d5c a47e3c
7d5627 58340f 99ffff 73dfff 4ea5f9 2a63e4 0a00b8 ebf1b5 d4db9d bbc187 a6a462 8b8239 73ff6b 52da3b 3cb420 289315
1a7309
"""
_WHITE, _LIGHT, _GREY, _BUTTON, _BLACK, _BLUE, _ENTRY, _BAR = 0, 2, 3, 4, 14, 29, 50, 25
_ALIGN: Final = ("horiz. left", "horiz. centered", "horiz. right")
_TEXT_HEIGHTS: Final = {"Fine Print": 12, "Header 3": 16, "Header 1": 22}
_TEXT_HEIGHT: Final = 14
_ENTRY_HEIGHT: Final = 26
_TAB_HEIGHT: Final = 30


def convert(name: str, panel: Element, panels: Mapping[str, str]) -> str:
    """A Phoebus display as the MEDM one of this file name. `panels` are the MEDM files in place of Phoebus ones."""
    width, height = int(panel.findtext("width", "")), int(panel.findtext("height", ""))
    lines = ["", *_block("file", f'name="{name}"', "version=030107")]
    lines += _block(
        "display",
        *_object((0, 0, width, height)),
        f"clr={_BLACK}",
        f"bclr={_GREY}",
        'cmap=""',
        "gridSpacing=5",
        "gridOn=0",
        "snapToGrid=0",
    )
    colors = _COLORS.split()
    lines += _block('"color map"', f"ncolors={len(colors)}", *_block("colors", *(f"{color}," for color in colors)))
    lines += _Converter(panels).widgets(panel.findall("widget"), 0, 0)
    return "\n".join(lines) + "\n"


class _Converter:
    def __init__(self, panels: Mapping[str, str]) -> None:
        self._panels = panels
        self._makers: Mapping[str, Callable[[Element, At], Iterable[str]]] = {
            "action_button": self._button,
            "bool_button": self._choice,
            "checkbox": self._choice,
            "combo": self._menu,
            "group": self._group,
            "label": self._label,
            "progressbar": self._bar,
            "spinner": self._entry,
            "tabs": self._first_tab,
            "textentry": self._entry,
            "textupdate": self._update,
        }

    def widgets(self, widgets: Iterable[Element], x: int, y: int) -> Lines:
        """The widgets of a group whose inside begins at x, y."""
        for widget in widgets:
            make = self._makers.get(widget.attrib["type"])
            if make is not None:
                left, top, width, height = (int(widget.findtext(key, "")) for key in ("x", "y", "width", "height"))
                yield from make(widget, (x + left, y + top, width, height))

    # What holds others

    def _group(self, widget: Element, at: At) -> Lines:
        x, y, width, _ = at
        yield from _block("rectangle", *_object(at), *_attribute(_BLUE, 'fill="outline"'))
        yield from _block("rectangle", *_object((x, y, width, TITLE_HEIGHT)), *_attribute(_BLUE))
        yield from _text((x + 6, y, width - 12, TITLE_HEIGHT), widget.findtext("name", ""), _WHITE, 0, 16)
        yield from self.widgets(widget.findall("widget"), x + 1, y + TITLE_HEIGHT)

    def _first_tab(self, widget: Element, at: At) -> Lines:
        yield from self.widgets(widget.findall("tabs/tab[1]/children/widget"), at[0], at[1] + _TAB_HEIGHT)

    # What shows

    def _label(self, widget: Element, at: At) -> Lines:
        yield from _text(at, widget.findtext("text", ""), _BLACK, _aligned(widget), _text_height(widget))

    def _update(self, widget: Element, at: At) -> Lines:
        name = widget.findtext("pv_name", "")
        # MEDM shows an alarm by the colour of the text.
        alarms = name.removeprefix("$(P)") in _alarming()
        monitor = _channel("monitor", name, _BLACK, _BLACK if alarms else _LIGHT)
        mode = ['clrmod="alarm"'] if alarms else []
        align = [f'align="{_ALIGN[_aligned(widget)]}"'] if _aligned(widget) else []
        place = _object(_one_line(at, _text_height(widget) + 8))
        yield from _block('"text update"', *place, *monitor, *mode, *align, *_format(widget), *_block("limits"))

    def _bar(self, widget: Element, at: At) -> Lines:
        monitor = _channel("monitor", widget.findtext("pv_name", ""), _BAR, _LIGHT)
        yield from _block("bar", *_object(at), *monitor, *_block("limits"))

    # What writes

    def _entry(self, widget: Element, at: At) -> Lines:
        control = _channel("control", widget.findtext("pv_name", ""), _BLACK, _ENTRY)
        place = _object(_one_line(at, _ENTRY_HEIGHT))
        yield from _block('"text entry"', *place, *control, *_format(widget), *_block("limits"))

    def _menu(self, widget: Element, at: At) -> Lines:
        yield from _block("menu", *_object(at), *_channel("control", widget.findtext("pv_name", ""), _BLACK, _BUTTON))

    def _choice(self, widget: Element, at: At) -> Lines:
        control = _channel("control", widget.findtext("pv_name", ""), _BLACK, _BUTTON)
        yield from _block('"choice button"', *_object(at), *control, 'stacking="column"')

    def _button(self, widget: Element, at: At) -> Lines:
        actions = widget.findall("actions/action")
        kind, label = actions[0].get("type"), widget.findtext("text", "")
        if kind == "write_pv" and len(actions) == 1:
            yield from _message_button(at, label, actions[0].findtext("pv_name", ""), actions[0].findtext("value", ""))
        elif kind == "open_display" and (file := self._panels.get(actions[0].findtext("file", ""))):
            yield from _related_display(at, label, file)


def _message_button(at: At, label: str, name: str, value: str) -> Lines:
    control = _channel("control", name, _BLACK, _BUTTON)
    yield from _block('"message button"', *_object(at), *control, f'label="{label}"', f'press_msg="{value}"')


def _related_display(at: At, label: str, file: str) -> Lines:
    entry = _block("display[0]", f'label="{label}"', f'name="{file}"', 'args="P=$(P)"')
    yield from _block(
        '"related display"', *_object(at), *entry, f"clr={_BLACK}", f"bclr={_BUTTON}", f'label="-{label}"'
    )


def _one_line(at: At, limit: int) -> At:
    """The middle of a place: MEDM makes a text as large as its place is high."""
    x, y, width, height = at
    return x, y + max(0, height - limit) // 2, width, min(height, limit)


def _text(at: At, text: str, color: int, align: int, text_height: int) -> Lines:
    x, y, width, height = _one_line(at, text_height)
    place = _object((x + 3, y, width - 6, height))
    aligned = [f'align="{_ALIGN[align]}"'] if align else []
    yield from _block("text", *place, *_attribute(color), f'textix="{text}"', *aligned)


def _object(at: At) -> Lines:
    return _block("object", *(f"{key}={value}" for key, value in zip(("x", "y", "width", "height"), at, strict=True)))


def _attribute(color: int, *more: str) -> Lines:
    return _block('"basic attribute"', f"clr={color}", *more)


def _channel(kind: str, name: str, color: int, background: int) -> Lines:
    return _block(kind, f'chan="{name}"', f"clr={color}", f"bclr={background}")


def _block(name: str, *lines: str) -> Lines:
    yield f"{name} {{"
    for line in lines:
        yield f"\t{line}"
    yield "}"


def _format(widget: Element) -> list[str]:
    return ['format="string"'] if widget.findtext("format") else []


def _aligned(widget: Element) -> int:
    return int(widget.findtext("horizontal_alignment", "0"))


def _text_height(widget: Element) -> int:
    font = widget.find("font/font")
    return _TEXT_HEIGHTS.get("" if font is None else font.get("name", ""), _TEXT_HEIGHT)


@cache
def _alarming() -> frozenset[str]:
    """PVs that can be in alarm."""
    return frozenset(i.name for i in static_pvs() if any(i.severities) or i.alarm_above is not None)
