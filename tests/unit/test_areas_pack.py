"""Columns as bytes: what a worker gets and answers is what was meant, bit for bit, or is refused."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import pytest
from frame_strategies import Cell, all_bits, cell_lists, check, frame_of
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.areas._pack import frame_columns, pack, pack_frame, pack_live, unpack, unpack_frame, unpack_live
from squirrel_ioc.ca import Live
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State

COLUMNS = ("connected", "readable", "writable", "dbf", "count", "meta", "ioc", "connection")


def bytes_of_live(live: Live) -> list[object]:
    return [getattr(live, name).tobytes() for name in COLUMNS] + [live.metas, live.iocs]


@st.composite
def lives(draw: st.DrawFn) -> Live:
    """Of up to five channels."""
    size = draw(st.integers(0, 5))
    metas = (
        NO_META,
        Meta(Dbf.ENUM, 1, labels=("Zu", "äöü", "")),
        Meta(Dbf.DOUBLE, 8, "mm", 3, (0.0, -1e308, np.inf, 1.5, 0.0, -0.0, 5e-324, -np.inf)),
    )
    iocs = ("127.0.0.1:5064", "h-1")

    def column(low: int, high: int, dtype: type[np.generic]) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(low, high), min_size=size, max_size=size)), dtype)

    flags = [column(0, 1, np.bool_) for _ in range(3)]
    dbf, count, meta = column(0, 7, np.uint8), column(0, 2**31 - 1, np.int32), column(0, 2, np.int32)
    ignored = draw(st.dictionaries(st.integers(0, 9), st.sampled_from(iocs)))
    ioc, connection = column(-1, 1, np.int32), column(-1, 2**31 - 1, np.int32)
    return Live(*flags, dbf, count, meta, metas, ioc, iocs, connection, ignored=ignored)


@given(cell_lists())
def test_a_frame_comes_back_to_the_bit(cells: list[Cell]) -> None:
    frame = frame_of(cells)
    again = unpack_frame(unpack(pack_frame(frame)), frame.channels)
    check(again)
    assert all_bits(again) == all_bits(frame)


@given(lives())
def test_a_live_comes_back_to_the_bit(live: Live) -> None:
    again = unpack_live(pack_live(live), len(live.connected))
    assert bytes_of_live(again) == bytes_of_live(live)
    assert again.ignored == live.ignored


@given(cell_lists(), st.data())
def test_other_bytes_are_refused(cells: list[Cell], data: st.DataObject) -> None:
    """Or are the columns of such a frame: nothing else comes out, and nothing else is raised."""
    frame = frame_of(cells)
    packed = bytearray(pack_frame(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    for damaged in (bytes(packed), bytes(packed[:cut]), bytes(packed[cut:])):
        try:
            again = unpack_frame(unpack(damaged), frame.channels)
        except StoreError:
            continue
        check(again)
        assert again.channels is frame.channels


@given(st.binary(max_size=40))
@pytest.mark.parametrize("start", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"PK\x05\x06", b"\x80\x04"])
def test_no_columns_are_refused(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(StoreError):
        assert unpack(start + rest) == {}


def test_an_array_alone_and_a_pickle_are_refused() -> None:
    alone, pickled = io.BytesIO(), io.BytesIO()
    np.save(alone, np.arange(3))
    np.savez(pickled, a=np.array([object()]))
    for data in (alone.getvalue(), pickled.getvalue()):
        with pytest.raises(StoreError):
            unpack(data)


def test_members_that_are_no_arrays_are_refused() -> None:
    for name, member in (("state.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"{" * 118), ("state", b"text")):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(name, member)
        with pytest.raises(StoreError):
            unpack(out.getvalue())


FRAME = frame_of([Cell("a", Meta(Dbf.STRING, 1), b"on"), Cell("b", Meta(Dbf.DOUBLE, 4), bytes(16))])


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("state", np.zeros(3, np.uint8)),
        ("state", np.zeros((2, 1), np.uint8)),
        ("state", np.zeros(2, np.int64)),
        ("number", np.zeros(2, np.float32)),
        ("meta", np.array([0, 99], np.int32)),
        ("meta", np.array([-1, 0], np.int32)),
        ("metas", np.frombuffer(b"{}", np.uint8)),
        ("metas", np.frombuffer(b"[[0]]", np.uint8)),
        ("metas", np.frombuffer(b"\xff\xfe", np.uint8)),
        ("metas", np.frombuffer(b'[[99, 1, "", 0, [], []]]', np.uint8)),
        ("side_row", np.zeros(1, np.int32)),
        ("side_row", np.array([1, 0], np.int32)),
        ("side_row", np.array([0, 2], np.int32)),
        ("side_row", np.array([-1, 1], np.int32)),
        ("side_end", np.array([2, 1], np.int64)),
        ("side_end", np.array([2, 99], np.int64)),
        ("side_end", np.array([-2, 18], np.int64)),
        ("side", np.zeros(1, np.uint8)),
    ],
)
def test_columns_that_do_not_fit_are_refused(name: str, column: np.ndarray) -> None:
    columns = unpack(pack(frame_columns(FRAME) | {name: column}))
    with pytest.raises(StoreError):
        unpack_frame(columns, FRAME.channels)


@pytest.mark.parametrize("name", list(frame_columns(FRAME)))
def test_a_missing_column_is_refused(name: str) -> None:
    columns = frame_columns(FRAME)
    del columns[name]
    with pytest.raises(StoreError):
        unpack_frame(columns, FRAME.channels)


def test_a_frame_of_others_is_refused() -> None:
    with pytest.raises(StoreError):
        unpack_frame(unpack(pack_frame(FRAME)), ChannelList.of(["a"]))
    with pytest.raises(StoreError):
        unpack_live(pack_frame(FRAME), 2)


def test_no_rows() -> None:
    empty = Frame.empty(ChannelList.of(()), State.NO_WORKER)
    assert len(unpack_frame(unpack(pack_frame(empty)), empty.channels)) == 0
