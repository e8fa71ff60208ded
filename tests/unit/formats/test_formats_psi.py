"""PSI snapshot: request files and saved files."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from format_helpers import FILES, problems_of, types, values, written

from squirrel_ioc.formats import ReadOptions, read_catalogue, read_snapshot
from squirrel_ioc.model.values import Dbf


def test_request_file() -> None:
    found = read_catalogue(FILES / "psi" / "machine.req", options=ReadOptions(macros={"SYS": "TST"}))
    assert [e.setpoint for e in found.entries] == [
        "TST:QUAD:1",
        "TST:one:wf_ints",
        "TST:one:wf_chars",
        "TST:two:wf_ints",
        "TST:two:wf_chars",
    ]
    assert found.warnings == ["filters, labels, machine_params of the JSON header are not kept"]


def test_bad_request_files(tmp_path: Path) -> None:
    (tmp_path / "t.req").write_text('{"a": 1}\n$(X)\n!b.req,A=1\n!b.req,"A"\n!nothing.req\n!b.req\n')
    (tmp_path / "b.req").write_text('{"labels": {}}\nB\n')
    assert problems_of(tmp_path / "t.req", "catalogue") == [
        "t.req:2: macro X is not defined",
        't.req:3: macros stand in quotes: !file,"A=B"',
        "t.req:4: 'A' is no NAME=VALUE",
        "t.req:5: nothing.req: there is no such file in the search path",
        "b.req:1: a JSON header may only stand in the first file (included from t.req:6)",
    ]
    (tmp_path / "t.req").write_text('{\n "machine_params": [["param1": "PV"]]\n}\nA\n')
    (problem,) = problems_of(tmp_path / "t.req", "catalogue")
    assert problem.startswith("t.req:2: the JSON header: ")
    (tmp_path / "t.req").write_text('{"a": {\nA\n')
    assert problems_of(tmp_path / "t.req", "catalogue")[0] == "t.req:2: the JSON header has no end"


def test_saved_file() -> None:
    found = read_snapshot(FILES / "psi" / "machine.snap")
    got = values(found.frame)
    nan = got["TST:array"].pop()
    assert math.isnan(nan)
    assert got == {
        "TST:double": 20.5,
        "TST:whole": 30,
        "TST:big": 5e9,
        "TST:text": 'string, with "quotes"',
        "TST:longtext": [*b"a text that is longer than a string of Channel Access\0"],
        "TST:array": [5.0, 6.5],
        "TST:ints": [1, 2, 3],
        "TST:texts": ["a", ""],
        "TST:empty": [],
        "TST:none": None,
        "TST:disconnected": None,
    }
    kinds = types(found.frame)
    assert (kinds["TST:whole"], kinds["TST:big"], kinds["TST:ints"]) == (Dbf.LONG, Dbf.DOUBLE, Dbf.LONG)
    meta = found.frame.metas[found.frame.meta[0]]
    assert (meta.units, meta.precision) == ("mm", 3)
    assert (found.comment, found.labels) == ("This is a comment", ("golden",))
    assert found.taken == datetime.fromtimestamp(1452670573.5, UTC)
    assert found.attributes["machine_params"]["energy"]["value"] == 3.1


def test_older_saved_file() -> None:
    found = read_snapshot(FILES / "psi" / "old.snap")
    assert list(values(found.frame).values()) == [20, 30.5, "string", [5.0, 6.0]]
    assert found.labels == ("key1", "key2")


def test_a_file_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "t.snap").write_text("# no meta data\nA,1\nB,[1]\n")
    found = read_snapshot(tmp_path / "t.snap")
    assert values(found.frame) == {"A": 1, "B": [1]}
    assert found.warnings == ["no header with meta data"]


def test_the_header_and_values_come_back() -> None:
    source = read_snapshot(FILES / "psi" / "machine.snap")
    lines = written("psi", source).splitlines()
    assert '"machine_params": {"energy"' in lines[0]
    assert lines[1] == 'TST:double,{"val": 20.5, "EGU": "mm", "PREC": 3}'
    assert "TST:none" in lines


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "#{\nA,1\n",
            ["t.snap:1: the JSON header: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"],
        ),
        (
            '#{}\nA,{"val": [1, [2]]}\nB,{"v": 1}\nC,[1, "a"]\nD,{"val": {}}\nE,[null]\nF,abc\nF,abd\nG\nG\n',
            [
                "t.snap:7: F: no JSON: Expecting value: line 1 column 1 (char 0)",
                "t.snap:8: F is given again, with another value than in line 7",
            ],
        ),
        ('#{}\nA,{"val": 1\n', ["t.snap:2: A: no JSON: Expecting ',' delimiter: line 1 column 10 (char 9)"]),
    ],
)
def test_bad_saved_files(tmp_path: Path, text: str, expected: list[str]) -> None:
    (tmp_path / "t.snap").write_text(text)
    assert problems_of(tmp_path / "t.snap", form="psi") == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('A,{"val": [1, [2]]}', "an array of neither numbers nor texts"),
        ('A,{"v": 1}', 'an object without "val"'),
        ('A,[1, "a"]', "an array of neither numbers nor texts"),
        ('A,{"val": {}}', "neither a number nor a text"),
        ('A,"a\\u0000b"', "a text has a NUL"),
        ("A,123456789012345678901", "a whole number that no type of Channel Access can hold"),
    ],
)
def test_a_value_that_cannot_be_is_left_out_and_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "t.snap").write_text(f"#{{}}\n{line}\nB,2\n")
    found = read_snapshot(tmp_path / "t.snap")
    assert values(found.frame) == {"A": None, "B": 2}
    assert found.warnings == [f"line 2: A: {reason}; left without a value"]
