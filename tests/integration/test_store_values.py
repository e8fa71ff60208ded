"""The view snapshot_value says in SQL what a frame says in Python."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame, FrameBuilder
from squirrel_ioc.model.snapshot import NewSnapshot
from squirrel_ioc.model.values import ELEMENT_DTYPE, Dbf, Meta, State
from squirrel_ioc.store import Store

shared_database = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


async def rows_of(store: Store, frame: Frame) -> dict[str, dict[str, Any]]:
    saved = await store.save_snapshot(frame, NewSnapshot("t"))
    rows = await store.pool.fetch("SELECT * FROM snapshot_value WHERE snapshot_id = $1", saved.id)
    return {row["pv"]: dict(row) for row in rows}


async def test_one_row_a_value(store: Store) -> None:
    builder = FrameBuilder()
    stamp = 1_790_000_000_123_456_789
    builder.add("T:D", 1.25, Meta(Dbf.DOUBLE, 1, "mm", 3), severity=2, status=4, stamp=stamp)
    builder.add("T:E", 1, Meta(Dbf.ENUM, 1, labels=("Off", "On")))
    builder.add("T:E:BEYOND", 7, Meta(Dbf.ENUM, 1, labels=("Off", "On")))
    builder.add("T:S", "grün", Meta(Dbf.STRING, 1))
    builder.add("T:S:EMPTY", "", Meta(Dbf.STRING, 1))
    builder.add("T:W", [1.5, math.nan], Meta(Dbf.DOUBLE, 8, "A"))
    builder.add("T:W:EMPTY", [], Meta(Dbf.DOUBLE, 8))
    builder.add("T:W:ONE", [3], Meta(Dbf.LONG, 8))
    builder.add("T:C", b"text\0junk", Meta(Dbf.CHAR, 80))
    builder.add("T:SS", ["a", "", "b"], Meta(Dbf.STRING, 4))
    builder.add("T:F:NAN", b"\x01\x00\x80\x7f", Meta(Dbf.FLOAT, 1))
    builder.add_missing("T:GONE", State.TIMEOUT, Meta(Dbf.DOUBLE, 1, "mm"))
    frame = builder.build()
    rows = await rows_of(store, frame)
    assert list(rows) == list(frame.channels.names)
    double = rows["T:D"]
    assert (double["state"], double["type"], double["count"], double["number"]) == ("value", "double", 1, 1.25)
    assert (double["severity"], double["status"], double["units"]) == (2, 4, "mm")
    assert double["stamp_ns"] == stamp
    assert double["stamp"] == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stamp // 1000)
    assert double["text"] is double["numbers"] is double["texts"] is double["label"] is None
    assert (rows["T:E"]["number"], rows["T:E"]["label"]) == (1, "On")
    assert (rows["T:E:BEYOND"]["number"], rows["T:E:BEYOND"]["label"]) == (7, None)
    assert (rows["T:S"]["text"], rows["T:S"]["number"], rows["T:S:EMPTY"]["text"]) == ("grün", None, "")
    assert str(rows["T:W"]["numbers"]) == "[1.5, nan]"
    assert (rows["T:W"]["number"], rows["T:W"]["units"], rows["T:W:EMPTY"]["numbers"]) == (None, "A", [])
    assert (rows["T:W:ONE"]["number"], rows["T:W:ONE"]["numbers"]) == (None, [3])
    assert (rows["T:C"]["text"], rows["T:C"]["numbers"]) == ("text", [float(b) for b in b"text\0junk"])
    assert (rows["T:SS"]["texts"], rows["T:SS"]["text"]) == (["a", "", "b"], None)
    assert math.isnan(rows["T:F:NAN"]["number"])
    gone = rows["T:GONE"]
    assert (gone["state"], gone["type"], gone["units"]) == ("timeout", "double", "mm")
    assert all(gone[name] is None for name in ("number", "text", "numbers", "texts", "severity", "status", "stamp"))


async def test_every_state_and_role_has_its_word(store: Store) -> None:
    channels = ChannelList.of([f"T:{i}" for i in range(2000)], 1500)
    frame = Frame.empty(channels)
    frame.state[:] = np.arange(2000) % len(State)
    rows = await rows_of(store, frame)
    words = ["value", "not read", "disconnected", "timeout", "no read access", "error", "ioc open", "no worker"]
    words += ["cut", "inexact", "away"]
    assert len(words) == len(State)
    for i in (0, 6, 7, 8, 9, 994, 1499, 1500, 1999):
        assert rows[f"T:{i}"]["state"] == words[i % len(State)]
        assert rows[f"T:{i}"]["role"] == ("setpoint" if i < 1500 else "readback")
    assert await store.pool.fetchval("SELECT count(*) FROM snapshot_value") == 2000


@shared_database
@given(raw=st.binary(max_size=60) | st.text(max_size=20).map(lambda t: t.encode("utf-8", "surrogatepass")))
async def test_text_never_fails(store: Store, raw: bytes) -> None:
    cut = raw.split(b"\0", 1)[0]
    try:
        expected = cut.decode()
    except UnicodeDecodeError:
        expected = cut.decode("latin-1")
    assert await store.pool.fetchval("SELECT squirrel_text($1)", raw) == expected


@shared_database
@given(
    dbf=st.sampled_from([d for d in ELEMENT_DTYPE if d is not Dbf.STRING]),
    raw=st.binary(max_size=80)
    | st.sampled_from([b"\xff" * 8, b"\1" + b"\0" * 7, b"\0" * 6 + b"\xf0\x7f", b"\xff" * 80]),
)
async def test_numbers_are_exact(store: Store, dbf: Dbf, raw: bytes) -> None:
    dtype = ELEMENT_DTYPE[dbf]
    raw = raw[: len(raw) // dtype.itemsize * dtype.itemsize]
    with np.errstate(invalid="ignore"):
        expected = np.frombuffer(raw, dtype).astype(np.float64)
    numbers = np.array(await store.pool.fetchval("SELECT squirrel_numbers($1, $2)", int(dbf), raw), np.float64)
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(numbers), nan)
    assert numbers[~nan].tobytes() == expected[~nan].tobytes()


async def test_a_million_elements(store: Store) -> None:
    long = np.random.default_rng(1).normal(size=1_000_000)
    builder = FrameBuilder()
    builder.add("T:LONG", long, Meta(Dbf.DOUBLE, 1_000_000))
    saved = await store.save_snapshot(builder.build(), NewSnapshot("t"))
    numbers = await store.pool.fetchval("SELECT numbers FROM snapshot_value WHERE snapshot_id = $1", saved.id)
    assert np.array_equal(numbers, long)
