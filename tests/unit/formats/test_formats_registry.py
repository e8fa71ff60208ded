"""Which format a file is in; and that files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from format_helpers import FILES, problems_of

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats import (
    FORMATS,
    Kind,
    Limits,
    ReadOptions,
    SnapshotFile,
    detect,
    format_named,
    read_snapshot,
    write_catalogue,
    write_snapshot,
)
from squirrel_ioc.model.catalogue import Entry


@pytest.mark.parametrize(
    ("file", "name", "kind"),
    [
        ("autosave/auto_settings.req", "autosave", Kind.CATALOGUE),
        ("autosave/motor_settings.req", "autosave", Kind.CATALOGUE),
        ("autosave/settings.sav", "autosave", Kind.SNAPSHOT),
        ("burt/magnets.req", "burt", Kind.CATALOGUE),
        ("burt/magnets.snap", "burt", Kind.SNAPSHOT),
        ("psi/machine.req", "psi", Kind.CATALOGUE),
        ("psi/machine.snap", "psi", Kind.SNAPSHOT),
        ("psi/old.snap", "psi", Kind.SNAPSHOT),
        ("phoebus/config.csv", "phoebus", Kind.CATALOGUE),
        ("phoebus/snapshot.csv", "phoebus", Kind.SNAPSHOT),
        ("squirrel/pvs.csv", "squirrel", Kind.CATALOGUE),
    ],
)
def test_formats_are_recognised(tmp_path: Path, file: str, name: str, kind: Kind) -> None:
    found, what = detect(FILES / file)
    assert (found.name, what) == (name, kind)
    if not file.endswith(".req"):
        other = tmp_path / "nameless"
        other.write_bytes((FILES / file).read_bytes())
        if file != "psi/old.snap":
            assert detect(other)[0].name == name


def test_what_is_not_recognised_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello\n")
    assert problems_of(tmp_path / "x.txt") == [
        "x.txt: the format is not recognised; say which of "
        "autosave, burt, psi, phoebus, squirrel, jsonl, catalogue it is"
    ]
    assert problems_of(tmp_path / "x.txt", form="excel")[0].startswith("format 'excel' is not known")
    assert problems_of(FILES / "autosave" / "settings.sav", "catalogue") == [
        "settings.sav: holds a snapshot (autosave), no catalogue"
    ]


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty.sav").write_text("")
    os.mkfifo(tmp_path / "pipe.sav")
    (tmp_path / "folder.sav").mkdir()
    assert problems_of(tmp_path / "empty.sav") == ["empty.sav: is empty"]
    assert problems_of(tmp_path / "empty.sav", form="autosave") == ["empty.sav: holds no PV"]
    assert problems_of(tmp_path / "pipe.sav") == ["pipe.sav: is no plain file"]
    assert problems_of(tmp_path / "gone.sav") == ["gone.sav: cannot be read: No such file or directory"]
    assert problems_of(tmp_path / "folder.sav") == ["folder.sav: is no plain file"]
    (tmp_path / "big.sav").write_text("A 1\n" * 100)
    assert problems_of(tmp_path / "big.sav", limits=Limits(file_bytes=100)) == [
        "big.sav: has 400 bytes, more than the 100 that are read"
    ]


@pytest.mark.parametrize("name", [f.name for f in FORMATS])
def test_names_and_promises(name: str) -> None:
    found = format_named(name)
    assert found.title
    assert found.suffixes
    assert found.reads >= found.writes


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "t.jsonl"
    target.write_text("before")
    snapshot = read_snapshot(FILES / "psi" / "old.snap")
    broken = SnapshotFile(snapshot.frame, attributes={"x": object()})
    with pytest.raises(FormatError, match="cannot be written as JSON"):
        write_snapshot(target, broken, "jsonl")
    with pytest.raises(FormatError, match="cannot be written: No such file"):
        write_catalogue(tmp_path / "none" / "t.req", [Entry("A")], "autosave")
    assert target.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]
    write_snapshot(target, snapshot, "jsonl")
    assert len(read_snapshot(target).frame) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["t.jsonl"]


def test_live_types_are_not_forced_on_files_that_know_their_own() -> None:
    found = read_snapshot(FILES / "phoebus" / "snapshot.csv", options=ReadOptions(live={}))
    assert found.typed
