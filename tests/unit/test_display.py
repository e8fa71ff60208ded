"""Values as a person reads them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from frame_strategies import Cell, cell_lists, frame_of
from hypothesis import assume, example, given
from hypothesis import strategies as st

from squirrel_ioc.model.compare import compare
from squirrel_ioc.model.display import ABSENT, STRING_LIMIT, delta_texts, shorten, text, texts
from squirrel_ioc.model.frame import Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta, State

DOUBLE = Meta(Dbf.DOUBLE, 1)
AMPERE = Meta(Dbf.DOUBLE, 1, units="A", precision=3)
FLOAT = Meta(Dbf.FLOAT, 1)
LONG = Meta(Dbf.LONG, 1, units="counts")
SWITCH = Meta(Dbf.ENUM, 1, labels=("Off", "", "On"))
TEXT = Meta(Dbf.STRING, 1)
TEXTS = Meta(Dbf.STRING, 4)
WAVE = Meta(Dbf.DOUBLE, 16, units="mm", precision=1)
CHARS = Meta(Dbf.CHAR, 64)


def one(value: object, meta: Meta) -> Frame:
    """A frame of one channel; without a value when it is a State."""
    builder = FrameBuilder()
    if isinstance(value, State):
        builder.add_missing("T:X", value, meta)
    else:
        builder.add("T:X", value, meta)
    return builder.build()


@pytest.mark.parametrize(
    ("value", "meta", "expected"),
    [
        (1.23456, AMPERE, "1.235 A"),
        (-1.0, AMPERE, "-1.000 A"),
        (0.0, AMPERE, "0.000 A"),
        (0.0006, AMPERE, "0.001 A"),
        (3.21e-9, AMPERE, "3.21e-09 A"),
        (1.23456e20, AMPERE, "1.235e+20 A"),
        (math.nan, AMPERE, "nan A"),
        (-math.inf, AMPERE, "-inf A"),
        (3.7, DOUBLE, "3.7"),
        (0.1 + 0.2, DOUBLE, "0.3"),
        (499654321.5, DOUBLE, "499654321.5"),
        (1e-30, DOUBLE, "1e-30"),
        (1.5, replace(DOUBLE, precision=-1), "1.5"),
        (1.5, replace(DOUBLE, precision=2000), "1.500000000000000"),
        (50.0, replace(DOUBLE, units="%", precision=1), "50.0 %"),
        (50.0, replace(DOUBLE, units=" 100% of °C\n "), "50 100% of °C"),
        (0.1, FLOAT, "0.1"),
        (16777216.0, FLOAT, "1.677722e+07"),
        (0.1, replace(FLOAT, precision=2), "0.10"),
        (-(2**31), LONG, "-2147483648 counts"),
        (7, replace(LONG, precision=3), "7 counts"),
        (200, Meta(Dbf.CHAR, 1), "200"),
        (0, SWITCH, "Off"),
        (1, SWITCH, "1"),
        (2, SWITCH, "On"),
        (65535, SWITCH, "65535"),
        ("ready", TEXT, "ready"),
        ("", TEXT, ""),
        ("grün", TEXT, "grün"),
        ("two\nlines\t\x1b[31m", TEXT, r"two\nlines\t\x1b[31m"),
        (np.array([0x7F800001], np.uint32).tobytes(), replace(FLOAT, units="V"), "nan V"),
        ([], WAVE, "[] mm (0)"),
        ([1.0, 2.25], WAVE, "[1.0, 2.2] mm (2)"),
        ([1e-9, math.nan, math.inf], WAVE, "[1e-09, nan, inf] mm (3)"),
        (range(8), WAVE, "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0] mm (8)"),
        (range(9), WAVE, "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, ...] mm (9)"),
        ([1, -2], replace(LONG, count=4, units=""), "[1, -2] (2)"),
        ([2, 0, 7], replace(SWITCH, count=4), "[On, Off, 7] (3)"),
        (["a", "", 'b"\n'], TEXTS, r'["a", "", "b"\n"] (3)'),
        (b"a long string\0\0\0", CHARS, "a long string"),
        ("two\nlines, °C".encode(), CHARS, r"two\nlines, °C"),
        ([65], CHARS, "A"),
        ([0, 0, 0], CHARS, "[0, 0, 0] (3)"),
        ([65, 0, 66], CHARS, "[65, 0, 66] (3)"),
        ([65, 7], CHARS, "[65, 7] (2)"),
        ([65, 255], CHARS, "[65, 255] (2)"),
        ([], CHARS, "[] (0)"),
        (State.DISCONNECTED, AMPERE, "disconnected"),
        (State.TIMEOUT, TEXT, "no answer in time"),
    ],
)
def test_one_value(value: object, meta: Meta, expected: str) -> None:
    assert text(one(value, meta), 0) == expected


@pytest.mark.parametrize(
    ("value", "meta", "expected"),
    [
        (1.5, AMPERE, "1.500 A"),
        (
            1.5,
            replace(AMPERE, units="a unit that nobody would ever have used"),
            "1.500 a unit that nobody would ever ...",
        ),
        (range(16), WAVE, "[0.0, 1.0, 2.0, 3.0, 4.0, ...] mm (16)"),
        ([1e300] * 16, replace(WAVE, units=""), "[1e+300, 1e+300, 1e+300, ...] (16)"),
        ([1.5] * 16, replace(WAVE, units="µ" * 12), "[...] µµµµµµµµµµµµ (16)"),
        (["x" * 39, "y"], TEXTS, "[...] (2)"),
        ("x" * 39, TEXT, "x" * 39),
        (b"a text that is longer than a DBR_STRING can be", CHARS, "a text that is longer than a DBR_STR..."),
        ("äöüß" * 10, CHARS, "äöüßäöüßäöüßäöüßäö..."),
    ],
)
def test_texts_that_fit_a_string(value: object, meta: Meta, expected: str) -> None:
    if meta is CHARS and isinstance(value, str):
        value, meta = value.encode(), replace(CHARS, count=256)
    result = text(one(value, meta), 0, STRING_LIMIT)
    assert result == expected
    assert len(result.encode()) <= STRING_LIMIT


def test_rows_in_any_order_and_absent_ones() -> None:
    builder = FrameBuilder()
    builder.add("a", 1.0, AMPERE)
    builder.add("b", "x", TEXT)
    builder.add("c", 2, SWITCH)
    builder.add_missing("d", State.NO_READ_ACCESS)
    frame = builder.build()
    assert texts(frame) == ["1.000 A", "x", "On", "no read access"]
    assert texts(frame, np.array([3, -1, 2, 0, 0])) == ["no read access", ABSENT, "On", "1.000 A", "1.000 A"]
    assert texts(frame, np.zeros(0, np.intp)) == []
    empty = FrameBuilder().build()
    assert texts(empty) == []
    assert texts(empty, np.array([-1])) == [ABSENT]


@given(cell_lists(), st.one_of(st.none(), st.integers(0, 60)))
def test_every_value_has_one_line_of_text(rows: list[Cell], limit: int | None) -> None:
    frame = frame_of(rows)
    lines = texts(frame, limit=limit)
    assert lines == [text(frame, row, limit) for row in range(len(frame))]
    assert all(line.isprintable() for line in lines)
    if limit is not None:
        assert all(len(line.encode()) <= limit for line in lines)


@given(st.floats(), st.integers(0, 15))
@example(math.nan, 3)
@example(-math.inf, 0)
def test_a_number_reads_back_to_its_precision(number: float, precision: int) -> None:
    assume(abs(number) < 1e308 or not math.isfinite(number))  # the last of them round to what is no double
    back = float(text(one(number, replace(DOUBLE, precision=precision)), 0))
    if not math.isfinite(number):
        assert str(back) == str(number)
        return
    digits = 0.51 * 10.0**-precision if precision else 1e-9
    assert math.isclose(back, number, rel_tol=digits, abs_tol=digits if precision else 0.0)
    assert (back == 0.0) == (number == 0.0)


@given(st.text(), st.integers(0, 50))
def test_shorten_never_cuts_a_character(content: str, limit: int) -> None:
    result = shorten(content, limit)
    encoded = content.encode("utf-8", "replace")
    assert len(result.encode("utf-8", "replace")) <= limit
    if len(encoded) <= limit:
        assert result == content
    elif limit >= 3:
        assert result.endswith("...")
        assert content.startswith(result[:-3])


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (one(1.0, AMPERE), one(2.5, AMPERE), "+1.500 A"),
        (one(2.5, AMPERE), one(1.0, AMPERE), "-1.500 A"),
        (one(1.0, AMPERE), one(1.0000001, AMPERE), "+1e-07 A"),
        (one(1.0, AMPERE), one(1.0, AMPERE), "0"),
        (one(1.0, AMPERE), one(math.nan, AMPERE), ""),
        (one(1.0, AMPERE), one(math.inf, AMPERE), "+inf A"),
        (one(3, LONG), one(7, LONG), "+4 counts"),
        (one(3, LONG), one(3.5, DOUBLE), "+0.5 counts"),
        (one(0, SWITCH), one(2, SWITCH), ""),
        (one("a", TEXT), one("b", TEXT), ""),
        (one("a", TEXT), one(1.0, DOUBLE), "type changed"),
        (one(0, SWITCH), one(0, replace(SWITCH, labels=("Shut", "", "Open"))), "label changed"),
        (one([1.0, 2.0], WAVE), one([1.5, 0.0], WAVE), "max 2.0 mm"),
        (one([1.0, 2.0], WAVE), one([1.0, 2.0], WAVE), "0"),
        (one([1.0, 2.0], WAVE), one([1.0], WAVE), "2 -> 1 elements"),
        (one(["a"], TEXTS), one(["a", "b"], TEXTS), "1 -> 2 elements"),
        (one(State.TIMEOUT, DOUBLE), one(1.0, DOUBLE), "only in B"),
        (one(1.0, DOUBLE), one(State.TIMEOUT, DOUBLE), "only in A"),
        (one(1.0, DOUBLE), FrameBuilder().build(), "only in A"),
        (one(State.TIMEOUT, DOUBLE), one(State.TIMEOUT, DOUBLE), ""),
    ],
)
def test_delta(a: Frame, b: Frame, expected: str) -> None:
    assert delta_texts(compare(a, b)) == [expected]


def test_deltas_of_rows() -> None:
    a, b = FrameBuilder(), FrameBuilder()
    for i in range(4):
        a.add(f"T:{i}", 1.0, AMPERE)
        b.add(f"T:{i}", 1.0 + i, AMPERE)
    comparison = compare(a.build(), b.build())
    assert delta_texts(comparison, np.array([3, 0])) == ["+3.000 A", "0"]
    assert delta_texts(comparison, np.array([3]), 5) == ["+3..."]
    assert delta_texts(comparison.take(np.array([1, 2]))) == ["+1.000 A", "+2.000 A"]


@given(cell_lists(["a", "b", "c"]), cell_lists(["b", "c", "d"]))
def test_every_difference_has_one_line_of_text(a: list[Cell], b: list[Cell]) -> None:
    comparison = compare(frame_of(a), frame_of(b), 0.5)
    lines = delta_texts(comparison, limit=STRING_LIMIT)
    assert len(lines) == 4
    assert all(line.isprintable() and len(line.encode()) <= STRING_LIMIT for line in lines)
