"""From libca's memory to a frame and back, without libca's network."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from epicscorelibs import path
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from squirrel_ioc.ca._decode import Columns
from squirrel_ioc.ca._encode import Encoded
from squirrel_ioc.ca._layout import CTRL_DTYPE, DBR_CTRL, DBR_TIME, TIME_DTYPE, VALUE_OFFSET
from squirrel_ioc.ca._meta import MetaStore
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, NO_META, STRING_SIZE, Dbf, Meta, State

NATIVE = list(TIME_DTYPE)


@pytest.mark.parametrize("dbf", NATIVE, ids=lambda dbf: dbf.name)
def test_layouts_are_those_of_libca(dbf: Dbf) -> None:
    lib = ctypes.CDLL(path.get_lib("ca"))
    sizes = (ctypes.c_ushort * 39).in_dll(lib, "dbr_size")
    value_sizes = (ctypes.c_ushort * 39).in_dll(lib, "dbr_value_size")
    offsets = (ctypes.c_ushort * 39).in_dll(lib, "dbr_value_offset")
    for base, dtypes in ((DBR_TIME, TIME_DTYPE), (DBR_CTRL, CTRL_DTYPE)):
        dtype = dtypes[dbf]
        assert dtype.fields is not None
        assert dtype.itemsize == sizes[dbf + base]
        assert dtype.fields["value"][1] == offsets[dbf + base]
        assert dtype["value"].itemsize == value_sizes[dbf + base]
    assert VALUE_OFFSET[dbf] == offsets[dbf + DBR_TIME]


def raw_elements(dbf: Dbf, max_size: int) -> st.SearchStrategy[bytes]:
    """Any bits a value of the type can have; strings end with a NUL, as IOCs send them."""
    if dbf is Dbf.STRING:
        texts = st.binary(max_size=STRING_SIZE - 1).map(lambda b: b.split(b"\0")[0].ljust(STRING_SIZE, b"\0"))
        return st.lists(texts, max_size=max_size).map(b"".join)
    size = ELEMENT_DTYPE[dbf].itemsize
    return st.integers(0, max_size).flatmap(lambda n: st.binary(min_size=n * size, max_size=n * size))


scalars = st.sampled_from(NATIVE).flatmap(
    lambda dbf: st.tuples(st.just(dbf), raw_elements(dbf, 1).filter(bool), st.just(False))
)
arrays = st.sampled_from(NATIVE).flatmap(lambda dbf: st.tuples(st.just(dbf), raw_elements(dbf, 5), st.just(True)))


def time_record(dbf: Dbf, raw: bytes, row: int) -> bytes:
    header = np.zeros((), TIME_DTYPE[dbf])
    header["status"], header["severity"], header["seconds"], header["nanoseconds"] = row % 20, row % 4, row, row * 7
    return header.tobytes()[: VALUE_OFFSET[dbf]] + raw


def frame_of(values: list[tuple[Dbf, bytes, bool]]) -> Frame:
    """As the engine makes it from what libca wrote."""
    dbf = np.array([v[0] for v in values], np.uint8)
    columns = Columns(np.full(len(values), State.VALUE, np.uint8), dbf)
    for kind in NATIVE:
        rows = np.array([i for i, v in enumerate(values) if v[0] is kind and not v[2]], np.intp)
        if len(rows):
            records = b"".join(time_record(kind, values[i][1], i) for i in rows)
            columns.scalars(kind, rows, np.frombuffer(records, TIME_DTYPE[kind]))
    rows = np.array([i for i, v in enumerate(values) if v[2]], np.intp)
    answers = [
        (len(values[i][1]) // ELEMENT_DTYPE[values[i][0]].itemsize, time_record(values[i][0], values[i][1], i))
        for i in rows.tolist()
    ]
    columns.arrays(rows, answers)
    names = ChannelList.of(str(i) for i in range(len(values)))
    return columns.frame(names, np.zeros(len(values), np.int32), (NO_META,))


def bytes_at(encoded: Encoded, i: int) -> bytes:
    size = ELEMENT_DTYPE[Dbf(int(encoded.types[i]))].itemsize
    return ctypes.string_at(int(encoded.pointers[i]), int(encoded.counts[i]) * size)


@given(st.lists(st.one_of(scalars, arrays), max_size=12), st.randoms())
def test_every_value_comes_back_bit_for_bit(values: list[tuple[Dbf, bytes, bool]], random: Any) -> None:
    frame = frame_of(values)
    rows = np.arange(len(values))
    random.shuffle(rows)
    encoded = Encoded(frame, rows)
    for i, row in enumerate(rows.tolist()):
        dbf, raw, array = values[row]
        assert encoded.types[i] == dbf
        assert bytes_at(encoded, i) == raw
        assert encoded.pointers[i] % 8 == 0 or not array
        seconds = row + 631152000
        assert frame.stamp[row] == seconds * 10**9 + row * 7
        assert (frame.status[row], frame.severity[row]) == (row % 20, row % 4)
    assert np.all(np.diff(frame.side_row) > 0)


def test_what_follows_the_end_of_a_string_is_dropped() -> None:
    raw = b"abc\0rest".ljust(STRING_SIZE, b"\0")
    assert frame_of([(Dbf.STRING, raw, False)]).raw(0) == b"abc"
    full = b"x" * STRING_SIZE
    assert frame_of([(Dbf.STRING, full, False)]).raw(0) == full


def test_rows_without_an_answer_stay_empty() -> None:
    columns = Columns(np.array([State.TIMEOUT, State.VALUE], np.uint8), np.full(2, Dbf.DOUBLE, np.uint8))
    records = np.zeros(2, TIME_DTYPE[Dbf.DOUBLE])
    columns.scalars(Dbf.DOUBLE, np.array([0, 1]), records)
    columns.arrays(np.zeros(0, np.intp), [])
    frame = columns.frame(ChannelList.of("ab"), np.zeros(2, np.int32), (NO_META,))
    assert frame.state.tolist() == [State.TIMEOUT, State.VALUE]
    assert frame.count.tolist() == [0, 1]
    assert (frame.severity[0], frame.status[0], frame.stamp[0]) == (-1, -1, 0)
    assert np.isnan(frame.number[0])


def ctrl(dbf: Dbf, **fields: Any) -> NDArray[Any]:
    record = np.zeros(1, CTRL_DTYPE[dbf])
    for name, value in fields.items():
        record[name] = value
    return record


def test_meta_data_that_are_equal_are_one() -> None:
    store = MetaStore()
    limits = [1, -1, np.nan, np.nan, np.nan, np.nan, 2, -2]
    one = ctrl(Dbf.DOUBLE, units=b"mm\0junk", precision=3, limits=limits, value=5.0, status=1, severity=2)
    same = ctrl(Dbf.DOUBLE, units=b"mm\0junk", precision=3, limits=limits, value=-7.0)
    other = ctrl(Dbf.DOUBLE, units=b"mm", precision=2, limits=limits)
    indexes = store.intern(Dbf.DOUBLE, [1, 1, 1, 8], np.concatenate((one, same, other, same)))
    assert indexes == [1, 1, 2, 3]
    nan = float("nan")
    assert store.all[1] == Meta(Dbf.DOUBLE, 1, "mm", 3, (1.0, -1.0, nan, nan, nan, nan, 2.0, -2.0))
    assert store.all[3].count == 8
    assert store.intern(Dbf.DOUBLE, [1], one) == [1]


def test_labels() -> None:
    store = MetaStore()
    record = ctrl(Dbf.ENUM, labels=3, value=1)
    record["label"][0, :4] = [b"Off", b"", "µ".encode("latin-1"), b"unused"]
    (index,) = store.intern(Dbf.ENUM, [1], record)
    assert store.all[index] == Meta(Dbf.ENUM, 1, labels=("Off", "", "µ"))


def test_meta_data_of_a_channel_not_yet_asked() -> None:
    store = MetaStore()
    bare = store.bare(Dbf.LONG, 4)
    assert store.all[bare] == Meta(Dbf.LONG, 4)
    assert store.fitting(bare, Dbf.LONG, 4) == bare
    changed = store.fitting(bare, Dbf.CHAR, 4)
    assert store.all[changed] == Meta(Dbf.CHAR, 4)
    assert store.fitting(0, Dbf.LONG, 4) == bare
