"""Values without a type get the type of their PV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from format_helpers import types, values

from squirrel_ioc.formats import retype
from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta

ENUM = Meta(Dbf.ENUM, 1, labels=("Off", "On", "7"))
AS_READ = {str: Dbf.STRING, float: Dbf.DOUBLE, int: Dbf.LONG}


def retyped(value: Any, live: Meta, *, as_shown: bool = False) -> Any:
    """A value as it comes out, or the reason why it does not."""
    builder = FrameBuilder()
    first = value[0] if isinstance(value, list) else value
    builder.add("A", value, Meta(AS_READ[type(first)], max(len(value), 2) if isinstance(value, list) else 1))
    frame, problems = retype(builder.build(), {"A": live}, as_shown=as_shown)
    if problems:
        assert repr(values(frame)["A"]) == repr(value)
        return problems[0]
    assert types(frame)["A"] is live.dbf
    assert frame.metas[frame.meta[0]] is live
    return values(frame)["A"]


@pytest.mark.parametrize(
    ("value", "live", "expected"),
    [
        (1.5, Meta(Dbf.DOUBLE, 1, units="mm"), 1.5),
        (1.1, Meta(Dbf.FLOAT, 1), float(np.float32(1.1))),
        (3.0, Meta(Dbf.LONG, 1), 3),
        ("1.10", Meta(Dbf.DOUBLE, 1), 1.1),
        (" 2 ", Meta(Dbf.SHORT, 1), 2),
        (5.0, Meta(Dbf.STRING, 1), "5"),
        (1.1, Meta(Dbf.STRING, 1), "1.1"),
        (-12, Meta(Dbf.STRING, 1), "-12"),
        (1.0, ENUM, 1),
        (7.0, ENUM, 7),
        ("On", ENUM, 1),
        ("1", ENUM, 1),
        ("7", ENUM, 2),
        (-1.0, Meta(Dbf.CHAR, 1), 255),
        (200.0, Meta(Dbf.CHAR, 1), 200),
        ("abc", Meta(Dbf.CHAR, 10), [97, 98, 99, 0]),
        ("abc", Meta(Dbf.CHAR, 3), [97, 98, 99]),
        ([1.0, 2.0], Meta(Dbf.SHORT, 4), [1, 2]),
        ([1.0, 2.0], Meta(Dbf.STRING, 4), ["1", "2"]),
        (["1", "x"], Meta(Dbf.STRING, 4), ["1", "x"]),
        (1.5, Meta(Dbf.DOUBLE, 4), [1.5]),
        ([1.5], Meta(Dbf.DOUBLE, 1), 1.5),
        (1.5, Meta(Dbf.LONG, 1), "1.5 is no whole number: the PV is LONG"),
        ("abc", Meta(Dbf.DOUBLE, 1), "'abc' is no number: the PV is DOUBLE"),
        ("9007199254740994", Meta(Dbf.DOUBLE, 1), 9007199254740994.0),
        (
            "9007199254740993",
            Meta(Dbf.DOUBLE, 1),
            "9007199254740993 is an integer that no double is equal to: the PV is DOUBLE",
        ),
        ("x" * 60, Meta(Dbf.STRING, 1), "x" * 60),
        ("1_0", Meta(Dbf.LONG, 1), "'1_0' is no number: the PV is LONG"),
        (70000, Meta(Dbf.SHORT, 1), "70000 does not fit SHORT: the PV is SHORT"),
        ("Broken", ENUM, "'Broken' is no state of Off, On, 7: the PV is ENUM"),
        ("abcd", Meta(Dbf.CHAR, 3), "a text of 4 bytes: the PV is CHAR[3]"),
        ([1.0, 2.0, 3.0], Meta(Dbf.DOUBLE, 2), "3 elements: the PV is DOUBLE[2]"),
        ([1.0, 2.0], Meta(Dbf.DOUBLE, 1), "2 elements: the PV is DOUBLE"),
        (1e300, Meta(Dbf.FLOAT, 1), "1e+300 does not fit FLOAT: the PV is FLOAT"),
        (float("nan"), Meta(Dbf.LONG, 1), "nan is no whole number: the PV is LONG"),
    ],
)
def test_as_in_autosave(value: Any, live: Meta, expected: Any) -> None:
    assert retyped(value, live) == expected


@pytest.mark.parametrize(
    ("value", "live", "expected"),
    [
        (7, ENUM, 2),
        ("7", ENUM, 2),
        (1, ENUM, 1),
        ("b", Meta(Dbf.CHAR, 1), 98),
        (5, Meta(Dbf.CHAR, 1), ord("5")),
        ("", Meta(Dbf.CHAR, 1), 0),
        ([1, 2, 3], Meta(Dbf.CHAR, 8), [*b"123"]),
    ],
)
def test_as_in_burt(value: Any, live: Meta, expected: Any) -> None:
    assert retyped(value, live, as_shown=True) == expected


@pytest.mark.parametrize("nuls", [0, 1, 5])
@pytest.mark.parametrize("text", ["", "5", "short", "x" * 60, "µm"])
def test_a_long_string_becomes_the_text_of_a_string(text: str, nuls: int) -> None:
    builder = FrameBuilder()
    builder.add("A", text.encode() + b"\0" * nuls, Meta(Dbf.CHAR, 80))
    frame, problems = retype(builder.build(), {"A": Meta(Dbf.STRING, 1)})
    assert problems == {}
    assert values(frame)["A"] == text


@pytest.mark.parametrize("raw", [b"\x05\x06", b"a\0b\0"])
def test_characters_that_are_no_text_become_none(raw: bytes) -> None:
    builder = FrameBuilder()
    builder.add("A", raw, Meta(Dbf.CHAR, 80))
    assert retype(builder.build(), {"A": Meta(Dbf.STRING, 1)}).problems == {0: f"{len(raw)} elements: the PV is STRING"}


def test_what_is_not_known_is_kept() -> None:
    builder = FrameBuilder()
    builder.add("A", 1.5, Meta(Dbf.DOUBLE, 1), severity=2, status=3, stamp=4)
    builder.add_missing("B")
    builder.add("C", 2.0, Meta(Dbf.DOUBLE, 1))
    frame, problems = retype(builder.build(), {"B": Meta(Dbf.LONG, 1), "C": Meta(Dbf.NONE, 0)})
    assert problems == {}
    assert values(frame) == {"A": 1.5, "B": None, "C": 2.0}
    assert (frame.severity[0], frame.status[0], frame.stamp[0]) == (2, 3, 4)
