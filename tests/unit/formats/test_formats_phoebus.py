"""Phoebus save-and-restore: configurations and snapshots."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import pytest
from format_helpers import FILES, problems_of, types, values, written

from squirrel_ioc.formats import read_catalogue, read_snapshot, write_catalogue, write_snapshot
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.values import Dbf, State

COLUMNS = "PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ_ONLY\n"


def test_configuration() -> None:
    found = read_catalogue(FILES / "phoebus" / "config.csv")
    assert found.entries == [Entry("PV1", "READBACK_PV1"), Entry("PV2", read_only=True), Entry("PV3")]
    assert found.warnings == ["listed more than once, the first one is taken (1 PV: PV2)"]


def test_configuration_comes_back(tmp_path: Path) -> None:
    entries = [Entry("A", "A:RB"), Entry("B", read_only=True, atol=0.1), Entry("C", "C:RB", read_only=True)]
    assert write_catalogue(tmp_path / "t.csv", entries, "phoebus") == ["the format has no atol (it is set of 1 PV)"]
    found = read_catalogue(tmp_path / "t.csv").entries
    assert found == [Entry("A", "A:RB"), Entry("B", read_only=True), Entry("C", "C:RB", read_only=True)]


def test_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("PV,READBACK,READ_ONLY,EXTRA\nA,,maybe\n,B,0\nC,D E,0\nE,F,0,x,y\nF\n")
    assert problems_of(tmp_path / "t.csv", "catalogue") == [
        "t.csv:2: A: READ_ONLY is 0 or 1, not 'maybe'",
        "t.csv:3: the name of the PV is empty",
        "t.csv:4: 'D E' is no name of a PV",
        "t.csv:5: 5 cells under 4 columns",
    ]


def test_snapshot() -> None:
    found = read_snapshot(FILES / "phoebus" / "snapshot.csv")
    got = values(found.frame)
    array = got.pop("M:10")
    assert math.isnan(array[0])
    assert array[1:] == [-math.inf, 1e10]
    assert got == {
        "M:1": 1.5e-4,
        "M:2": 1,
        "M:3": [1, 2, 3],
        "M:4": 'he said "hi", ok',
        "M:5": None,
        "M:6": 255,
        "M:7": ["a", "b c", ""],
        "M:8": 2,
        "M:9": 3,
        "M:11": 5e9,
        "M:1:RB": 1.4e-4,
        "M:5:RB": None,
        "M:9:RB": 3.25,
    }
    frame = found.frame
    assert frame.channels.setpoints == 11
    assert frame.stamp[:3].tolist() == [1700000000_000000005, 1700000000_123456789, 1700000000_000000000]
    assert frame.severity[[0, 1, 4, 6]].tolist() == [0, 2, -1, 3]
    assert frame.status[[0, 1, 4, 6]].tolist() == [0, 7, -1, 17]
    assert frame.state[4] == State.DISCONNECTED
    assert frame.metas[frame.meta[1]].labels == ("Off", "On")
    assert types(frame)["M:9:RB"] is Dbf.DOUBLE
    assert (found.title, found.comment, found.user) == ("After the shutdown", "two lines\nof it", "ralph")
    assert found.labels == ("golden", "night")
    assert found.taken == datetime(2023, 11, 14, 22, 13, 20, 123000).astimezone()  # local time
    assert found.readbacks == {"M:1": "M:1:RB", "M:5": "M:5:RB", "M:9": "M:9:RB"}
    assert found.read_only == {"M:2"}
    assert found.warnings == []


def test_a_snapshot_is_written_as_phoebus_writes_it() -> None:
    source = FILES / "phoebus" / "snapshot.csv"
    lines = source.read_text().splitlines()
    again = written("phoebus", read_snapshot(source)).splitlines()
    changed = [line.split(",")[0] for line in lines if line not in again]
    # A text with a quote cannot be held, numbers are written in another way, a readback of another type is left out.
    assert changed == ["# Operation / Magnets", '# "golden"', "M:1", "M:4", "M:9", "M:10", "M:11"]
    assert 'M:1,1,1700000000.5,NONE,NONE,double,"0.00015",M:1:RB,"0.00014",,0' in again


def test_what_phoebus_would_read_as_something_else_is_left_out(tmp_path: Path) -> None:
    rows = ["~", "a~b", "[x", "null", "---", 'q"q', "fine", "x;y"]
    text = COLUMNS + "".join(f'P{i},1,0.0,NONE,NONE,string,"{t}",,"---",,0\n' for i, t in enumerate(rows))
    (tmp_path / "a.csv").write_text(text)
    found = read_snapshot(tmp_path / "a.csv")
    assert list(values(found.frame).values()) == rows
    warnings = write_snapshot(tmp_path / "b.csv", found, "phoebus")
    assert list(values(read_snapshot(tmp_path / "b.csv").frame).values()) == ["fine", "x;y"]
    assert warnings == [
        "left out: a text with a quote, a ~ or a control character (3 PVs: P0, P1, P5)",
        "left out: a text that Phoebus reads as another or as none (3 PVs: P2, P3, P4)",
    ]


def test_a_file_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        '"VALUE","PV","VALUE_TYPE"\n1.5,A,double\n"a ""b"", c",B,string\n[1;2],C,int_array\n'
    )
    assert values(read_snapshot(tmp_path / "t.csv").frame) == {"A": 1.5, "B": 'a "b", c', "C": [1, 2]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("A,1,0.0,NONE,NONE,int,1.5,,---,,0", "A: '1.5' is no whole number"),
        ("A,1,0.0,NONE,NONE,byte,300,,---,,0", "A: 300 does not fit byte"),
        ("A,1,0.0,NONE,NONE,double,abc,,---,,0", "A: 'abc' is no number"),
        ("A,1,0.0,NONE,NONE,float,1e300,,---,,0", "A: 1e+300 does not fit FLOAT"),
        ("A,1,0.0,NONE,NONE,complex,1,,---,,0", "A: VALUE_TYPE 'complex' is not known"),
        ("A,1,0.0,NONE,NONE,int_array,1;2,,---,,0", "A: an array is [a;b;c]"),
        ("A,1,0.0,NONE,NONE,int_array,[1;;2],,---,,0", "A: '' is no whole number"),
        ("A,1,0.0,NONE,NONE,enum,X~[A;B],,---,,0", "A: 'X' is none of the states A, B"),
        ("A,1,0.0,NONE,HUGE,int,1,,---,,0", "A: SEVERITY 'HUGE' is none of NONE, MINOR, MAJOR, INVALID, UNDEFINED"),
        ("A,1,yesterday,NONE,NONE,int,1,,---,,0", "A: TIMESTAMP 'yesterday' is no seconds.nanoseconds"),
        (
            "A,1,0.0,NONE,NONE,long,9007199254740993,,---,,0",
            "A: 9007199254740993 has more digits than Channel Access can hold",
        ),
        ("A,1,0.0", "3 cells under 11 columns"),
        ('A,1,0.0,NONE,NONE,string,"cut', "7 cells under 11 columns"),
        ("A B,1,0.0,NONE,NONE,int,1,,---,,0", "'A B' is no name of a PV"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, reason: str) -> None:
    (tmp_path / "t.csv").write_text(COLUMNS + 'OK,1,0.0,NONE,NONE,int,"1",,"---",,0\n' + row + "\n")
    assert problems_of(tmp_path / "t.csv") == [f"t.csv:3: {reason}"]


def test_a_snapshot_is_no_configuration_and_the_other_way_round() -> None:
    assert problems_of(FILES / "phoebus" / "snapshot.csv", "catalogue") == [
        "snapshot.csv: holds a snapshot (Phoebus), no catalogue"
    ]
    assert problems_of(FILES / "phoebus" / "config.csv", form="phoebus") == [
        "config.csv: has no columns VALUE and VALUE_TYPE: this is no snapshot"
    ]
