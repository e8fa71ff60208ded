"""Texts in arrays of characters: out and in again, each is the same text, and a restore of it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from format_helpers import types

from squirrel_ioc.formats import ReadOptions, SnapshotFile, read_snapshot, retype, write_snapshot
from squirrel_ioc.model.compare import compare, differs
from squirrel_ioc.model.frame import Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta

SUFFIX = {"autosave": ".sav", "burt": ".snap", "psi": ".snap", "phoebus": ".csv", "jsonl": ".jsonl"}
WAVEFORM = Meta(Dbf.CHAR, 256)
LONG_STRING = Meta(Dbf.CHAR, 300)
TEXTS = {
    "never written": b"",
    "empty": b"\0",
    "empty, filled up": b"\0" * 256,
    "a": b"a",
    "a, with its NUL": b"a\0",
    "a, filled up": b"a".ljust(256, b"\0"),
    "100": b"0123456789 text, " * 5 + b"of 100 (chars) ",
    "100, with its NUL": b"0123456789 text, " * 5 + b"of 100 (chars) \0",
    "blank": b" ",
    "digits": b"007\0",
    "UTF-8": "grün und µm".encode() + b"\0",
    "quotes": b"say \"yes\" or 'no' \\ \0",
    "looks like no value": b"null\0",
}
assert len(TEXTS["100"]) == 100


def texts_of(name: str, meta: Meta) -> Frame:
    """Every text in a PV of its own."""
    builder = FrameBuilder()
    for i, raw in enumerate(TEXTS.values()):
        builder.add(name.replace("#", str(i)), raw, meta)
    return builder.build()


@pytest.fixture(params=[("T:CHARS#", WAVEFORM), ("T:LSO#.VAL$", LONG_STRING)], ids=["waveform", "long string"])
def texts(request: pytest.FixtureRequest) -> Frame:
    return texts_of(*request.param)


def described(different: list[bool]) -> list[str]:
    return [what for what, wrong in zip(TEXTS, different, strict=True) if wrong]


@pytest.mark.parametrize("form", SUFFIX)
def test_a_text_comes_back_as_the_same(tmp_path: Path, form: str, texts: Frame) -> None:
    path = tmp_path / f"a{SUFFIX[form]}"
    warnings = write_snapshot(path, SnapshotFile(texts), form)
    assert not [w for w in warnings if w.startswith("left out")]
    live = {name: texts.metas[m] for name, m in zip(texts.channels.names, texts.meta.tolist(), strict=True)}
    back = read_snapshot(path, form, ReadOptions(live=live)).frame
    assert back.channels.names == texts.channels.names
    assert set(types(back).values()) == {Dbf.CHAR}
    assert described(compare(texts, back).different.tolist()) == []
    assert described(compare(back, texts).different.tolist()) == []
    assert described(differs(texts, back).tolist()) == []


@pytest.mark.parametrize("form", SUFFIX)
def test_what_has_lost_its_type_is_told_and_gets_it_later(tmp_path: Path, form: str, texts: Frame) -> None:
    """The PVs are not known when the file is read: they are when it is compared or restored."""
    path = tmp_path / f"a{SUFFIX[form]}"
    warnings = write_snapshot(path, SnapshotFile(texts), form)
    found = read_snapshot(path, form).frame
    lost = [name for name, dbf in types(found).items() if dbf is not Dbf.CHAR]
    told = [w for w in warnings if "where the PV's type is not known" in w]
    assert sum(int(w.rpartition("(")[2].split(" PV")[0]) for w in told) == len(lost), warnings
    live = {name: texts.metas[m] for name, m in zip(texts.channels.names, texts.meta.tolist(), strict=True)}
    back, problems = retype(found, live, as_shown=form == "burt")
    assert problems == {}
    assert set(types(back).values()) == {Dbf.CHAR}
    assert described(compare(texts, back).different.tolist()) == []


@pytest.mark.parametrize("form", SUFFIX)
@pytest.mark.parametrize("known", [True, False])
def test_a_text_that_is_longer_than_a_string_may_be(tmp_path: Path, form: str, known: bool) -> None:
    """Of a PV that says it is a STRING, whose long text was read beside it."""
    builder = FrameBuilder()
    texts = ["a", "x" * 39, TEXTS["100"].decode(), "ä" * 50]
    for i, text in enumerate(texts):
        builder.add(f"T:CALC{i}.CALC", text, Meta(Dbf.STRING, 1))
    frame = builder.build()
    path = tmp_path / f"a{SUFFIX[form]}"
    assert not [w for w in write_snapshot(path, SnapshotFile(frame), form) if w.startswith("left out")]
    live = dict.fromkeys(frame.channels.names, Meta(Dbf.STRING, 1))
    back, problems = retype(read_snapshot(path, form, ReadOptions(live=live if known else {})).frame, live)
    assert problems == {}
    assert set(types(back).values()) == {Dbf.STRING}
    assert [back.value(i) for i in range(len(texts))] == texts
