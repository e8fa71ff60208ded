"""Frames keep every value bit for bit, whatever is taken from them or joined."""

from __future__ import annotations

import numpy as np
import pytest
from frame_strategies import Cell, all_bits, bits, cell_lists, check, frame_of
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import ELEMENT_DTYPE, NO_META, STRING_SIZE, Dbf, Meta, State

DOUBLE = Meta(Dbf.DOUBLE, 1)
WAVE = Meta(Dbf.DOUBLE, 16)
TEXT = Meta(Dbf.STRING, 1)
TEXTS = Meta(Dbf.STRING, 4)


def one(value: object, meta: Meta) -> Frame:
    """A frame of one channel."""
    builder = FrameBuilder()
    builder.add("T:X", value, meta)
    frame = builder.build()
    check(frame)
    return frame


def stored(frame: Frame, cell: Cell, row: int) -> bytes | None:
    """The bytes a row stands for, from `number` or from the side table."""
    if cell.raw is None:
        return None
    raw = frame.raw(row)
    if raw is not None:
        return raw
    return np.array(frame.number[row]).astype(ELEMENT_DTYPE[cell.meta.dbf]).tobytes()


@given(cell_lists())
def test_every_bit_pattern_is_kept(rows: list[Cell]) -> None:
    frame = frame_of(rows)
    check(frame)
    assert [stored(frame, c, i) for i, c in enumerate(rows)] == [c.raw for c in rows]
    assert frame.channels.names == tuple(c.name for c in rows)
    assert frame.valid.tolist() == [c.raw is not None for c in rows]


@given(cell_lists(), st.data())
def test_take_keeps_rows_as_they_are(rows: list[Cell], data: st.DataObject) -> None:
    frame = frame_of(rows)
    keep = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    taken = frame.take(np.flatnonzero(keep))
    check(taken)
    assert all_bits(taken) == [bits(frame, row) for row, k in enumerate(keep) if k]


@given(st.lists(cell_lists(), max_size=4))
def test_concatenate_keeps_rows_as_they_are(parts: list[list[Cell]]) -> None:
    frames = [frame_of(rows) for rows in parts]
    joined = Frame.concatenate(frames)
    check(joined)
    assert all_bits(joined) == [b for f in frames for b in all_bits(f)]


@given(cell_lists(), st.data())
def test_split_and_joined_is_the_same_again(rows: list[Cell], data: st.DataObject) -> None:
    frame = frame_of(rows)
    cut = data.draw(st.integers(0, len(rows)))
    parts = [frame.take(np.arange(cut)), frame.take(np.arange(cut, len(rows)))]
    joined = Frame.concatenate(parts, frame.channels)
    check(joined)
    assert joined.channels is frame.channels
    assert all_bits(joined) == all_bits(frame)


def test_take_of_all_is_the_frame_itself() -> None:
    frame = one("abc", TEXT)
    assert frame.take(np.arange(1)) is frame
    other = ChannelList.of(["T:X"])
    assert frame.take(np.arange(1), other).channels is other


def test_take_of_nothing() -> None:
    frame = one("abc", TEXT).take(np.zeros(0, np.intp))
    check(frame)
    assert len(frame) == 0
    empty = ChannelList.of([])
    assert one("abc", TEXT).take(np.zeros(0, np.intp), empty).channels is empty


def test_concatenate_shares_meta_data_that_are_shared() -> None:
    frame = one(1.0, DOUBLE)
    assert Frame.concatenate([frame, frame]).metas is frame.metas
    other = one(2.0, Meta(Dbf.DOUBLE, 1, units="A"))
    joined = Frame.concatenate([frame, other, frame])
    assert len(joined.metas) == 3
    assert [joined.metas[m].units for m in joined.meta] == ["", "A", ""]


def test_concatenate_refuses_a_list_of_another_length() -> None:
    with pytest.raises(ValueError, match="1 rows for 2 channels"):
        Frame.concatenate([one(1.0, DOUBLE)], ChannelList.of(["a", "b"]))


def test_empty_frames() -> None:
    for frame in (FrameBuilder().build(), Frame.concatenate([]), Frame.empty(ChannelList.of([]))):
        check(frame)
        assert len(frame) == 0
        assert len(Frame.concatenate([frame, frame])) == 0
    frame = Frame.empty(ChannelList.of(["a", "b"]), State.TIMEOUT)
    check(frame)
    assert frame.value(1) is None
    assert not frame.valid.any()


def test_builder_keeps_the_list_it_is_given() -> None:
    empty = ChannelList.of([])
    assert FrameBuilder().build(empty).channels is empty
    builder = FrameBuilder()
    builder.add_missing("a")
    names = ChannelList.of(["a"])
    assert builder.build(names).channels is names
    with pytest.raises(ValueError, match="other names"):
        builder.build(ChannelList.of(["b"]))


@pytest.mark.parametrize(
    ("value", "meta"),
    [
        (1.5, DOUBLE),
        (7, Meta(Dbf.LONG, 1)),
        (-(2**31), Meta(Dbf.LONG, 1)),
        (65535, Meta(Dbf.ENUM, 1)),
        (255, Meta(Dbf.CHAR, 1)),
        ("", TEXT),
        ("quadrupole µm", TEXT),
        ("x" * 39, TEXT),
        ([], TEXTS),
        (["one"], TEXTS),
        (["one", "", "three"], TEXTS),
    ],
)
def test_value_returns_what_was_added(value: object, meta: Meta) -> None:
    result = one(value, meta).value(0)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("dbf", [d for d in ELEMENT_DTYPE if d is not Dbf.STRING])
@pytest.mark.parametrize("length", [0, 1, 16])
def test_arrays_return_as_arrays_of_their_type(dbf: Dbf, length: int) -> None:
    frame = one(np.arange(length), Meta(dbf, 16))
    result = frame.value(0)
    assert isinstance(result, np.ndarray)
    assert result.dtype == ELEMENT_DTYPE[dbf]
    assert result.tolist() == list(range(length))
    assert frame.count[0] == length
    assert np.isnan(frame.number[0])


def test_one_text_fits_an_array_of_strings() -> None:
    frame = one("one", TEXTS)
    assert frame.value(0) == ["one"]
    assert frame.raw(0) == b"one".ljust(STRING_SIZE, b"\0")


def test_raw_strings_end_at_their_nul_where_they_are_scalars() -> None:
    assert one(b"abc\0rest", TEXT).raw(0) == b"abc"
    both = b"abc\0rest".ljust(STRING_SIZE, b"\0")
    assert one(both, TEXTS).raw(0) == both
    assert one(both, TEXTS).value(0) == ["abc"]


def test_strings_that_are_no_utf8_are_latin1() -> None:
    assert one("°C".encode("latin-1"), TEXT).value(0) == "°C"
    assert one("°C".encode(), TEXT).value(0) == "°C"


def test_a_float_nan_that_a_double_cannot_carry_is_kept() -> None:
    signalling = np.array([0x7F800001], np.uint32).tobytes()
    frame = one(signalling, Meta(Dbf.FLOAT, 1))
    assert frame.raw(0) == signalling
    assert np.isnan(frame.value(0))
    assert one(np.array([0x7FC01234], np.uint32).tobytes(), Meta(Dbf.FLOAT, 1)).raw(0) is None


@pytest.mark.parametrize(
    ("value", "meta", "reason"),
    [
        (1, NO_META, "type is not known"),
        (None, DOUBLE, "no value"),
        ("1", DOUBLE, "no number"),
        (2**53 + 1, DOUBLE, "an integer that no double is equal to"),
        ([1, -(2**63) + 1], Meta(Dbf.DOUBLE, 2), "an integer that no double is equal to"),
        (1.5, Meta(Dbf.LONG, 1), "does not fit LONG"),
        (2**31, Meta(Dbf.LONG, 1), "does not fit LONG"),
        (2**70, Meta(Dbf.LONG, 1), "no number"),
        (float("nan"), Meta(Dbf.SHORT, 1), "does not fit SHORT"),
        (float("inf"), Meta(Dbf.LONG, 1), "does not fit LONG"),
        (-1, Meta(Dbf.CHAR, 1), "does not fit CHAR"),
        (1e39, Meta(Dbf.FLOAT, 1), "does not fit FLOAT"),
        ([1.0, 2.0], DOUBLE, "2 elements do not fit a scalar"),
        ([[1.0]], DOUBLE, "do not fit a scalar"),
        ([], DOUBLE, "0 elements"),
        ([[1.0], [2.0]], WAVE, "elements within elements"),
        (range(17), WAVE, "17 elements, the channel holds 16"),
        ([1, "a"], WAVE, "no number"),
        (b"1234567", DOUBLE, "7 bytes do not fit DOUBLE"),
        (b"1" * 16, DOUBLE, "16 bytes do not fit DOUBLE"),
        (b"1234567", WAVE, "7 bytes do not fit DOUBLE"),
        (b"1" * 41, TEXTS, "no whole number of strings"),
        (b"1" * 32768, TEXT, "longer than 32767 bytes"),
        ("é" * 16384, TEXT, "longer than 32767 bytes"),
        (["é" * 20], TEXTS, "longer than 39 bytes"),
        ("a\0b", TEXT, "NUL"),
        (["a"] * 5, TEXTS, "5 elements, the channel holds 4"),
        (["a", "b"], TEXT, "2 elements do not fit a scalar"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(value: object, meta: Meta, reason: str) -> None:
    builder = FrameBuilder()
    with pytest.raises(ValueError, match=reason) as error:
        builder.add("T:X", value, meta)
    assert "T:X" in str(error.value)
    assert len(builder.build()) == 0


def test_flags_are_numbers() -> None:
    assert one(True, Meta(Dbf.ENUM, 1)).value(0) == 1
    assert one([True, False], Meta(Dbf.CHAR, 2)).value(0).tolist() == [1, 0]


def test_lists_find_each_other() -> None:
    here = ChannelList.of(["a", "b", "c"])
    assert here.find(here).tolist() == [0, 1, 2]
    assert here.find(ChannelList.of(["a", "b", "c"])).tolist() == [0, 1, 2]
    assert here.find(ChannelList.of(["c", "x", "a"])).tolist() == [2, -1, 0]
    assert here.find(ChannelList.of([])).tolist() == []
    assert ChannelList.of([]).find(here).tolist() == [-1, -1, -1]
    assert here.same_as(ChannelList.of("abc"))
    assert not here.same_as(ChannelList.of("ab"))


def test_rows_that_are_taken_bring_their_texts_and_arrays_along() -> None:
    builder = FrameBuilder()
    for i in range(4_000):
        if i % 20 == 0:
            builder.add(f"T:{i}", f"text {i}", TEXT)
        elif i % 20 == 1:
            builder.add(f"T:{i}", np.full(16, i), WAVE)
        else:
            builder.add(f"T:{i}", i, DOUBLE)
    frame = builder.build()
    rows = np.arange(1, 4_000)
    taken = frame.take(rows)
    assert len(taken.side_row) == 399
    assert all(taken.raw(i) == frame.raw(row) for i, row in enumerate(rows.tolist()))
    assert taken.number[1:19].tolist() == list(range(2, 20))
