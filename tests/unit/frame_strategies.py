"""Frames of everything a CA type can hold, for hypothesis; and what must hold for every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, Dbf, Meta, State

NUMERIC = [d for d in Dbf if d not in (Dbf.STRING, Dbf.NONE)]
MISSING = [s for s in State if s is not State.VALUE]


@dataclass(frozen=True)
class Cell:
    """One channel of a frame: `raw` is None where it has no value."""

    name: str
    meta: Meta
    raw: bytes | None
    state: State = State.VALUE
    severity: int = 0
    stamp: int = 0


def metas() -> st.SearchStrategy[Meta]:
    """Few different ones, so that channels share them and two frames often have the same."""

    def build(dbf: Dbf, count: int, precision: int, labels: tuple[str, ...]) -> Meta:
        number = dbf in (Dbf.FLOAT, Dbf.DOUBLE)
        return Meta(
            dbf,
            count,
            units="mm" if number else "",
            precision=precision if number else 0,
            labels=labels if dbf is Dbf.ENUM else (),
        )

    return st.builds(
        build,
        st.sampled_from([*NUMERIC, Dbf.STRING]),
        st.sampled_from([1, 1, 4]),
        st.sampled_from([0, 3]),
        st.sampled_from([(), ("Off", "On"), ("Off", "On", "Trip"), ("Closed", "Open")]),
    )


def elements(dbf: Dbf) -> st.SearchStrategy[bytes]:
    """The bytes of one element: any bit pattern, the interesting ones more often."""
    if dbf is Dbf.STRING:
        texts = st.text(max_size=9).map(lambda t: t.encode("utf-8", "replace").replace(b"\0", b""))
        return st.one_of(st.sampled_from([b"", b"on", b"off"]), texts).map(lambda b: b.ljust(STRING_SIZE, b"\0"))
    dtype = ELEMENT_DTYPE[dbf]
    small = st.sampled_from([0, 1, 2, 3, 100]).map(lambda v: np.array(v, dtype).tobytes())
    anything = st.binary(min_size=dtype.itemsize, max_size=dtype.itemsize)
    if dtype.kind != "f":
        return st.one_of(small, anything)
    special = st.sampled_from([0.0, -0.0, 1.5, -1.5, np.nan, np.inf, -np.inf, 1e-30, 3e38])
    signalling = st.just(b"\x01".ljust(dtype.itemsize - 2, b"\0") + (b"\x80\x7f" if dbf is Dbf.FLOAT else b"\xf0\x7f"))
    return st.one_of(small, anything, signalling, special.map(lambda v: np.array(v, dtype).tobytes()))


@st.composite
def values(draw: st.DrawFn, meta: Meta) -> bytes:
    """The raw bytes of a value in a channel of `meta`, as FrameBuilder takes them."""
    length = draw(st.integers(0, meta.count)) if meta.count > 1 else 1
    raw = b"".join(draw(elements(meta.dbf)) for _ in range(length))
    return raw if meta.count > 1 or meta.dbf is not Dbf.STRING else raw.rstrip(b"\0")


@st.composite
def cells(draw: st.DrawFn, name: str) -> Cell:
    """A channel with a value, or in one of four cases without."""
    meta = draw(metas())
    if draw(st.integers(0, 3)) == 0:
        return Cell(name, meta, None, draw(st.sampled_from(MISSING)))
    return Cell(
        name,
        meta,
        draw(values(meta)),
        severity=draw(st.integers(0, 3)),
        stamp=draw(st.integers(0, 2**62)),
    )


@st.composite
def cell_lists(draw: st.DrawFn, names: list[str] | None = None) -> list[Cell]:
    """Channels for one frame; up to eight of them unless their names are given."""
    if names is None:
        names = [f"T:{i}" for i in range(draw(st.integers(0, 8)))]
    return [draw(cells(name)) for name in names]


def frame_of(rows: list[Cell], channels: ChannelList | None = None) -> Frame:
    """The frame of these channels."""
    builder = FrameBuilder()
    for c in rows:
        if c.raw is None:
            builder.add_missing(c.name, c.state, c.meta)
        else:
            builder.add(c.name, c.raw, c.meta, severity=c.severity, stamp=c.stamp)
    return builder.build(channels)


def bits(frame: Frame, row: int) -> object:
    """All that a frame says of a row, to the bit."""
    return (
        frame.channels.names[row],
        int(frame.state[row]),
        int(frame.dbf[row]),
        int(frame.count[row]),
        int(frame.severity[row]),
        int(frame.status[row]),
        int(frame.stamp[row]),
        frame.number[row].tobytes(),
        frame.metas[frame.meta[row]],
        frame.raw(row),
    )


def all_bits(frame: Frame) -> list[object]:
    """`bits` of every row."""
    return [bits(frame, row) for row in range(len(frame))]


def check(frame: Frame) -> None:
    """What the rest of the program relies on."""
    columns = {
        "state": np.uint8,
        "dbf": np.uint8,
        "count": np.int32,
        "severity": np.int16,
        "status": np.int16,
        "stamp": np.int64,
        "number": np.float64,
        "meta": np.int32,
    }
    for name, dtype in columns.items():
        column = getattr(frame, name)
        assert column.dtype == dtype, name
        assert column.shape == (len(frame),), name
    assert frame.channels.ids.shape == (len(frame),)
    assert frame.side_row.dtype == np.int32
    assert frame.side_end.dtype == np.int64
    assert len(frame.side_row) == len(frame.side_end)
    assert np.all(np.diff(frame.side_row) > 0)
    assert np.all(np.diff(frame.side_end) >= 0)
    assert len(frame.side) == (frame.side_end[-1] if len(frame.side_end) else 0)
    for row in range(len(frame)):
        raw = frame.raw(row)
        if frame.state[row] != State.VALUE:
            assert raw is None
        elif frame.is_array(row):
            assert raw is not None
            assert len(raw) == frame.count[row] * ELEMENT_DTYPE[Dbf(int(frame.dbf[row]))].itemsize
