"""REF:<pv> follows the reference snapshot, whoever changes it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import aioca
import numpy as np
import pytest
from ioc_fakes import Control, control, until
from stored import STAMP, save, shown

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.snapshot import Snapshot, SnapshotChange
from squirrel_ioc.model.values import Dbf, Meta, State
from squirrel_ioc.store import Store

TIME = aioca.FORMAT_TIME
ENTRIES = Catalogue.of([Entry("A"), Entry("B"), Entry("MODE")])
MODE = {"MODE": Meta(Dbf.ENUM, 1, labels=("Off", "On", "Ramp"))}


@pytest.fixture
async def c(store: Store) -> AsyncIterator[Control]:
    async with control(store=store, entries=ENTRIES) as c:  # type: ignore[arg-type]
        yield c


async def make_reference(store: Store, values: dict[str, Any], metas: dict[str, Meta] | None = None) -> Snapshot:
    saved = await save(store, values, metas)
    return await store.update_snapshot(saved.id, SnapshotChange(reference=True))


async def known(c: Control, reference: Snapshot) -> None:
    """Wait until the service has heard of it."""
    await shown(c, "REF:B.DESC", f"Reference {reference.id}: not in it")


async def reconnected(c: Control, name: str) -> None:
    """libca leaves a channel that the server has ended alone for up to 10 s."""
    await aioca.connect(c.pv(name), timeout=25)


class Watcher:
    """What a client that monitors a PV sees, disconnections included."""

    def __init__(self, c: Control, name: str) -> None:
        self.seen: list[Any] = []
        self._monitor = aioca.camonitor(
            c.pv(name), self.seen.append, format=TIME, notify_disconnect=True, all_updates=True
        )

    async def sees(self, value: Any, severity: int = 0, *, timeout_s: float = 30.0) -> None:
        def there() -> bool:
            last = self.seen[-1] if self.seen else None
            if last is None or not last.ok or last.severity != severity:
                return False
            both_nan = isinstance(value, float) and math.isnan(value) and math.isnan(last)
            return both_nan or np.array_equal(last, value)

        await until(there, timeout_s)

    def close(self) -> None:
        self._monitor.close()


async def test_as_stored(c: Control, store: Store) -> None:
    reference = await make_reference(store, {"A": (1.5, 1, 4), "RETIRED": 7.0})
    await shown(c, "LIST:FLAGS", ["R"])
    read = await c.get("REF:A", format=TIME)
    assert (read, read.severity, read.status, read.raw_stamp) == (1.5, 1, 4, divmod(STAMP, 10**9))
    assert await c.get("REF:A.EGU") == "mm"
    assert await c.get("REF:A.DESC") == f"Reference {reference.id}"
    # Also what is not in the catalogue any more.
    assert await c.get("REF:RETIRED") == 7.0
    assert not (await aioca.cainfo(c.pv("REF:A"))).write


async def test_without_a_reference(c: Control) -> None:
    read = await c.get("REF:A", format=TIME)
    assert math.isnan(read)
    assert (read.severity, read.status) == (3, 17)
    assert await c.get("REF:A.DESC") == "No reference snapshot"
    assert not (await aioca.connect(c.pv("REF:RETIRED"), timeout=0.5, throw=False)).ok


async def test_follows(c: Control, store: Store, database: DatabaseSettings, tmp_path: Any) -> None:
    watcher = Watcher(c, "REF:A")
    await watcher.sees(math.nan, 3)
    assert await c.get("REF:A.DESC") == "No reference snapshot"
    first = await make_reference(store, {"A": 1.0})
    await watcher.sees(1.0)
    assert await c.get("REF:A.DESC") == f"Reference {first.id}"
    assert await c.get("REF:A.EGU") == "mm"
    second = await save(store, {"A": (2.0, 2, 3)}, {"A": Meta(Dbf.DOUBLE, 1, "A", 1)})
    await shown(c, "LIST:TOTAL", 2)
    assert await c.put(f"SNAP:{second.id}:REFERENCE", 1)
    await watcher.sees(2.0, 2)
    # Fields go with it.
    await shown(c, "REF:A.EGU", "A")
    # ... also when another process does it.
    other = await Store.open(database, tmp_path, exclusive=False)
    await other.update_snapshot(first.id, SnapshotChange(reference=True))
    await watcher.sees(1.0)
    await other.update_snapshot(first.id, SnapshotChange(reference=False))
    await watcher.sees(math.nan, 3)
    await other.close()
    assert all(update.ok for update in watcher.seen)
    watcher.close()


async def test_the_reference_is_deleted(c: Control, store: Store) -> None:
    reference = await make_reference(store, {"A": 1.0})
    watcher = Watcher(c, "REF:A")
    await watcher.sees(1.0)
    await store.delete_snapshot(reference.id)
    await watcher.sees(math.nan, 3)
    assert await c.get("REF:A.DESC") == "No reference snapshot"
    watcher.close()


async def test_a_reference_that_has_it_not(c: Control, store: Store) -> None:
    await make_reference(store, {"A": 1.0, "B": 2.0})
    watchers = Watcher(c, "REF:A"), Watcher(c, "REF:B")
    await watchers[0].sees(1.0)
    await watchers[1].sees(2.0)
    partial = await make_reference(store, {"A": 3.0})
    await watchers[0].sees(3.0)
    await watchers[1].sees(math.nan, 3)
    assert await c.get("REF:B.DESC") == f"Reference {partial.id}: not in it"
    missing = await make_reference(store, {"A": State.TIMEOUT, "B": 5.0})
    await watchers[0].sees(math.nan, 3)
    await watchers[1].sees(5.0)
    assert await c.get("REF:A.DESC") == f"Reference {missing.id}: no answer in time"
    for watcher in watchers:
        watcher.close()


async def test_another_type_connects_again(c: Control, store: Store) -> None:
    await known(c, await make_reference(store, {"A": 1.0, "MODE": 2}, MODE))
    mode, number = Watcher(c, "REF:MODE"), Watcher(c, "REF:A")
    await mode.sees(2)
    await number.sees(1.0)
    await make_reference(store, {"A": 4.0, "MODE": "ramping"}, {"MODE": Meta(Dbf.STRING, 1)})
    await number.sees(4.0)
    await until(lambda: not mode.seen[-1].ok)
    await reconnected(c, "REF:MODE")
    assert await c.get("REF:MODE") == "ramping"
    assert await c.get("REF:MODE.RTYP") == "stringin"
    assert all(update.ok for update in number.seen)
    for watcher in (mode, number):
        watcher.close()


async def test_without_a_reference_the_type_is_that_of_the_machine(c: Control, store: Store) -> None:
    c.machine.metas = MODE
    mode = Watcher(c, "REF:MODE")
    await mode.sees(0, 3)
    assert mode.seen[-1].datatype == 3
    await make_reference(store, {"MODE": 1}, MODE)
    await mode.sees(1)
    assert all(update.ok for update in mode.seen)
    mode.close()


async def test_a_type_that_nobody_knew_connects_again(c: Control, store: Store) -> None:
    mode = Watcher(c, "REF:MODE")
    await mode.sees(math.nan, 3)
    await make_reference(store, {"MODE": 1}, MODE)
    # The monitor goes on in the type it has asked for.
    await mode.sees(1.0, timeout_s=25)
    assert [update.ok for update in mode.seen] == [True, False, True]
    assert (await aioca.cainfo(c.pv("REF:MODE"))).datatype == 3
    mode.close()


async def test_arrays_that_fit_stay_connected(c: Control, store: Store) -> None:
    wave = {"A": Meta(Dbf.DOUBLE, 8)}
    await known(c, await make_reference(store, {"A": np.arange(3.0)}, wave))
    watcher = Watcher(c, "REF:A")
    await watcher.sees([0.0, 1.0, 2.0])
    await make_reference(store, {"A": np.arange(5.0)}, {"A": Meta(Dbf.DOUBLE, 6)})
    await watcher.sees([0.0, 1.0, 2.0, 3.0, 4.0])
    assert all(update.ok for update in watcher.seen)
    await make_reference(store, {"A": np.arange(20.0)}, {"A": Meta(Dbf.DOUBLE, 20)})
    await until(lambda: not watcher.seen[-1].ok)
    await reconnected(c, "REF:A")
    assert list(await c.get("REF:A")) == list(range(20))
    watcher.close()


async def test_catches_up_after_trouble_with_the_database(c: Control, store: Store) -> None:
    await make_reference(store, {"A": 1.0})
    watcher = Watcher(c, "REF:A")
    await watcher.sees(1.0)
    await store.pool.execute("ALTER TABLE snapshot_chunk RENAME TO elsewhere")
    saved = await store.pool.fetchval("SELECT max(id) FROM snapshot")
    await store.pool.execute("ALTER TABLE elsewhere RENAME TO snapshot_chunk")
    second = await save(store, {"A": 2.0})
    await store.pool.execute("ALTER TABLE snapshot_chunk RENAME TO elsewhere")
    await store.update_snapshot(second.id, SnapshotChange(reference=True))
    await shown(c, f"SNAP:{saved}:REFERENCE", 0)
    await store.pool.execute("ALTER TABLE elsewhere RENAME TO snapshot_chunk")
    await watcher.sees(2.0)
    watcher.close()
