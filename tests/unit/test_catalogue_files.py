"""Catalogue files: what loads, and what each mistake is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squirrel_ioc.errors import CatalogueError
from squirrel_ioc.formats.catalogue.catalogue import load_catalogue
from squirrel_ioc.model.catalogue import MAX_PV_NAME, Catalogue, Entry
from squirrel_ioc.model.selection import parse

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str | bytes, name: str = "pvs.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return put


def problems(*paths: Path) -> list[str]:
    """What is wrong with files, without their folder."""
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(paths)
    return [p.removeprefix(f"{paths[0].parent}/") for p in caught.value.problems]


# What the README of https://github.com/slaclab/react-squirrel-backend and docs/source/import_format.rst of
# https://github.com/slaclab/squirrel describe.
SQUIRREL = """\
Setpoint,Readback,Region,Area,Subsystem
FBCK:LNG6:1:BC2ELTOL,,"Feedback-All","LIMITS","FBCK"
QUAD:LI21:201:BDES,QUAD:LI21:201:BACT,"Cu Linac","LI21","Magnet"
ACCL:LI24:100:KLY_C_1_TCTL,,"Klystron Phases and Timing,Timing-All","LI24","Timing,Klystron Timing"
,BPMS:LI30:801:X,"BSA,BSA-CUHXR,BSA-CUSXR","LI30","BPMS"
"""


def test_squirrel_csv_loads_as_it_is(write: Write) -> None:
    assert load_catalogue([write(SQUIRREL)]) == [
        Entry("FBCK:LNG6:1:BC2ELTOL", tags={"Region": ("Feedback-All",), "Area": ("LIMITS",), "Subsystem": ("FBCK",)}),
        Entry(
            "QUAD:LI21:201:BDES",
            "QUAD:LI21:201:BACT",
            tags={"Region": ("Cu Linac",), "Area": ("LI21",), "Subsystem": ("Magnet",)},
        ),
        Entry(
            "ACCL:LI24:100:KLY_C_1_TCTL",
            tags={
                "Region": ("Klystron Phases and Timing", "Timing-All"),
                "Area": ("LI24",),
                "Subsystem": ("Timing", "Klystron Timing"),
            },
        ),
        Entry(
            "BPMS:LI30:801:X",
            read_only=True,
            tags={"Region": ("BSA", "BSA-CUHXR", "BSA-CUSXR"), "Area": ("LI30",), "Subsystem": ("BPMS",)},
        ),
    ]


FULL = [
    Entry(
        "MAG:1:SP",
        "MAG:1:RB",
        "first magnet, horizontal",
        "MAG:1",
        {"Region": ("L1",), "Kind": ("A", "B")},
        atol=0.5,
        rtol=0.0,
        order=-2,
        max_step=10.0,
        step_period=0.25,
    ),
    Entry("MAG:2:SP", read_only=True, tags={"Region": ("L2",)}),
    Entry("MAG:3:SP", "MAG:1:SP", tags={}),
]

FULL_CSV = """\
# the magnets

READBACK , Set-Point,Description,DEVICE,tags,ATOL,rtol,ReadOnly,Order,max step,Step_Period,Region,
MAG:1:RB,MAG:1:SP,"first magnet, horizontal",MAG:1,Kind=A; Kind=B,0.5,0,no,-2,1e1,.25,L1,
,MAG:2:SP,,,,,,TRUE,,,,L2
 MAG:1:SP , MAG:3:SP
"""

FULL_YAML = """\
# the magnets
- setpoint: MAG:1:SP
  readback: MAG:1:RB
  description: "first magnet, horizontal"
  device: MAG:1
  tags: {Region: L1, Kind: [A, B]}
  atol: 0.5
  rtol: 0
  read_only: no
  order: -2
  max_step: 1e1
  step_period: .25
- {setpoint: MAG:2:SP, readback: ~, read_only: true, tags: Region=L2, order: }
- setpoint: MAG:3:SP
  readback: MAG:1:SP
"""


def same(found: list[Entry], expected: list[Entry]) -> bool:
    """Whether two lists hold the same, whatever the order of the tag groups is."""
    return found == expected and [dict(e.tags) for e in found] == [dict(e.tags) for e in expected]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (FULL_CSV, "full.csv"),
        (FULL_CSV.replace("\n", "\r\n"), "crlf.csv"),
        (FULL_CSV.replace("\n", "\r"), "mac.csv"),
        ("\ufeff" + FULL_CSV, "bom.CSV"),
        (FULL_CSV.replace(",", ";").replace("Kind=A; Kind=B", '"Kind=A; Kind=B"').replace("t; h", "t, h"), "semi.csv"),
        (FULL_CSV.replace(",", "\t").replace("t\t h", "t, h"), "tab.tsv"),
        (FULL_YAML, "full.yaml"),
        ("\ufeff" + FULL_YAML.replace("\n", "\r\n"), "full.yml"),
    ],
)
def test_every_field(write: Write, text: str, name: str) -> None:
    assert same(load_catalogue([write(text, name)]), FULL)


def test_files_are_joined_in_order(write: Write) -> None:
    files = [write("setpoint\nB\n", "1.csv"), write("- A\n- C\n", "2.yaml"), write("setpoint,readback\n", "3.csv")]
    assert [e.setpoint for e in load_catalogue(files)] == ["B", "A", "C"]
    assert load_catalogue([]) == []


def test_entries_with_the_same_tags_share_them(write: Write) -> None:
    csv = load_catalogue([write("setpoint,Region\nA,L1\nB,L1\nC,L2\n")])
    yaml = load_catalogue([write("- {setpoint: A, tags: {R: L1}}\n- {setpoint: B, tags: {R: L1}}\n", "p.yaml")])
    assert csv[0].tags is csv[1].tags
    assert yaml[0].tags is yaml[1].tags


def test_yaml_blocks(write: Write) -> None:
    text = """\
defaults: {rtol: 0.001, order: 1, tags: {Region: L1, Area: [A1, A2]}}
pvs:
  - Q1
  - {setpoint: Q2, order: 2, rtol: ~, tags: {Region: L2, Subsystem: RF}}
groups:
  - defaults:
      tags: [Subsystem=Magnet, Subsystem=DC]
      max_step: 3
    pvs: [Q3, {readback: Q4}]
    groups:
      - pvs: [Q5]
        defaults:
      - {}
  - pvs:
"""
    area = {"Region": ("L1",), "Area": ("A1", "A2")}
    magnet = {**area, "Subsystem": ("Magnet", "DC")}
    assert load_catalogue([write(text.replace("        defaults:\n", ""), "b.yaml")]) == [
        Entry("Q1", rtol=0.001, order=1, tags=area),
        Entry("Q2", order=2, tags={"Region": ("L2",), "Area": ("A1", "A2"), "Subsystem": ("RF",)}),
        Entry("Q3", rtol=0.001, order=1, max_step=3.0, tags=magnet),
        Entry("Q4", rtol=0.001, order=1, max_step=3.0, tags=magnet, read_only=True),
        Entry("Q5", rtol=0.001, order=1, max_step=3.0, tags=magnet),
    ]
    assert problems(write(text, "b.yaml")) == ["b.yaml:12: defaults must stand before pvs and groups"]


def test_yaml_takes_what_is_written(write: Write) -> None:
    # YAML 1.1 would make booleans, numbers and sexagesimals of these.
    text = "- ON\n- 1:30\n- 0x1F\n- &a {setpoint: 'no', atol: 1e-3, tags: &t {Area: no}}\n- {setpoint: NO, tags: *t}\n"
    area = {"Area": ("no",)}
    assert load_catalogue([write(text, "odd.yaml")]) == [
        Entry("ON"),
        Entry("1:30"),
        Entry("0x1F"),
        Entry("no", atol=0.001, tags=area),
        Entry("NO", tags=area),
    ]


@pytest.mark.parametrize(("text", "name"), [("setpoint\n", "e.csv"), ("[]", "e.yaml"), ("pvs: []", "e.yaml")])
def test_a_catalogue_may_have_no_entries(write: Write, text: str, name: str) -> None:
    assert load_catalogue([write(text, name)]) == []


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("", "e.csv", "e.csv: is empty: the first line must name the columns, setpoint and others"),
        ("\n# nothing\n,,\n", "e.csv", "e.csv: is empty: the first line must name the columns, setpoint and others"),
        ("", "e.yaml", "e.yaml:1: is empty: write [] for a catalogue without PVs"),
        ("# nothing\n", "e.yaml", "e.yaml:1: is empty: write [] for a catalogue without PVs"),
        (b"setpoint\nA\nB\xfc\n", "l.csv", "l.csv:3: is not UTF-8 text: byte 0xfc"),
        ("[]", "pvs.json", "pvs.json: must be one of .yaml, .yml, .csv, .tsv"),
    ],
)
def test_files_that_are_no_catalogue(write: Write, text: str, name: str, expected: str) -> None:
    assert problems(write(text, name)) == [expected]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    assert problems(tmp_path / "gone.csv", tmp_path / "folder.csv") == [
        "gone.csv: cannot be read: No such file or directory",
        "folder.csv: is no plain file",
    ]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("A B,,,,,,,", "setpoint: 'A B' is no name of a PV"),
        ("A\u00e9,,,,,,,", "setpoint: 'A\u00e9' is no name of a PV"),
        ("A\x07,,,,,,,", r"setpoint: 'A\x07' is no name of a PV"),
        ('"A\nB",,,,,,,', r"setpoint: 'A\nB' is no name of a PV"),
        ("A" * 101 + ",,,,,,,", f"setpoint: {'A' * MAX_PV_NAME}... is longer than 100 characters"),
        ("A," + "B" * 101 + ",,,,,,", f"readback: {'B' * MAX_PV_NAME}... is longer than 100 characters"),
        ("pva://A,,,,,,,", "setpoint: pva://A: only Channel Access is spoken, give the plain name of the PV"),
        (",,1,,,,,", "neither setpoint nor readback"),
        ("A,,x,,,,,", "atol: 'x' is not a number"),
        ("A,,nan,,,,,", "atol: 'nan' is not a number"),
        ("A,,inf,,,,,", "atol: 'inf' is not a number"),
        ("A,,1_0,,,,,", "atol: '1_0' is not a number"),
        ('A,,"0,5",,,,,', "atol: '0,5' is not a number"),
        ("A,,-0.1,,,,,", "atol: -0.1 is negative"),
        ("A,,,-1,,,,", "rtol: -1 is negative"),
        ("A,,,,maybe,,,", "read_only: 'maybe' is not true or false"),
        ("A,,,,,1.5,,", "order: 1.5 is not a 32-bit integer"),
        ("A,,,,,3000000000,,", "order: 3000000000 is not a 32-bit integer"),
        ("A,,,,,,0,", "max_step: 0 is not above 0"),
        ("A,,,,,,,-1", "step_period: -1 is not above 0"),
        ("A,,,,,,,,B", "9 cells, but the first line names 8 columns"),
    ],
)
def test_bad_cells(write: Write, cells: str, reason: str) -> None:
    header = "setpoint,readback,atol,rtol,read_only,order,max_step,step_period"
    assert problems(write(f"{header}\nOK,,,,,,,\n{cells}\n")) == [f"pvs.csv:3: {reason}"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("name,Region", "no column 'setpoint': the first line must name the columns"),
        ("QUAD:LI21:201:BDES,QUAD:LI21:201:BACT", "no column 'setpoint': the first line must name the columns"),
        ("setpoint,Setpoint", "column 'Setpoint' is there twice"),
        ("setpoint,Area,Area", "column 'Area' is there twice"),
        ("setpoint,atoll", "column 'atoll' is almost 'atol'; a tag group needs another name"),
        ("setpoint,A=B", "tag group 'A=B': none of , ; = \" is possible"),
    ],
)
def test_bad_columns(write: Write, header: str, reason: str) -> None:
    assert problems(write(f"{header}\nA,1\n")) == [f"pvs.csv:1: {reason}"]


def test_bad_tags(write: Write) -> None:
    text = 'setpoint,tags,Area,\nA,Magnet,L1\nB,=x,L1\nC,G=a,"L""1"\nD,,,E\n'
    assert problems(write(text)) == [
        "pvs.csv:2: 'Magnet=' is not Group=Tag",
        "pvs.csv:3: '=x' is not Group=Tag",
        "pvs.csv:4: tag 'L\"1': none of , ; \" is possible",
        "pvs.csv:5: a cell in a column without a name",
    ]


def test_broken_csv(write: Write) -> None:
    assert problems(write('setpoint\nA\n"B\nC\n')) == ["pvs.csv:3: is not CSV: unexpected end of data"]
    assert problems(write("setpoint\nA\n" + "B" * 200_000)) == [
        "pvs.csv:3: is not CSV: field larger than field limit (131072)"
    ]


def test_lines_of_rows_after_quoted_line_ends(write: Write) -> None:
    text = 'setpoint,description\nA,"one\ntwo"\n\nB B,\n'
    assert problems(write(text)) == [
        r"pvs.csv:2: description: 'one\ntwo' has characters that cannot be shown",
        "pvs.csv:5: setpoint: 'B B' is no name of a PV",
    ]


def test_duplicates_name_both_places(write: Write) -> None:
    one = write("setpoint,readback\nA,B\nB,A\nA,C\n", "1.csv")
    two = write("[A,\n D, D, ]", "2.yaml")
    folder = one.parent
    assert problems(one, two) == [
        f"1.csv:4: A is there twice, first in {folder}/1.csv:2",
        f"2.yaml:1: A is there twice, first in {folder}/1.csv:2",
        f"2.yaml:2: D is there twice, first in {folder}/2.yaml:2",
    ]
    assert problems(two, two)[-1] == f"2.yaml:2: D is there twice, first in {folder}/2.yaml:2"


BAD_YAML = {
    "3": ["1: must be a list of entries, or a mapping with defaults, pvs and groups"],
    "- A\n- [B, C]\n- \n": [
        "2: an entry must be the name of a PV or a mapping",
        "3: neither setpoint nor readback",
    ],
    "- {setpoint: A B}\n- {setpoint: B,\n   atol: -1}": [
        "1: setpoint: 'A B' is no name of a PV",
        "3: atol: -1 is negative",
    ],
    "- setpoint: A\n  setpoin: B\n": ["2: unknown key 'setpoin'; setpoint?"],
    "- setpoint: A\n  setpoint: B\n": ["2: setpoint is there twice"],
    "- setpoint: A\n  atol: [1]\n": ["2: atol must be a single value"],
    "- setpoint: A\n  tags: {G: {a: b}, H: [[a]], I: 'a,b'}\n": [
        "2: tags must be text, or lists or a mapping of it",
        "2: tags must be text, or lists or a mapping of it",
        "2: tags: tag 'a,b': none of , ; \" is possible",
    ],
    "- setpoint: A\n  tags: Magnet\n": ["2: tags: 'Magnet=' is not Group=Tag"],
    "pv: [A]\n": ["1: unknown key 'pv'; pvs?"],
    "pvs: [A]\npvs: [B]\n": ["2: pvs is there twice"],
    "pvs: A\n": ["1: pvs must be a list"],
    "? [a]\n: b\npvs: [A]\n": ["1: unknown key 'a list or mapping', known are defaults, groups, pvs"],
    "defaults: {setpoint: A, atol: x}\npvs: [A, B]\n": [
        "1: unknown key 'setpoint', known are atol, completion, description, device, max_step, order, read_only, "
        "rtol, step_period, tags, verify",
        "1: atol: 'x' is not a number",
    ],
    "defaults: [1]\n": ["1: defaults must be a mapping"],
    "groups: [A]\n": ["1: a group must be a mapping with defaults, pvs and groups"],
    "- '[[[[[[[[[[[[[[[[[[[[' ]\n": ["1: is not YAML: "],
    "- A\n- B: [\n": ["3: is not YAML: "],
    "- A\n\t- B\n": ["2: is not YAML: "],
    "- A\n- B\x07\n": ["2: is not YAML: "],
    "- A\n---\n- B\n": ["2: has more than one document"],
    "- !!python/name:os.system A\n": ["1: YAML tag tag:yaml.org,2002:python/name:os.system is not possible"],
    "- &a [*a]\n": ["1: *a stands for nothing that can be used here"],
    "- " + "[" * 1000: ["1: is nested more than 16 deep"],
    "- " + "[ &a " * 2000: ["1: is nested more than 16 deep"],
    "- A\n- " + "[{? " * 1000: ["2: is nested more than 16 deep"],
    "- " * 2000: ["1: is nested more than 16 deep"],
    "groups: [{" * 100: ["1: groups are nested more than 16 deep"],
}


@pytest.mark.parametrize(("text", "expected"), BAD_YAML.items())
def test_bad_yaml(write: Write, text: str, expected: list[str]) -> None:
    # How YAML itself is broken is said in the words of the library.
    found = [re.sub(r"(?<=is not YAML: ).+", "", p) for p in problems(write(text, "p.yaml"))]
    assert found == [f"p.yaml:{e}" for e in expected]


def test_problems_are_bounded_and_counted(write: Write) -> None:
    found = problems(write("setpoint,atol\n" + "".join(f"A {i},x\n" for i in range(300))))
    assert len(found) == 101
    assert found[0] == "pvs.csv:2: setpoint: 'A 0' is no name of a PV"
    assert found[-1] == "... and 500 more"


def test_nothing_is_half_loaded(write: Write) -> None:
    good, bad = write("setpoint\nA\n", "good.csv"), write("setpoint\nB\nB\n", "bad.csv")
    assert problems(good, bad) == [f"bad.csv:3: B is there twice, first in {bad}:2"]


def test_tags_can_be_selected(write: Write) -> None:
    catalogue = Catalogue.of(load_catalogue([write(SQUIRREL)]))
    found = parse('@Region="Cu Linac",BSA*').match(catalogue)
    assert catalogue.channels.array[found].tolist() == ["QUAD:LI21:201:BDES", "BPMS:LI30:801:X", "QUAD:LI21:201:BACT"]


@pytest.mark.parametrize("name", ["big.csv", "big.yaml"])
def test_fifty_thousand_rows_load(write: Write, name: str) -> None:
    rows = [(f"QUAD:{i}:BDES", f"QUAD:{i}:BACT", f"L{i // 1000}") for i in range(50_000)]
    if name.endswith("csv"):
        text = "Setpoint,Readback,Region\n" + "".join(f'{s},{r},"{t}"\n' for s, r, t in rows)
    else:
        text = "".join(f"- setpoint: {s}\n  readback: {r}\n  tags: {{Region: {t}}}\n" for s, r, t in rows)
    path = write(text, name)
    assert len(load_catalogue([path])) == 50_000


@given(st.text("setpoint,;:\n\r\t\"'#[]{}&*!-? ABé=0.\x00", max_size=80), st.sampled_from(["f.csv", "f.yaml"]))
@settings(max_examples=400, deadline=None)
def test_arbitrary_files_load_or_are_refused(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_text("setpoint,Area\n" + text if name == "f.csv" else text, encoding="utf-8", newline="")
    try:
        entries = load_catalogue([path])
    except CatalogueError as exc:
        problems = exc.problems
    else:
        problems = ()
        assert len({e.setpoint for e in entries}) == len(entries)
    assert all(p.startswith(str(path)) for p in problems)
