"""The values of snapshots: frames to chunks of columns, and back, bit for bit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.store import pgcopy
from squirrel_ioc.store.database import Connection
from squirrel_ioc.store.lists import CHUNK, chunk_bounds
from squirrel_ioc.store.metas import Metas

__all__ = ["write_chunks", "read_rows", "SIZE"]

_COLUMNS: Final[Mapping[str, tuple[pgcopy.ArrayType, type[Any]]]] = {
    "state": (pgcopy.INT2, np.uint8),
    "dbf": (pgcopy.INT2, np.uint8),
    "count": (pgcopy.INT4, np.int32),
    "severity": (pgcopy.INT2, np.int16),
    "status": (pgcopy.INT2, np.int16),
    "second": (pgcopy.INT8, np.int64),
    "nanosecond": (pgcopy.INT4, np.int64),
    "number": (pgcopy.FLOAT8, np.float64),
    "meta": (pgcopy.INT4, np.int32),
}
_SECOND: Final = 1_000_000_000
_PIECE: Final = 1 << 20
_ORDER: Final = ("snapshot_id", "chunk_no", *_COLUMNS, "side_row", "side_end", "side")

SIZE: Final = """
SELECT coalesce(sum(
    pg_column_size(state) + pg_column_size(dbf) + pg_column_size(count) + pg_column_size(severity)
    + pg_column_size(status) + pg_column_size(second) + pg_column_size(nanosecond) + pg_column_size(number)
    + pg_column_size(meta)
    + pg_column_size(side_row) + pg_column_size(side_end) + pg_column_size(side)), 0)
FROM snapshot_chunk WHERE snapshot_id = $1
"""

_READ = """
SELECT chunk_no, array_send(state) AS state, array_send(dbf) AS dbf, array_send(count) AS count,
    array_send(severity) AS severity, array_send(status) AS status, array_send(second) AS second,
    array_send(nanosecond) AS nanosecond, array_send(number) AS number, array_send(meta) AS meta,
    array_send(side_row) AS side_row, array_send(side_end) AS side_end, side
FROM snapshot_chunk WHERE snapshot_id = $1
"""
_READ_ALL = _READ + "ORDER BY chunk_no"
_READ_SOME = _READ + "AND chunk_no = ANY ($2::int[]) ORDER BY chunk_no"


async def write_chunks(connection: Connection, snapshot_id: int, frame: Frame, metas: NDArray[np.int32]) -> None:
    """COPY the values of a frame; `metas` are the database's numbers of `frame.metas`. To be called in a transaction.

    Raises StoreError when the bytes of one chunk are more than a row can hold.
    """
    await connection.copy_to_table(
        "snapshot_chunk", source=_encode(snapshot_id, frame, metas), columns=_ORDER, format="binary"
    )


async def _encode(snapshot_id: int, frame: Frame, metas: NDArray[np.int32]) -> AsyncIterator[bytes]:
    """The COPY stream, a chunk at a time: large arrays are never in memory twice."""
    bounds = chunk_bounds(len(frame))
    sides = _side_bounds(frame, bounds)
    side_start = np.array([_side_offset(frame, first) for first, _ in sides], np.int64)
    chunk = frame.side_row // CHUNK
    # Seconds repeat and compress well, which nanoseconds do not: apart, they take half of what a stamp takes.
    second, nanosecond = np.divmod(frame.stamp, _SECOND)
    made = {"second": second, "nanosecond": nanosecond, "meta": metas[frame.meta]}
    fields = [
        kind.fields(made[name] if name in made else getattr(frame, name), bounds)
        for name, (kind, _) in _COLUMNS.items()
    ]
    fields.append(pgcopy.INT4.fields(frame.side_row - chunk * CHUNK, sides))
    fields.append(pgcopy.INT4.fields(frame.side_end - side_start[chunk] if len(chunk) else frame.side_end, sides))
    yield pgcopy.HEADER
    for number, (columns, (first, last)) in enumerate(zip(zip(*fields, strict=True), sides, strict=True)):
        start, stop = _side_offset(frame, first), _side_offset(frame, last)
        keys = (pgcopy.int4_field(snapshot_id), pgcopy.int4_field(number))
        yield pgcopy.row([*keys, *columns], more=1) + pgcopy.field_length(stop - start)
        for piece in range(start, stop, _PIECE):
            yield frame.side[piece : min(piece + _PIECE, stop)]
    yield pgcopy.TRAILER


def _side_bounds(frame: Frame, bounds: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last-plus-one entry of `side_row` in each chunk."""
    edges = np.searchsorted(frame.side_row, [start for start, _ in bounds]).tolist()
    return list(zip(edges, [*edges[1:], len(frame.side_row)], strict=False))


def _side_offset(frame: Frame, entry: int) -> int:
    return int(frame.side_end[entry - 1]) if entry else 0


async def read_rows(
    connection: Connection, snapshot_id: int, channels: ChannelList, metas: Metas, rows: NDArray[np.intp] | None
) -> Frame:
    """The frame of a stored snapshot, or of ascending `rows` of it, for which only their chunks are read.

    Raises StoreError when the chunks do not fit the list.
    """
    bounds = chunk_bounds(len(channels))
    if rows is None:
        chunks = await connection.fetch(_READ_ALL, snapshot_id)
    else:
        numbers = np.unique(rows // CHUNK).tolist()
        bounds = [bounds[n] for n in numbers]
        chunks = await connection.fetch(_READ_SOME, snapshot_id, numbers)
    if [c["chunk_no"] for c in chunks] != [start // CHUNK for start, _ in bounds]:
        raise StoreError(f"snapshot {snapshot_id}: chunks are missing in the database")
    columns: dict[str, Any] = {
        name: kind.join(c[name] for c in chunks).astype(d, copy=False) for name, (kind, d) in _COLUMNS.items()
    }
    if any(len(column) != sum(stop - start for start, stop in bounds) for column in columns.values()):
        raise StoreError(f"snapshot {snapshot_id}: its chunks are not as long as its channel list")
    columns["stamp"] = columns.pop("second") * _SECOND + columns.pop("nanosecond")
    all_metas, columns["meta"] = await metas.load(connection, columns["meta"])
    sides = _join_sides(chunks, bounds)
    if rows is None:
        return Frame(channels, metas=all_metas, **columns, **sides)
    read = np.concatenate([np.zeros(0, np.intp), *(np.arange(*b) for b in bounds)])
    frame = Frame(channels.take(read), metas=all_metas, **columns, **sides)
    return frame.take(np.searchsorted(read, rows), channels.take(rows))


def _join_sides(chunks: Sequence[Any], bounds: Sequence[tuple[int, int]]) -> dict[str, Any]:
    rows, ends = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    first = offset = 0
    for chunk, (start, stop) in zip(chunks, bounds, strict=True):
        rows.append(pgcopy.INT4.parse(chunk["side_row"]) + first)
        ends.append(pgcopy.INT4.parse(chunk["side_end"]) + np.int64(offset))
        first += stop - start
        offset += len(chunk["side"])
    return {
        "side_row": np.concatenate(rows).astype(np.int32),
        "side_end": np.concatenate(ends).astype(np.int64),
        "side": b"".join(c["side"] for c in chunks),
    }
