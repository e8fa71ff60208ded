"""Out and in again: for all that a format can hold, the values are the same; the rest is left out and named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from frame_strategies import Cell, cell_lists, check, frame_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from squirrel_ioc.formats import (
    ReadOptions,
    SnapshotFile,
    read_catalogue,
    read_snapshot,
    write_catalogue,
    write_snapshot,
)
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import STRING_SIZE, Dbf, Meta, State

SUFFIX = {"autosave": ".sav", "burt": ".snap", "psi": ".snap", "phoebus": ".csv"}
LOOKS_LIKE = [
    "5",
    "1.10",
    "-0",
    "nan",
    "On",
    '"',
    "%",
    "\\0",
    "\\",
    "a\\nb",
    "[a;b]",
    "a~b",
    "null",
    "---",
    "$(X)",
    "#",
    "RO",
]
TEXTS = st.sampled_from(
    [
        *LOOKS_LIKE,
        "",
        " ",
        "  x ",
        'a "b"',
        "50 % x",
        "% y",
        "x\ny",
        "@array@ { }",
        "1 2 3",
        "\t",
        "\x7f",
        "ä",
        "1e+20",
        "\\x41",
    ]
)


@st.composite
def text_cells(draw: st.DrawFn) -> Cell:
    """Texts that look like something else in one of the formats."""
    if draw(st.booleans()):
        return Cell("", Meta(Dbf.STRING, 1), draw(TEXTS).encode())
    texts = draw(st.lists(TEXTS, max_size=4))
    return Cell("", Meta(Dbf.STRING, 4), b"".join(t.encode().ljust(STRING_SIZE, b"\0") for t in texts))


@st.composite
def char_cells(draw: st.DrawFn) -> Cell:
    """Characters, some of which mean something in one of the formats."""
    codes = st.sampled_from([0, 1, 9, 10, 13, 32, 34, 37, 48, 53, 65, 92, 126, 127, 128, 200, 255])
    if draw(st.booleans()):
        return Cell("", Meta(Dbf.CHAR, 1), bytes([draw(codes)]))
    return Cell("", Meta(Dbf.CHAR, 6), bytes(draw(st.lists(codes, max_size=6))))


@st.composite
def mixed(draw: st.DrawFn) -> list[Cell]:
    """Rows of all kinds."""
    rows = draw(cell_lists()) + draw(st.lists(text_cells() | char_cells(), max_size=4))
    return [replace(cell, name=f"T:{i}") for i, cell in enumerate(rows)]


def element_bits(frame: Frame, row: int, form: str) -> object:
    """A value up to what no text can say: the payload of a NaN, in BURT the NULs at the end of an array of characters,
    in Phoebus whether an empty one has its NUL."""
    if frame.state[row] != State.VALUE:
        return None
    dbf = Dbf(int(frame.dbf[row]))
    value = frame.value(row)
    if dbf is Dbf.STRING:
        return (dbf, value)
    elements = np.atleast_1d(np.asarray(value))
    if dbf in (Dbf.FLOAT, Dbf.DOUBLE):
        return (dbf, frame.is_array(row), [repr(float(e)) for e in elements])
    trimmed = elements.tolist()
    chars = dbf is Dbf.CHAR and frame.is_array(row)
    while chars and form == "burt" and trimmed and trimmed[-1] == 0:
        trimmed.pop()
    return (dbf, frame.is_array(row), [0] if chars and form == "phoebus" and not trimmed else trimmed)


def left_out(warnings: list[str]) -> int:
    """How many PVs the warnings say are not in the file."""
    counts = [re.search(r"\((\d+) PVs?: ", w) for w in warnings if w.startswith("left out: ")]
    return sum(int(match[1]) for match in counts if match)


@pytest.mark.parametrize("form", SUFFIX)
@settings(max_examples=150)
@given(mixed())
@example([Cell("T:0", Meta(Dbf.CHAR, 6), b"\x000")])
@example([Cell("T:0", Meta(Dbf.CHAR, 6), b"5 7"), Cell("T:1", Meta(Dbf.ENUM, 1, labels=("1", "0")), b"\0\0")])
def test_values_come_back(tmp_path_factory: pytest.TempPathFactory, form: str, cells: list[Cell]) -> None:
    path = tmp_path_factory.mktemp(form) / f"t{SUFFIX[form]}"
    frame = frame_of(cells)
    warnings = write_snapshot(path, SnapshotFile(frame), form)
    missing = left_out(warnings)
    assert 0 <= missing <= len(frame)
    if missing == len(frame):
        return
    live = {name: frame.metas[m] for name, m in zip(frame.channels.names, frame.meta.tolist(), strict=True)}
    found = read_snapshot(path, form, ReadOptions(live=live))
    check(found.frame)
    assert len(found.frame) == len(frame) - missing
    assert not [w for w in found.warnings if "kept as it is" in w]
    index = found.frame.channels.index
    for row, name in enumerate(frame.channels.names):
        if name in index:
            back = element_bits(found.frame, index[name], form)
            assert back == element_bits(frame, row, form), (name, path.read_bytes())


@pytest.mark.parametrize("form", SUFFIX)
@settings(max_examples=100)
@given(mixed())
def test_nothing_changes_by_reading_and_writing(
    tmp_path_factory: pytest.TempPathFactory, form: str, cells: list[Cell]
) -> None:
    """A file that was read without knowing any type is the same when it is written again."""
    folder = tmp_path_factory.mktemp(form)
    first, second, third = (folder / f"{n}{SUFFIX[form]}" for n in "abc")
    warnings = write_snapshot(first, SnapshotFile(frame_of(cells)), form)
    if left_out(warnings) == len(cells):
        return
    taken = read_snapshot(first, form).taken
    assert left_out(write_snapshot(second, replace(read_snapshot(first, form), taken=taken), form)) == 0
    write_snapshot(third, read_snapshot(second, form), form)
    ours, again = second.read_text("utf-8", "surrogateescape"), third.read_text("utf-8", "surrogateescape")
    assert ours == again
    if form in ("autosave", "phoebus"):
        body = first.read_text("utf-8", "surrogateescape").split("PV,SELECTED")[-1].splitlines()[1:]
        assert body == ours.split("PV,SELECTED")[-1].splitlines()[1:]


NAMES = st.text("ABCxyz019:_-.<>[];$", min_size=1, max_size=12).filter(lambda n: n[0] not in "$")


@pytest.mark.parametrize(
    ("form", "suffix"), [("autosave", ".req"), ("burt", ".req"), ("psi", ".req"), ("phoebus", ".csv")]
)
@given(
    names=st.lists(NAMES, min_size=1, max_size=10, unique=True), flags=st.lists(st.booleans(), min_size=10, max_size=10)
)
def test_names_come_back(
    tmp_path_factory: pytest.TempPathFactory, form: str, suffix: str, names: list[str], flags: list[bool]
) -> None:
    path: Path = tmp_path_factory.mktemp(form) / f"t{suffix}"
    entries = [Entry(name, read_only=flag) for name, flag in zip(names, flags, strict=False)]
    warnings = write_catalogue(path, entries, form)
    kept = entries if form in ("burt", "phoebus") else [e for e in entries if not e.read_only]
    if form == "autosave":  # which ignores lines that begin otherwise
        kept = [e for e in kept if e.setpoint[0].isalnum()]
    assert left_out(warnings) == len(entries) - len(kept)
    if kept:
        assert read_catalogue(path, form).entries == kept
