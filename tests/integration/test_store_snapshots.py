"""Snapshots: stored whole, found again, changed, protected, deleted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from squirrel_ioc.errors import RefusedError, StoreError
from squirrel_ioc.model.frame import Frame, FrameBuilder
from squirrel_ioc.model.job import JobKind
from squirrel_ioc.model.snapshot import BACKUP, IMPORT, NewSnapshot, Snapshot, SnapshotChange, SnapshotFilter
from squirrel_ioc.model.values import Dbf, Meta, State
from squirrel_ioc.store import Store

DAY = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def frame(**numbers: float) -> Frame:
    builder = FrameBuilder()
    for name, number in numbers.items():
        builder.add(name, number, Meta(Dbf.DOUBLE, 1, "mm", 3))
    return builder.build()


async def new_job(store: Store) -> int:
    return await store.create_job(None, JobKind.SNAPSHOT, {}, title="t", user="u", host="h")


async def save(store: Store, title: str = "t", **values: Any) -> Snapshot:
    return await store.save_snapshot(frame(A=1.0), NewSnapshot(title, **values))


async def test_all_that_is_said_of_it_is_kept(store: Store) -> None:
    builder = FrameBuilder()
    builder.add("T:A", 1.5, Meta(Dbf.DOUBLE, 1))
    builder.add_missing("T:B", State.DISCONNECTED)
    job = await new_job(store)
    zone = timedelta(hours=2)
    taken = datetime(2026, 3, 1, 14, 0, 0, 123456, tzinfo=UTC) + zone
    new = NewSnapshot("first", "why", ("a", "b"), taken, "anna", "opi7", IMPORT, "old.snp", job)
    saved = await store.save_snapshot(builder.build(), new)
    assert saved.size_bytes > 0
    assert saved == Snapshot(
        id=saved.id,
        kind=IMPORT,
        title="first",
        comment="why",
        labels=("a", "b"),
        taken=taken,
        user="anna",
        host="opi7",
        count=1,
        missing=1,
        size_bytes=saved.size_bytes,
        protected=False,
        kept=False,
        reference=False,
        origin="old.snp",
        job_id=job,
        channel_list_id=saved.channel_list_id,
    )
    assert not saved.automatic
    assert await store.snapshot(saved.id) == saved
    assert await store.snapshot_of_job(job) == saved
    assert (await save(store, kind=BACKUP)).automatic


async def test_without_a_time_it_is_taken_now(store: Store) -> None:
    before = datetime.now(UTC)
    assert before <= (await save(store)).taken <= datetime.now(UTC)


async def test_unknown_ids(store: Store) -> None:
    for unknown in (0, -1, 99, 2**31, 2**70):
        assert await store.snapshot(unknown) is None
        assert await store.snapshot_of_job(unknown) is None
        with pytest.raises(RefusedError, match="does not exist"):
            await store.delete_snapshot(unknown)
        with pytest.raises(RefusedError, match="does not exist"):
            await store.update_snapshot(unknown, SnapshotChange(title="x"))


async def test_one_snapshot_a_job(store: Store) -> None:
    job = await new_job(store)
    first = await save(store, "first", job_id=job)
    assert await save(store, "second", job_id=job) == first
    assert (await store.snapshots())[1] == 1


async def test_one_snapshot_a_job_when_two_save_at_once(store: Store) -> None:
    job = await new_job(store)
    both = await asyncio.gather(*(save(store, job_id=job) for _ in range(2)))
    assert both[0] == both[1]
    assert await store.pool.fetchval("SELECT count(DISTINCT snapshot_id) FROM snapshot_chunk") == 1


async def test_what_else_is_done_belongs_to_the_same_commit(store: Store) -> None:
    async def set_and_fail(connection: Any, snapshot: Snapshot) -> None:
        await connection.execute("INSERT INTO setting VALUES ('last', to_jsonb($1::int))", snapshot.id)
        raise StoreError("no")

    async def set_last(connection: Any, snapshot: Snapshot) -> None:
        await connection.execute("INSERT INTO setting VALUES ('last', to_jsonb($1::int))", snapshot.id)

    with pytest.raises(StoreError, match=r"^no$"):
        await store.save_snapshot(frame(A=1), NewSnapshot("t"), also_do=set_and_fail)
    assert (await store.snapshots())[1] == 0
    assert await store.get_setting("last") is None
    saved = await store.save_snapshot(frame(A=1), NewSnapshot("t"), also_do=set_last)
    assert await store.get_setting("last") == saved.id
    assert (await store.load_frame(saved.id)).value(0) == 1


SLEEPS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'
"""


async def test_a_save_that_is_cancelled_stores_nothing(store: Store) -> None:
    started = asyncio.Event()

    async def hang(connection: Any, snapshot: Snapshot) -> None:
        started.set()
        await connection.execute("SELECT pg_sleep(30)")

    saving = asyncio.create_task(store.save_snapshot(frame(A=1), NewSnapshot("t"), also_do=hang))
    await started.wait()
    while True:  # what PostgreSQL has not begun yet cannot be cancelled
        if await store.pool.fetchval(SLEEPS):
            break
        await asyncio.sleep(0.01)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert (await store.snapshots())[1] == 0
    assert (await save(store)).count == 1


async def test_a_job_that_does_not_exist(store: Store) -> None:
    with pytest.raises(StoreError, match="job"):
        await save(store, job_id=77)
    assert (await store.snapshots())[1] == 0


@pytest.fixture
async def five(store: Store) -> dict[str, Snapshot]:
    """Snapshots of five days, the newest last."""
    made = [
        NewSnapshot("Golden orbit", "before 100%", ("optics", "Week 9"), user="anna"),
        NewSnapshot("RF on", "", ("rf",), user="ben"),
        NewSnapshot("Before restore of 1", kind=BACKUP, user="ben"),
        NewSnapshot("imported", "ORBIT from burt", kind=IMPORT, user="Anna"),
        NewSnapshot("a_b", user="carl"),
    ]
    days = [replace(n, taken=DAY + timedelta(days=i)) for i, n in enumerate(made)]
    return {n.title: await store.save_snapshot(frame(A=i), n) for i, n in enumerate(days)}


@pytest.mark.parametrize(
    ("wanted", "titles"),
    [
        (SnapshotFilter(), ["a_b", "imported", "Before restore of 1", "RF on", "Golden orbit"]),
        (SnapshotFilter(text="orbit"), ["imported", "Golden orbit"]),
        (SnapshotFilter(text="100%"), ["Golden orbit"]),
        (SnapshotFilter(text="%"), ["Golden orbit"]),
        (SnapshotFilter(text="_"), ["a_b"]),
        (SnapshotFilter(text="nowhere"), []),
        (SnapshotFilter(label="week 9"), ["Golden orbit"]),
        (SnapshotFilter(label="week"), []),
        (SnapshotFilter(user="anna"), ["imported", "Golden orbit"]),
        (SnapshotFilter(user="an"), []),
        (SnapshotFilter(since=DAY + timedelta(days=3)), ["a_b", "imported"]),
        (SnapshotFilter(until=DAY), ["Golden orbit"]),
        (
            SnapshotFilter(since=DAY + timedelta(days=1), until=DAY + timedelta(days=2)),
            ["Before restore of 1", "RF on"],
        ),
        (SnapshotFilter(automatic=True), ["Before restore of 1"]),
        (SnapshotFilter(automatic=False, user="ben"), ["RF on"]),
        (SnapshotFilter(reference=True), []),
        (SnapshotFilter(title="Golden orbit"), ["Golden orbit"]),
        (SnapshotFilter(title="Golden"), []),
    ],
)
async def test_filters(store: Store, five: dict[str, Snapshot], wanted: SnapshotFilter, titles: list[str]) -> None:
    found, total = await store.snapshots(wanted)
    assert [s.title for s in found] == titles
    assert total == len(titles)
    assert all(s == five[s.title] for s in found)


async def test_pages(store: Store, five: dict[str, Snapshot]) -> None:
    pages = [await store.snapshots(SnapshotFilter(page=page, size=2)) for page in range(4)]
    assert [[s.title for s in page] for page, _ in pages] == [
        ["a_b", "imported"],
        ["Before restore of 1", "RF on"],
        ["Golden orbit"],
        [],
    ]
    assert {total for _, total in pages} == {5}


async def test_changing_and_protecting(store: Store) -> None:
    saved = await save(store, comment="c", labels=("l",))
    changed = await store.update_snapshot(saved.id, SnapshotChange(title="new", labels=()))
    assert changed == replace(saved, title="new", labels=())
    protected = await store.update_snapshot(saved.id, SnapshotChange(protected=True, kept=True))
    assert (protected.protected, protected.kept) == (True, True)
    for change, what in (
        (SnapshotChange(title="x"), "its title"),
        (SnapshotChange(comment="x", labels=("x",)), "its comment and labels"),
        (SnapshotChange(kept=False), "its keep flag"),
    ):
        with pytest.raises(RefusedError, match=f"snapshot {saved.id} is protected: .*{what}"):
            await store.update_snapshot(saved.id, change)
    with pytest.raises(RefusedError, match="is protected"):
        await store.delete_snapshot(saved.id)
    assert await store.snapshot(saved.id) == protected
    same = SnapshotChange(title="new", kept=True, protected=True)
    assert await store.update_snapshot(saved.id, same) == protected
    freed = await store.update_snapshot(saved.id, SnapshotChange(protected=False, title="free"))
    assert (freed.protected, freed.title) == (False, "free")
    await store.delete_snapshot(saved.id)
    assert await store.snapshot(saved.id) is None


async def test_one_reference(store: Store) -> None:
    first, second = await save(store, "1"), await save(store, "2")
    assert await store.reference() is None
    first = await store.update_snapshot(first.id, SnapshotChange(reference=True))
    assert await store.reference() == first
    second = await store.update_snapshot(second.id, SnapshotChange(reference=True, protected=True))
    assert await store.reference() == second
    assert not (await store.snapshot(first.id)).reference
    assert await store.update_snapshot(second.id, SnapshotChange(reference=True)) == second
    with pytest.raises(RefusedError, match=f"snapshot {second.id} is the reference and protected"):
        await store.update_snapshot(first.id, SnapshotChange(reference=True))
    with pytest.raises(RefusedError, match=f"snapshot {second.id} is protected"):
        await store.update_snapshot(second.id, SnapshotChange(reference=False))
    assert await store.reference() == second
    await store.update_snapshot(second.id, SnapshotChange(reference=False, protected=False))
    assert await store.reference() is None


async def test_two_who_make_different_snapshots_the_reference(store: Store) -> None:
    made = [await save(store, str(i)) for i in range(4)]
    await asyncio.gather(*(store.update_snapshot(s.id, SnapshotChange(reference=True)) for s in made))
    assert (await store.snapshots(SnapshotFilter(reference=True)))[1] == 1


async def test_deleting_takes_its_values_and_nothing_else(store: Store) -> None:
    first, second = await save(store), await save(store)
    await store.delete_snapshot(first.id)
    with pytest.raises(StoreError, match="does not exist"):
        await store.load_frame(first.id)
    assert (await store.load_frame(second.id)).value(0) == 1
    assert await store.pool.fetch("SELECT DISTINCT snapshot_id FROM snapshot_chunk") == [(second.id,)]
    await store.delete_snapshot(second.id)
    assert (await save(store)).id > second.id


async def test_history(store: Store) -> None:
    for i in range(5):
        values = {"A": float(i), "B": -1.0} if i != 2 else {"B": -1.0}
        new = NewSnapshot(str(i), taken=DAY + timedelta(days=5 - i))
        await store.save_snapshot(frame(**values), new)
    builder = FrameBuilder()
    builder.add_missing("A", State.TIMEOUT)
    await store.save_snapshot(builder.build(), NewSnapshot("missing", taken=DAY))
    history = await store.history("A")
    assert history.ids.tolist() == [6, 5, 4, 2, 1]
    assert np.array_equal(history.numbers, [np.nan, 4, 3, 1, 0], equal_nan=True)
    assert history.states.tolist() == [State.TIMEOUT, 0, 0, 0, 0]
    assert history.epochs.tolist() == [(DAY + timedelta(days=d)).timestamp() for d in (0, 1, 2, 4, 5)]
    assert (await store.history("A", 2)).ids.tolist() == [2, 1]
    assert len(await store.history("B")) == 5
    assert len(await store.history("T:NEVER:SEEN")) == 0


async def test_history_in_every_chunk(store: Store) -> None:
    numbers = {f"N{i}": float(i) for i in range(2500)}
    await store.save_snapshot(frame(**numbers), NewSnapshot("all"))
    backwards = dict(reversed(numbers.items()))
    await store.save_snapshot(frame(**backwards), NewSnapshot("backwards"))
    for i in (0, 992, 993, 1985, 2499):
        assert (await store.history(f"N{i}")).numbers.tolist() == [i, i]
