"""Elements and structures of the wire."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from caproto import AlarmSeverity, AlarmStatus, ChannelType
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.ioc.kinds.pv import stamp_of
from squirrel_ioc.ioc.kinds.wire import (
    cut_utf8,
    encode_numbers,
    encode_strings,
    encode_text,
    format_number,
    metadata,
)


@given(st.text(), st.integers(0, 50))
def test_cut_text_is_a_whole_beginning(text: str, limit: int) -> None:
    raw = text.encode("utf-8", "ignore")
    cut = cut_utf8(raw, limit)
    assert len(cut) <= limit
    assert raw.startswith(cut)
    cut.decode()
    assert len(cut) > limit - 4 or cut == raw


@given(st.lists(st.text(max_size=60).map(lambda t: t.encode("utf-8", "ignore").decode().replace("\0", ""))))
def test_strings_are_forty_bytes_each(texts: list[str]) -> None:
    elements = encode_strings(texts)
    assert (elements.count, elements.size, len(elements.data)) == (len(texts), 40, 40 * len(texts))
    for i, text in enumerate(texts):
        assert elements.data[40 * i : 40 * i + 40].rstrip(b"\0") == cut_utf8(text.encode(), 39)


def test_numbers_of_every_type() -> None:
    assert encode_numbers([1, -2], ChannelType.LONG).data == struct.pack(">2i", 1, -2)
    assert encode_numbers([1.5], ChannelType.DOUBLE).data == struct.pack(">d", 1.5)
    assert encode_numbers([1.5], ChannelType.FLOAT).data == struct.pack(">f", 1.5)
    assert encode_numbers([300], ChannelType.CHAR).data == bytes([300 & 255])
    assert encode_numbers([math.nan], ChannelType.LONG).count == 1  # without a warning
    assert encode_numbers([1e300], ChannelType.FLOAT).count == 1
    assert encode_numbers([1.25], ChannelType.STRING, 1).data.rstrip(b"\0") == b"1.2"
    assert encode_numbers(np.zeros(0), ChannelType.DOUBLE).count == 0


def test_sized_and_picked() -> None:
    elements = encode_numbers([1, 2, 3], ChannelType.INT)
    assert elements.sized(3) is elements
    assert elements.sized(1).data == struct.pack(">h", 1)
    longer = elements.sized(4)
    assert (longer.data, longer.zeros, longer.count) == (elements.data, 2, 4)
    assert elements.picked(1, None, None).data == struct.pack(">2h", 2, 3)
    assert elements.picked(0, -1, 2).data == struct.pack(">2h", 1, 3)
    assert elements.picked(1, 1, 1).count == 1
    assert list(elements.numbers(ChannelType.INT)) == [1, 2, 3]
    text = encode_strings(["a", "b"]).picked(1, 1, 1)
    assert (text.count, text.data) == (1, b"b".ljust(40, b"\0"))


def test_text_ends_with_a_nul_where_there_is_room() -> None:
    assert encode_text("abc", 10).data == b"abc\0"
    assert encode_text("abc", 3).data == b"abc"
    assert encode_text("", 3).data == b"\0"


@pytest.mark.parametrize(
    ("value", "precision", "text"),
    [
        (3, 5, "3"),
        (1.0, 0, "1"),
        (-0.05, 3, "-0.050"),
        (1e20, 2, "1.00e+20"),
        (math.nan, 2, "nan"),
        (math.inf, 1, "inf"),
    ],
)
def test_numbers_as_text(value: float, precision: int, text: str) -> None:
    assert format_number(value, precision) == text


def test_every_structure_has_the_size_of_base() -> None:
    """db_access.h; dbr_size minus the value."""
    sizes = {
        ChannelType.STS_STRING: 4,
        ChannelType.TIME_STRING: 12,
        ChannelType.TIME_DOUBLE: 16,
        ChannelType.GR_STRING: 4,
        ChannelType.CTRL_STRING: 4,
        ChannelType.GR_ENUM: 422,
        ChannelType.CTRL_CHAR: 21,
        ChannelType.CTRL_LONG: 44,
        ChannelType.CTRL_DOUBLE: 80,
    }
    for data_type, size in sizes.items():
        filled = metadata(
            data_type,
            status=AlarmStatus.HIGH,
            severity=AlarmSeverity.MINOR_ALARM,
            stamp=stamp_of(1_700_000_000.5),
            units="far too long",
            precision=2,
            limits=(1e12, -1e12, math.nan, math.inf, 0, 0, 1, -1),
            labels=("Off", "On") * 10,
        )
        assert len(bytes(filled)) == size
        assert (filled.status, filled.severity) == (4, 1)
    assert metadata(ChannelType.DOUBLE, status=0, severity=0, stamp=None) is None


def test_stamps() -> None:
    stamp = stamp_of(1_700_000_000.25)
    assert (stamp.secondsSinceEpoch, stamp.nanoSeconds) == (1_700_000_000 - 631152000, 250_000_000)
