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
    names |= {"X.VAL$": "X$", "X$": "X$", "X.DESC$": "X.DESC$", ".VAL": ".VAL", ".VAL$": ".VAL$"}
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


# BURT, PSI, CS-Studio


def test_the_flag_of_ligo_is_no_part_of_a_text() -> None:
    assert values("file-05-ligo-text/safe.snap")[0] == {
        "X1:OFFSET": 5,
        "X1:SW1S": 4,
        "X1:MODE": "ON",
        "X1:NAME": "two words",
        "X1:EMPTY": "",
    }


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
