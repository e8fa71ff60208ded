"""A comparison as a table, and the rows that a view lists of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from frame_strategies import cell_lists, frame_of
from hypothesis import given

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.groups.diff_listing import PAGE_ROWS, Listing, Select
from squirrel_ioc.model.compare import Comparison, Kind, compare
from squirrel_ioc.model.difftable import DiffTable, Show, restorable, shown_rows, side_text, tabulate
from squirrel_ioc.model.display import STRING_LIMIT
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.job import CompareRequest, CompareResult, JobKind, request_from_json
from squirrel_ioc.model.values import Dbf, Meta, State

AMPERE = Meta(Dbf.DOUBLE, 1, units="A", precision=3)
SWITCH = Meta(Dbf.ENUM, 1, labels=("Off", "On"))
TEXT = Meta(Dbf.STRING, 1)
WAVE = Meta(Dbf.DOUBLE, 16, units="mm", precision=1)

SIDE_A = {
    "SAME": (1.0, AMPERE, 0),
    "MOVED": (1.0, AMPERE, 2),
    "SWITCH": (0, SWITCH, 0),
    "TEXT": ("x" * 39, TEXT, 0),
    "WAVE": ([1.0, 2.0], WAVE, 0),
    "LOST": (5.0, AMPERE, 0),
    "GONE": (6.0, AMPERE, 0),
    "DEAD": (State.DISCONNECTED, AMPERE, 0),
    "RB": (3.0, AMPERE, 0),
}
SIDE_B = {
    "SAME": (1.0, AMPERE, 0),
    "MOVED": (1.5, AMPERE, 1),
    "SWITCH": (1, SWITCH, 0),
    "TEXT": ("y" * 39, TEXT, 0),
    "WAVE": ([1.0, 2.5], WAVE, 0),
    "LOST": (State.TIMEOUT, AMPERE, 0),
    "NEW": (7.0, AMPERE, 0),
    "DEAD": (State.DISCONNECTED, AMPERE, 0),
    "RB": (4.0, AMPERE, 0),
}


def frame(cells: dict[str, tuple[object, Meta, int]], readbacks: int = 1) -> Frame:
    builder = FrameBuilder()
    for name, (value, meta, severity) in cells.items():
        if isinstance(value, State):
            builder.add_missing(name, value, meta)
        else:
            builder.add(name, value, meta, severity=severity)  # type: ignore[arg-type]
    return builder.build(ChannelList.of(cells, len(cells) - readbacks))


def comparison() -> Comparison:
    return compare(frame(SIDE_A), frame(SIDE_B))


def column(table: DiffTable, name: str) -> dict[str, object]:
    values = getattr(table, name)
    return dict(zip(table.names, values.tolist() if isinstance(values, np.ndarray) else values, strict=True))


def test_show_chooses_the_rows() -> None:
    found = comparison()
    names = {show: list(tabulate(found, show).names) for show in Show}
    assert names[Show.DIFFERENT] == ["MOVED", "SWITCH", "TEXT", "WAVE", "RB"]
    assert names[Show.MISSING] == ["LOST", "GONE", "NEW"]
    assert sorted(names[Show.ALL]) == sorted(SIDE_A | SIDE_B)
    assert names[Show.ALL][-1] == "RB"


def test_columns_say_what_stands_there() -> None:
    table = tabulate(comparison(), Show.ALL, STRING_LIMIT)
    assert column(table, "text_a") | {"TEXT": ""} == {
        "SAME": "1.000 A",
        "MOVED": "1.000 A",
        "SWITCH": "Off",
        "TEXT": "",
        "WAVE": "[1.0, 2.0] mm (2)",
        "LOST": "5.000 A",
        "GONE": "6.000 A",
        "NEW": "not in the list",
        "DEAD": State.DISCONNECTED.reason,
        "RB": "3.000 A",
    }
    assert column(table, "text_b")["LOST"] == State.TIMEOUT.reason
    assert column(table, "number_a")["MOVED"] == 1.0
    assert column(table, "number_b")["SWITCH"] == 1.0
    assert column(table, "delta")["MOVED"] == 0.5
    assert column(table, "delta")["WAVE"] == 0.5
    for name in ("TEXT", "WAVE", "NEW", "DEAD"):
        assert math.isnan(column(table, "number_a")[name])  # type: ignore[arg-type]
    assert column(table, "role")["RB"] == "readback"
    assert set(column(table, "role").values()) == {"setpoint", "readback"}


def test_severity_is_the_worse_of_both_sides_and_invalid_without_a_value() -> None:
    severity = column(tabulate(comparison(), Show.ALL), "severity")
    assert (severity["SAME"], severity["MOVED"]) == (0, 2)
    assert [severity[name] for name in ("LOST", "GONE", "NEW", "DEAD")] == [3, 3, 3, 3]


def test_texts_fit_a_string() -> None:
    table = tabulate(compare(frame({"T": ("ü" * 15, TEXT, 0)}, 0), frame({"T": ("a" * 39, TEXT, 0)}, 0)), Show.ALL, 20)
    assert table.text_a[0].endswith("...")
    assert all(len(text.encode()) <= 20 for text in (*table.text_a, *table.text_b))


def test_nothing_at_all() -> None:
    empty = Frame.empty(ChannelList.of(()))
    for show in Show:
        assert len(tabulate(compare(empty, empty), show)) == 0
        assert len(tabulate(compare(empty, frame(SIDE_A)), show)) == (
            0 if show is Show.DIFFERENT else len(SIDE_A) - (show is Show.MISSING)
        )


def test_a_restore_can_write_setpoints_that_have_a_value_in_a() -> None:
    found = comparison()
    names = found.channels.array[restorable(found)].tolist()
    assert names == ["SAME", "MOVED", "SWITCH", "TEXT", "WAVE", "LOST", "GONE"]
    # What is a readback in A is none to write, whatever it is in B.
    turned = compare(frame({"X": (1.0, AMPERE, 0)}, 1), frame({"X": (2.0, AMPERE, 0)}, 0))
    assert not restorable(turned).any()


@given(cell_lists(), cell_lists())
def test_every_table_has_columns_of_one_length_and_its_rows(a: list[object], b: list[object]) -> None:
    found = compare(frame_of(a), frame_of(b))  # type: ignore[arg-type]
    tables = {show: tabulate(found, show, STRING_LIMIT) for show in Show}
    for table in tables.values():
        columns = (table.names, table.number_a, table.number_b, table.delta, table.text_a, table.text_b)
        assert {len(c) for c in (*columns, table.severity, table.role)} == {len(table)}
        assert list(table.names) == [found.channels.names[row] for row in table.rows]
        assert all(len(t.encode()) <= STRING_LIMIT for t in (*table.text_a, *table.text_b))
    assert len(tables[Show.DIFFERENT]) == int(found.different.sum())
    assert len(tables[Show.MISSING]) == found.count(Kind.MISSING_A) + found.count(Kind.MISSING_B)
    assert len(tables[Show.ALL]) == len(found)


def test_forty_thousand_differences_are_a_table_in_a_fraction_of_the_target() -> None:
    names = ChannelList.of(f"T:{i:06d}" for i in range(40_000))
    builder = FrameBuilder()
    for i, name in enumerate(names.names):
        builder.add(name, 0.001 * i, AMPERE)
    a = builder.build(names)
    b = Frame(**{**vars_of(a), "number": a.number + 1.0})
    found = compare(a, b)
    assert len(tabulate(found, Show.DIFFERENT, STRING_LIMIT)) == 40_000
    assert len(tabulate(compare(a, a), Show.DIFFERENT, STRING_LIMIT)) == 0


def vars_of(f: Frame) -> dict[str, object]:
    return {name: getattr(f, name) for name in f.__dataclass_fields__}


def test_sides_in_words() -> None:
    assert [side_text(side) for side in (0, -1, 7)] == ["live", "reference", "snapshot 7"]
    assert side_text(-1, 7) == "reference 7"


def result(count: int = 45, show: Show = Show.DIFFERENT) -> CompareResult:
    """`count` setpoints that differ, and one readback."""
    cells = {f"P{i:02d}": (float(i), AMPERE, 0) for i in range(count)} | {"RB": (0.0, AMPERE, 0)}
    a, b = frame(cells), frame({name: (v + 1.0, m, s) for name, (v, m, s) in cells.items()})
    found = compare(a, b)
    return CompareResult(7, 0, 7, 0, found, tabulate(found, show), 0)


def listing(count: int = 45) -> Listing:
    of = result(count)
    return Listing(of, of.table)


def test_pages() -> None:
    rows = listing(45)  # and the readback
    assert (rows.pages, rows.page, list(rows.span)) == (3, 1, list(range(20)))
    rows.turn_to(3)
    assert list(rows.span) == list(range(40, 46))
    for page in (0, 4, -1):
        with pytest.raises(RefusedError, match="the pages are 1 to 3"):
            rows.turn_to(page)
    assert rows.page == 3
    full = listing(2 * PAGE_ROWS - 1)
    assert full.pages == 2
    nothing = Listing(result(0), tabulate(result(0).comparison, Show.MISSING))
    assert (nothing.pages, list(nothing.span)) == (1, [])


def test_picking() -> None:
    rows = listing(45)
    rows.turn_to(2)
    rows.pick(Select.PAGE)
    assert np.flatnonzero(rows.selected).tolist() == list(range(20, 40))
    rows.turn_to(3)
    rows.pick_row(0, True)
    assert (rows.picked, rows.select) == (21, Select.PAGE)
    rows.pick(Select.PAGE)
    assert np.flatnonzero(rows.selected).tolist() == list(range(40, 46))
    rows.pick(Select.ALL)
    assert rows.picked == 46
    rows.pick_row(5, False)
    assert rows.select is Select.PAGE
    rows.pick_row(5, True)
    assert rows.select is Select.ALL
    with pytest.raises(RefusedError, match="no row 7 on page 3"):
        rows.pick_row(6, True)
    rows.pick(Select.NONE)
    assert (rows.picked, rows.select) == (0, Select.NONE)
    rows.pick_row(1, True)
    rows.pick_row(1, False)
    assert rows.select is Select.NONE


def test_nothing_to_pick() -> None:
    of = result(0)
    rows = Listing(of, tabulate(of.comparison, Show.MISSING))
    for which in (Select.PAGE, Select.ALL):
        with pytest.raises(RefusedError, match="no rows"):
            rows.pick(which)
    rows.pick(Select.NONE)


def test_names_to_restore() -> None:
    rows = listing(45)
    with pytest.raises(RefusedError, match="no row is selected"):
        rows.names_to_restore()
    rows.turn_to(3)
    rows.pick_row(5, True)
    with pytest.raises(RefusedError, match="readbacks"):
        rows.names_to_restore()
    rows.pick_row(0, True)
    rows.turn_to(1)
    rows.pick_row(3, True)
    assert rows.names_to_restore() == ["P03", "P40"]


def test_rows_of_the_table_are_not_those_of_the_comparison() -> None:
    found = comparison()
    of = CompareResult(7, 0, 7, 0, found, tabulate(found, Show.MISSING), 0)
    rows = Listing(of, of.table)
    rows.pick(Select.ALL)
    assert rows.names_to_restore() == ["LOST", "GONE"]
    assert shown_rows(found, Show.MISSING).tolist() == of.table.rows.tolist()


def test_request_survives_json() -> None:
    import json
    from dataclasses import asdict

    request = CompareRequest(7, -1, "Q*", 0.1, 0.2, Show.ALL)
    again = request_from_json(JobKind.COMPARE, json.loads(json.dumps(asdict(request))))
    assert again == request
    assert isinstance(again, CompareRequest)
    assert again.show is Show.ALL


def test_arrays_that_differ_late_show_the_first_element_that_differs() -> None:
    frames = []
    for last in (1.5, 2.5):
        builder = FrameBuilder()
        builder.add("W", np.append(np.zeros(500), last), Meta(Dbf.DOUBLE, 1000))
        frames.append(builder.build())
    table = tabulate(compare(*frames), Show.DIFFERENT, STRING_LIMIT)
    assert (table.text_a, table.text_b) == (["[500] 1.5"], ["[500] 2.5"])
