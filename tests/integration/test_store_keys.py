"""What there is, by number and name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.job import JobKind
from squirrel_ioc.model.snapshot import NewSnapshot, Snapshot, SnapshotChange, SnapshotFilter
from squirrel_ioc.model.values import Dbf, Meta
from squirrel_ioc.store import Store

DOUBLE = Meta(Dbf.DOUBLE, 1)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def save(store: Store, *names: str, value: float = 1.0, hour: int = 0, **new: object) -> Snapshot:
    builder = FrameBuilder()
    for name in names:
        builder.add(name, value, DOUBLE)
    taken = NOON + timedelta(hours=hour)
    return await store.save_snapshot(builder.build(), NewSnapshot("a title", taken=taken, **new))  # type: ignore[arg-type]


async def test_snapshots_with_their_lists_and_the_reference(store: Store) -> None:
    empty = await store.keys.snapshots()
    assert (empty.lists, empty.reference) == ({}, 0)
    saved = [await save(store, "A", "B"), await save(store, "A"), await save(store, "A", "B")]
    await store.update_snapshot(saved[1].id, SnapshotChange(reference=True))
    keys = await store.keys.snapshots()
    assert keys.lists == {s.id: s.channel_list_id for s in saved}
    assert keys.reference == saved[1].id
    some = await store.keys.snapshots([saved[2].id, 999])
    assert some.lists == {s.id: s.channel_list_id for s in saved[1:]}
    assert some.reference == saved[1].id


async def test_lists_of_channels(store: Store) -> None:
    saved = await save(store, "A", "B")
    known = store.keys.known_list(saved.channel_list_id)
    assert known is not None
    assert known.names == ("A", "B")
    assert await store.keys.channel_list(saved.channel_list_id) is known
    assert store.keys.known_list(saved.channel_list_id + 1) is None
    with pytest.raises(StoreError, match="no channel list"):
        await store.keys.channel_list(saved.channel_list_id + 1)


async def test_names_are_read_again_only_when_there_are_more(store: Store) -> None:
    assert await store.keys.channel_names() == frozenset()
    await save(store, "A", "Ü:ü")
    names = await store.keys.channel_names(0)
    assert names == {"A", "Ü:ü"}
    assert await store.keys.channel_names(len(names)) is None
    await store.save_catalogue([Entry("A", "C")])
    assert await store.keys.channel_names(len(names)) == {"A", "C", "Ü:ü"}


async def test_jobs(store: Store) -> None:
    assert list(await store.keys.jobs()) == []
    ids = [await store.create_job(None, JobKind.SNAPSHOT, {}, title="t", user="u", host="h") for _ in range(3)]
    assert list(await store.keys.jobs()) == ids


async def test_history_of_some_snapshots(store: Store) -> None:
    for hour in range(4):
        user = "eve" if hour % 2 else "adam"
        await save(store, "A", value=float(hour), hour=hour, user=user, labels=("night",) if hour > 1 else ())
    history = await store.history("A", wanted=SnapshotFilter(user="Eve", page=7, size=1))
    np.testing.assert_array_equal(history.numbers, [1.0, 3.0])
    history = await store.history(
        "A", wanted=SnapshotFilter(label="night", since=NOON, until=NOON + timedelta(hours=2))
    )
    np.testing.assert_array_equal(history.numbers, [2.0])
    np.testing.assert_array_equal((await store.history("A", 2)).numbers, [2.0, 3.0])
    assert len(await store.history("A", wanted=SnapshotFilter(text="nothing"))) == 0
