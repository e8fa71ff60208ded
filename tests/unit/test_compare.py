"""Comparing frames: every rule by example, and all of them together against a slow and plain reading of the rules."""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import replace

import numpy as np
import pytest
from frame_strategies import Cell, cell_lists, cells, frame_of, values
from hypothesis import assume, given
from hypothesis import strategies as st

from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.compare import Comparison, Kind, align, compare, differs, tolerances
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import ELEMENT_DTYPE, Dbf, Meta, State

DOUBLE = Meta(Dbf.DOUBLE, 1)
FLOAT = Meta(Dbf.FLOAT, 1)
LONG = Meta(Dbf.LONG, 1)
WAVE = Meta(Dbf.DOUBLE, 16)
LONGS = Meta(Dbf.LONG, 16)
TEXT = Meta(Dbf.STRING, 1)
TEXTS = Meta(Dbf.STRING, 4)
CHARS = Meta(Dbf.CHAR, 64)
BARE_ENUM = Meta(Dbf.ENUM, 1)
SWITCH = Meta(Dbf.ENUM, 1, labels=("Off", "On"))
VALVE = Meta(Dbf.ENUM, 1, labels=("Closed", "Open"))
TRIPPED = Meta(Dbf.ENUM, 1, labels=("Off", "Trip", "On"))
NAN, INF = math.nan, math.inf


def one(value: object, meta: Meta = DOUBLE) -> Frame:
    """A frame of one channel; without a value when it is a State."""
    builder = FrameBuilder()
    if isinstance(value, State):
        builder.add_missing("T:X", value, meta)
    else:
        builder.add("T:X", value, meta)
    return builder.build()


def kind_of(a: Frame, b: Frame, atol: float | None = None, rtol: float | None = None) -> Kind:
    return Kind(compare(a, b, atol, rtol).kind[0])


def row(comparison: Comparison) -> tuple[Kind, float]:
    return Kind(comparison.kind[0]), float(comparison.delta[0])


@pytest.mark.parametrize(
    ("a", "b", "atol", "rtol", "equal"),
    [
        (1.0, 1.0, None, None, True),
        (1.0, 1.0 + 1e-15, None, None, False),
        (1.0, 1.5, 0.5, None, True),
        (1.0, 1.5, 0.49, None, False),
        (-10.0, -11.0, None, 0.1, True),
        (-11.0, -10.0, None, 0.05, False),
        (100.0, 110.0, 5.0, 0.05, True),
        (100.0, 110.5, 5.0, 0.05, False),
        (0.0, -0.0, None, None, True),
        (NAN, NAN, None, None, True),
        (NAN, 1.0, 1e300, 1e300, False),
        (INF, INF, None, None, True),
        (-INF, -INF, 1.0, 1.0, True),
        (INF, -INF, 1.0, 1.0, False),
        (INF, 5.0, 1.0, 1.0, False),
        (5.0, INF, 1.0, 1.0, False),
        (1.7e308, -1.7e308, 1.0, 0.5, False),
        (5e-324, 0.0, None, 0.1, False),
        (1.0, 1.1, NAN, NAN, False),
        (1.0, 1.0, NAN, NAN, True),
        (1.0, 1.1, -1.0, 0.0, False),
    ],
)
def test_numbers(a: float, b: float, atol: float | None, rtol: float | None, equal: bool) -> None:
    expected = Kind.EQUAL if equal else Kind.DIFFERENT
    assert kind_of(one(a), one(b), atol, rtol) is expected
    assert kind_of(one([a], WAVE), one([b], WAVE), atol, rtol) is expected
    assert kind_of(one([7.0, a, 7.0], WAVE), one([7.0, b, 7.0], WAVE), atol, rtol) is expected
    assert differs(one(a), one(b), atol, rtol).tolist() == [not equal]


def test_relative_tolerance_is_of_a() -> None:
    assert kind_of(one(100.0), one(110.0), 0.0, 0.1) is Kind.EQUAL
    assert kind_of(one(110.0), one(98.0), 0.0, 0.1) is Kind.DIFFERENT
    assert kind_of(one(90.0), one(100.0), 0.0, 0.1) is Kind.DIFFERENT


def test_integers_are_exact() -> None:
    assert kind_of(one(2**31 - 1, LONG), one(2**31 - 2, LONG)) is Kind.DIFFERENT
    assert row(compare(one(-(2**31), LONG), one(2**31 - 1, LONG))) == (Kind.DIFFERENT, 2.0**32 - 1)


def test_another_numeric_type_is_compared_by_value() -> None:
    assert kind_of(one(3, LONG), one(3.0)) is Kind.EQUAL
    assert kind_of(one(3, LONG), one(3.5)) is Kind.DIFFERENT
    assert kind_of(one(0.5, FLOAT), one(0.5)) is Kind.EQUAL
    assert kind_of(one([1, 2], LONGS), one([1.0, 2.0], WAVE)) is Kind.EQUAL
    assert kind_of(one([1, 2], LONGS), one([1.0, 2.5], WAVE)) is Kind.DIFFERENT
    assert kind_of(one([], LONGS), one([], WAVE)) is Kind.EQUAL
    assert kind_of(one([5.0], WAVE), one(5.0)) is Kind.EQUAL
    assert kind_of(one(5.0), one([5.5], WAVE), 1.0) is Kind.EQUAL


def test_a_text_is_never_a_number() -> None:
    for text, number in ((one("3", TEXT), one(3.0)), (one(["3"], TEXTS), one([3.0], WAVE)), (one("", TEXT), one(NAN))):
        assert row(compare(text, number))[0] is Kind.TYPE_CHANGED
        assert row(compare(number, text))[0] is Kind.TYPE_CHANGED
        assert math.isnan(compare(text, number).delta[0])


def test_enums_by_index_and_label() -> None:
    assert kind_of(one(1, SWITCH), one(1, SWITCH)) is Kind.EQUAL
    assert kind_of(one(0, SWITCH), one(1, SWITCH), 10.0, 10.0) is Kind.DIFFERENT
    assert kind_of(one(1, SWITCH), one(1, VALVE)) is Kind.LABEL_CHANGED
    assert kind_of(one(0, SWITCH), one(0, TRIPPED)) is Kind.EQUAL
    assert kind_of(one(1, SWITCH), one(2, TRIPPED)) is Kind.DIFFERENT
    assert kind_of(one(1, SWITCH), one(1, BARE_ENUM)) is Kind.EQUAL
    assert kind_of(one(1, BARE_ENUM), one(0, SWITCH)) is Kind.DIFFERENT
    assert kind_of(one(2, SWITCH), one(2, TRIPPED)) is Kind.LABEL_CHANGED
    assert kind_of(one(9, SWITCH), one(9, TRIPPED)) is Kind.EQUAL
    assert differs(one(1, SWITCH), one(1, VALVE)).tolist() == [True]


def test_an_enum_and_a_number_by_index() -> None:
    assert kind_of(one(1, SWITCH), one(1, LONG)) is Kind.EQUAL
    assert kind_of(one(1, SWITCH), one(1.5), 1.0) is Kind.DIFFERENT
    assert kind_of(one(2.0), one(1, SWITCH), 1.0, 1.0) is Kind.DIFFERENT


def test_arrays_of_enums() -> None:
    switches, valves = replace(SWITCH, count=8), replace(VALVE, count=8)
    tripped = replace(TRIPPED, count=8)
    assert kind_of(one([0, 1], switches), one([0, 1], switches)) is Kind.EQUAL
    assert kind_of(one([0, 1], switches), one([0, 1], valves)) is Kind.LABEL_CHANGED
    assert kind_of(one([0, 0], switches), one([0, 0], tripped)) is Kind.EQUAL
    assert kind_of(one([0, 1], switches), one([0, 1], tripped)) is Kind.LABEL_CHANGED
    assert kind_of(one([0, 1], switches), one([1, 1], switches), 5.0) is Kind.DIFFERENT
    assert kind_of(one([], switches), one([], valves)) is Kind.EQUAL


def test_strings_are_exact() -> None:
    assert kind_of(one("abc", TEXT), one("abc", TEXT)) is Kind.EQUAL
    assert kind_of(one("abc", TEXT), one("abd", TEXT), 1.0, 1.0) is Kind.DIFFERENT
    assert kind_of(one("abc", TEXT), one("ABC", TEXT)) is Kind.DIFFERENT
    assert kind_of(one("", TEXT), one("a", TEXT)) is Kind.DIFFERENT
    assert kind_of(one("", TEXT), one("", TEXT)) is Kind.EQUAL
    assert kind_of(one("µ".encode(), TEXT), one("µ".encode("latin-1"), TEXT)) is Kind.DIFFERENT
    assert math.isnan(compare(one("abc", TEXT), one("abc", TEXT)).delta[0])


def test_arrays_of_strings() -> None:
    noise = b"a\0noise".ljust(40, b"\0") + b"b".ljust(40, b"\0")
    assert kind_of(one(["a", "b"], TEXTS), one(["a", "b"], TEXTS)) is Kind.EQUAL
    assert kind_of(one(["a", "b"], TEXTS), one(noise, TEXTS)) is Kind.EQUAL
    assert kind_of(one(["a", "b"], TEXTS), one(["a", "c"], TEXTS)) is Kind.DIFFERENT
    assert kind_of(one(["a", "b"], TEXTS), one(["a"], TEXTS)) is Kind.DIFFERENT
    assert kind_of(one([], TEXTS), one([], TEXTS)) is Kind.EQUAL
    assert kind_of(one([], TEXTS), one([""], TEXTS)) is Kind.DIFFERENT
    assert kind_of(one("one", TEXT), one(["one"], TEXTS)) is Kind.EQUAL
    assert kind_of(one(["two"], TEXTS), one("one", TEXT)) is Kind.DIFFERENT


def test_delta_is_what_b_has_more() -> None:
    assert row(compare(one(2.0), one(5.0))) == (Kind.DIFFERENT, 3.0)
    assert row(compare(one(5.0), one(2.0), 10.0)) == (Kind.EQUAL, -3.0)
    assert row(compare(one(2, SWITCH), one(0, SWITCH))) == (Kind.DIFFERENT, -2.0)
    assert row(compare(one(INF), one(INF))) == (Kind.EQUAL, 0.0)
    assert math.isnan(compare(one(NAN), one(NAN)).delta[0])


def test_delta_of_arrays_is_the_largest() -> None:
    a = one([1.0, 2.0, NAN, INF], WAVE)
    assert row(compare(a, a)) == (Kind.EQUAL, 0.0)
    assert row(compare(a, one([1.5, -2.0, NAN, INF], WAVE))) == (Kind.DIFFERENT, 4.0)
    assert row(compare(a, one([1.5, 2.0, NAN, INF], WAVE), 1.0)) == (Kind.EQUAL, 0.5)
    assert row(compare(a, one([1.5, 2.0, NAN, -INF], WAVE))) == (Kind.DIFFERENT, INF)
    assert math.isnan(compare(a, one([1.0, 2.0, 3.0, INF], WAVE)).delta[0])
    assert math.isnan(compare(a, one([1.0, 2.0], WAVE)).delta[0])
    assert row(compare(one([], WAVE), one([], WAVE))) == (Kind.EQUAL, 0.0)


def test_a_side_without_a_value() -> None:
    gone = one(State.DISCONNECTED)
    assert kind_of(gone, one(1.0)) is Kind.MISSING_A
    assert kind_of(one(1.0), one(State.TIMEOUT)) is Kind.MISSING_B
    assert kind_of(gone, one(State.TIMEOUT)) is Kind.MISSING_BOTH
    assert kind_of(gone, one(NAN)) is Kind.MISSING_A
    assert kind_of(one("x", TEXT), gone) is Kind.MISSING_B
    assert math.isnan(compare(gone, one(1.0)).delta[0])


def test_differs_is_true_where_nothing_says_that_it_is_the_same() -> None:
    gone = one(State.DISCONNECTED)
    assert differs(one(1.0), gone).tolist() == [True]
    assert differs(gone, one(1.0)).tolist() == [False]
    assert differs(gone, gone).tolist() == [False]
    with pytest.raises(ValueError, match="frames of 1 and 0 channels"):
        differs(gone, FrameBuilder().build())


def test_odd_float_nans_are_nan() -> None:
    odd = one(np.array([0x7F800001], np.uint32).tobytes(), FLOAT)
    assert odd.raw(0) is not None
    assert kind_of(odd, one(NAN, FLOAT)) is Kind.EQUAL
    assert kind_of(one(NAN), odd) is Kind.EQUAL
    assert kind_of(odd, odd) is Kind.EQUAL
    assert kind_of(odd, one(1.0, FLOAT), 1e300) is Kind.DIFFERENT


def test_each_row_has_its_own_tolerance() -> None:
    def frame(offset: float) -> Frame:
        builder = FrameBuilder()
        for i in range(4):
            builder.add(f"T:{i}", float(i) + offset, DOUBLE)
        for i in range(4, 8):
            builder.add(f"T:{i}", np.full(i, i + offset), WAVE)
        return builder.build()

    atol = np.array([0.0, 1.0, 0.5, 0.4, 0.0, 1.0, 0.5, 0.4])
    expected = [Kind.DIFFERENT, Kind.EQUAL, Kind.EQUAL, Kind.DIFFERENT] * 2
    assert compare(frame(0.0), frame(0.5), atol, np.zeros(8)).kind.tolist() == expected
    assert differs(frame(0.0), frame(0.5), atol).tolist() == [k is Kind.DIFFERENT for k in expected]


def test_lists_that_differ_are_aligned_by_name() -> None:
    def frame(names: str, setpoints: int) -> Frame:
        builder = FrameBuilder()
        for name in names:
            builder.add(name, float(ord(name)), DOUBLE)
        return builder.build(ChannelList.of(names, setpoints))

    comparison = compare(frame("abcxy", 3), frame("cbdyz", 3))
    assert comparison.channels.names == ("a", "b", "c", "d", "x", "y", "z")
    assert comparison.channels.setpoints == 4
    assert comparison.channels.ids.dtype == np.int32
    assert comparison.row_a.tolist() == [0, 1, 2, -1, 3, 4, -1]
    assert comparison.row_b.tolist() == [-1, 1, 0, 2, -1, 3, 4]
    b, e, a = Kind.MISSING_B, Kind.EQUAL, Kind.MISSING_A
    assert comparison.kind.tolist() == [b, e, e, a, b, e, a]
    assert comparison.number_a[:3].tolist() == [97.0, 98.0, 99.0]
    assert np.isnan(comparison.number_a[3])
    assert np.isnan(comparison.number_b[0])
    some = comparison.take(np.array([1, 3, 5]))
    assert some.channels.names == ("b", "d", "y")
    assert some.channels.setpoints == 2
    assert some.kind.tolist() == [e, a, e]
    assert some.number_b.tolist() == [98.0, 100.0, 121.0]
    assert comparison.missing.tolist() == [True, False, False, True, True, False, True]
    assert comparison.compared.sum() == comparison.count(Kind.EQUAL) == 3


def test_the_same_list_is_not_aligned_again() -> None:
    names = ChannelList.of("abc")
    assert align(names, names).channels is names
    twin = align(names, ChannelList.of("abc"))
    assert twin.same
    assert twin.channels is names
    part = align(names, ChannelList.of("bc"))
    assert not part.same
    assert part.channels is names
    assert part.row_b.tolist() == [-1, 0, 1]


def test_empty_frames() -> None:
    empty = FrameBuilder().build()
    assert len(compare(empty, empty, 0.1, 0.1)) == 0
    assert compare(empty, one(1.0)).kind.tolist() == [Kind.MISSING_A]
    assert compare(one("x", TEXT), empty).kind.tolist() == [Kind.MISSING_B]
    assert differs(empty, empty).tolist() == []


def test_tolerances_come_from_the_catalogue_else_from_the_caller() -> None:
    catalogue = Catalogue.of(
        [
            Entry("A", readback="A:RB", atol=0.5),
            Entry("B", readback="A:RB", rtol=0.1),
            Entry("C", readback="C:RB", atol=0.0, rtol=0.0),
        ]
    )
    atol, rtol = tolerances(catalogue, catalogue.channels, 7.0, 8.0)
    assert catalogue.channels.names == ("A", "B", "C", "A:RB", "C:RB")
    assert atol.tolist() == [0.5, 7.0, 0.0, 0.5, 0.0]
    assert rtol.tolist() == [8.0, 0.1, 0.0, 8.0, 0.0]
    atol, rtol = tolerances(catalogue, ChannelList.of(["C", "gone", "A"]), 7.0)
    assert atol.tolist() == [0.0, 7.0, 0.5]
    assert rtol.tolist() == [0.0, 0.0, 0.0]
    atol, rtol = tolerances(Catalogue.of([]), ChannelList.of(["gone"]), 1.0, 2.0)
    assert (atol.tolist(), rtol.tolist()) == ([1.0], [2.0])


def test_long_arrays_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("squirrel_ioc.model._classify._BATCH", 10)

    def frame(offset: float) -> Frame:
        builder = FrameBuilder()
        for i in range(9):
            builder.add(f"T:{i}", np.arange(i) + (offset if i % 2 else 0.0), WAVE)
            builder.add(f"T:T{i}", [f"{j}:{offset if i % 3 == 1 else 0}" for j in range(i % 5)], TEXTS)
            builder.add(f"T:E{i}", [1] * (i % 5), replace(VALVE if offset and i % 2 else SWITCH, count=4))
        return builder.build()

    comparison = compare(frame(0.0), frame(1.0))
    different = comparison.kind.reshape(9, 3)
    assert different[:, 0].tolist() == [Kind.DIFFERENT if i % 2 else Kind.EQUAL for i in range(9)]
    assert different[:, 1].tolist() == [Kind.DIFFERENT if i in (1, 4, 7) else Kind.EQUAL for i in range(9)]
    assert different[:, 2].tolist() == [Kind.LABEL_CHANGED if i % 2 and i != 5 else Kind.EQUAL for i in range(9)]


def plain(cell: Cell) -> list[float] | list[bytes]:
    """The elements of a value, without numpy."""
    assert cell.raw is not None
    if cell.meta.dbf is Dbf.STRING:
        if cell.meta.count == 1:
            return [cell.raw]
        return [cell.raw[i : i + 40].split(b"\0")[0] for i in range(0, len(cell.raw), 40)]
    code = {"i2": "h", "f4": "f", "u2": "H", "u1": "B", "i4": "i", "f8": "d"}[ELEMENT_DTYPE[cell.meta.dbf].str[1:]]
    return [float(v) for (v,) in struct.iter_unpack("<" + code, cell.raw)]


def close(x: float, y: float, atol: float, rtol: float) -> bool:
    if x == y or (math.isnan(x) and math.isnan(y)):
        return True
    if not (math.isfinite(x) and math.isfinite(y)):
        return False
    return abs(x - y) <= atol + rtol * abs(x)


def expected_kind(a: Cell, b: Cell, atol: float, rtol: float) -> Kind:
    """The rules, one value at a time."""
    if a.raw is None or b.raw is None:
        return Kind.MISSING_BOTH if a.raw is b.raw else Kind.MISSING_A if a.raw is None else Kind.MISSING_B
    dbfs = a.meta.dbf, b.meta.dbf
    if dbfs.count(Dbf.STRING) == 1:
        return Kind.TYPE_CHANGED
    x, y = plain(a), plain(b)
    if len(x) != len(y):
        return Kind.DIFFERENT
    if Dbf.STRING in dbfs:
        return Kind.EQUAL if x == y else Kind.DIFFERENT
    if Dbf.ENUM in dbfs:
        atol = rtol = 0.0
    if not all(close(p, q, atol, rtol) for p, q in zip(x, y, strict=True)):
        return Kind.DIFFERENT
    if a.meta.labels and b.meta.labels:
        for index in map(int, x):
            labels = [m.labels[index] if index < len(m.labels) else "" for m in (a.meta, b.meta)]
            if labels[0] != labels[1]:
                return Kind.LABEL_CHANGED
    return Kind.EQUAL


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Cell], list[Cell]]:
    """The same channels twice: often the same value, or another of the same channel, or anything."""
    a = draw(cell_lists())
    b = []
    for cell in a:
        how = draw(st.integers(0, 2))
        if how == 0:
            b.append(cell)
        elif how == 1 and cell.raw is not None:
            b.append(replace(cell, raw=draw(values(cell.meta))))
        else:
            b.append(draw(cells(cell.name)))
    return a, b


TOLERANCES = st.sampled_from([0.0, 0.5, 1.0, 99.0])


@given(pairs(), TOLERANCES, TOLERANCES)
def test_the_rules_one_by_one_give_the_same(pair: tuple[list[Cell], list[Cell]], atol: float, rtol: float) -> None:
    a, b = (frame_of(side) for side in pair)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = compare(a, b, atol, rtol)
        changed = differs(a, b, atol, rtol)
    expected = [expected_kind(p, q, atol, rtol) for p, q in zip(*pair, strict=True)]
    assert [Kind(k) for k in comparison.kind] == expected
    assert changed.tolist() == [k not in (Kind.EQUAL, Kind.MISSING_A, Kind.MISSING_BOTH) for k in expected]


@given(pairs(), TOLERANCES)
def test_a_against_b_finds_what_b_against_a_finds(pair: tuple[list[Cell], list[Cell]], atol: float) -> None:
    a, b = (frame_of(side) for side in pair)
    there, back = compare(a, b, atol), compare(b, a, atol)
    swap = {Kind.MISSING_A: Kind.MISSING_B, Kind.MISSING_B: Kind.MISSING_A}
    assert [swap.get(Kind(k), Kind(k)) for k in there.kind] == [Kind(k) for k in back.kind]
    np.testing.assert_array_equal(np.abs(there.delta), np.abs(back.delta))


@given(cell_lists())
def test_a_frame_equals_itself(rows: list[Cell]) -> None:
    a, twin = frame_of(rows), frame_of(rows)
    for b in (a, twin):
        comparison = compare(a, b)
        assert comparison.kind.tolist() == [Kind.EQUAL if v else Kind.MISSING_BOTH for v in a.valid]
        assert not differs(a, b).any()
        assert not np.any(np.nan_to_num(comparison.delta))


@given(pairs(), st.data())
def test_order_and_neighbours_do_not_matter(pair: tuple[list[Cell], list[Cell]], data: st.DataObject) -> None:
    a, b = pair
    shuffled = data.draw(st.permutations(b))
    dropped = data.draw(st.integers(0, len(b)))
    assume(dropped < len(b))
    lonely = Cell("T:LONELY", DOUBLE, b"\0" * 8)
    kept, gone = [lonely, *shuffled[dropped:]], {c.name for c in shuffled[:dropped]}
    straight, crooked = compare(frame_of(a), frame_of(b), 0.5), compare(frame_of(a), frame_of(kept), 0.5)
    by_name = dict(zip(crooked.channels.names, crooked.kind.tolist(), strict=True))
    assert by_name.pop("T:LONELY") == Kind.MISSING_A
    for cell, kind in zip(a, straight.kind.tolist(), strict=True):
        if cell.name in gone:
            kind = Kind.MISSING_BOTH if cell.raw is None else Kind.MISSING_B
        assert by_name[cell.name] == kind


def machine(offset: float, texts: int, waves: int) -> Frame:
    """40,000 channels of which some are texts and waveforms, and a tenth enums."""
    builder = FrameBuilder()
    for i in range(40_000):
        if i < texts * 20 and i % 20 == 0:
            builder.add(f"T:{i}", f"text {i} {offset}", TEXT)
        elif i < waves * 20 and i % 20 == 1:
            builder.add(f"T:{i}", np.full(16, i + offset), WAVE)
        elif i % 10 == 2:
            builder.add(f"T:{i}", int(i + offset) % 2, SWITCH)
        else:
            builder.add(f"T:{i}", i + offset, DOUBLE)
    return builder.build()


@pytest.mark.parametrize("many", [0, 2_000])
def test_forty_thousand_are_compared(many: int) -> None:
    a, same, other = (machine(offset, many, many) for offset in (0.0, 0.0, 1.0))
    live = replace(other, channels=a.channels)
    limits = np.full(40_000, 1e-9), np.full(40_000, 1e-9)
    assert compare(a, same, *limits).different.sum() == 0
    assert compare(a, other, *limits).different.sum() == 40_000
    assert differs(a, live, *limits).sum() == 40_000
    assert not differs(a, replace(same, channels=a.channels)).any()


CHARS = Meta(Dbf.CHAR, 16)


@pytest.mark.parametrize(
    ("a", "b", "kind"),
    [
        (b"text", b"text\0", Kind.EQUAL),
        (b"text\0", b"text\0\0\0", Kind.EQUAL),
        (b"", b"\0", Kind.EQUAL),
        (b"text", b"texts", Kind.DIFFERENT),
        (b"text\0s", b"text", Kind.DIFFERENT),
        (b"\x05\x06", b"\x05\x06\0", Kind.DIFFERENT),
    ],
)
def test_a_text_in_characters_is_the_same_with_and_without_its_nul(a: bytes, b: bytes, kind: Kind) -> None:
    frames = []
    for raw in (a, b):
        builder = FrameBuilder()
        builder.add("X", raw, CHARS)
        frames.append(builder.build())
    assert compare(*frames).kind.tolist() == [kind]
    assert differs(frames[0], frames[1]).tolist() == [kind is Kind.DIFFERENT]


def test_a_single_character_is_no_text() -> None:
    """It has no bytes of its own: those of another PV must not be taken for it."""
    scalar, text = one(65, Meta(Dbf.CHAR, 1)), one(b"AB", CHARS)
    assert kind_of(scalar, text) is kind_of(text, scalar) is Kind.DIFFERENT
    rows = [(Cell("T:X", Meta(Dbf.CHAR, 1), b"A"), Cell("T:X", CHARS, b"text")), (Cell("T:Y", CHARS, b"text\0"),) * 2]
    a, b = (frame_of([pair[side] for pair in rows]) for side in (0, 1))
    assert compare(a, b).kind.tolist() == [Kind.DIFFERENT, Kind.EQUAL]


def test_texts_among_many_rows_keep_their_places() -> None:
    """Whatever stands between them, each is compared with its own."""
    texts = [b"", b"a", b"\xc3\xa4 text", b"another", b"\x01\x02", b"last one"]
    cells = [(Cell(f"T:{i}", CHARS, t), Cell(f"T:{i}", CHARS, t + b"\0" * (i % 3))) for i, t in enumerate(texts * 3)]
    cells[7] = (cells[7][0], Cell("T:7", CHARS, b"b\0"))
    cells[9] = (Cell("T:9", DOUBLE, bytes(8)), Cell("T:9", DOUBLE, bytes(8)))
    a, b = (frame_of([pair[side] for pair in cells]) for side in (0, 1))
    found = compare(a, b).kind.tolist()
    wrong = {7} | {i for i in range(len(cells)) if i % 6 == 4 and i % 3}
    assert [i for i, kind in enumerate(found) if kind != Kind.EQUAL] == sorted(wrong)
