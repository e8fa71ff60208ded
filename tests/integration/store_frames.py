"""Frames with any bits in them, and what must come back of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State

COLUMNS = ("state", "dbf", "count", "severity", "status", "stamp", "number", "side_row", "side_end")

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8)


def metas() -> st.SearchStrategy[Meta]:
    """Any meta data; -0.0 apart, which equals 0.0."""
    limit = st.floats(width=64).map(lambda x: x + 0.0)
    return st.builds(
        Meta,
        st.sampled_from(Dbf),
        st.integers(0, 2**31 - 1),
        TEXT,
        st.integers(-(2**31), 2**31 - 1),
        st.tuples(*[limit] * 8),
        st.lists(TEXT, max_size=4).map(tuple),
    )


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """A frame of any size up to a few chunks, any bits in its columns."""
    size = draw(st.integers(0, 6) | st.sampled_from([992, 993, 994, 1985, 1986, 1987]))
    noise = np.random.default_rng(draw(st.integers(0, 2**32)))
    known = (NO_META, *draw(st.lists(metas(), max_size=4)))
    side_row = np.flatnonzero(noise.random(size) < draw(st.sampled_from([0.0, 0.1, 1.0]))).astype(np.int32)
    lengths = noise.choice([0, 0, 1, 40, 128, 3000], len(side_row))

    def bits(dtype: type[np.generic]) -> np.ndarray:
        return np.frombuffer(noise.bytes(size * np.dtype(dtype).itemsize), dtype)

    return Frame(
        ChannelList.of([f"T:{i}" for i in range(size)], int(noise.integers(0, size + 1))),
        noise.integers(0, len(State), size).astype(np.uint8),
        noise.integers(0, len(Dbf), size).astype(np.uint8),
        bits(np.int32),
        bits(np.int16),
        bits(np.int16),
        bits(np.int64),
        odd_numbers(noise, size),
        noise.integers(0, len(known), size).astype(np.int32),
        known,
        side_row,
        np.cumsum(lengths).astype(np.int64),
        noise.bytes(int(lengths.sum())),
    )


def odd_numbers(noise: np.random.Generator, size: int) -> np.ndarray:
    """Doubles of every sort: NaN with payload and sign, infinities, zeros, denormals, any bits."""
    odd = np.array([0x7FF8000000000001, 0xFFF4000000000000, 0x7FF0000000000000, 0x8000000000000000, 1], np.uint64)
    numbers = np.frombuffer(noise.bytes(size * 8), np.uint64).copy()
    chosen = noise.random(size) < 0.5
    numbers[chosen] = noise.choice(odd, int(chosen.sum()))
    return numbers.view(np.float64)


def assert_same(one: Frame, other: Frame) -> None:
    """Equal to the bit, and in type."""
    assert one.channels.names == other.channels.names
    assert one.channels.setpoints == other.channels.setpoints
    for name in COLUMNS:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        assert a.tobytes() == b.tobytes(), name
    assert one.side == other.side
    assert one.meta.dtype == other.meta.dtype
    assert [one.metas[i] for i in one.meta] == [other.metas[i] for i in other.meta]
