"""Measure the store: python tests/measure_store.py [--channels 40000] [--snapshots 1000].

Prints median and worst of each operation in milliseconds, on an embedded server in a temporary folder. Not a test: what
is fast enough depends on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.snapshot import BACKUP, NewSnapshot, SnapshotFilter
from squirrel_ioc.model.values import NO_META, Dbf, Meta
from squirrel_ioc.store import Store

METAS = (
    NO_META,
    Meta(Dbf.DOUBLE, 1, "A", 3),
    Meta(Dbf.LONG, 1),
    Meta(Dbf.ENUM, 1, labels=("Off", "On")),
    Meta(Dbf.STRING, 1),
    Meta(Dbf.DOUBLE, 16, "mm"),
)


def mixed_frame(channels: ChannelList, seed: int) -> Frame:
    """Of 20 channels 14 doubles, 2 longs, 2 enums, a string and 16 doubles, none of them compressible."""
    noise = np.random.default_rng(seed)
    n = len(channels)
    kind = np.arange(n) % 20
    sort = [kind < 14, kind < 16, kind < 18, kind < 19]
    side_row = np.flatnonzero(kind >= 18).astype(np.int32)
    parts = [b"string %d" % r if kind[r] == 18 else noise.normal(size=16).tobytes() for r in side_row]
    return replace(
        Frame.empty(channels),
        state=np.zeros(n, np.uint8),
        dbf=np.select(sort, [Dbf.DOUBLE, Dbf.LONG, Dbf.ENUM, Dbf.STRING], Dbf.DOUBLE).astype(np.uint8),
        count=np.where(kind == 19, 16, 1).astype(np.int32),
        severity=np.zeros(n, np.int16),
        status=np.zeros(n, np.int16),
        stamp=(1_790_000_000_000_000_000 + noise.integers(0, 10**9, n)).astype(np.int64),
        number=np.select(sort[:3], [noise.normal(size=n), noise.integers(0, 999, n), noise.integers(0, 2, n)], np.nan),
        meta=np.select(sort, [1, 2, 3, 4], 5).astype(np.int32),
        metas=METAS,
        side_row=side_row,
        side_end=np.cumsum([len(p) for p in parts]).astype(np.int64),
        side=b"".join(parts),
    )


async def measure(what: str, call: Callable[[int], Awaitable[Any]], times: int = 10) -> Any:
    """Call so often, print how long it took, return the last result."""
    taken, result = [], None
    for i in range(times):
        start = time.perf_counter()
        result = await call(i)
        taken.append(1e3 * (time.perf_counter() - start))
    print(f"{what:60} {statistics.median(taken):9.2f} {max(taken):9.2f}", flush=True)
    return result


async def run(folder: Path, channels: int, snapshots: int) -> None:
    """Open, measure, close."""
    print(f"{'ms':60} {'median':>9} {'worst':>9}")
    store = await measure("open for the first time", lambda _: Store.open(DatabaseSettings(), folder), 1)
    await store.close()
    store = await measure("open again", lambda _: Store.open(DatabaseSettings(), folder), 1)
    try:
        await measure_all(store, channels, snapshots)
    finally:
        await measure("close", lambda _: store.close(), 1)


async def measure_all(store: Store, channels: int, snapshots: int) -> None:
    """On an open store."""
    entries = [
        Entry(f"M:{i:05}:SP", f"M:{i:05}:RB" if i % 2 else None, tags={"Area": (f"L{i % 7}",)})
        for i in range(channels * 2 // 3)
    ]
    catalogue = await measure(f"save a catalogue of {len(entries)}", lambda _: store.save_catalogue(entries), 1)
    await measure("save the same again", lambda _: store.save_catalogue(entries), 3)
    await measure("load it", lambda _: store.load_catalogue(), 3)
    frames = [mixed_frame(catalogue.channels, i) for i in range(3)]
    await store.save_snapshot(frames[0], NewSnapshot("first"))
    before = await store.pool.fetchval("SELECT pg_total_relation_size('snapshot_chunk')")
    n = len(catalogue.channels)

    async def save(i: int) -> Any:
        return await store.save_snapshot(frames[i % 3], NewSnapshot(f"snapshot {i}"))

    saved = await measure(f"save {n} values", save, max(snapshots - 1, 10))
    after = await store.pool.fetchval("SELECT pg_total_relation_size('snapshot_chunk')")
    print(
        f"{'bytes a snapshot, as said and as the table grew':60} {saved.size_bytes:9} "
        f"{(after - before) // max(snapshots - 1, 10):9}"
    )
    every = np.arange(0, n, 3)
    part = frames[0].take(every)
    await measure(
        f"save {len(every)} values of a list never seen",
        lambda i: store.save_snapshot(part.take(np.arange(i, len(every))), NewSnapshot("b", kind=BACKUP)),
    )
    await measure(f"load {n} values", lambda _: store.load_frame(saved.id))
    names = catalogue.channels.names
    await measure("load one value", lambda i: store.load_frame(saved.id, [names[i * 1234 % n]]), 50)
    count = "SELECT count(*) FROM snapshot_value WHERE snapshot_id = $1"
    await measure("count(*) of a snapshot in SQL", lambda _: store.pool.fetchval(count, saved.id))
    total = "SELECT count(*), sum(number) FROM snapshot_value WHERE snapshot_id = $1"
    await measure("sum(number) of a snapshot in SQL", lambda _: store.pool.fetchval(total, saved.id))
    history = await measure(f"history of one of {snapshots}", lambda i: store.history(names[i * 1234 % n]), 20)
    print(f"{'... values found':60} {len(history):9}")
    await measure("delete a snapshot", lambda i: store.delete_snapshot(saved.id - i))
    await store.pool.execute(
        "INSERT INTO snapshot (kind, title, comment, labels, taken, username, host, count, missing, size_bytes, "
        "origin, list_id) SELECT 'snapshot', 'title ' || i, repeat('comment ', 20), ARRAY['a', 'label ' || i % 9], "
        "now() - i * interval '1 min', 'user' || i % 5, 'host', 1, 0, 1, '', 1 FROM generate_series(1, 10000) AS i"
    )
    page = SnapshotFilter(page=200, text="title 99", label="label 3", user="user1")
    await measure("a page of 10000 snapshots", lambda i: store.snapshots(SnapshotFilter(page=40 * i)))
    await measure("a page of those that match in every way", lambda _: store.snapshots(replace(page, page=0)))
    await measure("a page of one day", lambda _: store.snapshots(SnapshotFilter(since=datetime.now(UTC))))


def main() -> None:
    """Run in a folder of its own, and remove it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=40000)
    parser.add_argument("--snapshots", type=int, default=1000)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="squirrel-measure-"))
    try:
        asyncio.run(run(folder, arguments.channels, arguments.snapshots))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
