"""How files are read and written, whatever their format."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from format_helpers import values, written

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats import (
    Limits,
    ReadOptions,
    SnapshotFile,
    format_by_name_of,
    read_snapshot,
    write_catalogue,
    write_snapshot,
)
from squirrel_ioc.formats.compressed import new_file
from squirrel_ioc.formats.jsonl.jsonl import Writer
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta


def snapshot(count: int = 3) -> SnapshotFile:
    builder = FrameBuilder()
    for i in range(count):
        builder.add(f"T:{i}", i + 0.5, Meta(Dbf.DOUBLE, 1))
    return SnapshotFile(builder.build())


def test_a_new_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "a.sav"
    write_snapshot(path, snapshot(), "autosave", replace=False)
    before = path.read_text()
    with pytest.raises(FormatError, match=r"a\.sav: cannot be written: File exists"):
        write_snapshot(path, snapshot(5), "autosave", replace=False)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.sav"]
    write_snapshot(path, snapshot(5), "autosave")
    assert len(read_snapshot(path).frame) == 5


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o000, 0o640), (0o022, 0o640), (0o077, 0o600)])
@pytest.mark.parametrize("name", ["a.sav", "a.snap", "a.csv", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_a_file_is_at_no_time_readable_by_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mask: int, mode: int
) -> None:
    """Not while it is written either; and what the umask takes away, nothing gives back."""
    modes: list[int] = []

    def look() -> None:
        (part,) = tmp_path.iterdir()
        modes.append(part.stat().st_mode & 0o777)

    monkeypatch.setattr("squirrel_ioc.formats._frame_rows.breathe", look)
    monkeypatch.setattr("squirrel_ioc.formats.jsonl.write.breathe", look)
    with _umask(mask):
        if name.startswith("a.jsonl."):
            with new_file(tmp_path / name, replace=False) as sink:
                Writer(sink).snapshot(snapshot())
        else:
            form = {".sav": "autosave", ".snap": "burt", ".csv": "phoebus", ".jsonl": "jsonl"}[Path(name).suffix]
            write_snapshot(tmp_path / name, snapshot(), form)
    assert modes
    assert {*modes, (tmp_path / name).stat().st_mode & 0o777} == {mode}


def test_a_catalogue_file_is_what_the_umask_leaves_of_it(tmp_path: Path) -> None:
    with _umask(0o077):
        write_catalogue(tmp_path / "a.csv", [Entry("T:A")], "catalogue")
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o600


def test_a_new_file_does_not_follow_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.sav"
    folder = tmp_path / "exchange"
    folder.mkdir()
    (folder / "a.sav").symlink_to(elsewhere)
    with pytest.raises(FormatError, match="File exists"):
        write_snapshot(folder / "a.sav", snapshot(), "autosave", replace=False)
    assert not elsewhere.exists()


def test_a_new_file_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "a.sav"
    write_snapshot(path, snapshot(), "autosave", replace=False)
    with pytest.raises(FormatError, match="File exists"):
        write_snapshot(path, snapshot(5), "autosave", replace=False)
    assert len(read_snapshot(path).frame) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["a.sav"]


@pytest.mark.parametrize("name", ["autosave", "burt", "psi", "phoebus", "jsonl"])
def test_reading_can_be_stopped(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a{'.sav' if name == 'autosave' else '.snap'}"
    write_snapshot(path, snapshot(3000), name)
    if name == "jsonl":  # 1000 values a line
        header, *_, end = path.read_text().splitlines()
        lists = [f'{{"channels": {{"list": {i // 2}, "setpoints": 0, "rows": 0}}}}' for i in range(0, 3000)]
        lists[1::2] = [f'{{"forget": {{"list": {i}}}}}' for i in range(1500)]
        path.write_text("\n".join([header, *lists, end]) + "\n")
    asked = []

    def stop() -> str:
        asked.append(None)
        return "that is enough"

    with pytest.raises(FormatError, match=rf"{path.name}:250: that is enough"):
        read_snapshot(path, name, ReadOptions(limits=Limits(stop=stop)))
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["autosave", "burt", "psi", "phoebus"])
def test_values_that_take_more_than_their_text_are_bounded(tmp_path: Path, name: str) -> None:
    builder = FrameBuilder()
    for i in range(10):
        builder.add(f"T:{i}", ["a"] * 100, Meta(Dbf.STRING, 100))
    path = tmp_path / f"a{'.sav' if name == 'autosave' else '.snap'}"
    write_snapshot(path, SnapshotFile(builder.build()), name)
    assert len(read_snapshot(path, name).frame) == 10
    with pytest.raises(FormatError, match=r"\d+: more than 10000 bytes of values"):
        read_snapshot(path, name, ReadOptions(limits=Limits(value_bytes=10_000)))


def test_the_name_tells_the_format_of_a_new_file() -> None:
    assert format_by_name_of("a.sav").name == "autosave"
    assert format_by_name_of("A.CSV").name == "phoebus"
    assert format_by_name_of("a.b.jsonl").name == "jsonl"
    with pytest.raises(FormatError, match="say which of burt, psi"):
        format_by_name_of("a.snap")
    with pytest.raises(FormatError, match="say which of autosave, burt, psi, phoebus, jsonl"):
        format_by_name_of("a")


def test_lines_of_long_arrays_stay_short(tmp_path: Path) -> None:
    builder = FrameBuilder()
    random = np.random.default_rng(1)
    wave = Meta(Dbf.DOUBLE, 200_000)
    for i in range(60):
        builder.add(f"T:{i}", float(i), Meta(Dbf.DOUBLE, 1))
        builder.add(f"W:{i}", random.normal(size=200_000 if i == 7 else 30_000), wave)
    whole = SnapshotFile(builder.build())
    lines = written("jsonl", whole).splitlines()
    blocks = [record["values"] for line in lines if "values" in (record := json.loads(line))]
    assert sum(block["rows"] for block in blocks) == 120
    assert max(map(len, lines)) < 1.5 * 200_000 * 8
    assert sorted(map(len, lines))[-2] < 1.5 * (1 << 20)
    (tmp_path / "w.jsonl").write_text("\n".join(lines) + "\n")
    back = read_snapshot(tmp_path / "w.jsonl")
    assert back.frame.side == whole.frame.side
    assert values(back.frame)["T:59"] == 59.0
