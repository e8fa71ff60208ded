"""SNAP:<id>:VAL:<pv> on a real database: every type, as it was stored, to a client that is not caproto."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aioca
import numpy as np
import pytest
from ioc_fakes import Control, control, until
from stored import DOUBLE, STAMP, save, shown

from squirrel_ioc.model.snapshot import Snapshot
from squirrel_ioc.model.values import Dbf, Meta, State
from squirrel_ioc.store import Store

CTRL, TIME = aioca.FORMAT_CTRL, aioca.FORMAT_TIME

METAS = {
    "LONG": Meta(Dbf.LONG, 1, "cnt", 0, (100.0, -100.0, math.nan, 80.0, -80.0, math.nan, 100.0, -100.0)),
    "SHORT": Meta(Dbf.SHORT, 1),
    "FLOAT": Meta(Dbf.FLOAT, 1, "V", 2),
    "CHAR": Meta(Dbf.CHAR, 1),
    "ENUM": Meta(Dbf.ENUM, 1, labels=("Off", "On", "Fault")),
    "SWITCH": Meta(Dbf.ENUM, 1, labels=("Off", "On")),
    "STRING": Meta(Dbf.STRING, 1),
    "LATIN": Meta(Dbf.STRING, 1),
    "WAVE": Meta(Dbf.DOUBLE, 16, "mm", 1),
    "EMPTY": Meta(Dbf.LONG, 4),
    "TEXT": Meta(Dbf.CHAR, 256),
    "NAMES": Meta(Dbf.STRING, 3),
    "MODES": Meta(Dbf.ENUM, 4, labels=("A", "B")),
    "GONE:LONG": Meta(Dbf.LONG, 1),
    "GONE:WAVE": Meta(Dbf.DOUBLE, 8),
    "GONE:STRING": Meta(Dbf.STRING, 1),
}
VALUES: dict[str, Any] = {
    "DOUBLE": (1.23456789, 2, 3),
    "NAN": math.nan,
    "LONG": -7,
    "SHORT": 32767,
    "FLOAT": 1.5,
    "CHAR": 65,
    "ENUM": 2,
    "SWITCH": 1,
    "STRING": "hello",
    "LATIN": b"\xb5A",
    "WAVE": np.array([1.0, 2.5, -3.0]),
    "EMPTY": np.zeros(0, np.int32),
    "TEXT": np.frombuffer(b"long text " * 10, np.uint8),
    "NAMES": ["one", "two"],
    "MODES": np.array([0, 1, 7], np.uint16),
    "Q:X": 1.0,
    "Q:X.HOPR": 2.0,
    "SR:C01{Quad:1}I-SP": 3.0,
    "GONE": State.DISCONNECTED,
    "GONE:LONG": State.TIMEOUT,
    "GONE:WAVE": State.NO_READ_ACCESS,
    "GONE:STRING": State.ERROR,
}


@pytest.fixture
async def c(store: Store) -> AsyncIterator[Control]:
    async with control(store=store) as c:  # type: ignore[arg-type]
        yield c


@pytest.fixture
async def snapshot(c: Control, store: Store) -> Snapshot:
    saved = await save(store, VALUES, METAS)
    await shown(c, "LIST:TOTAL", 1)
    return saved


async def value(c: Control, snapshot: Snapshot, name: str, **options: Any) -> Any:
    return await c.get(f"SNAP:{snapshot.id}:VAL:{name}", **options)


async def test_a_number_with_all_that_belongs_to_it(c: Control, snapshot: Snapshot) -> None:
    read = await value(c, snapshot, "DOUBLE", format=TIME)
    assert read == 1.23456789
    assert (read.severity, read.status, read.datatype) == (2, 3, 6)
    assert read.raw_stamp == divmod(STAMP, 10**9)
    about = await value(c, snapshot, "DOUBLE", format=CTRL)
    assert (about.units, about.precision) == ("mm", 3)
    limits = (
        *(about.upper_disp_limit, about.lower_disp_limit, about.upper_alarm_limit, about.upper_warning_limit),
        *(about.lower_warning_limit, about.lower_alarm_limit, about.upper_ctrl_limit, about.lower_ctrl_limit),
    )
    assert limits == DOUBLE.limits
    assert await value(c, snapshot, "DOUBLE", datatype=aioca.DBR_STRING) == "1.235"


@pytest.mark.parametrize(
    ("name", "datatype", "count", "expected"),
    [
        ("LONG", 5, 1, -7),
        ("SHORT", 1, 1, 32767),
        ("FLOAT", 2, 1, 1.5),
        ("CHAR", 4, 1, 65),
        ("ENUM", 3, 1, 2),
        ("SWITCH", 3, 1, 1),
        ("STRING", 0, 1, "hello"),
        ("WAVE", 6, 16, [1.0, 2.5, -3.0]),
        ("EMPTY", 5, 4, []),
        ("NAMES", 0, 3, ["one", "two"]),
        ("MODES", 3, 4, [0, 1, 7]),
        ("TEXT", 4, 256, list(b"long text " * 10)),
        ("SR:C01{Quad:1}I-SP", 6, 1, 3.0),
    ],
)
async def test_native_type_count_and_value(
    c: Control, snapshot: Snapshot, name: str, datatype: int, count: int, expected: Any
) -> None:
    info = await aioca.cainfo(c.pv(f"SNAP:{snapshot.id}:VAL:{name}"), timeout=30)
    assert (info.datatype, info.count, info.write) == (datatype, count, False)
    read = await value(c, snapshot, name)
    assert (list(read) if isinstance(expected, list) else read) == expected


async def test_other_forms(c: Control, snapshot: Snapshot) -> None:
    assert math.isnan(await value(c, snapshot, "NAN"))
    assert await value(c, snapshot, "ENUM", datatype=aioca.DBR_ENUM_STR) == "Fault"
    assert (await value(c, snapshot, "ENUM", format=CTRL)).enums == ["Off", "On", "Fault"]
    assert list(await value(c, snapshot, "MODES", datatype=aioca.DBR_STRING)) == ["A", "B", "7"]
    assert await value(c, snapshot, "TEXT", datatype=aioca.DBR_CHAR_STR) == "long text " * 10
    assert await value(c, snapshot, "STRING$", datatype=aioca.DBR_CHAR_STR) == "hello"
    assert bytes(await value(c, snapshot, "LATIN$", datatype=aioca.DBR_CHAR)) == b"\xb5A\0"
    assert await value(c, snapshot, "LONG", datatype=aioca.DBR_DOUBLE) == -7.0
    assert (await value(c, snapshot, "LONG", format=CTRL)).upper_alarm_limit == 0


@pytest.mark.parametrize(
    ("name", "datatype", "count", "reason"),
    [
        ("GONE", 6, 1, "disconnected"),
        ("GONE:LONG", 5, 1, "no answer in time"),
        ("GONE:WAVE", 6, 8, "no read access"),
        ("GONE:STRING", 0, 1, "read refused by the IOC"),
    ],
)
async def test_what_had_no_value_is_invalid_and_says_why(
    c: Control, snapshot: Snapshot, name: str, datatype: int, count: int, reason: str
) -> None:
    read = await value(c, snapshot, name, format=TIME)
    assert (read.severity, read.status, read.datatype) == (3, 17, datatype)
    assert read.raw_stamp[0] == 631152000
    assert (await aioca.cainfo(c.pv(f"SNAP:{snapshot.id}:VAL:{name}"))).count == count
    if count > 1:
        assert len(read) == 0
    else:
        assert {6: lambda: math.isnan(read), 5: lambda: read == 0, 0: lambda: read == ""}[datatype]()
    assert await value(c, snapshot, f"{name}.DESC") == f"Snapshot {snapshot.id}: {reason}"
    assert await value(c, snapshot, f"{name}.UDF") == 1


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("DOUBLE", "ai"),
        ("FLOAT", "ai"),
        ("LONG", "longin"),
        ("SHORT", "longin"),
        ("CHAR", "longin"),
        ("ENUM", "mbbi"),
        ("SWITCH", "bi"),
        ("STRING", "stringin"),
        ("WAVE", "waveform"),
        ("TEXT", "waveform"),
    ],
)
async def test_fields(c: Control, snapshot: Snapshot, name: str, record: str) -> None:
    assert await value(c, snapshot, f"{name}.RTYP") == record
    assert await value(c, snapshot, f"{name}.DESC") == f"Snapshot {snapshot.id}"
    assert await value(c, snapshot, f"{name}.NAME") == c.pv(f"SNAP:{snapshot.id}:VAL:{name}")[:39]
    severity = 2 if name == "DOUBLE" else 0
    assert await value(c, snapshot, f"{name}.SEVR") == severity
    assert await value(c, snapshot, f"{name}.UDF") == 0


async def test_fields_of_their_kind(c: Control, snapshot: Snapshot) -> None:
    assert await value(c, snapshot, "DOUBLE.EGU") == "mm"
    assert await value(c, snapshot, "DOUBLE.PREC") == 3
    assert [await value(c, snapshot, f"DOUBLE.{f}") for f in ("HOPR", "LOPR", "HIHI", "DRVL")] == [10, -10, 9, -20]
    assert await value(c, snapshot, "DOUBLE.VAL") == 1.23456789
    assert await value(c, snapshot, "ENUM.TWST") == "Fault"
    assert await value(c, snapshot, "ENUM.RVAL") == 2
    assert await value(c, snapshot, "SWITCH.ONAM") == "On"
    assert await value(c, snapshot, "WAVE.NELM") == 16
    assert await value(c, snapshot, "WAVE.NORD") == 3
    assert await value(c, snapshot, "WAVE.FTVL", datatype=aioca.DBR_ENUM_STR) == "DOUBLE"
    assert await value(c, snapshot, "NAMES.FTVL", datatype=aioca.DBR_ENUM_STR) == "STRING"


async def test_a_stored_pv_that_is_a_field_itself(c: Control, snapshot: Snapshot) -> None:
    # What the snapshot has under this very name comes first.
    assert await value(c, snapshot, "Q:X") == 1.0
    assert await value(c, snapshot, "Q:X.HOPR") == 2.0
    assert await value(c, snapshot, "Q:X.LOPR") == -10.0
    assert await value(c, snapshot, "Q:X.HOPR.HOPR") == 10.0
    assert await value(c, snapshot, "Q:X.HOPR.EGU") == "mm"
    assert await value(c, snapshot, "Q:X.HOPR.VAL") == 2.0
    assert await value(c, snapshot, "Q:X.HOPR.EGU$", datatype=aioca.DBR_CHAR_STR) == "mm"
    assert list(await value(c, snapshot, 'WAVE.{"arr":{"s":1}}')) == [2.5, -3.0]


async def test_what_does_not_exist_is_not_found(c: Control, snapshot: Snapshot) -> None:
    i = snapshot.id
    names = [
        *(f"SNAP:{i + 1}:VAL:DOUBLE", f"SNAP:0{i}:VAL:DOUBLE", f"SNAP:+{i}:VAL:DOUBLE", f"SNAP:{i}:VAL:NOPE"),
        *(f"SNAP:{i}:VAL:", f"SNAP:{i}:VAL", f"SNAP:{i}:", f"SNAP:{i}", f"SNAP:{i}:NOPE", f"SNAP:{i}:COUNT:S"),
        *("SNAP:0:TITLE", "SNAP:-1:TITLE", f"SNAP:{2**31}:TITLE", f"SNAP:{10**30}:TITLE", f"SNAP: {i}:TITLE"),
        *(f"SNAP:{i}:VAL:DOUBLE.NOPE", f"SNAP:{i}:VAL:DOUBLE$", f"SNAP:{i}:VAL:DOUBLE.", f"SNAP:{i}:VAL:double"),
        *(f"SNAP:{i}:VAL:{'X' * 150}", f"SNAP:{i}:VAL:{'.' * 150}", f"SNAP:{i}:VAL:DOUBLE.EGU.EGU"),
        *("REF:NOPE", "REF:", "REF", "HIST:NOPE", "HIST:", "HIST:DOUBLE:NOPE", "HIST:IDS", "OP1:HIST:DOUBLE"),
        *("JOB:1:STATUS", "JOB:0:STATUS", "JOB:x:STATUS", f"SNAP:{i}:VAL:%n%s%x", f"SNAP:{i}:VAL:'; DROP TABLE"),
    ]
    # One that ends in a point is the PV itself, as for any record.
    names.remove(f"SNAP:{i}:VAL:DOUBLE.")
    done = await aioca.connect([c.pv(name) for name in names], timeout=1, throw=False)
    assert [name for name, one in zip(names, done, strict=True) if one.ok] == []
    assert len(c.ioc.database._held) == 0


async def test_many_at_once_with_one_client(c: Control, store: Store) -> None:
    names = [f"M:{i:05}" for i in range(1000)]
    saved = await save(store, {name: float(i) for i, name in enumerate(names)})
    await shown(c, "LIST:TOTAL", 1)
    begin = time.monotonic()
    read = await aioca.caget([c.pv(f"SNAP:{saved.id}:VAL:{name}") for name in names], timeout=60)
    assert time.monotonic() - begin < 50
    assert read == [float(i) for i in range(1000)]
    assert len(c.ioc.database._held) == 1000


async def test_freed_with_the_last_client(c: Control, snapshot: Snapshot) -> None:
    assert await value(c, snapshot, "DOUBLE") == 1.23456789
    assert await value(c, snapshot, "DOUBLE.EGU") == "mm"
    assert len(c.ioc.database._held) == 1
    aioca.purge_channel_caches()
    await until(lambda: not c.ioc.database._held)
    assert c.pv(f"SNAP:{snapshot.id}:VAL:DOUBLE") not in c.ioc.database


async def test_deleting_a_snapshot_disconnects_who_looks_at_it(c: Control, store: Store, snapshot: Snapshot) -> None:
    other = await save(store, {"DOUBLE": 5.0})
    name = c.pv(f"SNAP:{snapshot.id}:VAL:DOUBLE")
    seen: list[Any] = []
    monitors = [
        aioca.camonitor(pv, seen.append, notify_disconnect=True, all_updates=True)
        for pv in (name, c.pv(f"SNAP:{snapshot.id}:TITLE:S"), c.pv(f"SNAP:{other.id}:VAL:DOUBLE"))
    ]
    await until(lambda: len(seen) == 3)
    await store.delete_snapshot(snapshot.id)
    await until(lambda: len(seen) == 5)
    assert {update.name for update in seen[3:] if not update.ok} == {name, c.pv(f"SNAP:{snapshot.id}:TITLE:S")}
    # The client goes on with what there is.
    assert await c.get(f"SNAP:{other.id}:VAL:DOUBLE") == 5.0
    assert not (await aioca.connect(name, timeout=0.5, throw=False)).ok
    for monitor in monitors:
        monitor.close()


async def test_without_a_database_channels_come_when_it_is_back(c: Control, store: Store, snapshot: Snapshot) -> None:
    names = [c.pv(f"SNAP:{snapshot.id}:VAL:{name}") for name in ("DOUBLE", "LONG")]
    await store.pool.execute("ALTER TABLE snapshot_chunk RENAME TO elsewhere")
    done = await aioca.connect(names, timeout=0.5, throw=False)
    assert not any(one.ok for one in done)
    # Nobody else is bothered.
    assert await c.get("LIST:TOTAL") == 1
    await store.pool.execute("ALTER TABLE elsewhere RENAME TO snapshot_chunk")
    assert await aioca.caget(names, timeout=30) == [1.23456789, -7]


async def test_held_by_several_clients(c: Control, snapshot: Snapshot) -> None:
    name = c.pv(f"SNAP:{snapshot.id}:VAL:LONG")
    script = f"import asyncio, aioca; print(asyncio.run(aioca.caget({name!r}, timeout=30)))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert await value(c, snapshot, "LONG") == -7
    out, _ = await process.communicate()
    assert out.strip() == b"-7"
    assert await value(c, snapshot, "LONG") == -7
    assert len(c.ioc.database._held) == 1
