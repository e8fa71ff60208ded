"""Columns as bytes: how parts of jobs travel between the service and its workers (numpy's .npz, never pickled)."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import Live
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Dbf, Meta

__all__ = ["pack", "unpack", "pack_frame", "frame_columns", "unpack_frame", "pack_live", "unpack_live"]

_COLUMNS: Final = {
    "state": np.uint8,
    "dbf": np.uint8,
    "count": np.int32,
    "severity": np.int16,
    "status": np.int16,
    "stamp": np.int64,
    "number": np.float64,
    "meta": np.int32,
}
_LIVE: Final = {
    "connected": np.bool_,
    "readable": np.bool_,
    "writable": np.bool_,
    "dbf": np.uint8,
    "count": np.int32,
    "meta": np.int32,
    "ioc": np.int32,
    "connection": np.int32,
}

_NOT_COLUMNS: Final = (
    *(ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError, SyntaxError, TokenError),
    *(OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error),
)
"""What numpy and zipfile say of other bytes."""

Columns = Mapping[str, NDArray[Any]]


def pack(columns: Columns) -> bytes:
    """These columns."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **columns)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, NDArray[Any]]:
    """The columns that were packed. Raises StoreError when these are none."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as columns:
            found = dict(columns)
    except _NOT_COLUMNS as exc:
        raise StoreError(f"a part of a job cannot be read: {exc}") from exc
    if not all(isinstance(column, np.ndarray) for column in found.values()):
        raise StoreError("a part of a job cannot be read: not columns")
    return found


def frame_columns(frame: Frame) -> dict[str, NDArray[Any]]:
    """A frame without its channels."""
    return {
        **{name: getattr(frame, name) for name in _COLUMNS},
        "metas": _text(_metas_json(frame.metas)),
        "side_row": frame.side_row,
        "side_end": frame.side_end,
        "side": np.frombuffer(frame.side, np.uint8),
    }


def pack_frame(frame: Frame) -> bytes:
    """A frame without its channels."""
    return pack(frame_columns(frame))


def unpack_frame(columns: Columns, channels: ChannelList) -> Frame:
    """The frame of these channels. Raises StoreError when it is one of others."""
    try:
        frame = Frame(
            channels,
            **{name: _column(columns[name], dtype, len(channels)) for name, dtype in _COLUMNS.items()},
            metas=_metas(columns["metas"]),
            side_row=np.asarray(columns["side_row"], np.int32),
            side_end=np.asarray(columns["side_end"], np.int64),
            side=columns["side"].tobytes(),
        )
    except (KeyError, ValueError, TypeError) as exc:
        raise StoreError(f"a part of a job does not fit: {exc}") from exc
    if len(frame.meta) and not 0 <= frame.meta.min() <= frame.meta.max() < len(frame.metas):
        raise StoreError("a part of a job does not fit: meta")
    row, end = frame.side_row, frame.side_end
    if row.ndim != 1 or row.shape != end.shape or len(frame.side) != (end[-1] if len(end) else 0):
        raise StoreError("a part of a job does not fit: side")
    if len(row) and not (row[0] >= 0 and row[-1] < len(channels) and np.all(np.diff(row) > 0)):
        raise StoreError("a part of a job does not fit: side_row")
    if len(end) and not (end[0] >= 0 and np.all(np.diff(end) >= 0)):
        raise StoreError("a part of a job does not fit: side_end")
    return frame


def pack_live(live: Live) -> bytes:
    """What is known of channels, without their names."""
    columns = {name: getattr(live, name) for name in _LIVE}
    ignored = json.dumps(list(live.ignored.items()))
    texts = {"metas": _metas_json(live.metas), "iocs": json.dumps(live.iocs), "ignored": ignored}
    return pack(columns | {name: _text(text) for name, text in texts.items()})


def unpack_live(data: bytes, size: int) -> Live:
    """What is known of so many channels. Raises StoreError when it is of others."""
    columns = unpack(data)
    try:
        known = {name: _column(columns[name], dtype, size) for name, dtype in _LIVE.items()}
        iocs = tuple(json.loads(columns["iocs"].tobytes()))
        ignored = {int(row): str(host) for row, host in json.loads(columns["ignored"].tobytes())}
        return Live(**known, metas=_metas(columns["metas"]), iocs=iocs, ignored=ignored)
    except (KeyError, ValueError, TypeError) as exc:
        raise StoreError(f"what a worker tells of its channels does not fit: {exc}") from exc


def _column(column: NDArray[Any], dtype: type[Any], size: int) -> NDArray[Any]:
    if column.shape != (size,) or column.dtype != dtype:
        raise ValueError(f"{column.dtype}{column.shape}, not {np.dtype(dtype)}({size},)")
    return column


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _metas_json(metas: tuple[Meta, ...]) -> str:
    return json.dumps([(int(m.dbf), m.count, m.units, m.precision, m.limits, m.labels) for m in metas])


def _metas(column: NDArray[Any]) -> tuple[Meta, ...]:
    return tuple(
        Meta(Dbf(dbf), count, units, precision, tuple(limits), tuple(labels))
        for dbf, count, units, precision, limits, labels in json.loads(column.tobytes())
    )
