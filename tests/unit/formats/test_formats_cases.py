"""Small files of other tools that went wrong once, and what is right."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squirrel_ioc.errors import SquirrelError
from squirrel_ioc.formats import ReadOptions
from squirrel_ioc.formats.registry import read_catalogue, read_snapshot
from squirrel_ioc.model.pv_names import canonical, known_as, renamed
from squirrel_ioc.model.values import Dbf, Meta

CASES = Path(__file__).parent / "cases"


def catalogue(case: str, **macros: str) -> tuple[list[str], list[str]]:
    """The setpoints of a file, and the warnings."""
    file = read_catalogue(CASES / case, None, ReadOptions(macros=macros))
    return [e.setpoint for e in file.entries], list(file.warnings)


def values(case: str) -> tuple[dict[str, Any], list[str]]:
    """The values of a file, and the warnings."""
    file = read_snapshot(CASES / case, None, ReadOptions())
    return {name: file.frame.value(row) for row, name in enumerate(file.frame.channels.names)}, list(file.warnings)


def refused(case: str) -> str:
    """Why a file is refused."""
    with pytest.raises(SquirrelError) as error:
        read_catalogue(CASES / case, None, ReadOptions(macros={"P": "T:"}))
    return str(error.value)


# Names


def test_one_name_for_one_channel() -> None:
    names = {"X": "X", "X.VAL": "X", "ca://X": "X", "ca://X.VAL": "X", "X.DESC": "X.DESC", "X.VALUE": "X.VALUE"}
    names |= {
        "X.VAL$": "X.VAL$",
        "ca://X.VAL$": "X.VAL$",
        "X$": "X$",
        "X.DESC$": "X.DESC$",
        ".VAL": ".VAL",
        ".VAL$": ".VAL$",
    }
    assert {name: canonical(name) for name in names} == names


def test_where_both_names_are_known_each_means_itself() -> None:
    assert [known_as("X.VAL", known) for known in ({"X"}, {"X", "X.VAL"}, ())] == ["X", "X.VAL", "X"]
    assert renamed(["X.VAL", "X", "Y.VAL", "ca://Y"]) == {"Y.VAL": "Y"}


def test_a_file_with_fields_named_val_has_the_pvs_of_the_catalogue() -> None:
    assert catalogue("bug-01-dot-val/pvs.csv")[0] == ["BG:AO", "BG:LO"]
    assert values("bug-01-dot-val/val.sav")[0] == {"BG:AO": 4.25, "BG:LO": 77}


def test_the_scheme_of_channel_access_is_no_part_of_the_name() -> None:
    assert catalogue("bug-07-phoebus-ca-prefix/config.csv")[0] == ["BG:AO"]


def test_two_names_of_one_channel_are_told() -> None:
    assert refused("bug-11-same-pv-twice/pvs.csv") == "pvs.csv:3: BG:AO is there twice, first in pvs.csv:2"


def test_a_wildcard_is_no_name_of_a_pv() -> None:
    assert "BG:*: wildcards are for filters; list the PVs by their names" in refused("bug-19-wildcards/wild.csv")


# autosave


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("file-01-req-with-END/mags.req", ["T:A", "T:B"]),
        ("file-02-file-commented-name/top.req", ["T:A"]),
        ("file-03-lines-autosave-ignores/a.req", ["T:A"]),
        ("file-03-lines-autosave-ignores/line.req", ["T:A"]),
        ("file-03-lines-autosave-ignores/tilde.req", ["T:A"]),
    ],
)
def test_lines_that_autosave_ignores_are_ignored_with_a_warning(case: str, names: list[str]) -> None:
    found, warnings = catalogue(case, P="T:", M="m")
    assert found == names
    assert len(warnings) == 1
    assert "ignore" in warnings[0]


def test_a_remark_after_an_include_is_none_of_its_macros() -> None:
    assert catalogue("file-04-file-line-comment/top.req") == (["qA"], [])


def test_a_configuration_of_savedata_is_no_list_of_pvs() -> None:
    assert "saveData.req:1: [prefix] begins a section" in refused("file-11-saveData-req/saveData.req")


def test_a_save_file_of_a_version_without_an_end_mark_is_read_with_a_warning() -> None:
    found, warnings = values("file-06-sav-no-header/old.sav")
    assert found == {"T:A": 1.5, "T:B.DESC": "hello"}
    assert warnings == ["no <END>, which came with version 1.8: nothing tells whether the file is whole"]


def test_a_save_file_that_was_cut_off_is_told_first(tmp_path: Path) -> None:
    """Of a version that has no end mark, nothing else shows it."""
    path = tmp_path / "old.sav"
    path.write_text("T:A first\nsecond part\nT:B 1234")
    found, warnings = found_in(path)
    assert found == {"T:A": "first\nsecond part", "T:B": 1234}
    assert warnings == [
        "no <END>, which came with version 1.8: nothing tells whether the file is whole; its last line has no end: "
        "the value of T:B may be cut off",
        told(2, "T:A"),
    ]


@pytest.mark.parametrize(("header", "whole"), [("# save/restore V1.7\t", True), ("# autosave R5.3\t", False)])
def test_a_version_with_an_end_mark_must_have_it(tmp_path: Path, header: str, whole: bool) -> None:
    path = tmp_path / "x.sav"
    path.write_text(f"{header}Automatically generated\nT:A 1\n  # a remark after blanks\n")
    if whole:
        assert len(read_snapshot(path, None, ReadOptions()).frame) == 1
    else:
        with pytest.raises(SquirrelError, match="no <END>"):
            read_snapshot(path, None, ReadOptions())


def test_of_a_pv_that_is_saved_twice_the_last_value_is_taken() -> None:
    found, warnings = values("file-08-sav-twice/a.sav")
    assert found == {"T:A.RBV": 2}
    assert warnings == ["given again, the last value is taken (1 PV: T:A.RBV)"]


# Texts with a line end in them


def written(path: Path, *lines: str, header: str = "# autosave R5.3", end: str = "<END>") -> Path:
    """A file of these lines."""
    path.write_text("\n".join([header, *lines, *filter(None, [end])]) + "\n")
    return path


BURT = "--- Start BURT header\n--- End BURT header"


def found_in(path: Path, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """The values, and the warnings without what was not asked for."""
    file = read_snapshot(path, None, ReadOptions(**options))
    names = file.frame.channels.names
    frame = file.frame
    found = [frame.value(row) for row in range(len(names))]
    return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in zip(names, found, strict=True)}, file.warnings


def told(line: int, pv: str) -> str:
    return f"line {line} is no PV, but the rest of the text of {pv}, which has a line end in it"


@pytest.mark.parametrize(
    ("lines", "text", "told_lines"),
    [
        (["T:A first part", "second part"], "first part\nsecond part", [3]),
        (["T:A first part", "Second, with a comma"], "first part\nSecond, with a comma", [3]),
        (["T:A first part", "(in brackets), x"], "first part\n(in brackets), x", [3]),
        (["T:A first", "", "third"], "first\n\nthird", [4]),
        (["T:A first", "! mind"], "first\n! mind", [3]),
        (["T:A one", "two", "it's three"], "one\ntwo\nit's three", [3, 4]),
        (["T:A ", "second part"], "\nsecond part", [3]),
    ],
)
def test_the_rest_of_a_text_is_no_pv(tmp_path: Path, lines: list[str], text: str, told_lines: list[int]) -> None:
    path = written(tmp_path / "a.sav", *lines, "T:B 5")
    assert found_in(path) == ({"T:A": text, "T:B": 5}, [told(line, "T:A") for line in told_lines])


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        (["T:A first part", "T:B second"], ["T:A", "T:B"]),  # a PV as others
        (["T:A first part", "SECOND part"], ["T:A", "SECOND"]),  # no ordinary word
        (["T:A first part", "second 5"], ["T:A", "second"]),  # no text
        (["T:A 5", "second part"], ["T:A", "second"]),  # below no text
        (["T:A first part", f"second {'x' * 35}"], ["T:A", "second"]),  # longer than a PV can hold
        (["T:A first part", "second part", "third 5"], ["T:A", "second", "third"]),  # one of several such names
        (["mode first part", "second part"], ["mode", "second"]),
    ],
)
def test_what_may_be_a_pv_is_one(tmp_path: Path, lines: list[str], names: list[str]) -> None:
    found, warnings = found_in(written(tmp_path / "a.sav", *lines))
    assert (list(found), warnings) == (names, [])


def test_a_pv_of_the_machine_is_one_whatever_its_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.sav", "T:A first part", "second part")
    assert list(found_in(path, live={"second": Meta(Dbf.STRING, 1)})[0]) == ["T:A", "second"]


def test_a_name_that_is_none_below_a_number_is_a_mistake(tmp_path: Path) -> None:
    path = written(tmp_path / "a.sav", "T:A 5", "(x), part")
    with pytest.raises(SquirrelError, match=r"a\.sav:3: '\(x\),' is no name of a PV"):
        read_snapshot(path)


def test_a_line_end_in_a_text_of_an_array(tmp_path: Path) -> None:
    lines = ["T:A @array@ {", '"first', 'second" "third" }', "T:B 5"]
    found, warnings = found_in(written(tmp_path / "a.sav", *lines))
    assert found == {"T:A": ["first\nsecond", "third"], "T:B": 5}
    assert warnings == ["line 2 T:A: a text of the array has a line end in it"]


@pytest.mark.parametrize(
    ("lines", "value", "line"),
    [
        (['T:A 1 "first part', 'second part"'], "first part\nsecond part", 4),
        (['T:A 1 "first part', 'second 2 of 3"'], "first part\nsecond 2 of 3", 4),
        (["T:A 1 first", "second"], "first\nsecond", 4),
        (["T:A 5 a b ", " c d"], [*b"ab\ncd"], 4),
    ],
)
def test_the_rest_of_a_text_is_no_pv_in_burt(tmp_path: Path, lines: list[str], value: object, line: int) -> None:
    path = written(tmp_path / "a.snap", *lines, "T:B 1 5", header=BURT, end="")
    assert found_in(path) == ({"T:A": value, "T:B": 5}, [told(line, "T:A")])


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["T:A 1 5", "second part"], "a.snap:4: a line is"),
        (["T:A 5 a b ", "T:B 1 5"], "a.snap:3: T:A: 5 elements announced, 2 found"),
        (["T:A 5 a b "], "a.snap:3: T:A: 5 elements announced, 2 found"),
        (["T:A 1 " + "x" * 35, "second part"], "a.snap:4: a line is"),
    ],
)
def test_what_cannot_be_the_rest_of_a_text_is_a_mistake(tmp_path: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(SquirrelError, match=reason):
        read_snapshot(written(tmp_path / "a.snap", *lines, header=BURT, end=""))


COLUMNS = "PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ_ONLY"


def row(pv: str, value: str, kind: str = "string") -> str:
    """A row as Phoebus writes it."""
    return f'{pv},1,1741083300.5,NONE,NONE,{kind},"{value}",,"---",,0'


@pytest.mark.parametrize("text", ["first\nsecond part", "first\n\nthird, with a comma", "T:X,1\n#", "\n"])
def test_a_line_end_in_a_text_of_phoebus(tmp_path: Path, text: str) -> None:
    lines = [row("T:A", text), row("T:B", "5.0", "double")]
    found, warnings = found_in(written(tmp_path / "a.csv", *lines, header=COLUMNS, end=""))
    assert found == {"T:A": text, "T:B": 5}
    what = "is no PV, but the rest of a text of T:A, which has a line end in it"
    assert warnings == [f"line {3 + i} {what}" for i in range(text.count("\n"))]


@pytest.mark.parametrize("rest", [[], [row("T:B", "5.0", "double")], ["x"], ["x"] * 200])
def test_a_text_of_phoebus_without_end_is_a_mistake(tmp_path: Path, rest: list[str]) -> None:
    """It does not swallow the rows that follow."""
    lines = [row("T:A", "first").split("first")[0] + "first", *rest]
    with pytest.raises(SquirrelError, match=r"a.csv:2: 7 cells under 11 columns"):
        read_snapshot(written(tmp_path / "a.csv", *lines, header=COLUMNS, end=""))


def test_many_such_lines_are_told_by_their_pvs(tmp_path: Path) -> None:
    lines = [line for i in range(150) for line in (f"T:{i} a", "b c")]
    found, warnings = found_in(written(tmp_path / "a.sav", *lines))
    assert found == {f"T:{i}": "a\nb c" for i in range(150)}
    assert len(warnings) == 101
    assert warnings[-1] == "a text with a line end in it (50 PVs: T:100, T:101, T:102, ...)"


# BURT, PSI, CS-Studio


def test_the_flag_of_ligo_is_no_part_of_a_text() -> None:
    assert values("file-05-ligo-text/safe.snap")[0] == {
        "X1:OFFSET": 5,
        "X1:SW1S": 4,
        "X1:MODE": "ON",
        "X1:NAME": "two words",
        "X1:EMPTY": "",
    }


@pytest.mark.parametrize(
    "shows", ["X1:OFFSET 1 5.000000000000000e+00 1", 'X1:OFFSET 1 "two words" 1', "X1:OFFSET 1 \\0 1"]
)
@pytest.mark.parametrize("before", [True, False])
def test_where_the_flag_is_first_seen_does_not_matter(tmp_path: Path, shows: str, before: bool) -> None:
    lines = ["X1:MODE 1 ON 1", "X1:STATE 1 OFF 0x0"]
    lines.insert(0 if before else 2, shows)
    found, warnings = found_in(written(tmp_path / "safe.snap", *lines, header=BURT, end=""))
    assert (found["X1:MODE"], found["X1:STATE"]) == ("ON", "OFF")
    assert warnings == [f"further words after the value are ignored (3 PVs: {', '.join(n.split()[0] for n in lines)})"]


def test_without_flags_a_text_is_all_of_it(tmp_path: Path) -> None:
    path = written(tmp_path / "safe.snap", "X1:MODE 1 ON 1", "X1:OFFSET 1 5", header=BURT, end="")
    assert found_in(path) == ({"X1:MODE": "ON 1", "X1:OFFSET": 5}, [])


def test_one_bad_pv_does_not_refuse_the_file() -> None:
    found, warnings = values("file-09-psi-nested/a.snap")
    assert found == {"T:A": None, "T:B": 2.5}
    assert warnings == ["line 2: T:A: an array of neither numbers nor texts; left without a value"]


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_request_files_in_yaml_and_json(suffix: str) -> None:
    assert catalogue(f"file-10-psi-yaml-json/a.{suffix}") == (["T:A", "T:B", "T:C"], [])


def test_older_files_of_cs_studio() -> None:
    file = read_catalogue(CASES / "file-13-cs-studio-bms-snp/x.bms", None, ReadOptions())
    assert [(e.setpoint, e.readback, e.read_only) for e in file.entries] == [
        ("T:A", "T:AR", True),
        ("T:B", "T:BR", False),
    ]
    snapshot = read_snapshot(CASES / "file-13-cs-studio-bms-snp/x.snp", None, ReadOptions())
    assert snapshot.taken == datetime(2016, 2, 12, 17, 8, 29, 369000).astimezone()
    assert snapshot.frame.value(0) == 5
    np.testing.assert_array_equal(snapshot.frame.value(1), [1, 2, 3])


# Bytes


@pytest.mark.parametrize(("case", "names"), [("a.req", ["T:A"]), ("burt.req", ["T:B"])])
def test_a_byte_in_a_remark_harms_nobody(case: str, names: list[str]) -> None:
    assert catalogue(f"file-16-crlf-latin1/{case}", P="T:")[0] == names


def test_another_byte_is_told_with_what_to_do() -> None:
    with pytest.raises(SquirrelError, match=r"a\.sav:2: byte 0xb0 at column 9 is no utf-8 text: .* --encoding latin-1"):
        values("file-16-crlf-latin1/a.sav")
    file = read_snapshot(CASES / "file-16-crlf-latin1/a.sav", None, ReadOptions(encoding="latin-1"))
    assert file.frame.value(0) == "°C"
