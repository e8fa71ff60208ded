"""What clients write and read: texts, numbers, states, arrays, record fields."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aioca
import numpy as np
import pytest
from epicscorelibs.ca import dbr
from ioc_fakes import Control, control, snapshot_result

TEXTS = ["a title", "", "Üñîçødé ✓ 测试", "x" * 200, "tab\tand quote ' \" \\"]


@pytest.fixture
async def c() -> AsyncIterator[Control]:
    async with control() as c:
        yield c


@pytest.mark.parametrize("text", TEXTS)
async def test_text_as_long_string(c: Control, text: str) -> None:
    # libca does not send an empty array; `caput -S` sends the NUL.
    assert await c.put("SNAP:TITLE", np.frombuffer(text.encode() + b"\0", np.uint8))
    assert await c.text("SNAP:TITLE") == text
    assert await c.get("SNAP:TITLE.VAL$") == text
    assert await c.get("SNAP:TITLE$") == text
    mirror = await c.get("SNAP:TITLE:S")
    assert mirror.encode() == text.encode()[:39].decode("utf-8", "ignore").encode()
    characters = await c.get("SNAP:TITLE")
    assert bytes(characters.astype(np.uint8)) == text.encode() + b"\0"


@pytest.mark.parametrize("name", ["SNAP:TITLE", "SNAP:TITLE:S", "SNAP:TITLE.VAL", "SNAP:TITLE$"])
async def test_text_written_as_plain_string(c: Control, name: str) -> None:
    for text in ("Grüße", "42", "x" * 38):
        assert await c.put(name, text)
        assert await c.text("SNAP:TITLE") == await c.get("SNAP:TITLE:S") == text
    assert await c.put("SNAP:TITLE:S", "")
    assert await c.text("SNAP:TITLE") == ""


async def test_text_without_and_with_trailing_nul_and_as_whole_array(c: Control) -> None:
    for raw in (b"abc", b"abc\0", b"abc\0\0\0garbage", b"abc".ljust(256, b"\0")):
        assert await c.put("SNAP:TITLE", np.frombuffer(raw, np.uint8))
        assert await c.text("SNAP:TITLE") == "abc"
    assert await c.put("SNAP:TITLE", [100, 101, 102])
    assert await c.text("SNAP:TITLE") == "def"
    assert await c.put("SNAP:TITLE", [103.0, 104.0], datatype=float)
    assert await c.text("SNAP:TITLE") == "gh"


async def test_text_fills_its_length_exactly(c: Control) -> None:
    text = "y" * 256
    assert await c.put("SNAP:TITLE", np.frombuffer(text.encode(), np.uint8))
    assert await c.text("SNAP:TITLE") == text
    assert len(await c.get("SNAP:TITLE")) == 256


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"a\x1b[2J", "control character"),
        (b"a\nb", "control character"),
    ],
)
async def test_text_that_is_refused(c: Control, raw: bytes, reason: str) -> None:
    assert await c.put("SNAP:TITLE", "kept")
    await c.watch("SNAP:TITLE", "SNAP:TITLE:S", "SNAP:STATUS")
    assert not await c.put("SNAP:TITLE", np.frombuffer(raw, np.uint8))
    assert await c.text("SNAP:TITLE") == "kept"
    message = await c.text("SNAP:MSG")
    assert reason in message
    assert message.startswith("SNAP:TITLE: ")
    assert (await c.get("SNAP:TITLE", format=aioca.FORMAT_TIME)).severity == 0
    assert c.updates == []


async def test_comment_may_have_lines(c: Control) -> None:
    text = "one\ntwo\r\n\tthree"
    assert await c.put("SNAP:COMMENT", np.frombuffer(text.encode(), np.uint8))
    assert await c.text("SNAP:COMMENT") == text


async def test_text_for_clients_that_want_a_fixed_number_of_elements(c: Control) -> None:
    assert await c.put("SNAP:TITLE", "abc")
    await c.watch("SNAP:TITLE", count=8)
    assert bytes((await c.get("SNAP:TITLE", count=8)).astype(np.uint8)) == b"abc\0\0\0\0\0"
    assert bytes((await c.get("SNAP:TITLE", count=2)).astype(np.uint8)) == b"ab"
    assert len(await c.get("SNAP:TITLE", count=-1)) == 256
    assert await c.put("SNAP:TITLE", "defghijklm")
    assert await c.put("SNAP:TITLE:S", "")
    assert [bytes(v.astype(np.uint8)) for _, v in c.updates] == [b"defghijk", bytes(8)]


async def test_text_in_other_types(c: Control) -> None:
    assert await c.put("SNAP:TITLE", np.frombuffer(b"z" * 60, np.uint8))
    assert list(await c.get("SNAP:TITLE", datatype=str)) == ["z" * 39]
    assert await c.put("SNAP:TITLE", "AB")
    assert list(await c.get("SNAP:TITLE", datatype=float)) == [65.0, 66.0, 0.0]


async def test_number_out_of_range_or_no_number_is_refused(c: Control) -> None:
    assert await c.put("RESTORE:ID", 12)
    await c.watch("RESTORE:ID")
    bad: list[tuple[Any, Any, str]] = [
        ("abc", None, "'abc' is no number"),
        ("", None, "'' is no number"),
        (1.5, float, "1.5 is no whole number"),
        ("1.5", None, "1.5 is no whole number"),
        (float("nan"), float, "no whole number"),
        (float("inf"), float, "no whole number"),
        (3e9, float, "is not between"),
        ("99999999999999999999", None, "is not between"),
        ("1_2", None, "no number"),
        (-5, None, "snapshot -5 does not exist"),
        (0, None, "snapshot 0 does not exist"),
        (77, None, "snapshot 77 does not exist"),
    ]
    for value, datatype, reason in bad:
        assert not await c.put("RESTORE:ID", value, datatype=datatype), value
        assert reason in await c.text("RESTORE:MSG")
        assert await c.label("RESTORE:STATUS") == "Refused"
    assert await c.get("RESTORE:ID") == 12
    assert c.updates == []
    for value, datatype in (("12", None), (" 1 ", None), (1.0, float), ("1e0", None)):
        assert await c.put("RESTORE:ID", value, datatype=datatype)


async def test_states_by_label_and_index(c: Control) -> None:
    for value, index in (("All", 1), (2, 2), ("0", 0), ("Dry run", 2), (1.0, 1)):
        assert await c.put("RESTORE:MODE", value)
        assert int(await c.get("RESTORE:MODE")) == index
    for value, reason in (("dry run", "none of Changed, All, Dry run"), (3, "not between"), ("-1", "none of")):
        assert not await c.put("RESTORE:MODE", value)
        assert reason in await c.text("RESTORE:MSG")
        assert (await c.get("RESTORE:MODE", format=aioca.FORMAT_TIME)).severity == 0
    assert await c.label("RESTORE:MODE") == "All"
    assert (await c.get("RESTORE:MODE", format=aioca.FORMAT_CTRL)).enums == ["Changed", "All", "Dry run"]
    assert await c.label("RESTORE:STATUS") == "None"


async def test_read_only(c: Control) -> None:
    info = await aioca.cainfo(c.pv("SNAP:ID"))
    assert (info.read, info.write) == (1, 0)
    refused = await aioca.caput(c.pv("SNAP:ID"), 3, wait=True, throw=False)
    assert not refused.ok
    assert await c.get("SNAP:ID") == 0
    assert (await aioca.cainfo(c.pv("SNAP:TITLE"))).write == 1
    assert (await aioca.cainfo(c.pv("SNAP:TITLE.DESC"))).write == 0
    assert (await aioca.cainfo(c.pv("SNAP:TRIGGER.PROC"))).write == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SNAP:TRIGGER.DESC", "Take a snapshot"),
        ("SNAP:TRIGGER.RTYP", "bo"),
        ("SNAP:TITLE.RTYP", "waveform"),
        ("SNAP:TITLE.FTVL", 1),
        ("SNAP:TITLE.NELM", 256),
        ("SNAP:TITLE.NORD", 1),
        ("SNAP:TRIGGER.ZNAM", "Done"),
        ("SNAP:TRIGGER.ONAM", "Snapshot"),
        ("SNAP:TRIGGER.PROC", 0),
        ("SNAP:TRIGGER.SCAN", 0),
        ("SNAP:ID.SCAN", 2),
        ("SNAP:DURATION.EGU", "s"),
        ("SNAP:DURATION.PREC", 3),
        ("JOB:PROGRESS.HOPR", 100.0),
        ("JOB:PROGRESS.LOPR", 0.0),
        ("RESTORE:ID.DRVH", 2**31 - 1),
        ("SNAP:MISSING.HIGH", 1),
        ("SNAP:MISSING.HSV", 1),
        ("SNAP:MISSING.HHSV", 0),
        ("SNAP:STATUS.FRST", "Failed"),
        ("SNAP:STATUS.FRSV", 2),
        ("SNAP:STATUS.FFST", ""),
        ("SNAP:STATUS.SEVR", 0),
        ("RESTORE:MODE.TWST", "Dry run"),
        ("SNAP:TITLE:S.RTYP", "stringout"),
        ("SNAP:ID.PINI", 0),
        ("SNAP:ID.PHAS", 0),
        ("SNAP:ID.DTYP", 0),
        ("SNAP:ID.DISP", 1),
        ("SNAP:ID.VAL", 0),
    ],
)
async def test_record_fields(c: Control, name: str, value: Any) -> None:
    assert await c.get(name) == value


async def test_fields_follow_the_record(c: Control) -> None:
    await c.watch("SNAP:STATUS.SEVR", "SNAP:STATUS.STAT", "SNAP:MISSING:NAMES.NORD")
    c.jobs.result = lambda request: snapshot_result(1, missing=("A", "B"))
    assert await c.put("SNAP:TRIGGER", 1)
    assert [(n, int(v)) for n, v in c.updates] == [
        ("SNAP:MISSING:NAMES.NORD", 2),
        ("SNAP:STATUS.SEVR", 1),
        ("SNAP:STATUS.STAT", 7),
    ]
    assert await c.get("SNAP:STATUS.STAT", datatype=str) == "STATE"
    assert await c.get("SNAP:STATUS.NAME") == c.pv("SNAP:STATUS")
    assert (await c.get("SNAP:STATUS.DESC", format=aioca.FORMAT_TIME)).severity == 1


async def test_unknown_fields_and_filters_are_not_found(c: Control) -> None:
    for name in ("SNAP:ID.NOPE", "SNAP:NOPE", "SNAP:ID$", "SNAP:ID.VAL$", 'SNAP:ID.{"nope":{}}', "SNAP:ID.{"):
        assert not (await aioca.connect(c.pv(name), timeout=0.3, throw=False)).ok


async def test_class_name_and_alarm_acknowledgement(c: Control) -> None:
    assert await c.get("SNAP:TRIGGER", datatype=dbr.DBR_CLASS_NAME) == "bo"
    c.jobs.result = lambda request: snapshot_result(1, missing=("A",))
    assert await c.put("SNAP:TRIGGER", 1)
    ack = await c.get("RESTORE:MODE", datatype=dbr.DBR_STSACK_STRING)
    assert (ack.status, ack.severity, ack.acks, ack) == (0, 0, 0, "Changed")
    ack = await c.get("SNAP:MISSING", datatype=dbr.DBR_STSACK_STRING)
    assert (ack.status, ack.severity, ack.acks, ack) == (4, 1, 1, "1")


async def test_numbers_as_text_and_other_types(c: Control) -> None:
    assert await c.put("SNAP:TRIGGER", 1)
    assert await c.get("SNAP:ID", datatype=str) == "1"
    assert await c.get("SNAP:EPOCH", datatype=str) == "1715953501.250"
    assert await c.get("SNAP:EPOCH", datatype=int) == 1715953501
    assert await c.get("SNAP:STATUS", datatype=float) == 2.0
    assert await c.get("VERSION", datatype=str)
    assert not (await c.get("SNAP:TIME", datatype=float, throw=False)).ok
    control_info = await c.get("JOB:PROGRESS", format=aioca.FORMAT_CTRL)
    assert (control_info.units, control_info.precision, control_info.upper_disp_limit) == ("%", 1, 100.0)


async def test_arrays_have_as_many_elements_as_are_valid(c: Control) -> None:
    info = await aioca.cainfo(c.pv("SNAP:MISSING:NAMES"))
    assert info.count == 50_000
    await c.watch("SNAP:MISSING:NAMES", "JOB:RECENT:IDS", "JOB:RECENT:TITLES")
    c.jobs.result = lambda request: snapshot_result(1, missing=("A", "B", "C"))
    assert await c.put("SNAP:TRIGGER", 1)
    c.jobs.result = lambda request: snapshot_result(2)
    assert await c.put("SNAP:TRIGGER", 1)
    seen = [list(v) for n, v in c.updates if n == "SNAP:MISSING:NAMES"]
    assert seen == [["A", "B", "C"], []]
    assert list(await c.get("JOB:RECENT:IDS")) == [101, 100]
    assert list(await c.get("JOB:RECENT:KINDS")) == ["Snapshot", "Snapshot"]
    assert len(await c.get("JOB:RECENT:TIMES")) == 2
    assert list(await c.get("JOB:RECENT:IDS", count=4)) == [101, 100, 0, 0]


async def test_plain_monitor_of_an_empty_array_is_heard(c: Control) -> None:
    empty: list[int] = []
    aioca.camonitor(c.pv("JOB:RECENT:IDS"), lambda value: empty.append(len(value)), format=aioca.FORMAT_RAW)
    await c.watch("SNAP:ID")
    assert await c.get("JOB:RECENT:IDS") is not None
    assert empty == [0]


async def test_channel_filters(c: Control) -> None:
    c.jobs.result = lambda request: snapshot_result(1, missing=("A", "B", "C"))
    assert await c.put("SNAP:TRIGGER", 1)
    assert list(await c.get("SNAP:MISSING:NAMES.VAL[1:2]")) == ["B", "C"]
    assert list(await c.get('SNAP:MISSING:NAMES.{"arr":{"s":0,"e":0}}')) == ["A"]
    await c.watch('SNAP:ID.{"dbnd":{"abs":5}}')
    for snapshot_id in (2, 3, 9, 10):
        c.jobs.result = lambda request, i=snapshot_id: snapshot_result(i)
        assert await c.put("SNAP:TRIGGER", 1)
    assert [int(v) for _, v in c.updates] == [9]


async def test_masks(c: Control) -> None:
    alarm_only = Control(c.prefix, c.port, c.ioc, c.jobs, c.store, c.machine, c.catalogue)
    await alarm_only.watch("SNAP:MISSING", events=4)
    for missing in (("A",), ("A", "B"), ()):
        c.jobs.result = lambda request, m=missing: snapshot_result(1, missing=m)
        assert await c.put("SNAP:TRIGGER", 1)
    assert [int(v) for _, v in alarm_only.updates] == [1, 0]


CAPROTO = """
import sys
from caproto.sync.client import read, write

P = sys.argv[1]

def put(name, value, **options):
    return write(P + name, value, notify=True, repeater=False, **options).status.name

def get(name):
    return read(P + name, repeater=False).data

print(put("SNAP:TITLE", "from caproto"))
print(put("SNAP:TRIGGER", 1))
print(bytes(get("SNAP:TITLE")).rstrip(bytes(1)).decode())
print(get("SNAP:ID")[0])
print(get("SNAP:TRIGGER.DESC")[0].decode())
print(put("SNAP:TITLE", b"x" * 257))
print(bytes(get("SNAP:MSG")).rstrip(bytes(1)).decode())
print(put("SNAP:ID", 5))
print(put("RESTORE:ID", [1, 2]))
"""


async def test_client_that_came_with_pip_and_does_not_ask_what_it_may(c: Control) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CAPROTO, c.prefix, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert out.decode().splitlines() == [
        "ECA_NORMAL",
        "ECA_NORMAL",
        "",
        "1",
        "Take a snapshot",
        "ECA_PUTFAIL",
        "SNAP:TITLE: the text has 257 bytes, at most 256 are possible",
        "ECA_NOWTACCESS",
        "ECA_PUTFAIL",
    ], err.decode()
    assert "2 values are written where one is expected" in await c.text("RESTORE:MSG")
