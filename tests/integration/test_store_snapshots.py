"""Snapshots: stored whole, listed, changed, protected, deleted."""

from __future__ import annotations

from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.snapshot import NewSnapshot
from squirrel_ioc.model.values import Dbf, Meta
from squirrel_ioc.store import Store


async def test_first(store: Store) -> None:
    builder = FrameBuilder()
    builder.add("T:A", 1.5, Meta(Dbf.DOUBLE, 1, "mm", 3), stamp=5)
    saved = await store.save_snapshot(builder.build(), NewSnapshot("first"))
    assert await store.snapshot(saved.id) == saved
