"""The values of snapshots come back bit for bit, whole or in part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_frames import assert_same, frames

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame, FrameBuilder
from squirrel_ioc.model.snapshot import NewSnapshot
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State
from squirrel_ioc.store import Store

shared_database = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@shared_database
@given(frame=frames())
async def test_every_bit_comes_back(store: Store, database: DatabaseSettings, frame: Frame) -> None:
    saved = await store.save_snapshot(frame, NewSnapshot("t"))
    assert saved.count == np.count_nonzero(frame.state == State.VALUE)
    assert saved.count + saved.missing == len(frame)
    assert_same(await store.load_frame(saved.id), frame)
    other = await Store.open(database, Path("unused"), exclusive=False)
    try:
        assert_same(await other.load_frame(saved.id), frame)
    finally:
        await other.close()


@shared_database
@given(frame=frames(), data=st.data())
async def test_part_of_a_snapshot(store: Store, frame: Frame, data: st.DataObject) -> None:
    saved = await store.save_snapshot(frame, NewSnapshot("t"))
    rows = sorted(data.draw(st.sets(st.integers(0, len(frame) - 1), max_size=5))) if len(frame) else []
    names = [frame.channels.names[r] for r in rows]
    loaded = await store.load_frame(saved.id, [*reversed(names), "T:NEVER:SEEN"])
    assert_same(loaded, frame.take(np.array(rows, np.intp)))


async def test_long_and_empty_values(store: Store) -> None:
    builder = FrameBuilder()
    long = np.random.default_rng(1).normal(size=1_000_000)
    long[:3] = [np.nan, -0.0, np.inf]
    builder.add("T:LONG", long, Meta(Dbf.DOUBLE, 2_000_000))
    builder.add("T:NONE", [], Meta(Dbf.DOUBLE, 10))
    builder.add("T:EMPTY", "", Meta(Dbf.STRING, 1))
    builder.add("T:CHARS", b"a\0b\0\0", Meta(Dbf.CHAR, 256))
    builder.add("T:STRINGS", ["", "x", ""], Meta(Dbf.STRING, 3))
    builder.add("T:ZERO", -0.0, Meta(Dbf.DOUBLE, 1))
    builder.add("T:FLOAT", b"\x01\x00\x80\x7f", Meta(Dbf.FLOAT, 1))
    frame = builder.build()
    saved = await store.save_snapshot(frame, NewSnapshot("t"))
    loaded = await store.load_frame(saved.id)
    assert_same(loaded, frame)
    assert loaded.value(0).tobytes() == long.tobytes()
    assert saved.size_bytes > 7_000_000
    assert_same(await store.load_frame(saved.id, ["T:EMPTY"]), frame.take(np.array([2])))


async def test_more_bytes_than_one_piece_in_several_chunks(store: Store) -> None:
    size = 2000
    side_row = np.array([0, 5, 992, 993, 1999], np.int32)
    parts = [np.random.default_rng(i).bytes(700_000) for i in range(5)]
    empty = Frame.empty(ChannelList.of([f"T:{i}" for i in range(size)]))
    frame = Frame(
        empty.channels,
        empty.state,
        empty.dbf,
        empty.count,
        empty.severity,
        empty.status,
        empty.stamp,
        empty.number,
        empty.meta,
        side_row=side_row,
        side_end=np.cumsum([len(p) for p in parts]).astype(np.int64),
        side=b"".join(parts),
    )
    saved = await store.save_snapshot(frame, NewSnapshot("t"))
    assert_same(await store.load_frame(saved.id), frame)
    assert (await store.load_frame(saved.id, ["T:993"])).raw(0) == parts[3]


async def test_a_frame_without_channels(store: Store) -> None:
    saved = await store.save_snapshot(Frame.empty(ChannelList.of([])), NewSnapshot("nothing"))
    assert (saved.count, saved.missing, saved.size_bytes) == (0, 0, 0)
    assert len(await store.load_frame(saved.id)) == 0


async def test_the_catalogues_list_is_the_very_object(store: Store, database: DatabaseSettings) -> None:
    catalogue = await store.save_catalogue([Entry("T:A", "T:A:RB"), Entry("T:B")])
    saved = await store.save_snapshot(Frame.empty(catalogue.channels), NewSnapshot("t"))
    assert (await store.load_frame(saved.id)).channels is catalogue.channels
    assert (await store.load_catalogue()).channels is catalogue.channels
    other = await Store.open(database, Path("unused"), exclusive=False)
    try:
        loaded = await other.load_frame(saved.id)
        assert loaded.channels is (await other.load_catalogue()).channels
        assert loaded.channels.names == ("T:A", "T:B", "T:A:RB")
        assert loaded.channels.setpoints == 2
        assert loaded.channels.ids.all()
    finally:
        await other.close()


async def test_equal_lists_are_stored_once(store: Store) -> None:
    first = await store.save_snapshot(Frame.empty(ChannelList.of(["T:A", "T:B"])), NewSnapshot("1"))
    second = await store.save_snapshot(Frame.empty(ChannelList.of(["T:A", "T:B"])), NewSnapshot("2"))
    swapped = await store.save_snapshot(Frame.empty(ChannelList.of(["T:B", "T:A"])), NewSnapshot("3"))
    readback = await store.save_snapshot(Frame.empty(ChannelList.of(["T:A", "T:B"], 1)), NewSnapshot("4"))
    assert first.channel_list_id == second.channel_list_id
    assert len({first.channel_list_id, swapped.channel_list_id, readback.channel_list_id}) == 3


async def test_a_list_nobody_needs_goes_and_comes_back(store: Store) -> None:
    frame = Frame.empty(ChannelList.of(["T:A"]))
    first = await store.save_snapshot(frame, NewSnapshot("1"))
    kept = (await store.load_frame(first.id)).channels
    await store.delete_snapshot(first.id)
    assert await store.pool.fetchval("SELECT count(*) FROM channel_list") == 0
    again = await store.save_snapshot(Frame.empty(kept), NewSnapshot("2"))
    assert (await store.load_frame(again.id)).channels.names == ("T:A",)


async def test_meta_data_are_stored_once(store: Store) -> None:
    meta = Meta(Dbf.ENUM, 1, "", 0, (float("nan"),) * 8, ("Off", "", "Trip"))
    for name in ("T:A", "T:B"):
        builder = FrameBuilder()
        builder.add(name, 1, meta)
        saved = await store.save_snapshot(builder.build(), NewSnapshot(name))
        assert (await store.load_frame(saved.id)).metas == (NO_META, meta)
    assert await store.pool.fetchval("SELECT count(*) FROM meta") == 2


async def test_an_unknown_snapshot(store: Store) -> None:
    for unknown in (0, -1, 12345, 2**40):
        with pytest.raises(StoreError, match=f"snapshot {unknown} does not exist"):
            await store.load_frame(unknown)


async def test_damage_is_noticed(store: Store) -> None:
    saved = await store.save_snapshot(Frame.empty(ChannelList.of([f"T:{i}" for i in range(1500)])), NewSnapshot("t"))
    await store.pool.execute("UPDATE snapshot_chunk SET number = number[1:10] WHERE chunk_no = 1")
    with pytest.raises(StoreError, match="not as long as"):
        await store.load_frame(saved.id)
    await store.pool.execute("DELETE FROM snapshot_chunk WHERE chunk_no = 1")
    with pytest.raises(StoreError, match="chunks are missing"):
        await store.load_frame(saved.id)


async def test_text_the_database_cannot_hold_is_refused_whole(store: Store) -> None:
    with pytest.raises(StoreError, match="storing a snapshot"):
        await store.save_snapshot(Frame.empty(ChannelList.of(["T:A"])), NewSnapshot("a\0b"))
    assert await store.snapshots() == ([], 0)
    assert await store.pool.fetchval("SELECT count(*) FROM snapshot_chunk") == 0
