"""PostgreSQL's binary format, byte by byte."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from squirrel_ioc.errors import StoreError
from squirrel_ioc.store import pgcopy

KINDS = [(pgcopy.INT2, "i2"), (pgcopy.INT4, "i4"), (pgcopy.INT8, "i8"), (pgcopy.FLOAT8, "f8")]


def test_array_field_is_what_postgres_documents() -> None:
    (field,) = pgcopy.INT2.fields(np.array([1, -2], np.int16), [(0, 2)])
    assert field == bytes.fromhex(
        "00000020"  # length of the field
        "00000001 00000000 00000015"  # one dimension, no nulls, type int2
        "00000002 00000001"  # two elements, the first is number 1
        "00000002 0001"
        "00000002 fffe"
    )


def test_empty_array_has_no_dimension() -> None:
    (field,) = pgcopy.FLOAT8.fields(np.zeros(0), [(0, 0)])
    assert field == struct.pack("!iiii", 12, 0, 0, 701)


def test_a_smaller_type_is_widened() -> None:
    (field,) = pgcopy.INT2.fields(np.array([255], np.uint8), [(0, 1)])
    assert field[-2:] == b"\x00\xff"


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
@given(data=st.data())
def test_every_bit_comes_back(kind: pgcopy.ArrayType, dtype: str, data: st.DataObject) -> None:
    size = np.dtype(dtype).itemsize
    raw = data.draw(st.binary(max_size=20 * size).map(lambda b: b[: len(b) // size * size]))
    column = np.frombuffer(raw, dtype)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(column)), max_size=3)))
    edges = [0, *cuts, len(column)]
    fields = list(kind.fields(column, list(pairwise(edges))))
    assert all(struct.unpack_from("!i", f)[0] == len(f) - 4 for f in fields)
    assert kind.join(f[4:] for f in fields).tobytes() == raw


@given(hnp.arrays(np.int64, st.integers(0, 5)))
def test_another_type_is_refused(column: np.ndarray) -> None:
    (field,) = pgcopy.INT8.fields(column, [(0, len(column))])
    with pytest.raises(StoreError, match="array of type 20"):
        pgcopy.INT4.parse(field[4:])


def test_nothing_joined_is_empty() -> None:
    assert pgcopy.INT4.join([]).shape == (0,)
    assert pgcopy.INT4.join([]).dtype == np.int32


def test_a_row_counts_its_fields() -> None:
    assert pgcopy.row([pgcopy.int4_field(7)]) == struct.pack("!hii", 1, 4, 7)
    assert pgcopy.row([], more=2) == struct.pack("!h", 2)


def test_a_field_too_long_is_refused() -> None:
    assert pgcopy.field_length(pgcopy.MAX_FIELD) == struct.pack("!i", pgcopy.MAX_FIELD)
    with pytest.raises(StoreError, match="more than one row"):
        pgcopy.field_length(pgcopy.MAX_FIELD + 1)
