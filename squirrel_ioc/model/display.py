"""Values as a person reads them: precision, units, enum labels, shortened arrays, reasons instead of blanks.

A float is shown with the channel's precision. EPICS says 0 where nobody has set one, so 0 is taken for "not known":
the number then has as many digits as it needs, up to 10 (7 of a FLOAT). What the precision would hide keeps its
digits too: 0.00012 at precision 3 is 0.00012.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model._formats import Formats, array_text, char_text, printable, shorten
from squirrel_ioc.model.compare import Comparison, Kind
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import STRING_SIZE, Dbf, State, decode

__all__ = ["ABSENT", "STRING_LIMIT", "text", "texts", "delta_texts", "shorten"]

STRING_LIMIT: Final = STRING_SIZE - 1
"""Bytes of text that a DBR_STRING can carry."""

ABSENT: Final = "not in the list"
"""Stands for a channel that a frame does not have (row -1)."""

_REASONS: Final = np.array([s.reason for s in State], object)

_KIND_TEXT: Final = {
    Kind.LABEL_CHANGED: "label changed",
    Kind.TYPE_CHANGED: "type changed",
    Kind.MISSING_A: "only in B",
    Kind.MISSING_B: "only in A",
}


def text(frame: Frame, row: int, limit: int | None = None) -> str:
    """One value; see `texts`."""
    return texts(frame, np.array([row]), limit)[0]


def texts(frame: Frame, rows: NDArray[np.intp] | None = None, limit: int | None = None) -> list[str]:
    """The values of these rows (all of them when None), in the order given.

    A row without a value gives the reason in words, row -1 gives `ABSENT`. `limit` is the most bytes of UTF-8 a text
    may have (STRING_LIMIT for a DBR_STRING): arrays then show fewer elements, and what is still too long ends in
    "...". Control characters are escaped, so that a text is always one line.
    """
    if rows is None:
        rows = np.arange(len(frame))
    out = np.full(len(rows), ABSENT, object)
    here = np.flatnonzero(rows >= 0)
    valid = frame.valid[rows[here]]
    missing = here[~valid]
    out[missing] = _REASONS[frame.state[rows[missing]]]

    here = here[valid]
    at = rows[here]
    formats = Formats(frame, at)
    has_bytes = frame.side_position[at] >= 0
    enum = (frame.dbf[at] == Dbf.ENUM) & ~has_bytes
    number = ~(has_bytes | enum)
    out[here[number]] = formats.numbers(frame.meta[at[number]], frame.number[at[number]])
    out[here[enum]] = formats.labels(frame.meta[at[enum]], frame.number[at[enum]])
    out[here[has_bytes]] = [_bytes_text(frame, row, formats, limit) for row in at[has_bytes].tolist()]
    return _limited(out, limit)


def delta_texts(comparison: Comparison, rows: NDArray[np.intp] | None = None, limit: int | None = None) -> list[str]:
    """What b has more than a, for these rows of the comparison (all of them when None); `limit` as in `texts`.

    A number in a's units and precision; "max 0.5 mm" of arrays; words where it is no number; empty where there is
    nothing to say.
    """
    if rows is None:
        rows = np.arange(len(comparison))
    kind, delta = comparison.kind[rows], comparison.delta[rows]
    out = np.full(len(rows), "", object)
    for k, words in _KIND_TEXT.items():
        out[kind == k] = words

    a, b = comparison.a, comparison.b
    values = np.flatnonzero(kind <= Kind.DIFFERENT)
    row_a, row_b = comparison.row_a[rows[values]], comparison.row_b[rows[values]]
    count_a, count_b = a.count[row_a], b.count[row_b]
    for i in np.flatnonzero(count_a != count_b).tolist():
        out[values[i]] = f"{count_a[i]} -> {count_b[i]} elements"

    scalar = (a.side_position[row_a] < 0) & (b.side_position[row_b] < 0)
    enum = (a.dbf[row_a] == Dbf.ENUM) | (b.dbf[row_b] == Dbf.ENUM)
    number = ~np.isnan(delta[values]) & ~enum
    for these, sign, before in ((number & scalar, "+", ""), (number & ~scalar, "", "max ")):
        at = values[these]
        formats = Formats(a, row_a[these], sign)
        numbers = formats.numbers(a.meta[row_a[these]], delta[at])
        out[at] = [before + t for t in numbers] if before else numbers
    out[values[number & (delta[values] == 0.0)]] = "0"
    return _limited(out, limit)


def _bytes_text(frame: Frame, row: int, formats: Formats, limit: int | None) -> str:
    raw, dbf, index = frame.raw(row) or b"", Dbf(int(frame.dbf[row])), int(frame.meta[row])
    if not frame.is_array(row):
        return printable(decode(raw)) if dbf is Dbf.STRING else "nan" + formats.units(index)
    if dbf is Dbf.CHAR and (content := char_text(raw)) is not None:
        return content
    return array_text(formats.elements(index, dbf, raw), formats.units(index), int(frame.count[row]), limit)


def _limited(out: NDArray[np.object_], limit: int | None) -> list[str]:
    lines: list[str] = out.tolist()
    if limit is None:
        return lines
    return [line if len(line) <= limit and line.isascii() else shorten(line, limit) for line in lines]
