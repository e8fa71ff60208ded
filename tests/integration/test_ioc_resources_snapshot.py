"""SNAP:<id>: what is known of a snapshot, changing it, its commands, and the rules for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aioca
import pytest
from ioc_fakes import Control, FakeJobs, control, until
from stored import NOON, save, shown

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.job import RestoreRequest
from squirrel_ioc.model.snapshot import Snapshot, SnapshotChange
from squirrel_ioc.model.values import State
from squirrel_ioc.store import Store

CHAR = {"datatype": aioca.DBR_CHAR_STR}


@pytest.fixture
async def c(store: Store) -> AsyncIterator[Control]:
    async with control(store=store) as c:  # type: ignore[arg-type]
        yield c


@pytest.fixture
async def s(c: Control, store: Store) -> Snapshot:
    values = {"A": 1.0, "B": 2.0, "C": State.TIMEOUT}
    saved = await save(store, values, comment="two\nlines", labels=("night", "beam"))
    c.jobs.snapshots.add(saved.id)
    await shown(c, "LIST:TOTAL", 1)
    return saved


def of(s: Snapshot, name: str) -> str:
    return f"SNAP:{s.id}:{name}"


async def stored(store: Store, s: Snapshot) -> Snapshot:
    snapshot = await store.snapshot(s.id)
    assert snapshot is not None
    return snapshot


async def test_what_is_known_of_it(c: Control, s: Snapshot) -> None:
    assert await c.text(of(s, "TITLE")) == "a title"
    assert await c.get(of(s, "TITLE:S")) == "a title"
    assert await c.text(of(s, "COMMENT")) == "two\nlines"
    assert await c.text(of(s, "LABELS")) == "night, beam"
    assert await c.get(of(s, "TIME")) == NOON.astimezone().isoformat(timespec="milliseconds")
    assert await c.get(of(s, "EPOCH")) == NOON.timestamp()
    assert await c.get(of(s, "USER")) == "eve"
    assert await c.get(of(s, "HOST")) == "console3"
    assert await c.get(of(s, "COUNT")) == 2
    missing = await c.get(of(s, "MISSING"), format=aioca.FORMAT_TIME)
    assert (missing, missing.severity) == (1, 1)
    assert await c.get(of(s, "BYTES")) == s.size_bytes
    assert (await c.get(of(s, "BYTES"), format=aioca.FORMAT_CTRL)).units == "B"
    for name in ("PROTECT", "KEEP", "REFERENCE"):
        assert await c.label(of(s, name)) == "No"
    for name in ("RESTORE", "DELETE"):
        assert await c.label(of(s, name)) == "Done"
    # All of them as of when it was taken.
    assert (await c.get(of(s, "TITLE:S"), format=aioca.FORMAT_TIME)).timestamp == pytest.approx(NOON.timestamp())


@pytest.mark.parametrize(
    ("name", "kind", "record", "writable"),
    [
        ("TITLE", 4, "waveform", True),
        ("COMMENT", 4, "waveform", True),
        ("LABELS", 4, "waveform", True),
        ("TITLE:S", 0, "stringout", True),
        ("TIME", 0, "stringin", False),
        ("EPOCH", 6, "ai", False),
        ("COUNT", 5, "longin", False),
        ("BYTES", 6, "ai", False),
        ("PROTECT", 3, "bo", True),
        ("REFERENCE", 3, "bo", True),
        ("DELETE", 3, "bo", True),
    ],
)
async def test_types(c: Control, s: Snapshot, name: str, kind: int, record: str, writable: bool) -> None:
    info = await aioca.cainfo(c.pv(of(s, name)), timeout=30)
    assert (info.datatype, info.write) == (kind, writable)
    assert await c.get(of(s, f"{name}.RTYP")) == record
    assert 3 < len(await c.get(of(s, f"{name}.DESC"))) < 40


async def test_texts_are_written(c: Control, store: Store, s: Snapshot) -> None:
    await c.watch(of(s, "TITLE:S"), of(s, "LABELS:S"))
    assert await c.put(of(s, "TITLE"), " new title ", **CHAR)
    assert await c.put(of(s, "COMMENT"), "three\nmore\nlines", **CHAR)
    assert await c.put(of(s, "LABELS"), "one, two,,two ", **CHAR)
    changed = await stored(store, s)
    assert (changed.title, changed.comment, changed.labels) == ("new title", "three\nmore\nlines", ("one", "two"))
    assert await c.text(of(s, "LABELS")) == "one, two"
    assert [(name.split(":")[2], str(value)) for name, value in c.updates] == [
        ("TITLE", "new title"),
        ("LABELS", "one, two"),
    ]
    assert f"snapshot {s.id}: LABELS written by" in await c.text("SNAP:MSG")
    assert await c.label("SNAP:STATUS") == "None"
    # By its mirror, too; nothing is the time it was taken.
    assert await c.put(of(s, "TITLE:S"), "short")
    assert await c.text(of(s, "TITLE")) == "short"
    assert await c.put(of(s, "TITLE"), "", **CHAR)
    assert await c.text(of(s, "TITLE")) == NOON.astimezone().strftime("%Y-%m-%d %H:%M:%S")


async def test_what_cannot_be_written(c: Control, store: Store, s: Snapshot) -> None:
    for name in ("TIME", "COUNT", "VAL:A", "USER"):
        assert not (await aioca.cainfo(c.pv(of(s, name)), timeout=30)).write
    assert not await c.put(of(s, "TITLE:S"), "a\x07b")
    assert "control character" in await c.text("SNAP:MSG")
    assert not await c.put(of(s, "PROTECT"), 2)
    assert "2 is not between 0 and 1" in await c.text("SNAP:MSG")
    assert await stored(store, s) == s


async def test_flags(c: Control, store: Store, s: Snapshot) -> None:
    other = await save(store, {"A": 1.0})
    await shown(c, "LIST:TOTAL", 2)
    for name in ("PROTECT", "KEEP", "REFERENCE"):
        assert await c.put(of(s, name), 1)
        assert await c.label(of(s, name)) == "Yes"
        assert await c.put(of(s, name), 0)
        assert await c.label(of(s, name)) == "No"
    assert await c.put(of(s, "REFERENCE"), 1)
    assert await c.put(of(other, "REFERENCE"), 1)
    # There is one reference: it is taken from the other.
    await shown(c, of(s, "REFERENCE"), 0)
    assert (await stored(store, other)).reference


async def test_protected_is_left_alone_until_it_is_unprotected(c: Control, store: Store, s: Snapshot) -> None:
    other = await save(store, {"A": 1.0})
    await shown(c, "LIST:TOTAL", 2)
    for name in ("KEEP", "REFERENCE", "PROTECT"):
        assert await c.put(of(s, name), 1)
    before = await stored(store, s)
    await c.watch(*(of(s, name) for name in ("TITLE:S", "KEEP", "REFERENCE", "DELETE", "PROTECT")))
    for name, value, reason in (
        ("TITLE", "x", "before changing its title"),
        ("COMMENT", "x", "before changing its comment"),
        ("LABELS", "x", "before changing its labels"),
    ):
        assert not await c.put(of(s, name), value, **CHAR)
        assert f"snapshot {s.id} is protected: unprotect it {reason}" in await c.text("SNAP:MSG")
    for name, value in (("KEEP", 0), ("REFERENCE", 0), ("DELETE", 1)):
        assert not await c.put(of(s, name), value)
        assert f"snapshot {s.id} is protected" in await c.text("SNAP:MSG")
    assert not await c.put(of(other, "REFERENCE"), 1)
    assert f"snapshot {s.id} is the reference and protected" in await c.text("SNAP:MSG")
    assert await stored(store, s) == before
    assert c.updates == []
    assert await c.put(of(s, "PROTECT"), 0)
    assert await c.put(of(s, "TITLE"), "x", **CHAR)


async def test_delete_answers_who_waits_then_the_channels_go(c: Control, store: Store, s: Snapshot) -> None:
    seen: list[Any] = []
    names = [c.pv(of(s, name)) for name in ("DELETE", "TITLE:S", "VAL:A")]
    monitors = aioca.camonitor(names, lambda v, i: seen.append((i, v)), notify_disconnect=True, all_updates=True)
    await until(lambda: len(seen) == 3)
    assert await c.put(of(s, "DELETE"), 1)
    assert await store.snapshot(s.id) is None
    assert f"snapshot {s.id} deleted by" in await c.text("SNAP:MSG")
    await until(lambda: sum(not value.ok for _, value in seen) == 3)
    assert [int(value) for i, value in seen[3:] if i == 0 and value.ok] == [1, 0]
    await shown(c, "LIST:TOTAL", 0)
    assert not (await aioca.connect(names[0], timeout=0.5, throw=False)).ok
    for monitor in monitors:
        monitor.close()


async def test_delete_only_once(c: Control, s: Snapshot) -> None:
    done = await asyncio.gather(*(c.put(of(s, "DELETE"), 1) for _ in range(3)))
    assert sorted(done) == [False, False, True]


async def test_delete_of_what_another_process_has_deleted(
    c: Control, s: Snapshot, database: DatabaseSettings, tmp_path: Any
) -> None:
    seen: list[Any] = []
    monitor = aioca.camonitor(c.pv(of(s, "DELETE")), seen.append, notify_disconnect=True, all_updates=True)
    await until(lambda: seen)
    other = await Store.open(database, tmp_path, exclusive=False)
    await other.delete_snapshot(s.id)
    await other.close()
    await until(lambda: not seen[-1].ok)
    monitor.close()
    await shown(c, "LIST:TOTAL", 0)
    assert not (await aioca.connect(c.pv(of(s, "DELETE")), timeout=0.5, throw=False)).ok


async def test_restore_is_what_writing_its_id_is(c: Control, s: Snapshot) -> None:
    await c.watch(of(s, "RESTORE"), "RESTORE:STATUS", "RESTORE:ID", "RESTORE:TRIGGER")
    await c.put("RESTORE:MODE", "All")
    await c.put("RESTORE:FILTER", "A*", **CHAR)
    assert await c.put(of(s, "RESTORE"), 1)
    assert list(c.jobs.requests.values()) == [RestoreRequest(s.id, mode=1, selection="A*")]  # type: ignore[arg-type]
    assert [(name, int(value)) for name, value in c.updates] == [
        ("RESTORE:ID", s.id),
        ("RESTORE:STATUS", 1),
        (of(s, "RESTORE"), 1),
        ("RESTORE:STATUS", 2),
        (of(s, "RESTORE"), 0),
    ]


async def test_restore_is_refused_by_the_same_rules(c: Control, s: Snapshot) -> None:
    assert await c.put("RESTORE:ENABLE", 0)
    await c.watch(of(s, "RESTORE"), "RESTORE:ID")
    assert not await c.put(of(s, "RESTORE"), 1)
    assert await c.text("RESTORE:MSG") == "restores are disabled: RESTORE:ENABLE is 0"
    assert await c.label("RESTORE:STATUS") == "Refused"
    assert c.updates == []
    assert c.jobs.requests == {}


async def test_one_restore_at_a_time(store: Store) -> None:
    jobs = FakeJobs()
    jobs.hold = True
    async with control(store=store, jobs=jobs) as c:  # type: ignore[arg-type]
        one, two = [await save(store, {"A": 1.0}) for _ in range(2)]
        jobs.snapshots |= {one.id, two.id}
        await shown(c, "LIST:TOTAL", 2)
        waiting = asyncio.create_task(c.put(of(one, "RESTORE"), 1))
        await shown(c, of(one, "RESTORE"), 1)
        assert not await c.put(of(two, "RESTORE"), 1)
        assert "waits for its turn" in await c.text("RESTORE:MSG")
        assert await c.get(of(one, "RESTORE")) == 1
        # It goes on when its client has gone, and is found as it stands.
        jobs.run(100)
        assert await waiting
        assert await c.get(of(one, "RESTORE")) == 0


async def test_follows_what_other_processes_do(
    c: Control, s: Snapshot, database: DatabaseSettings, tmp_path: Any
) -> None:
    await c.watch(of(s, "TITLE:S"), of(s, "PROTECT"))
    other = await Store.open(database, tmp_path, exclusive=False)
    try:
        await other.update_snapshot(s.id, SnapshotChange(title="from elsewhere", protected=True))
        await until(lambda: len(c.updates) == 2)
        assert [str(value) for _, value in c.updates] == ["from elsewhere", "1"]
        await other.update_snapshot(s.id, SnapshotChange(protected=False))
        added = await save(other, {"X": 9.0}, taken=NOON + timedelta(days=1))
        await shown(c, "LIST:TOTAL", 2)
        assert await c.get(of(added, "COUNT")) == 1
        assert await c.get(of(added, "VAL:X")) == 9.0
    finally:
        await other.close()
