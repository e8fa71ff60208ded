"""FILE: files of other tools, from the exchange folder to real records and back, as clients do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from file_rig import BEFORE, NAMES, FileRig, file_rig, ioc, live_values, set_before
from ioc_process import IocProcess

from squirrel_ioc.formats import read_snapshot
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.snapshot import IMPORT
from squirrel_ioc.model.values import Dbf
from squirrel_ioc.store import Store

FILES = {
    "ring.sav": """\
# autosave R5.3\tAutomatically generated - DO NOT MODIFY - 250304-101500
F:AO 2.5
F:LONG 42
F:MBBO 2
F:MODE 1
F:TEXT hello, world
F:DIGITS 007
F:WAVE @array@ { "1.5" "-2" "3" }
F:CHARS @array@ { "72" "105" "33" }
F:STRINGS @array@ { "one" "two words" }
<END>
""",
    "burt.snap": """\
--- Start BURT header
Time:     Tue Mar  4 10:15:00 2025
Login ID: ops (Night Shift)
Eff  UID: 37245
Group ID: 37245
Keywords: night, golden
Comments: after the shutdown
Type:     Absolute
Directory /home/ops
Req File: ring.req
--- End BURT header
F:AO 1 2.500000000000000e+00
F:LONG 1 42
F:MBBO 1 Run
F:MODE 1 1
F:TEXT 1 "hello, world"
F:DIGITS 1 007
F:WAVE 3 1.500000000000000e+00 -2.000000000000000e+00 3.000000000000000e+00
F:CHARS 3 H i !
F:STRINGS 2 one "two words"
""",
    "psi.snap": """\
#{"comment": "after the shutdown", "labels": ["night", "golden"], "save_time": 1741083300.0}
F:AO,{"val": 2.5, "EGU": "A", "PREC": 3}
F:LONG,{"val": 42}
F:MBBO,{"val": 2}
F:MODE,{"val": 1}
F:TEXT,{"val": "hello, world"}
F:DIGITS,{"val": "007"}
F:WAVE,{"val": [1.5, -2.0, 3]}
F:CHARS,{"val": [72, 105, 33]}
F:STRINGS,{"val": ["one", "two words"]}
""",
    "phoebus.csv": """\
# Snapshot name:
# After the shutdown
# Description:
# after the shutdown
# Creator:
# ralph
# Date:
# 2025-03-04 10:15:00.000
# Tags:
# "night","",ralph,2025-03-04 10:15:00.000
PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ_ONLY
F:AO,1,1741083300.5,NONE,NONE,double,"2.5",,"---",,0
F:LONG,1,1741083300.0,NONE,NONE,int,"42",,"---",,0
F:MBBO,1,1741083300.0,NONE,NONE,enum,"Run~[Off;Standby;Run]",,"---",,0
F:MODE,1,1741083300.0,NONE,NONE,enum,"1~[0.5 s;1;0]",,"---",,0
F:TEXT,1,1741083300.0,NONE,NONE,string,"hello, world",,"---",,0
F:DIGITS,1,1741083300.0,NONE,NONE,string,"007",,"---",,0
F:WAVE,1,1741083300.0,NONE,NONE,double_array,"[1.5;-2.0;3.0]",,"---",,0
F:CHARS,1,1741083300.0,NONE,NONE,byte_array,"[72;105;33]",,"---",,0
F:STRINGS,1,1741083300.0,NONE,NONE,string_array,"[one;two words]",,"---",,0
""",
}

WANTED = [2.5, 42, 2, 1, "hello, world", "007", [1.5, -2.0, 3.0], [72, 105, 33], ["one", "two words"]]
TYPES = [Dbf.DOUBLE, Dbf.LONG, Dbf.ENUM, Dbf.ENUM, Dbf.STRING, Dbf.STRING, Dbf.DOUBLE, Dbf.CHAR, Dbf.STRING]


@pytest.fixture(scope="module")
def records() -> Iterator[IocProcess]:
    yield from ioc()


@pytest.fixture
async def rig(records: IocProcess, store: Store, tmp_path: Path) -> AsyncIterator[FileRig]:
    entries = (*map(Entry, NAMES), Entry("F:READONLY", read_only=True), Entry("F:SET", "F:GET"))
    async with file_rig(store, tmp_path, entries) as made:
        await set_before()
        yield made


@pytest.mark.parametrize("name", FILES)
async def test_import_compare_restore(rig: FileRig, name: str) -> None:
    assert await rig.do("IMPORT", rig.write(name, FILES[name]))
    snapshot_id = await rig.get("FILE:ID")
    status, message = await rig.status()
    assert (status, message.split(";")[0]) == (
        "OK",
        f"snapshot {snapshot_id}, {name} ({_format(name)}): {len(NAMES)} values",
    )
    frame = await rig.store.load_frame(snapshot_id)
    assert frame.channels.names == NAMES
    assert frame.dbf.tolist() == TYPES

    await rig.put("DIFF:A", snapshot_id)
    assert await rig.put("DIFF:B", 0)
    assert await rig.get("DIFF:COUNT") == len(NAMES)
    assert await rig.put("RESTORE:ID", snapshot_id), await rig.text("RESTORE:MSG")
    assert await rig.label("RESTORE:STATUS") == "OK"
    assert await rig.get("RESTORE:WRITTEN") == len(NAMES)
    assert await live_values(*NAMES) == WANTED
    assert await rig.put("DIFF:B", 0)
    assert await rig.get("DIFF:COUNT") == 0
    assert await rig.put("RESTORE:UNDO", 1)
    assert await live_values(*NAMES) == list(BEFORE.values())


def _format(name: str) -> str:
    return {"ring.sav": "autosave", "burt.snap": "burt", "psi.snap": "psi", "phoebus.csv": "phoebus"}[name]


@pytest.mark.parametrize("name", FILES)
async def test_what_an_import_keeps(rig: FileRig, name: str) -> None:
    assert await rig.do("IMPORT", rig.write(name, FILES[name]))
    snapshot = await rig.store.snapshot(await rig.get("FILE:ID"))
    assert snapshot is not None
    assert (snapshot.kind, snapshot.origin, snapshot.file_format) == (IMPORT, f"{_format(name)}:{name}", _format(name))
    expected = datetime.fromtimestamp(1741083300, UTC)
    if name != "psi.snap":  # local time
        expected = datetime(2025, 3, 4, 10, 15).astimezone()
    assert snapshot.taken == expected
    assert (snapshot.count, snapshot.missing, snapshot.flags) == (len(NAMES), 0, "")
    assert snapshot.title == ("After the shutdown" if name == "phoebus.csv" else Path(name).stem)
    assert snapshot.comment == ("" if name == "ring.sav" else "after the shutdown")
    wanted = {"ring.sav": (), "phoebus.csv": ("night",)}.get(name, ("night", "golden"))
    assert snapshot.labels == wanted
    await rig.put("LIST:TEXT", "", wait=True)
    assert list(await rig.get("LIST:IDS")) == [snapshot.id]


@pytest.mark.parametrize("name", [n for n in FILES if n != "phoebus.csv"])
async def test_types_come_with_the_restore_when_they_were_not_known_before(rig: FileRig, name: str) -> None:
    """The machine is not known at the import: the catalogue has none of these PVs yet."""
    await rig.keeper.remove(NAMES, "test")
    assert await rig.do("IMPORT", rig.write(name, FILES[name]))
    snapshot_id = await rig.get("FILE:ID")
    frame = await rig.store.load_frame(snapshot_id)
    assert frame.dbf.tolist() != TYPES

    await rig.keeper.add(NAMES, "test")
    await rig.all_known()
    await rig.put("DIFF:A", snapshot_id)
    assert await rig.put("DIFF:B", 0)
    assert (await rig.get("DIFF:COUNT"), await rig.get("DIFF:COMPARED")) == (len(NAMES), len(NAMES))
    assert await rig.put("RESTORE:ID", snapshot_id), await rig.text("RESTORE:BAD:REASONS:LONG")
    assert await rig.label("RESTORE:STATUS") == "OK"
    assert await live_values(*NAMES) == WANTED
    assert await rig.put("DIFF:B", 0)
    assert await rig.get("DIFF:COUNT") == 0
    await rig.put("DIFF:A", 0)
    assert await rig.put("DIFF:B", snapshot_id)
    assert await rig.get("DIFF:COUNT") == 0
    assert await rig.put("SNAP:TRIGGER", 1)
    await rig.put("DIFF:A", await rig.get("SNAP:ID"))
    assert await rig.put("DIFF:TRIGGER", 1)
    assert await rig.get("DIFF:COUNT") == 0


async def test_a_label_of_burt_is_not_an_index(rig: FileRig) -> None:
    text = FILES["burt.snap"].replace("F:MODE 1 1", "F:MODE 1 0")
    assert await rig.do("IMPORT", rig.write("burt.snap", text))
    assert await rig.put("RESTORE:ID", await rig.get("FILE:ID"))
    assert await live_values("F:MODE") == [2]
    assert await rig.do("IMPORT", rig.write("ring.sav", FILES["ring.sav"].replace("F:MODE 1", "F:MODE 0")))
    assert await rig.put("RESTORE:ID", await rig.get("FILE:ID"))
    assert await live_values("F:MODE") == [0]


async def test_values_that_do_not_fit_are_kept_told_and_not_written(rig: FileRig) -> None:
    text = FILES["ring.sav"].replace("F:AO 2.5", "F:AO high").replace("F:LONG 42", "F:LONG 42.5")
    text = text.replace("F:MBBO 2", "F:MBBO Broken")
    assert await rig.do("IMPORT", rig.write("ring.sav", text))
    snapshot_id = await rig.get("FILE:ID")
    assert (await rig.status())[0] == "Partial"
    assert await rig.errors() == [
        "warning: line 2: F:AO: 'high' is no number: the PV is DOUBLE; kept as it is in the file",
        "warning: line 3: F:LONG: 42.5 is no whole number: the PV is LONG; kept as it is in the file",
        "warning: line 4: F:MBBO: 'Broken' is no state of Off, Standby, Run: the PV is ENUM; kept as it is in the file",
    ]
    await rig.put("DIFF:A", snapshot_id)
    assert await rig.put("DIFF:B", 0)
    assert await rig.get("DIFF:COUNT") == len(NAMES)
    await rig.put("RESTORE:ID", snapshot_id)
    assert await rig.label("RESTORE:STATUS") == "Partial"
    assert list(await rig.get("RESTORE:BAD:NAMES")) == ["F:AO", "F:LONG", "F:MBBO"]
    assert (await rig.text("RESTORE:BAD:REASONS:LONG")).splitlines() == [
        "'high' is no number: the PV is DOUBLE",
        "42.5 is no whole number: the PV is LONG",
        "'Broken' is no state of Off, Standby, Run: the PV is ENUM",
    ]
    assert await live_values(*NAMES) == [1.0, 2, 0, *WANTED[3:]]


async def test_what_makes_a_file_doubtful_is_told_and_shown(rig: FileRig) -> None:
    """A save file of an old version that was cut off, and has a line end in a text."""
    assert await rig.do("IMPORT", rig.write("old.sav", "F:TEXT first\nsecond part\nF:LONG 4"))
    frame = await rig.store.load_frame(await rig.get("FILE:ID"))
    assert frame.channels.names == ("F:TEXT", "F:LONG")
    assert frame.value(0) == "first\nsecond part"
    doubt = "no <END>, which came with version 1.8: nothing tells whether the file is whole; its last line has no end: "
    doubt += "the value of F:LONG may be cut off"
    _, message = await rig.status()
    assert (
        message == f"snapshot {await rig.get('FILE:ID')}, old.sav (autosave): 2 values; warning: {doubt} (and 2 more)"
    )
    assert (await rig.errors())[:2] == [
        f"warning: {doubt}",
        "warning: line 2 is no PV, but the rest of the text of F:TEXT, which has a line end in it",
    ]
    assert await rig.put("RESTORE:ID", await rig.get("FILE:ID")), await rig.text("RESTORE:MSG")
    assert await live_values("F:TEXT", "F:LONG") == ["first\nsecond part", 4]


async def test_what_a_file_says_is_read_only_is_never_written(rig: FileRig) -> None:
    text = FILES["burt.snap"].replace("F:AO 1", "RO F:AO 1")
    assert await rig.do("IMPORT", rig.write("burt.snap", text))
    snapshot_id = await rig.get("FILE:ID")
    frame = await rig.store.load_frame(snapshot_id)
    assert frame.channels.names == (*NAMES[1:], "F:AO")
    assert frame.channels.setpoints == len(NAMES) - 1
    assert await rig.put("RESTORE:ID", snapshot_id)
    assert await live_values(*NAMES) == [1.0, *WANTED[1:]]


async def test_disconnected_pvs_of_a_file_have_no_value(rig: FileRig) -> None:
    text = FILES["ring.sav"].replace("F:AO 2.5", "#F:AO Search Issued")
    assert await rig.do("IMPORT", rig.write("ring.sav", text))
    status, message = await rig.status()
    assert status == "Partial"
    assert "8 values, 1 PVs without one" in message
    assert await rig.put("RESTORE:ID", await rig.get("FILE:ID"))
    assert await rig.get("RESTORE:SKIPPED") == 1


@pytest.mark.parametrize(
    ("name", "form"), [("o.sav", "Auto"), ("o.snap", "burt"), ("p.snap", "psi"), ("o.csv", "Auto"), ("o.jsonl", "Auto")]
)
async def test_export_and_import_again(rig: FileRig, name: str, form: str) -> None:
    assert await rig.do("IMPORT", rig.write("psi.snap", FILES["psi.snap"]))
    assert await rig.put("RESTORE:ID", await rig.get("FILE:ID"))
    assert await rig.put("SNAP:TRIGGER", 1)
    taken = await rig.get("SNAP:ID")
    await rig.put("FILE:ID", taken)
    await rig.put("FILE:FORMAT", form)
    assert await rig.do("EXPORT", name)
    status, message = await rig.status()
    # The formats that restore all they have leave out what is never written.
    assert status == ("Partial" if name in ("o.sav", "p.snap") else "OK"), message
    assert await rig.get("FILE:ID") == taken
    assert sorted(p.name for p in rig.folder.iterdir()) == sorted([name, "psi.snap"])
    file = read_snapshot(rig.folder / name, None if form == "Auto" else form)
    assert set(NAMES) < set(file.frame.channels.names)

    await set_before()
    await rig.put("FILE:FORMAT", "Auto")
    assert await rig.do("IMPORT", name)
    imported = await rig.get("FILE:ID")
    assert imported != taken
    assert await rig.put("RESTORE:ID", imported)
    assert await live_values(*NAMES) == WANTED
    await rig.put("DIFF:A", taken)
    assert await rig.put("DIFF:B", imported)
    assert await rig.get("DIFF:COUNT") == 0


async def test_json_lines_hold_everything(rig: FileRig) -> None:
    assert await rig.put("SNAP:NOW", "all of it")
    await rig.put("FILE:ID", await rig.get("SNAP:ID"))
    assert await rig.do("EXPORT", "all.jsonl")
    assert await rig.errors() == []
    assert await rig.do("IMPORT", "all.jsonl")
    one, other = [await rig.store.load_frame(i) for i in (1, 2)]
    assert one.channels.names == other.channels.names
    for column in ("state", "dbf", "count", "severity", "status", "stamp", "number", "side_row", "side_end"):
        assert getattr(one, column).tobytes() == getattr(other, column).tobytes(), column
    assert one.side == other.side
    assert [one.metas[i] for i in one.meta] == [other.metas[i] for i in other.meta]
