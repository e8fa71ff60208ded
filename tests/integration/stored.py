"""Snapshots for tests, on a real database, and waiting for what is shown of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from ioc_fakes import Control

from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.snapshot import NewSnapshot, Snapshot
from squirrel_ioc.model.values import Dbf, Meta, State
from squirrel_ioc.store import Store

NOON = datetime(2026, 3, 4, 12, 0, 0, 250_400, tzinfo=UTC)
STAMP = 1_772_000_000_123_456_789

DOUBLE = Meta(Dbf.DOUBLE, 1, "mm", 3, (10.0, -10.0, 9.0, 8.0, -8.0, -9.0, 20.0, -20.0))


async def save(
    store: Store, values: Mapping[str, Any], metas: Mapping[str, Meta] | None = None, /, **new: Any
) -> Snapshot:
    """Store values; a `State` stands for a PV that had none. Without meta data they are doubles.

    A tuple is a value with its severity and status.
    """
    builder = FrameBuilder()
    metas = metas or {}
    for name, value in values.items():
        meta = metas.get(name, DOUBLE)
        if isinstance(value, State):
            builder.add_missing(name, value, metas.get(name, Meta(Dbf.NONE, 0)))
        elif isinstance(value, tuple):
            builder.add(name, value[0], meta, severity=value[1], status=value[2], stamp=STAMP)
        else:
            builder.add(name, value, meta, stamp=STAMP)
    told = {"title": "a title", "taken": NOON, "user": "eve", "host": "console3"} | new
    return await store.save_snapshot(builder.build(), NewSnapshot(**told))


async def shown(c: Control, name: str, value: Any, timeout_s: float = 30.0, **options: Any) -> None:
    """Wait until a PV has this value; an array is given as a list."""
    deadline = time.monotonic() + timeout_s
    while True:
        now = await c.get(name, **options)
        now = list(now) if isinstance(now, np.ndarray | list) else now
        if now == value:
            return
        assert time.monotonic() < deadline, f"{name} is {now}, not {value}"
        await asyncio.sleep(0.01)
