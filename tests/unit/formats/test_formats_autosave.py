"""autosave: request files and save files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from format_helpers import FILES, problems_of, types, values, written

from squirrel_ioc.formats import Limits, ReadOptions, read_catalogue, read_snapshot, write_snapshot
from squirrel_ioc.model.values import Dbf, Meta, State

P = {"P": "xxx:"}


def test_request_file_with_includes_and_macros() -> None:
    found = read_catalogue(FILES / "autosave" / "auto_settings.req", options=ReadOptions(macros=P))
    assert [e.setpoint for e in found.entries] == [
        "xxx:MODE",
        "xxx:m1",
        "xxx:m1.VELO",
        "xxx:m2",
        "xxx:m2.VELO",
        "xxx:scalc1.CALC",
        "xxx:LONG.CALC$",
        "xxx:BRACES",
    ]
    assert found.warnings == []


def test_an_included_file_sees_its_own_macros_or_also_those_of_its_parent(tmp_path: Path) -> None:
    (tmp_path / "top.req").write_text("file child.req M=m1\n")
    (tmp_path / "child.req").write_text("$(P)$(M)\n")
    (problem,) = problems_of(tmp_path / "top.req", "catalogue", macros=P)
    assert problem == "child.req:1: macro P is not defined (included from top.req:1)"
    found = read_catalogue(tmp_path / "top.req", options=ReadOptions(macros=P, inherit_macros=True))
    assert [e.setpoint for e in found.entries] == ["xxx:m1"]


def test_the_search_path_comes_after_the_own_folder(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    top.mkdir()
    other.mkdir()
    (top / "a.req").write_text("file b.req\nfile c.req\n")
    (top / "b.req").write_text("OWN\n")
    (other / "b.req").write_text("OTHER\n")
    (other / "c.req").write_text("FOUND\n")
    found = read_catalogue(top / "a.req", options=ReadOptions(search_path=(other,)))
    assert [e.setpoint for e in found.entries] == ["OWN", "FOUND"]


def test_all_problems_of_a_request_file_at_once(tmp_path: Path) -> None:
    secret = tmp_path / "secret.req"
    secret.write_text("SECRET\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.req").symlink_to(secret)
    lines = [
        "$(UNKNOWN):X",
        "file missing.req",
        "file ../secret.req",
        f"file {secret}",
        "file link.req",
        "file top.req A=1",
        "file top.req novalue",
        "bad,name",
        "x" * 200,
        "$(open",
        "FINE",
        "FINE",
    ]
    (folder / "top.req").write_text("\n".join(lines))
    found = problems_of(folder / "top.req", "catalogue")
    for line, (problem, part) in enumerate(
        zip(
            found,
            [
                "UNKNOWN is not defined",
                "no such file",
                "leads out of",
                "only files in the folder",
                "leads out of",
                "includes itself",
                "'novalue' is no MACRO=VALUE",
                "no name of a PV",
                "longer than 100",
                "without its )",
            ],
            strict=True,
        ),
        1,
    ):
        assert problem.startswith(f"top.req:{line}: ")
        assert part in problem


def test_a_caller_may_allow_all_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "out.req").write_text("OUTSIDE\n")
    (folder / "top.req").write_text(f"file ../out.req\nfile {tmp_path}/out.req\n")
    found = read_catalogue(folder / "top.req", options=ReadOptions(confined=False))
    assert [e.setpoint for e in found.entries] == ["OUTSIDE"]
    assert found.warnings == ["listed more than once (1 PV: OUTSIDE)"]


def test_files_that_include_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "a.req").write_text("A\nfile b.req\n")
    (tmp_path / "b.req").write_text("file a.req\n")
    (problem,) = problems_of(tmp_path / "a.req", "catalogue")
    assert problem == "b.req:1: a.req includes itself (included from a.req:2)"


def test_includes_without_a_loop_but_without_end_are_bounded(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"f{i}.req").write_text(f"file f{i + 1}.req\n" * 4)
    (tmp_path / "f20.req").write_text("LAST\n")
    found = problems_of(tmp_path / "f0.req", "catalogue", limits=Limits(include_count=2000, include_depth=30))
    assert "more than 2000 files included" in found[-1]
    found = problems_of(tmp_path / "f0.req", "catalogue")
    assert "more than 16 deep" in found[0]
    assert len(found) == 101


def test_includes_are_bounded_in_time(tmp_path: Path) -> None:
    (tmp_path / "top.req").write_text("A\n" * 300 + "file sub.req\nfile sub.req\n")
    (tmp_path / "sub.req").write_text("B\n" * 300)
    (problem,) = problems_of(tmp_path / "top.req", "catalogue", limits=Limits(include_s=-1.0))
    assert problem == "top.req:301: included files take more than -1 s"
    (tmp_path / "top.req").write_text("A\n" * 1000)  # which includes nothing, and may take its time
    assert len(read_catalogue(tmp_path / "top.req", options=ReadOptions(limits=Limits(include_s=-1.0))).entries) == 1


def test_reading_can_be_stopped_within_includes(tmp_path: Path) -> None:
    """Also where an included file is known already: it is read once, and included again and again."""
    (tmp_path / "top.req").write_text("file sub.req\n" * 3)
    (tmp_path / "sub.req").write_text("B\n" * 100)
    answers = iter(["", "", "that is enough"])
    (problem,) = problems_of(tmp_path / "top.req", "catalogue", limits=Limits(stop=lambda: next(answers)))
    assert problem == "top.req:3: that is enough"


def test_save_file() -> None:
    found = read_snapshot(FILES / "autosave" / "settings.sav")
    assert values(found.frame) == {
        "xxx:ao.DISP": 0.0,
        "xxx:ao": 4.1234567890123,
        "xxx:scaler.RATE": 1.234568,
        "xxx:ao.SCAN": 3.0,
        "xxx:ao.DESC": "  two blanks before",
        "xxx:ao.EGU": "",
        "xxx:version": "1.10",
        "xxx:serial": "007",
        "xxx:escaped": 'tab\there "quoted" AB',
        "xxx:calc.CALC$": [*b"123456789+123456789+123456789+123456789+123456789", 0],
        "i_dont_exist": None,
        "xxx:commented:out": None,
        "xxx:double_array": [1.0, 2.5, -3e-07],
        "xxx:string_array": ['a "b"', "x\\y", "", "l\n"],
        "xxx:long_array": [1.0, 2.0, 3.0],
    }
    assert types(found.frame)["xxx:ao"] is Dbf.DOUBLE
    assert types(found.frame)["xxx:version"] is Dbf.STRING
    assert found.frame.state[10] == State.DISCONNECTED
    assert found.taken == datetime(2006, 7, 20, 15, 45, 26).astimezone()  # the file has local time
    assert (found.title, found.origin, found.file_name, found.typed) == ("settings", "autosave", "settings.sav", False)
    assert found.warnings == []


def test_nothing_changes_when_a_save_file_is_written_again() -> None:
    source = FILES / "autosave" / "settings.sav"
    lines = source.read_text().splitlines()
    again = written("autosave", read_snapshot(source)).splitlines()
    lines = [line.replace(".VAL ", " ") for line in lines]
    kept = [line for line in lines if not line.startswith(("#", "!", "xxx:escaped", "xxx:long_array", ' "3'))]
    assert [line for line in kept if line not in again] == []
    assert r"xxx:escaped tab\there \"quoted\" AB" in again
    assert 'xxx:long_array @array@ { "1" "2" "3" }' in again
    assert again[0].startswith("# autosave R5.3\t")
    assert again[0].endswith("060720-154526")
    assert again[1].startswith("! 2 channel(s) not connected")


def test_the_types_of_the_machine_decide() -> None:
    live = {
        "xxx:ao.SCAN": Meta(Dbf.ENUM, 1, labels=("Passive", "Event", "I/O Intr", "10 second")),
        "xxx:ao.DISP": Meta(Dbf.CHAR, 1),
        "xxx:serial": Meta(Dbf.STRING, 1),
        "xxx:long_array": Meta(Dbf.LONG, 100),
        "xxx:ao.DESC": Meta(Dbf.DOUBLE, 1),
    }
    found = read_snapshot(FILES / "autosave" / "settings.sav", options=ReadOptions(live=live))
    kinds = types(found.frame)
    assert [kinds[name] for name in list(live)[:4]] == [Dbf.ENUM, Dbf.CHAR, Dbf.STRING, Dbf.LONG]
    assert values(found.frame)["xxx:ao.SCAN"] == 3
    assert values(found.frame)["xxx:long_array"] == [1, 2, 3]
    assert found.frame.metas[found.frame.meta[3]].labels[3] == "10 second"
    assert found.warnings == [
        "line 7: xxx:ao.DESC: '  two blanks before' is no number: the PV is DOUBLE; kept as it is in the file"
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("# autosave R5.3\nA 1\n", ["t.sav:2: no <END>: the file was not written to its end"]),
        ("", ["t.sav: is empty"]),
        ("<END>\n", ["t.sav: holds no PV"]),
        ('A @array@ { "1" "2\n<END>\n', ["t.sav:1: the array that begins here has no end"]),
        ("A @array@ { 1 2 }\n<END>\n", ['t.sav:1: A: an array is { "element" "element" ... }']),
        ("A @array@ x }\n<END>\n", ["t.sav:1: A: an array begins with {"]),
        (
            f"A {'x' * 32768}\nB {'y' * 32769}\n<END>\n",
            [
                "t.sav:1: A: a text of 32768 bytes does not fit STRING, which holds 32767",
                "t.sav:2: B: a text of 32769 bytes does not fit STRING, which holds 32767",
            ],
        ),
        ("A a\\0b\n<END>\n", ["t.sav:1: A: a text has a NUL"]),
        ("A 1\n$(P)B 2\n<END>\n", ["t.sav:2: $(P)B: a macro that nobody has defined"]),
        ("A 1\nB \x01\n<END>\n", ["t.sav:2: control character 0x01: this is no text file"]),
    ],
)
def test_bad_save_files(tmp_path: Path, body: str, expected: list[str]) -> None:
    (tmp_path / "t.sav").write_text(body)
    assert problems_of(tmp_path / "t.sav") == expected


def test_a_save_file_in_latin_1(tmp_path: Path) -> None:
    (tmp_path / "t.sav").write_bytes(b"A 5\nB 20\xb0C\n<END>\n")
    assert problems_of(tmp_path / "t.sav") == [
        "t.sav:2: byte 0xb0 at column 5 is no utf-8 text: say what the file is written in, --encoding latin-1"
    ]
    found = read_snapshot(tmp_path / "t.sav", options=ReadOptions(encoding="latin-1"))
    assert values(found.frame)["B"] == "20°C"


def test_a_pv_twice_with_one_value_and_macros_in_a_cfg_file(tmp_path: Path) -> None:
    (tmp_path / "t.cfg").write_text("# autosave R5.3\tx - 060720-154526\n$(P)A 1\n$(P)A 1\n<END>\n")
    found = read_snapshot(tmp_path / "t.cfg", options=ReadOptions(macros=P))
    assert values(found.frame) == {"xxx:A": 1.0}
    assert found.warnings == ["given twice with the same value (1 PV: xxx:A)"]


def test_a_line_that_is_commented_out_does_not_contradict_another(tmp_path: Path) -> None:
    (tmp_path / "t.sav").write_text("#X:A 4\nX:B b\nX:A a\n#X:B 5\n#X:C 1\n<END>\n")
    assert values(read_snapshot(tmp_path / "t.sav").frame) == {"X:A": "a", "X:B": "b", "X:C": None}


def test_what_autosave_would_write_to_the_machine_is_left_out(tmp_path: Path) -> None:
    snapshot = read_snapshot(FILES / "phoebus" / "snapshot.csv")
    warnings = write_snapshot(tmp_path / "t.sav", snapshot, "autosave")
    names = read_snapshot(tmp_path / "t.sav").frame.channels.names
    assert "M:2" not in names
    assert "M:1:RB" not in names
    assert "left out: read-only, and autosave writes all it has (1 PV: M:2)" in warnings
    assert any(w.startswith("left out: a readback") for w in warnings)
