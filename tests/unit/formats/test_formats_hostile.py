"""Whatever a file holds, reading it ends in time, with a result or with FormatError, and within bounds."""

from __future__ import annotations

import contextlib
import json
import re
import time
import tracemalloc
from pathlib import Path

import pytest
from format_helpers import FILES, problems_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats import FORMATS, Kind, Limits, ReadOptions, detect, read_snapshot, write_snapshot
from squirrel_ioc.model.values import Dbf, Meta

GOOD = sorted(p for p in FILES.rglob("*") if p.is_file() and p.name != "README.md")
MARKS = (
    rb"# #{ { } [ ] ' , ; ~[ $( ${A} @array@ !x \ \0 \x % RO NaN 1e999 -1 int_array enum string null A B:C.D".split()
)
LINES = [
    b"<END>",
    b"file x",
    b"#include ",
    b"#define A A",
    b"A 1 2",
    b"A,1",
    b"Setpoint,Readback",
    b"PV,READBACK,READ_ONLY",
]
HEADERS = [b"--- Start BURT header", b"--- End BURT header", b"PV,VALUE,VALUE_TYPE", b'{"format": "squirrel-ioc"']
OTHERS = [b'"', b"\n", b"\r\n", b"\0", b"\xff", b" ", b"\t", b"\xc3\xa4", b"\xef\xbb\xbf", b"9" * 400]
WORDS = st.sampled_from([*MARKS, *OTHERS, *(line + b"\n" for line in LINES + HEADERS)])
ANY = st.one_of(st.binary(max_size=300), st.lists(WORDS, max_size=30).map(b"".join))
LIVE = {name: Meta(dbf, count) for name in ("A", "xxx:ao.VAL", "M:1", "TST:whole") for dbf, count in [(Dbf.CHAR, 4)]}
SETTINGS = settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])


def attempt(path: Path) -> None:
    """Read a file in every way there is."""
    options = ReadOptions(limits=Limits(line_bytes=2000, file_bytes=20_000, rows=50, problems=5), live=LIVE)
    with contextlib.suppress(FormatError):
        detect(path)
    for form in FORMATS:
        for kind, read in ((Kind.CATALOGUE, form.read_catalogue), (Kind.SNAPSHOT, form.read_snapshot)):
            if kind in form.reads:
                try:
                    found = read(path, options)
                except FormatError as e:
                    assert 0 < len(e.problems) <= (6 if form.name not in ("squirrel", "catalogue") else 101)  # noqa: PT017
                    assert all(re.match(r"[\w./]+(:\d+)?: .", p) for p in e.problems)  # noqa: PT017
                else:
                    assert found is not None


@SETTINGS
@given(content=ANY, name=st.sampled_from(["t.req", "t.sav", "t.snap", "t.csv", "t.jsonl", "t.yaml"]))
def test_any_bytes(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    attempt(path)


@SETTINGS
@given(data=st.data())
def test_good_files_with_mistakes(tmp_path: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(GOOD))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 20))] = data.draw(WORDS)
    path = tmp_path / source.name
    path.write_bytes(bytes(content))
    attempt(path)


@SETTINGS
@given(data=st.data())
def test_spoilt_json_lines(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "t.jsonl"
    write_snapshot(path, read_snapshot(FILES / "phoebus" / "snapshot.csv"), "jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
    for _ in range(data.draw(st.integers(1, 3))):
        target = data.draw(st.sampled_from(records))
        while isinstance(target, dict | list) and target:
            key = data.draw(st.sampled_from(sorted(target) if isinstance(target, dict) else list(range(len(target)))))
            inner = target[key]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 3)) == 0:
                target[key] = data.draw(scalars)
                break
            target = inner
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    attempt(path)


BURT = b"--- Start BURT header\n--- End BURT header\n"
COLUMNS = b"PV,SELECTED,TIMESTAMP,STATUS,SEVERITY,VALUE_TYPE,VALUE,READBACK,READBACK_VALUE,DELTA,READ_ONLY\n"
MEGA = 1 << 20


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("long_line.sav", b"A " + b"1" * (20 * MEGA)),
        ("quotes.sav", b'A @array@ { "' + b'\\"' * (4 * MEGA) + b"\n<END>\n"),
        ("open_array.sav", b"A @array@ {\n" + b'"1" \n' * 200_000),
        ("half_array.sav", b'A @array@ { "' + b"x\n" * 200_000),
        ("blanks.sav", b'A @array@ { "1"' + b" " * (8 * MEGA) + b"\n<END>\n"),
        ("dollars.sav", b"$(" * MEGA + b"\n<END>\n"),
        ("header.snap", b"--- Start BURT header\n" + b"Comments: x\n" * 150_000),
        ("words.snap", BURT + b"A 999999999 " + b"1 " * (2 * MEGA) + b"\n"),
        ("quotes.snap", BURT + b"A 1 " + b'" ' * (2 * MEGA) + b"\n"),
        ("percents.snap", BURT + b"A 1 x" + b" %" * (2 * MEGA) + b"\n"),
        ("extra.snap", BURT + b"A 1 1" + b" 1" * (2 * MEGA) + b" x\n"),
        ("deep.snap", b"#{}\nA," + b"[" * (4 * MEGA) + b"\n"),
        ("deep_header.snap", b"#" + b'{"a":' * MEGA + b"\nA,1\n"),
        ("digits.snap", b"#{}\nA," + b"9" * (2 * MEGA) + b"\n"),
        ("deep.req", b"{" * 60_000 + b"\n" + b"A\n" * 1000),
        ("open_header.req", b"{\n" + b'"a": 1,\n' * 300_000),
        ("commas.csv", COLUMNS + b"," * (4 * MEGA) + b"\n"),
        ("quotes.csv", COLUMNS + b'"' * (4 * MEGA) + b"\n"),
        ("pairs.csv", COLUMNS + b"a,a,a,a,a,a," + b'",a,"' * MEGA + b"\n"),
        ("ends.csv", COLUMNS + b'a,a,a,a,a,a,"' + b',"' * (2 * MEGA) + b'",,\n'),
        ("commas_within.csv", COLUMNS + b'a,a,a,a,a,a,"' + b'a"a,"' * MEGA + b'",,\n'),
        ("labels.csv", COLUMNS + b'A,1,0.0,NONE,NONE,enum,"' + b"~[" * MEGA + b'",,"---",,0\n'),
        ("remarks.csv", b"# x\n" * 300_000),
        ("deep.jsonl", b'{"format": "squirrel-ioc", "version": 1}\n' + b'{"a":' * MEGA),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_files_made_to_cost_time(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for form in FORMATS:
        for read in (form.read_catalogue, form.read_snapshot):
            start = time.perf_counter()
            with contextlib.suppress(FormatError):
                read(path, ReadOptions(macros={"A": "1"}))
            assert time.perf_counter() - start < 30, (form.name, read.__name__)


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.sav"
    with path.open("wb") as file:
        file.truncate(400 * MEGA)
    tracemalloc.start()
    found = problems_of(path, form="autosave")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == ["t.sav:1: the line is longer than 16777216 bytes"]
    assert peak < 64 * MEGA


def test_problems_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "t.sav").write_text("A B C$(\n" + "'x' 1\n" * 100_000)
    found = problems_of(tmp_path / "t.sav")
    assert len(found) == 101
    assert found[-1] == "t.sav: and more; the first 100 problems are shown"


def test_rows_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "t.sav").write_text("".join(f"A{i} 1\n" for i in range(11)) + "<END>\n")
    assert problems_of(tmp_path / "t.sav", limits=Limits(rows=10)) == ["t.sav:11: more than 10 PVs"]
    (tmp_path / "t.req").write_text("".join(f"A{i}\n" for i in range(11)))
    assert problems_of(tmp_path / "t.req", "catalogue", limits=Limits(rows=10)) == ["t.req:11: more than 10 PVs"]
