"""Dump and load: everything from one database into another, bit for bit, all of it or nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_pvs import until
from postgres import execute, settings_for
from store_frames import assert_same
from stored import NOON

from squirrel_ioc.errors import FormatError, RefusedError
from squirrel_ioc.jobs import dump_files as transfer
from squirrel_ioc.jobs.dump_files import LOAD_LIMITS, Loaded, dump, load
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame, FrameBuilder
from squirrel_ioc.model.snapshot import BACKUP, IMPORT, NewSnapshot, Snapshot, SnapshotChange, SnapshotFilter
from squirrel_ioc.model.values import Dbf, Meta, State
from squirrel_ioc.store import EmbeddedServer, Store

ENTRIES = (
    Entry("A", "A:RB", "an entry", "device", {"Area": ("L1", "L2")}, 0.1, 0.2, True, -3, 0.5, 2.0),
    Entry("B"),
)


@pytest.fixture
async def other(postgres_template: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Store]:
    """Another database."""
    name = f"test_other_{id(tmp_path)}"
    await execute(postgres_template, f"CREATE DATABASE {name} TEMPLATE squirrel_template")
    store = await Store.open(settings_for(postgres_template, name), tmp_path)
    yield store
    await store.close()
    await execute(postgres_template, f"DROP DATABASE {name} WITH (FORCE)")


def odd_frame() -> Frame:
    """Everything that Channel Access can hold."""
    builder = FrameBuilder()
    limits = (1.0, -1.0, float("nan"), float("inf"), 0.0, -2.5, 9.0, -9.0)
    for i, value in enumerate([0.0, -0.0, float("inf"), float("nan"), 1e-320, 0.1]):
        builder.add(f"D:{i}", value, Meta(Dbf.DOUBLE, 1, "mm", 3, limits), severity=i % 4, status=i, stamp=i - 5)
    builder.add("F:NAN", b"\x01\x00\x80\x7f", Meta(Dbf.FLOAT, 1))
    builder.add("E", 1, Meta(Dbf.ENUM, 1, labels=("Off", "On", "")))
    builder.add("S", "gr\u00fc\u00df", Meta(Dbf.STRING, 1))
    builder.add("S:RAW", b"\xff\xfe", Meta(Dbf.STRING, 1))
    builder.add("S:EMPTY", "", Meta(Dbf.STRING, 1))
    builder.add("W", np.arange(5.0), Meta(Dbf.DOUBLE, 10))
    builder.add("W:EMPTY", np.zeros(0), Meta(Dbf.DOUBLE, 10))
    builder.add("C", b"a\0b", Meta(Dbf.CHAR, 10))
    builder.add("T", ["one", "", "three"], Meta(Dbf.STRING, 4))
    builder.add_missing("GONE", State.TIMEOUT, Meta(Dbf.LONG, 1))
    builder.add_missing("NEVER", State.DISCONNECTED)
    frame = builder.build()
    return replace(frame, channels=ChannelList.of(frame.channels.names, 12))


def simple_frame(value: float, count: int = 3) -> Frame:
    builder = FrameBuilder()
    for i in range(count):
        builder.add(f"X:{i}", value + i, Meta(Dbf.DOUBLE, 1))
    return builder.build()


async def fill(store: Store) -> None:
    """Four snapshots, numbers 1, 2, 4 and 5."""
    await store.save_catalogue(ENTRIES)
    odd = NewSnapshot("odd", "two\nlines", ("a", "b,c"), NOON, "eve", "console3")
    await store.save_snapshot(odd_frame(), odd)
    await store.save_snapshot(simple_frame(1.0), NewSnapshot("one", taken=NOON + timedelta(microseconds=1)))
    gone = await store.save_snapshot(simple_frame(9.0), NewSnapshot("gone", taken=NOON))
    imported = NewSnapshot("imp", taken=NOON - timedelta(days=400), kind=IMPORT, origin="burt:ring.snap", user="bob")
    await store.save_snapshot(simple_frame(2.0), imported)
    backup = NewSnapshot("Before", taken=NOON, kind=BACKUP, origin="restore of snapshot 1")
    await store.save_snapshot(simple_frame(3.0, 1), backup)
    await store.delete_snapshot(gone.id)
    await store.update_snapshot(1, SnapshotChange(protected=True, kept=True))
    await store.update_snapshot(4, SnapshotChange(reference=True))


async def everything(store: Store) -> dict[int, Snapshot]:
    """All snapshots; what differs from database to database is left out."""
    found, _ = await store.snapshots(SnapshotFilter(size=1000))
    return {s.id: replace(s, size_bytes=0, channel_list_id=0, job_id=None) for s in sorted(found, key=lambda s: s.id)}


def nothing(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def files_in(folder: Path) -> list[str]:
    """Dumps, and what was to become one."""
    return [p.name for p in folder.iterdir() if "jsonl" in p.name]


async def dumped(store: Store, path: Path, ids: Any = None, **options: Any) -> Path:
    await dump(store, path, ids, **{"kept": False, "replace": False, "progress": nothing} | options)
    return path


async def loaded(store: Store, path: Path, **options: Any) -> Loaded:
    return await load(
        store, path, **{"replace": False, "dry_run": False, "made_by": "test", "progress": nothing} | options
    )


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
async def test_everything_comes_back(store: Store, other: Store, tmp_path: Path, suffix: str) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / f"all.jsonl{suffix}")
    result = await loaded(other, path)
    assert (result.new, result.same, result.notes) == ([(1, 1), (2, 2), (4, 4), (5, 5)], [], [])
    assert result.catalogue == "2 setpoints, from the file"
    assert await everything(other) == await everything(store)
    for number in (1, 2, 4, 5):
        assert_same(await other.load_frame(number), await store.load_frame(number))
    catalogue = await other.load_catalogue()
    assert (catalogue.entries, catalogue.channels.names) == (ENTRIES, ("A", "B", "A:RB"))
    # The next one has a number of its own.
    new = await other.save_snapshot(simple_frame(7.0), NewSnapshot("new"))
    assert new.id == 6


async def test_loading_again_changes_nothing(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    events: list[Any] = []
    other.listen(events.append)
    await loaded(other, path)
    await other.set_setting("begin", True)
    await until(lambda: any(e.kind == "setting" for e in events))
    events.clear()
    before = await everything(other)
    for options in ({}, {"replace": True}, {"dry_run": True}):
        result = await loaded(other, path, **options)
        assert (result.new, result.changed, result.kept) == ([], [], [])
        assert result.same == [(1, 1), (2, 2), (4, 4), (5, 5)]
        assert result.catalogue == "the same, 2 setpoints"
    result = await loaded(store, path)
    assert len(result.same) == 4
    assert await everything(other) == before
    await other.set_setting("done", True)
    await until(lambda: events)
    assert [e.kind for e in events] == ["setting"]


async def test_a_dry_run_changes_nothing(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    result = await loaded(other, await dumped(store, tmp_path / "all.jsonl"), dry_run=True)
    assert result.new == [(1, 0), (2, 0), (4, 0), (5, 0)]
    assert await everything(other) == {}
    assert (await other.load_catalogue()).version == 0
    assert (await other.save_snapshot(simple_frame(7.0), NewSnapshot("new"))).id == 1


async def test_numbers_that_are_taken(store: Store, other: Store, tmp_path: Path) -> None:
    """What is there keeps its number; the catalogue and the reference stay what they are."""
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    for i in range(2):
        await other.save_snapshot(simple_frame(50.0 + i), NewSnapshot(f"mine {i}", taken=NOON))
    await other.update_snapshot(2, SnapshotChange(reference=True))
    await other.save_catalogue([Entry("MINE")])
    result = await loaded(other, path)
    assert result.new == [(1, 6), (2, 7), (4, 4), (5, 5)]
    assert result.catalogue == "kept, 1 setpoints; the file has another one, 2 setpoints"
    assert result.notes == ["snapshot 2 stays the reference; it is snapshot 4 of the file"]
    there = await everything(other)
    assert {i: s.title for i, s in there.items()} == {
        1: "mine 0", 2: "mine 1", 4: "imp", 5: "Before", 6: "odd", 7: "one",
    }  # fmt: skip
    assert [i for i, s in there.items() if s.reference] == [2]
    assert_same(await other.load_frame(6), odd_frame())
    # Also the second time.
    result = await loaded(other, path)
    assert result.same == [(1, 6), (2, 7), (4, 4), (5, 5)]
    assert (result.new, result.kept) == ([], [4])
    assert await everything(other) == there


async def test_what_was_deleted_comes_back_under_its_number(store: Store, tmp_path: Path) -> None:
    await fill(store)
    before = await everything(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    await store.delete_snapshot(2)
    assert (await loaded(store, path)).new == [(2, 2)]
    assert await everything(store) == before


async def test_two_that_are_the_same_stay_two(store: Store, other: Store, tmp_path: Path) -> None:
    for _ in range(2):
        await store.save_snapshot(simple_frame(1.0), NewSnapshot("twin", taken=NOON))
    path = await dumped(store, tmp_path / "all.jsonl")
    assert (await loaded(other, path)).new == [(1, 1), (2, 2)]
    assert (await loaded(other, path)).same == [(1, 1), (2, 2)]
    await other.delete_snapshot(1)
    assert len((await loaded(other, path)).new) == 1
    assert (await loaded(other, path)).new == []
    assert [s.title for s in (await everything(other)).values()] == ["twin", "twin"]


async def test_replace_brings_descriptions_back(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    await loaded(other, path)
    await other.update_snapshot(2, SnapshotChange(title="changed", comment="too", labels=("x",), kept=True))
    await other.update_snapshot(5, SnapshotChange(reference=True))
    await other.save_catalogue([Entry("MINE")])
    changed = await everything(other)
    result = await loaded(other, path)
    assert (result.changed, sorted(result.kept)) == ([], [2, 4, 5])
    assert await everything(other) == changed

    result = await loaded(other, path, replace=True)
    assert (sorted(result.changed), result.kept) == ([2, 4, 5], [])
    assert result.catalogue == "2 setpoints, from the file"
    assert await everything(other) == await everything(store)
    assert (await other.load_catalogue()).entries == ENTRIES


async def test_what_is_protected_is_not_changed(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    await loaded(other, path)
    await other.update_snapshot(1, SnapshotChange(protected=False))
    await other.update_snapshot(1, SnapshotChange(title="mine", protected=True))
    await other.update_snapshot(5, SnapshotChange(reference=True, protected=True))
    await other.delete_snapshot(2)
    before = await everything(other)
    with pytest.raises(RefusedError) as caught:
        await loaded(other, path, replace=True)
    assert str(caught.value).splitlines() == [
        "nothing is loaded: snapshot 1 is protected, and these would change: title",
        "snapshot 5 is protected, and these would change: protected, reference",
        "snapshot 5 is the reference and protected: it would not be any more",
    ]
    assert await everything(other) == before
    # Without --replace it is left alone.
    assert (await loaded(other, path)).new == [(2, 2)]


async def test_a_protected_reference_stays_one(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    await other.save_snapshot(simple_frame(50.0), NewSnapshot("mine", taken=NOON))
    await other.update_snapshot(1, SnapshotChange(reference=True, protected=True))
    with pytest.raises(RefusedError, match="snapshot 1 is the reference and protected"):
        await loaded(other, path, replace=True)
    assert list(await everything(other)) == [1]
    await other.update_snapshot(1, SnapshotChange(protected=False))
    await loaded(other, path, replace=True)
    assert [s.title for s in (await everything(other)).values() if s.reference] == ["imp"]


async def test_a_part_of_it(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    kept = await dumped(store, tmp_path / "kept.jsonl", kept=True)
    assert (await loaded(other, kept, dry_run=True)).new == [(1, 0), (4, 0)]
    some = await dumped(store, tmp_path / "some.jsonl", {5, 2})
    assert (await loaded(other, some)).new == [(2, 2), (5, 5)]
    assert (await loaded(other, kept)).new == [(1, 1), (4, 4)]
    with pytest.raises(RefusedError, match="there is no snapshot 3, 99"):
        await dumped(store, tmp_path / "none.jsonl", {3, 4, 99})
    assert not (tmp_path / "none.jsonl").exists()


async def test_a_dump_overwrites_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("mine")
    with pytest.raises(FormatError, match="is there already"):
        await dumped(store, path)
    assert path.read_text() == "mine"
    await dumped(store, path, replace=True)
    assert files_in(tmp_path) == ["all.jsonl"]
    assert path.read_text().startswith('{"format": "squirrel-ioc"')


async def test_nothing_is_dumped_that_could_not_be_loaded(
    store: Store, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too large for a load is told when it is dumped, and refused before it is in memory when it is loaded."""
    builder = FrameBuilder()
    builder.add("W", np.arange(1000.0), Meta(Dbf.DOUBLE, 1000))
    await store.save_snapshot(builder.build(), NewSnapshot("wave"))
    await dumped(store, tmp_path / "whole.jsonl.zst")
    for limits, reason in (
        (replace(LOAD_LIMITS, line_bytes=8000), r"wave, W: a line of \d+ bytes, more than the 8000 that are read"),
        (replace(LOAD_LIMITS, value_bytes=8000), "wave, W: the snapshot has more than the 8000 bytes"),
    ):
        monkeypatch.setattr(transfer, "LOAD_LIMITS", limits)
        with pytest.raises(FormatError, match=reason):
            await dumped(store, tmp_path / "again.jsonl")
        with pytest.raises(FormatError, match=r"whole.jsonl.zst:\d+: .* 8000 bytes"):
            await loaded(other, tmp_path / "whole.jsonl.zst")
        assert await other.snapshots(SnapshotFilter()) == ([], 0)
    assert files_in(tmp_path) == ["whole.jsonl.zst"]


async def test_an_interrupted_dump_leaves_nothing(store: Store, tmp_path: Path) -> None:
    await fill(store)

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyError("stop")

    with pytest.raises(KeyError):
        await dumped(store, tmp_path / "all.jsonl", progress=stop)
    assert files_in(tmp_path) == []


def damaged(path: Path, how: str) -> str:
    """Spoil a dump; returns what must be said."""
    lines = path.read_text().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith('{"values"'))
    if how == "truncated":
        path.write_text("".join(lines[:-1]))
        return "all.jsonl:.*: has no end"
    if how == "cut":
        path.write_text("".join(lines)[:-300])
        return r"all.jsonl:\d+: no JSON"
    if how == "value":
        lines[last] = lines[last].replace('"type": 6', '"type": 60')
        path.write_text("".join(lines))
        return f"all.jsonl:{last + 1}: a state, type or meta that is not known"
    if how == "kind":
        text = "".join(lines)
        path.write_text(text.replace('"kind": "backup"', '"kind": "drawing"'))
        return "snapshot 4 of the file: its attributes are not those of a snapshot"
    if how == "time":
        heads = [i for i, line in enumerate(lines) if line.startswith('{"snapshot"')]
        record = json.loads(lines[heads[-1]])
        record["snapshot"]["taken"] = None
        lines[heads[-1]] = json.dumps(record) + "\n"
        path.write_text("".join(lines))
        return "snapshot 4 of the file: it does not say when it was taken"
    if how == "nul":
        path.write_text("".join(lines).replace('"units": "mm"', '"units": "m\\u0000"'))
        return "snapshot 1 of the file: a text with a NUL cannot be stored"
    if how == "name":
        path.write_text("".join(lines).replace('"W:EMPTY"', '"W:\\u001fEMPTY"'))
        return r"all.jsonl:\d+: 'W:\\x1fEMPTY' is no name of a channel"
    assert how == "references"
    path.write_text("".join(lines).replace('"reference": false', '"reference": true'))
    return "are both the reference"


@pytest.mark.parametrize("how", ["truncated", "cut", "value", "kind", "time", "nul", "name", "references"])
async def test_a_damaged_file_loads_nothing(store: Store, other: Store, tmp_path: Path, how: str) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    with pytest.raises(FormatError, match=damaged(path, how)):
        await loaded(other, path)
    assert await everything(other) == {}
    assert (await other.load_catalogue()).version == 0


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("how", ["cut", "flipped", "other"])
async def test_damaged_compression(store: Store, other: Store, tmp_path: Path, suffix: str, how: str) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / f"all.jsonl{suffix}")
    whole = path.read_bytes()
    middle = len(whole) // 2
    spoiled = {
        "cut": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "other": b"no compression",
    }[how]
    path.write_bytes(spoiled)
    with pytest.raises(FormatError, match=rf"all\.jsonl{suffix}:"):
        await loaded(other, path)
    assert await everything(other) == {}


async def test_a_failure_half_way_leaves_nothing(store: Store, other: Store, tmp_path: Path) -> None:
    """The database refuses the last snapshot of the second pass."""
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    count = 0

    def stop(_done: int, _total: int) -> None:
        nonlocal count
        count += 1
        if count == 9:  # the catalogue and four snapshots twice: one is missing
            raise KeyError("stop")

    with pytest.raises(KeyError):
        await loaded(other, path, progress=stop)
    assert await everything(other) == {}
    assert (await other.load_catalogue()).version == 0
    assert len((await loaded(other, path)).new) == 4


async def test_a_file_that_changes_meanwhile(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")

    def write(done: int, total: int) -> None:
        if done > total / 2:
            os.utime(path)

    with pytest.raises(FormatError, match="has been written to while it was loaded"):
        await loaded(other, path, progress=write)
    assert await everything(other) == {}


async def test_one_load_at_a_time(store: Store, other: Store, tmp_path: Path) -> None:
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    async with other.transfer.writing():
        with pytest.raises(RefusedError, match="somebody else is loading"):
            await loaded(other, path)
    assert len((await loaded(other, path)).new) == 4


async def test_snapshots_go_on_meanwhile(store: Store, other: Store, tmp_path: Path) -> None:
    """The service takes a snapshot while a load is under way: both are there, under numbers of their own."""
    await fill(store)
    path = await dumped(store, tmp_path / "all.jsonl")
    taken: list[asyncio.Task[Snapshot]] = []

    def meanwhile(_done: int, _total: int) -> None:
        new = NewSnapshot(f"meanwhile {len(taken)}")
        taken.append(asyncio.create_task(other.save_snapshot(simple_frame(70.0), new)))

    result = await loaded(other, path, progress=meanwhile)
    snapshots = await asyncio.gather(*taken)
    numbers = [s.id for s in snapshots] + [number for _, number in result.new]
    assert len(set(numbers)) == len(numbers) == 14
    assert set(await everything(other)) == set(numbers)


async def test_an_exported_snapshot_can_be_loaded(store: Store, other: Store, tmp_path: Path) -> None:
    """What FILE:EXPORT writes is a dump of one snapshot, without a catalogue."""
    from squirrel_ioc.formats import write_snapshot
    from squirrel_ioc.jobs.exporting import snapshot_file

    await fill(store)
    snapshot = await store.snapshot(1)
    assert snapshot is not None
    frame = await store.load_frame(1)
    catalogue = await store.load_catalogue()
    content = snapshot_file(snapshot, frame, catalogue, with_attributes=True)
    write_snapshot(tmp_path / "one.jsonl", content, "jsonl")
    result = await loaded(other, tmp_path / "one.jsonl")
    assert (result.new, result.catalogue) == ([(1, 1)], "none in the file")
    assert (await everything(other))[1] == (await everything(store))[1]
    assert (await loaded(store, tmp_path / "one.jsonl")).same == [(1, 1)]


async def test_an_empty_database(store: Store, other: Store, tmp_path: Path) -> None:
    path = await dumped(store, tmp_path / "none.jsonl.gz")
    with gzip.open(path, "rt") as file:
        assert len(file.readlines()) == 3
    result = await loaded(other, path)
    assert (result.new, result.catalogue) == ([], "the same, 0 setpoints")
