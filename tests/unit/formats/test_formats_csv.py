"""squirrel CSV, and the service's own CSV as a format."""

from __future__ import annotations

from pathlib import Path

import pytest
from format_helpers import FILES, problems_of
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats import SnapshotFile, read_catalogue, write_catalogue, write_snapshot
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import ChannelList, Frame

ENTRIES = [
    Entry("A", "A:RB", "first, of all", tags={"Region": ("L1", "L2"), "Area": ("x",)}, atol=0.1),
    Entry("B", read_only=True, tags={"Area": ("y",)}),
    Entry("C", "C:RB", read_only=True),
]


def test_squirrel_csv() -> None:
    found = read_catalogue(FILES / "squirrel" / "pvs.csv")
    first, second, third = found.entries
    assert (first.setpoint, first.readback) == ("FBCK:BCI0:1:CHRGSP", "FBCK:BCI0:1:CHRG")
    assert second.tags == {"Region": ("Klystron Phases", "Timing-All"), "Area": ("LI24",), "Subsystem": ("Timing",)}
    assert (third.setpoint, third.read_only) == ("BPMS:LI30:801:X", True)


def test_out_to_squirrel_and_back(tmp_path: Path) -> None:
    assert write_catalogue(tmp_path / "t.csv", ENTRIES, "squirrel") == [
        "the format has no atol (it is set of 1 PV)",
        "read-only is not kept of a PV that has a readback (1 PV: C)",
    ]
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "Setpoint,Readback,Description,Region,Area",
        'A,A:RB,"first, of all","L1,L2",x',
        ",B,,,y",
        "C,C:RB,,,",
    ]
    assert read_catalogue(tmp_path / "t.csv").entries == [
        Entry("A", "A:RB", "first, of all", tags=ENTRIES[0].tags),
        ENTRIES[1],
        Entry("C", "C:RB"),
    ]


LABEL = st.text("abcXYZ 1_-äµ", min_size=1, max_size=8).map(str.strip).filter(bool)


@given(
    st.lists(
        st.builds(
            Entry,
            st.text("ABC:_.1", min_size=1, max_size=12),
            st.none() | st.text("RB:1", min_size=1, max_size=12),
            LABEL | st.just(""),
            LABEL | st.just(""),
            st.dictionaries(LABEL.map("T_".__add__), st.lists(LABEL, min_size=1, max_size=3, unique=True).map(tuple)),
            st.none() | st.floats(0, 1e300),
            st.none() | st.floats(0, 1),
            st.booleans(),
            st.integers(-(2**31), 2**31 - 1),
            st.none() | st.floats(1e-300, 1e300),
            st.floats(1e-6, 1e6),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda e: e.setpoint,
    )
)
def test_the_own_csv_and_json_lines_hold_a_whole_catalogue(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry]
) -> None:
    folder = tmp_path_factory.mktemp("catalogue")
    for form, suffix in (("catalogue", "csv"), ("jsonl", "jsonl")):
        path = folder / f"t.{suffix}"
        assert write_catalogue(path, entries, form) == []
        assert read_catalogue(path).entries == entries


def test_problems_have_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Setpoint,Readback\nA,B\nA,C\nX Y,\n")
    found = problems_of(tmp_path / "t.csv", "catalogue")
    assert found[0] == "t.csv:3: A is there twice, first in t.csv:2"
    assert found[1].startswith("t.csv:4: setpoint: ")


def test_there_are_no_values_in_it(tmp_path: Path) -> None:
    snapshot = SnapshotFile(Frame.empty(ChannelList.of(["A"])))
    for form in ("squirrel", "catalogue"):
        with pytest.raises(FormatError, match="holds no snapshot"):
            write_snapshot(tmp_path / "t.csv", snapshot, form)
    assert list(tmp_path.iterdir()) == []
