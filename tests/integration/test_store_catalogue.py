"""The catalogue in the database: kept, changed, retired, revived."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.errors import StoreError, UnknownPvError
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.snapshot import NewSnapshot
from squirrel_ioc.model.values import Dbf, Meta
from squirrel_ioc.store import Store

FULL = Entry(
    "Q1:BDES",
    "Q1:BACT",
    "Quadrupole, grün",
    "Q1",
    {"Subsystem": ("Magnet",), "Area": ("L1", "L2")},
    0.25,
    1e-6,
    True,
    -3,
    0.5,
    2.5,
)


async def count(store: Store, query: str) -> int:
    return int(await store.pool.fetchval(query))


async def test_everything_of_an_entry_is_kept(store: Store, database: DatabaseSettings) -> None:
    entries = (FULL, Entry("Q2:BDES", atol=math.inf, max_step=1e-300, order=2**40))
    saved = await store.save_catalogue(entries)
    assert saved.entries == entries
    assert saved.version > 0
    assert saved.channels.names == ("Q1:BDES", "Q2:BDES", "Q1:BACT")
    assert saved.channels.setpoints == 2
    other = await Store.open(database, Path("unused"), exclusive=False)
    try:
        loaded = await other.load_catalogue()
    finally:
        await other.close()
    assert loaded.entries == entries
    assert loaded.version == saved.version
    assert loaded.channels.names == saved.channels.names
    assert loaded.channels.ids.tolist() == saved.channels.ids.tolist()
    assert loaded.channels.setpoints == 2


async def test_there_has_never_been_one(store: Store) -> None:
    loaded = await store.load_catalogue()
    assert (loaded.entries, loaded.version, len(loaded.channels)) == ((), 0, 0)


async def test_the_same_again_changes_nothing(store: Store) -> None:
    first = await store.save_catalogue([FULL])
    again = await store.save_catalogue([replace(FULL, tags=dict(reversed(FULL.tags.items())))])
    assert again.version == first.version
    assert again.channels is first.channels
    assert await count(store, "SELECT count(*) FROM catalogue_version") == 1


@pytest.mark.parametrize(
    "changed",
    [
        replace(FULL, readback=None),
        replace(FULL, description=""),
        replace(FULL, device="x"),
        replace(FULL, tags={}),
        replace(FULL, atol=None),
        replace(FULL, rtol=0.0),
        replace(FULL, read_only=False),
        replace(FULL, order=0),
        replace(FULL, max_step=None),
        replace(FULL, step_period=1.0),
    ],
)
async def test_any_change_is_a_new_version(store: Store, changed: Entry) -> None:
    first = await store.save_catalogue([FULL])
    second = await store.save_catalogue([changed])
    assert second.version > first.version
    assert (await store.load_catalogue()).entries == (changed,)


async def test_order_is_part_of_it(store: Store) -> None:
    a, b = Entry("T:A"), Entry("T:B")
    first = await store.save_catalogue([a, b])
    second = await store.save_catalogue([b, a])
    assert second.version > first.version
    assert (await store.load_catalogue()).entries == (b, a)
    assert second.channels.ids.tolist() == first.channels.ids.tolist()[::-1]


async def test_what_leaves_is_retired_and_can_come_back(store: Store) -> None:
    a, b, c = Entry("T:A"), Entry("T:B", "T:RB"), Entry("T:C", "T:RB")
    first = await store.save_catalogue([a, b])
    builder = FrameBuilder()
    for name in first.channels.names:
        builder.add(name, 1.0, Meta(Dbf.DOUBLE, 1))
    snapshot = await store.save_snapshot(builder.build(first.channels), NewSnapshot("t"))
    second = await store.save_catalogue([a, c])
    assert second.channels.names == ("T:A", "T:C", "T:RB")
    assert (await store.load_catalogue()).entries == (a, c)
    assert await store.pool.fetchval("SELECT retired_at <= now() FROM pv WHERE retired_at IS NOT NULL")
    assert (await store.load_frame(snapshot.id)).channels is first.channels
    assert (await store.history("T:B")).numbers.tolist() == [1.0]
    third = await store.save_catalogue([a, b])
    assert third.version > second.version
    assert third.channels is first.channels
    assert (await store.load_catalogue()).entries == (a, b)
    assert await count(store, "SELECT count(*) FROM pv WHERE retired_at IS NULL") == 2
    assert await count(store, "SELECT count(*) FROM pv") == 3


async def test_a_readback_can_be_shared_or_be_a_setpoint(store: Store) -> None:
    entries = (Entry("T:A", "T:RB"), Entry("T:B", "T:RB"), Entry("T:C", "T:A"))
    saved = await store.save_catalogue(entries)
    assert saved.channels.names == ("T:A", "T:B", "T:C", "T:RB")
    assert (await store.load_catalogue()).entries == entries


async def test_an_empty_one(store: Store) -> None:
    await store.save_catalogue([FULL])
    empty = await store.save_catalogue([])
    loaded = await store.load_catalogue()
    assert (loaded.entries, loaded.version, len(loaded.channels)) == ((), empty.version, 0)


async def test_what_the_database_refuses_leaves_the_old_one(store: Store) -> None:
    first = await store.save_catalogue([FULL])
    for bad in (Entry("T:A\0"), Entry("T:A", tags={"G": ("a\0",)}), Entry("T:A", order=2**70)):
        with pytest.raises(StoreError, match="storing the catalogue"):
            await store.save_catalogue([FULL, bad])
    with pytest.raises(StoreError, match="storing the catalogue"):
        await store.save_catalogue([Entry("T:A"), Entry("T:A")])
    loaded = await store.load_catalogue()
    assert (loaded.entries, loaded.version) == (first.entries, first.version)
    assert await count(store, "SELECT count(*) FROM channel") == 2


async def test_two_who_save_at_once(store: Store) -> None:
    catalogues = [[Entry(f"T:{i}:{k}") for k in range(50)] for i in range(3)]
    saved = await asyncio.gather(*(store.save_catalogue(c) for c in catalogues))
    newest: Catalogue = max(saved, key=lambda c: c.version)
    assert (await store.load_catalogue()).entries == newest.entries
    assert await count(store, "SELECT count(*) FROM pv WHERE retired_at IS NULL") == 50


async def test_where_entries_come_from_is_kept(store: Store, database: DatabaseSettings) -> None:
    said = Entry("T:F", "T:F:RB", atol=math.inf, tags={"G": ("a",)}, step_period=0.3)
    await store.change_catalogue(lambda inventory, _: inventory.with_files([said, Entry("T:G"), Entry("T:H")]))
    await store.change_catalogue(lambda inventory, former: inventory.with_added(["T:X", "T:Y"], former))
    mine = replace(said, atol=None, tags={"G": ("b",)})
    await store.change_catalogue(lambda inventory, _: inventory.with_changed({"T:F": mine}))
    await store.change_catalogue(lambda inventory, _: inventory.without(["T:F", "T:G", "T:X"]), made_by="me")
    other = await Store.open(database, Path("unused"), exclusive=False)
    try:
        stored = await other.load_inventory()
    finally:
        await other.close()
    assert (stored.made_by, stored.summary) == ("me", "0 added, 3 removed, 0 changed")
    assert stored.catalogue.entries == (Entry("T:H"), Entry("T:Y"))
    inventory = stored.inventory
    assert inventory.entries == stored.catalogue.entries
    assert inventory.added == {"T:Y"}
    assert inventory.removed == {"T:F": mine, "T:G": Entry("T:G")}
    assert inventory.filed == {"T:F": said}


async def test_what_comes_back_is_as_it_was(store: Store) -> None:
    await store.save_catalogue([FULL, Entry("T:A")])
    await store.change_catalogue(lambda inventory, _: inventory.without([FULL.setpoint]))
    back, summary = await store.change_catalogue(
        lambda inventory, former: inventory.with_added([FULL.setpoint], former), names=[FULL.setpoint]
    )
    assert back.catalogue.entries == (Entry("T:A"), FULL)
    assert summary.added == (FULL.setpoint,)


async def test_what_an_edit_raises_changes_nothing(store: Store) -> None:
    first = await store.save_catalogue([FULL])
    with pytest.raises(UnknownPvError):
        await store.change_catalogue(lambda inventory, _: inventory.without(["T:A"]))
    assert await store.load_catalogue() is first


async def test_few_rows_are_written(store: Store) -> None:
    await store.save_catalogue([Entry(f"T:{i}") for i in range(500)])
    versions = "SELECT xmin::text || ctid::text FROM pv ORDER BY channel_id"
    before = [row[0] for row in await store.pool.fetch(versions)]
    await store.change_catalogue(lambda inventory, former: inventory.with_added(["T:X"], former))
    await store.change_catalogue(lambda inventory, _: inventory.without(["T:7"]))
    await store.change_catalogue(lambda inventory, _: inventory.with_changed({"T:9": Entry("T:9", order=1)}))
    after = [row[0] for row in await store.pool.fetch(versions)]
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b] == [7, 9]
    assert len(after) == 501
    names = [e.setpoint for e in (await store.load_catalogue()).entries]
    assert names == [*(f"T:{i}" for i in range(500) if i != 7), "T:X"]


async def test_lists_of_channels_that_nobody_needs_are_dropped(store: Store) -> None:
    first = await store.save_catalogue([Entry("T:A")])
    builder = FrameBuilder()
    builder.add("T:A", 1.0, Meta(Dbf.DOUBLE, 1))
    frame = builder.build(first.channels)
    for i in range(5):
        second = await store.save_catalogue([Entry("T:A"), Entry(f"T:{i}")])
    assert await count(store, "SELECT count(*) FROM channel_list") == 1
    # A job that goes on with the list it started with can store it still.
    snapshot = await store.save_snapshot(frame, NewSnapshot("t"))
    assert (await store.load_frame(snapshot.id)).channels.names == ("T:A",)
    assert await count(store, "SELECT count(*) FROM channel_list") == 2
    assert (await store.load_catalogue()).channels is second.channels
    await store.save_catalogue([])
    await store.delete_snapshot(snapshot.id)
    assert await count(store, "SELECT count(*) FROM channel_list") == 1
