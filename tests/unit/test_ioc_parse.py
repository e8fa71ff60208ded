"""What clients write, as Python sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from caproto import ChannelType
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.kinds.parse import parse_index, parse_number, parse_text, parse_whole

STRING, CHAR, DOUBLE, LONG = ChannelType.STRING, ChannelType.CHAR, ChannelType.DOUBLE, ChannelType.LONG
STATES = ("Changed", "All", "3")


@given(st.text(max_size=60))
def test_text_comes_as_it_was_sent_or_is_refused(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    data = np.frombuffer(raw, np.uint8)
    whole = text.split("\0")[0]
    encoded = raw.split(b"\0")[0]
    controls = any((c < " " and c != "\t") or c == "\x7f" for c in whole)
    surrogates = any("\ud800" <= c <= "\udfff" for c in whole)
    if controls or surrogates or len(encoded) > 50:
        with pytest.raises(RefusedError):
            parse_text(data, CHAR, 50)
    else:
        assert parse_text(data, CHAR, 50) == whole


@given(st.binary(max_size=40))
def test_any_bytes_are_text_or_refused(raw: bytes) -> None:
    for native, data in ((CHAR, np.frombuffer(raw, np.uint8)), (STRING, [raw])):
        try:
            text = parse_text(data, native, 20, lines=True)
        except RefusedError as error:
            assert str(error)  # noqa: PT017 - either is right, but never another error
        else:
            assert raw.split(b"\0")[0] in (text.encode(), text.encode("latin-1", "replace"))


def test_text_of_nothing() -> None:
    assert parse_text([], STRING, 5) == ""
    assert parse_text(np.zeros(0, np.uint8), CHAR, 5) == ""
    assert parse_text(np.array([72.0, 105.0, 0.0]), DOUBLE, 5) == "Hi"
    for bad in ([65536.0], [-1.0], [1.5], [np.nan], [0xD800]):
        with pytest.raises(RefusedError, match="no characters"):
            parse_text(np.array(bad), DOUBLE, 5)


def test_limit_is_named() -> None:
    with pytest.raises(RefusedError, match="has 6 bytes, at most 5 are possible"):
        parse_text([b"ABCDEF"], STRING, 5)
    with pytest.raises(RefusedError, match="position 1"):
        parse_text([b"A\x07"], STRING, 5)


@pytest.mark.parametrize(
    ("data", "native", "value"),
    [
        ([b"17"], STRING, 17),
        ([b" -3\0rest"], STRING, -3),
        ([b"1e1"], STRING, 10),
        (np.array([4.0]), DOUBLE, 4),
        (np.array([-7], np.int32), LONG, -7),
    ],
)
def test_whole(data: Any, native: Any, value: int) -> None:
    assert parse_whole(data, native, -100, 100) == value


@pytest.mark.parametrize(
    ("data", "native", "reason"),
    [
        ([b"x"], STRING, "'x' is no number"),
        ([b"1_0"], STRING, "no number"),
        ([b"nan"], STRING, "no whole number"),
        ([b"\xff"], STRING, "'ÿ' is no number"),
        (np.array([1.5]), DOUBLE, "1.5 is no whole number"),
        (np.array([np.inf]), DOUBLE, "no whole number"),
        (np.array([101.0]), DOUBLE, "101 is not between -100 and 100"),
        (np.array([1, 2]), LONG, "2 values are written where one is expected"),
        (np.zeros(0), LONG, "0 values"),
        ([b"9" * 39], STRING, "is not between"),
    ],
)
def test_no_whole(data: Any, native: Any, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        parse_whole(data, native, -100, 100)


def test_numbers() -> None:
    assert parse_number([b"1.5"], STRING, 0, 10) == 1.5
    assert parse_number(np.array([2], np.int32), LONG, 0, 10) == 2.0
    for data, native in (([b"inf"], STRING), (np.array([np.nan]), DOUBLE), (np.array([11.0]), DOUBLE)):
        with pytest.raises(RefusedError):
            parse_number(data, native, 0, 10)


def test_states() -> None:
    assert parse_index([b"All"], STRING, STATES) == 1
    assert parse_index([b"3"], STRING, STATES) == 2  # a label before a number
    assert parse_index([b"0"], STRING, STATES) == 0
    assert parse_index(np.array([2], np.uint16), ChannelType.ENUM, STATES) == 2
    for data, native in (([b"all"], STRING), ([b"7"], STRING), (np.array([3], np.uint16), ChannelType.ENUM)):
        with pytest.raises(RefusedError):
            parse_index(data, native, STATES)


def test_text_as_java_programs_send_it() -> None:
    for text in ("Prüfung", "€ 5", "\U0001f43f"):
        raw = text.encode("utf-16-le")
        units = np.frombuffer(raw, "<u2").astype(np.int32)
        assert parse_text(units, ChannelType.LONG, 40) == text
