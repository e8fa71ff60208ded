"""The MEDM panels: of PVs that exist, in the language of MEDM, inside the window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from squirrel_ioc.ioc.reference import static_pvs
from squirrel_ioc.panels import panel_files

# MEDM, the functions writeDl... of its sources: what values, what blocks, what further blocks a block has.
WIDGETS = ("rectangle", "text", "text update", "bar", "text entry", "menu", "choice button", "message button")
BLOCKS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "": ("", ("file", "display", "color map"), (*WIDGETS, "related display")),
    "file": ("name version", (), ()),
    "display": ("clr bclr cmap gridSpacing gridOn snapToGrid", ("object",), ()),
    "color map": ("ncolors", ("colors",), ()),
    "object": ("x y width height", (), ()),
    "basic attribute": ("clr fill", (), ()),
    "monitor": ("chan clr bclr", (), ()),
    "control": ("chan clr bclr", (), ()),
    "limits": ("", (), ()),
    "rectangle": ("", ("object", "basic attribute"), ()),
    "text": ("textix align", ("object", "basic attribute"), ()),
    "text update": ("clrmod align format", ("object", "monitor", "limits"), ()),
    "bar": ("", ("object", "monitor", "limits"), ()),
    "text entry": ("format", ("object", "control", "limits"), ()),
    "menu": ("", ("object", "control"), ()),
    "choice button": ("stacking", ("object", "control"), ()),
    "message button": ("label press_msg", ("object", "control"), ()),
    "related display": ("clr bclr label", ("object", "display[0]"), ()),
    "display[0]": ("label name args", (), ()),
}
VALUES = {
    "align": {'"horiz. centered"', '"horiz. right"'},
    "clrmod": {'"alarm"'},
    "fill": {'"outline"'},
    "format": {'"string"'},
    "stacking": {'"column"'},
}
MAX_TOKEN = 256

PVS = {info.name: info for info in static_pvs()}
PANELS = {name: text for name, text in panel_files().items() if name.endswith(".adl")}
every_panel = pytest.mark.parametrize("text", PANELS.values(), ids=PANELS)


@dataclass
class Block:
    """name { values, blocks }"""

    name: str
    values: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def block(self, name: str) -> Block:
        (found,) = (block for block in self.blocks if block.name == name)
        return found

    def everything(self) -> Iterator[Block]:
        yield self
        for block in self.blocks:
            yield from block.everything()


def parsed(text: str) -> Block:
    root = Block("")
    path = [root]
    for line in text.splitlines():
        part = line.strip()
        if match := re.fullmatch(r'"?([^"{]+?)"? {', part):
            path[-1].blocks.append(Block(match[1]))
            path.append(path[-1].blocks[-1])
        elif part == "}":
            path.pop()
        elif match := re.fullmatch(r"(\w+)=(.*)", part):
            assert match[1] not in path[-1].values
            path[-1].values[match[1]] = match[2]
        elif part:
            assert (path[-1].name, bool(re.fullmatch("[0-9a-f]{6},", part))) == ("colors", True), part
            path[-1].values[f"color {len(path[-1].values)}"] = part
    assert path == [root]
    return root


@every_panel
def test_panel_is_what_medm_reads(text: str) -> None:
    root = parsed(text)
    for block in root.everything():
        if block.name == "colors":
            continue
        values, needed, possible = BLOCKS[block.name]
        found = {inner.name for inner in block.blocks}
        assert set(needed) <= found <= {*needed, *possible}
        assert set(block.values) <= set(values.split())
        for key, value in block.values.items():
            assert len(value) < MAX_TOKEN
            assert re.fullmatch(r'-?\d+|"[^"]*"', value)
            assert value in VALUES.get(key, {value})
    assert root.block("file").values["name"].strip('"') in PANELS
    colors = root.block("color map")
    assert int(colors.values["ncolors"]) == len(colors.block("colors").values) == 65
    assert all(int(b.values[key]) < 65 for b in root.everything() for key in ("clr", "bclr") if key in b.values)


@every_panel
def test_every_pv_exists_and_only_what_can_be_written_is_written(text: str) -> None:
    channels = [b for b in parsed(text).everything() if "chan" in b.values]
    assert len(channels) > 30
    for block in channels:
        info = PVS[_pv(block)]
        assert block.name == "monitor" or info.writable, f"{info.name} is read-only"


def _pv(block: Block) -> str:
    match = re.fullmatch(r'"\$\(P\)(.*)"', block.values["chan"])
    assert match
    return match[1]


@every_panel
def test_texts_are_texts_and_alarms_are_seen(text: str) -> None:
    for block in parsed(text).blocks:
        if block.name in ("text update", "text entry"):
            info = PVS[_pv(block.block("monitor" if block.name == "text update" else "control"))]
            assert ("format" in block.values) == info.type.startswith("CHAR["), info.name
            if block.name == "text update":
                assert ("clrmod" in block.values) == (any(info.severities) or info.alarm_above is not None), info.name


@every_panel
def test_everything_is_in_the_window(text: str) -> None:
    root = parsed(text)
    _, _, width, height = _place(root.block("display"))
    for block in root.blocks:
        if block.name not in ("file", "color map"):
            x, y, w, h = _place(block)
            assert 0 <= x <= x + w <= width
            assert 0 <= y <= y + h <= height


def _place(block: Block) -> tuple[int, int, int, int]:
    x, y, width, height = (int(block.block("object").values[key]) for key in ("x", "y", "width", "height"))
    return x, y, width, height


@every_panel
def test_related_displays_are_there(text: str) -> None:
    files = [b.values["name"].strip('"') for b in parsed(text).everything() if b.name == "display[0]"]
    assert files
    assert set(files) <= set(PANELS)
