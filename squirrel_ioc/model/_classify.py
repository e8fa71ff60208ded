"""Row by row, how two sides compare. The rules stand in `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model._formats import char_text
from squirrel_ioc.model._row_pairs import Side, same_bytes
from squirrel_ioc.model.values import STRING_SIZE, Dbf, Meta

__all__ = ["Kind", "Tolerance", "classify"]

Tolerance = NDArray[np.float64] | float | None
"""One for each row, one for all, or None: exact. A NaN is exact too."""

_BATCH: Final = 1 << 20  # elements of long arrays that are compared at once: what that takes stays below 100 MB


class Kind(IntEnum):
    """How a PV of a comparison turned out."""

    EQUAL = 0
    DIFFERENT = 1
    LABEL_CHANGED = 2
    """An enum with the same index, which meant something else then."""
    TYPE_CHANGED = 3
    """A text on one side, a number on the other."""
    MISSING_A = 4
    """Only b has a value."""
    MISSING_B = 5
    """Only a has a value."""
    MISSING_BOTH = 6


def classify(a: Side, b: Side, atol: Tolerance, rtol: Tolerance) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """kind and delta of every row."""
    with np.errstate(all="ignore"):  # infinities, NaNs of every kind and overflows are values like others
        return _classify(a, b, atol, rtol)


def _classify(a: Side, b: Side, atol: Tolerance, rtol: Tolerance) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """kind and delta of every row."""
    x, y = a.number, b.number
    both = a.valid & b.valid
    enum_a, enum_b = a.dbf == Dbf.ENUM, b.dbf == Dbf.ENUM
    delta, same, near = _difference(x, y, atol, rtol)
    kind = np.where(same | (near & ~(enum_a | enum_b)), np.uint8(Kind.EQUAL), np.uint8(Kind.DIFFERENT))
    _compare_bytes(a, b, both, (atol, rtol), kind, delta)
    rows = np.flatnonzero(both & enum_a & enum_b & (kind == Kind.EQUAL))
    for batch in _batches(rows, a.count):
        kind[batch[_other_label(a, b, batch)]] = Kind.LABEL_CHANGED
    kind[~b.valid] = Kind.MISSING_B
    kind[~a.valid] = Kind.MISSING_A
    kind[~(a.valid | b.valid)] = Kind.MISSING_BOTH
    delta[~both] = np.nan
    return kind, delta


def _difference(
    x: NDArray[np.float64], y: NDArray[np.float64], atol: Tolerance, rtol: Tolerance
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """y - x (0 where nothing differs), whether they are the same, and whether they are within tolerance."""
    delta = y - x
    same = x == y
    delta[same] = 0.0
    same |= (x != x) & (y != y)
    if (atol is None and rtol is None) or same.all():
        return delta, same, same
    limit = (0.0 if atol is None else atol) + (0.0 if rtol is None else rtol) * np.abs(x)
    near = (np.abs(delta) <= limit) & np.isfinite(x) & np.isfinite(y)
    return delta, same, near


def _compare_bytes(
    a: Side,
    b: Side,
    both: NDArray[np.bool_],
    limits: tuple[Tolerance, Tolerance],
    kind: NDArray[np.uint8],
    delta: NDArray[np.float64],
) -> None:
    """Decide the rows that are bytes on one side or on both."""
    rows = np.flatnonzero(both & ((a.position >= 0) | (b.position >= 0)))
    if not len(rows):
        return
    text_a, text_b = a.dbf[rows] == Dbf.STRING, b.dbf[rows] == Dbf.STRING
    size_a, size_b = a.size(rows), b.size(rows)
    kind[rows] = np.where(text_a == text_b, np.uint8(Kind.DIFFERENT), np.uint8(Kind.TYPE_CHANGED))
    delta[rows] = np.nan

    identical = (a.dbf[rows] == b.dbf[rows]) & (size_a == size_b)
    identical[identical] = same_bytes(a, b, rows[identical])
    kind[rows[identical]] = Kind.EQUAL
    delta[rows[identical & ~text_a]] = 0.0

    # Arrays of equally many characters that are not the same are another text as well; a scalar is no text.
    arrays = (a.position[rows] >= 0) & (b.position[rows] >= 0) & (size_a != size_b)
    characters = np.flatnonzero(arrays & (a.dbf[rows] == Dbf.CHAR) & (b.dbf[rows] == Dbf.CHAR))
    identical[characters] = _same_texts(a, b, rows[characters])
    kind[rows[characters[identical[characters]]]] = Kind.EQUAL
    delta[rows[characters[identical[characters]]]] = 0.0

    open_rows = ~identical & (a.count[rows] == b.count[rows])
    for batch in _batches(rows[open_rows & ~text_a & ~text_b], a.count):
        kind[batch], delta[batch] = _compare_elements(a, b, batch, limits)
    # A text of more than 40 bytes is a scalar, and no element of an array can be equal to it.
    largest = np.maximum(size_a, size_b)
    arrays = (largest >= STRING_SIZE) & ((largest == STRING_SIZE) | (a.count[rows] != 1))
    for batch in _batches(rows[open_rows & text_a & text_b & arrays], a.count):
        kind[batch] = _compare_strings(a, b, batch)


def _same_texts(a: Side, b: Side, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """bool[rows]: of arrays of characters, those that are one text: with its NUL, without it, or empty."""
    found = [np.zeros(0, bool)]
    for batch in _batches(rows, np.maximum(a.count, b.count)):
        raw, size_a, size_b = a.raw(batch), a.size(batch), b.size(batch)
        width = np.maximum(size_a, size_b)
        different = _with_nuls(raw, size_a, width) != _with_nuls(b.raw(batch), size_b, width)
        same = ~_by_row(np.logical_or, different, width, False)
        ends = np.cumsum(size_a)[same].tolist()
        starts = (np.cumsum(size_a) - size_a)[same].tolist()
        same[same] = [_is_text(raw[start:end]) for start, end in zip(starts, ends, strict=True)]
        found.append(same)
    return np.concatenate(found)


def _is_text(raw: bytes) -> bool:
    """Whether an array of characters is a text, be it empty."""
    return not raw.strip(b"\0") or char_text(raw) is not None


def _with_nuls(raw: bytes, size: NDArray[np.int64], width: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bytes of rows, each filled up with NULs to its width."""
    place = np.arange(int(width.sum())) - np.repeat(np.cumsum(width) - width, width)
    cells = np.zeros(len(place), np.uint8)
    cells[place < np.repeat(size, width)] = np.frombuffer(raw, np.uint8)
    return cells


def _compare_elements(
    a: Side, b: Side, rows: NDArray[np.intp], limits: tuple[Tolerance, Tolerance]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """kind and delta of numeric rows that have equally many elements on both sides."""
    count = a.count[rows]
    atol, rtol = (np.repeat(t[rows], count) if isinstance(t, np.ndarray) else t for t in limits)
    delta, same, near = _difference(a.elements(rows), b.elements(rows), atol, rtol)
    enum = (a.dbf[rows] == Dbf.ENUM) | (b.dbf[rows] == Dbf.ENUM)
    delta[same] = 0.0
    equal = _by_row(np.logical_and, same | (near & ~np.repeat(enum, count)), count, True)
    largest = _by_row(np.maximum, np.abs(delta), count, 0.0)
    return np.where(equal, np.uint8(Kind.EQUAL), np.uint8(Kind.DIFFERENT)), largest


def _compare_strings(a: Side, b: Side, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """kind of string rows that have equally many elements on both sides."""
    same = (a.strings(rows) == b.strings(rows)).all(axis=1)
    equal = _by_row(np.logical_and, same, a.count[rows], True)
    return np.where(equal, np.uint8(Kind.EQUAL), np.uint8(Kind.DIFFERENT))


def _other_label(a: Side, b: Side, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """bool[rows]: of enums with the same indices on both sides, those where an index has another label."""
    sets: dict[tuple[str, ...], int] = {(): 0}
    set_a = _label_sets(a.frame.metas, a.meta[rows], sets)
    set_b = _label_sets(b.frame.metas, b.meta[rows], sets)
    changed: NDArray[np.bool_] = (set_a != set_b) & (set_a != 0) & (set_b != 0)
    if not changed.any():
        return changed
    rows, set_a, set_b = rows[changed], set_a[changed], set_b[changed]
    widest = max(map(len, sets))
    texts: dict[str, int] = {"": 0}
    table = np.zeros((len(sets), widest + 1), np.int64)  # the last column: an index beyond the labels has none
    for labels, row in sets.items():
        table[row, : len(labels)] = [texts.setdefault(text, len(texts)) for text in labels]
    count = a.count[rows]
    index = np.minimum(a.elements(rows).astype(np.int64), widest)
    other = table[np.repeat(set_a, count), index] != table[np.repeat(set_b, count), index]
    changed[changed] = _by_row(np.logical_or, other, count, False)
    return changed


def _label_sets(metas: Sequence[Meta], meta: NDArray[np.int32], sets: dict[tuple[str, ...], int]) -> NDArray[np.int64]:
    """int64[meta]: the number in `sets` of each one's labels; looks at every meta data once."""
    used = np.zeros(len(metas), bool)
    used[meta] = True
    number = np.zeros(len(metas), np.int64)
    for i in np.flatnonzero(used).tolist():
        number[i] = sets.setdefault(metas[i].labels, len(sets))
    return number[meta]


def _by_row(ufunc: np.ufunc, values: NDArray[Any], count: NDArray[np.int32], empty: bool | float) -> NDArray[Any]:
    """`ufunc` over the elements of each row; `empty` for a row without any."""
    result = np.full(len(count), empty)
    some = count > 0
    if some.any():
        result[some] = ufunc.reduceat(values, (np.cumsum(count) - count)[some])
    return result


def _batches(rows: NDArray[np.intp], count: NDArray[np.int32]) -> Iterator[NDArray[np.intp]]:
    """The rows in parts of about _BATCH elements; nothing when there are none."""
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(np.cumsum(count[rows]) // _BATCH)) + 1)
