"""BURT: request files and snapshot files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from format_helpers import FILES, problems_of, types, values, written

from squirrel_ioc.formats import ReadOptions, read_catalogue, read_snapshot
from squirrel_ioc.model.values import Dbf, Meta

HEADER = "--- Start BURT header\nType:     Absolute\n--- End BURT header\n"


def test_request_file() -> None:
    found = read_catalogue(FILES / "burt" / "magnets.req")
    assert [(e.setpoint, e.read_only) for e in found.entries] == [
        ("SR-CS-RING-01:MODE", False),
        ("SR01C-MG-01:I", False),
        ("SR01C-MG-01:READBACK", True),
        ("SR01C-MG-01:STATE", True),
        ("SR01C-MG-01:RESET", False),
        ("SR01C-MG-01:WAVE", False),
    ]
    assert found.warnings == [
        "RON is taken as RO: nothing is written, and nobody is notified (1 PV: SR01C-MG-01:STATE)",
        "WO is taken as an ordinary PV (1 PV: SR01C-MG-01:RESET)",
        "the number of elements to save is not kept (1 PV: SR01C-MG-01:WAVE)",
    ]


def test_bad_request_file(tmp_path: Path) -> None:
    lines = [
        "A x",
        "#ifdef B",
        '#include "../b.req"',
        "#define F(x) x",
        "A -1",
        "RO",
        "#define L M",
        "#define M L",
        "L",
    ]
    (tmp_path / "t.req").write_text("\n".join(lines))
    found = problems_of(tmp_path / "t.req", "catalogue", "burt")
    assert [p.split(":")[1] for p in found] == ["1", "2", "3", "4", "5", "9"]
    assert "'x' after A is no number of elements" in found[0]
    assert "leads out of" in found[2]
    assert "without end" in found[5]


def test_defines_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "t.req").write_text("% x\nIOC:A\n")
    found = read_catalogue(tmp_path / "t.req", options=ReadOptions(macros={"IOC": "REAL"}))
    assert [e.setpoint for e in found.entries] == ["REAL:A"]


def test_snapshot_file() -> None:
    found = read_snapshot(FILES / "burt" / "magnets.snap")
    m = "SR01C-MG-01:"
    assert values(found.frame) == {
        m + "I": 3.259328,
        m + "READBACK": pytest.approx(3.26),
        m + "STATE": "On",
        m + "COUNT": -12,
        m + "NAME": 'a "big" magnet',
        m + "EMPTY": "",
        m + "VERSION": "1.10",
        m + "CHAR": "b",
        m + "WAVE": [1.0, -0.25],
        m + "LONGS": [124, 623],
        m + "CHARS": [*b"Hello I!"],
        m + "TEXTS": ["three", "blind mice"],
        m + "LIGO": 1.5,
        m + "PERCENT": "50 % open",
    }
    kinds = types(found.frame)
    assert (kinds[m + "I"], kinds[m + "READBACK"], kinds[m + "COUNT"]) == (Dbf.DOUBLE, Dbf.FLOAT, Dbf.LONG)
    assert kinds[m + "CHARS"] is Dbf.CHAR
    assert found.read_only == {m + "READBACK", m + "STATE"}
    assert found.labels == ("injection", "low emittance")
    assert found.comment == "Nominal optics\nOnly changed injection magnets"
    assert found.user == "ops"
    assert found.taken == datetime(2010, 9, 21, 15, 7, 59).astimezone()  # the file has local time
    assert found.warnings == [f"further words after the value are ignored (1 PV: {m}LIGO)"]


def test_values_are_written_as_burt_writes_them() -> None:
    source = FILES / "burt" / "magnets.snap"
    again = written("burt", read_snapshot(source)).splitlines()
    changed = [line for line in source.read_text().splitlines() if line not in again]
    assert [line.split(":")[0 if line.startswith("%") else 1].split()[0] for line in changed if "-MG-" in line] == [
        "STATE",
        "WAVE",
        "LONGS",
        "CHARS",
        "TEXTS",
        "LIGO",
        "%",
        "PERCENT",
    ]
    assert 'SR01C-MG-01:CHARS 8 H e l l o " " I !' in again
    assert 'SR01C-MG-01:PERCENT 1 "50 % open"' in again
    assert "RO SR01C-MG-01:STATE 1 On" in again
    assert "Time:     Tue Sep 21 15:07:59 2010" in again


def test_characters_as_vanilla_burt_writes_them(tmp_path: Path) -> None:
    """Vanilla BURT writes a character as it is, NUL and blanks included."""
    body = "A 1 \0\nB 1 \x05\nC 8 H e l l o   I \0\nD 1 5\nE 1  \nF 1 \xe9\n"
    (tmp_path / "t.snap").write_bytes(HEADER.encode() + body.encode("latin-1"))
    found = read_snapshot(tmp_path / "t.snap")
    assert values(found.frame) == {"A": 0, "B": 5, "C": [*b"Hello I\0"], "D": 5, "E": " ", "F": 0xE9}
    live = {name: Meta(Dbf.CHAR, 8 if name == "C" else 1) for name in "ABCDEF"}
    found = read_snapshot(tmp_path / "t.snap", options=ReadOptions(live=live))
    assert values(found.frame) == {"A": 0, "B": 5, "C": [*b"Hello I\0"], "D": ord("5"), "E": 32, "F": 0xE9}
    assert set(types(found.frame).values()) == {Dbf.CHAR}


def test_labels_become_states_where_the_pv_is_known(tmp_path: Path) -> None:
    (tmp_path / "t.snap").write_text(HEADER + "A 1 On\nB 1 1\nC 1 Broken\nD 1 1\n")
    enum = Meta(Dbf.ENUM, 1, labels=("Off", "On"))
    live = {"A": enum, "B": enum, "C": enum, "D": Meta(Dbf.ENUM, 1, labels=("1", "2"))}
    found = read_snapshot(tmp_path / "t.snap", options=ReadOptions(live=live))
    assert values(found.frame) == {"A": 1, "B": 1, "C": "Broken", "D": 0}
    assert found.warnings == [
        "line 6: C: 'Broken' is no state of Off, On: the PV is ENUM; kept as it is in the file",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A 1 2\n", "t.snap:1: a BURT snapshot begins with '--- Start BURT header'"),
        ("--- Start BURT header\nA 1 2\n", "t.snap:2: the header has no '--- End BURT header'"),
        ("SDDS1\n", "t.snap:1: an SDDS file; write it anew with burtrb -nosdds"),
        (HEADER.replace("Absolute", "Relative"), "t.snap:3: a snapshot of type Relative does not hold values of PVs"),
        (HEADER + "A 1 2\n" + HEADER, "t.snap:5: a second header: these are several files in one"),
        (HEADER + "A x 2\n", "t.snap:4: a line is [RO|RON|WO] PV count value"),
        (HEADER + "A 3 1 2\n", "t.snap:4: A: 3 elements announced, 2 found"),
        (HEADER + "A 1 2\nA 1 3\n", "t.snap:5: A is given again, with another value than in line 4"),
        (HEADER + f"A 1 {'x' * 32768}\n", "t.snap:4: A: a text of 32768 bytes does not fit STRING, which holds 32767"),
        (HEADER + "A 1 x\x01y\n", "t.snap:4: A: control characters in a text"),
        (HEADER, "t.snap: holds no PV"),
    ],
)
def test_bad_snapshot_files(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "t.snap").write_text(text)
    assert problems_of(tmp_path / "t.snap", form="burt") == [expected]


def test_a_text_in_latin_1_is_no_utf_8(tmp_path: Path) -> None:
    (tmp_path / "t.snap").write_bytes(HEADER.encode() + b"A 1 20\xb0C\nB 1 x\xb0\n")
    assert problems_of(tmp_path / "t.snap") == [
        "t.snap:4: A: byte 0xb0 is no utf-8 text",
        "t.snap:5: B: byte 0xb0 is no utf-8 text",
    ]
    found = read_snapshot(tmp_path / "t.snap", options=ReadOptions(encoding="latin-1"))
    assert found.frame.value(0) == "20°C"


def test_a_nowrite_snapshot_is_never_written(tmp_path: Path) -> None:
    (tmp_path / "t.snap").write_text(HEADER.replace("Absolute", "Nowrite") + "A 1 2\nB 1 3\n")
    found = read_snapshot(tmp_path / "t.snap")
    assert found.read_only == {"A", "B"}
    assert found.warnings == ["a Nowrite snapshot: all its PVs are taken as read-only"]
