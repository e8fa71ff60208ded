"""Texts that are longer than a DBR_STRING: written to the long string of their field, with the NUL that ends them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._channels import ChannelTable
from squirrel_ioc.ca._whole_values import WholeValues, with_bytes, without
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import STRING_SIZE, Dbf, State, WriteState

__all__ = ["LongTexts"]


@dataclass(frozen=True, eq=False)
class LongTexts:
    """What is to be written, and to which slots; the rows `unsent` are not sent, with this `outcome` each."""

    values: Frame
    slots: NDArray[np.intp]
    unsent: NDArray[np.intp]
    outcome: NDArray[np.uint8]

    @classmethod
    async def of(cls, values: Frame, slots: NDArray[np.intp], whole: WholeValues, table: ChannelTable) -> LongTexts:
        """Find the long strings of the texts that need one."""
        rows = _long(values)
        if not len(rows):
            return cls(values, slots, rows, np.zeros(0, np.uint8))
        connected = np.logical_and(slots[rows] >= 0, table.connected[slots[rows]])
        long = np.full(len(rows), -1, np.intp)
        long[connected] = await whole.connect(values.channels.array[rows[connected]].tolist())
        texts = [(values.raw(row) or b"") + b"\0" for row in rows.tolist()]
        room = np.zeros(len(rows), np.int64)
        room[connected] = whole.room(long[connected])
        fits = room >= np.array([len(text) for text in texts])
        sent = np.flatnonzero(fits)
        made = with_bytes(values, rows[sent], [texts[i] for i in sent.tolist()])
        dbf, count, slots = made.dbf.copy(), made.count.copy(), slots.copy()
        dbf[rows[sent]], count[rows[sent]] = Dbf.CHAR, [len(texts[i]) for i in sent.tolist()]
        slots[rows[sent]] = long[sent]
        made = without(replace(made, dbf=dbf, count=count), rows[~fits], State.NOT_READ)
        outcome = np.where(connected[~fits], WriteState.TOO_LONG, WriteState.DISCONNECTED).astype(np.uint8)
        return cls(made, slots, rows[~fits], outcome)


def _long(values: Frame) -> NDArray[np.intp]:
    """Rows of scalar texts that do not fit a DBR_STRING. A scalar has no more than its text; an array of strings is not
    one of these, whatever its size."""
    rows = values.side_row[values.side_end - values.side_start >= STRING_SIZE].astype(np.intp)
    rows = rows[(values.dbf[rows] == Dbf.STRING) & (values.count[rows] == 1)]
    arrays = np.array([meta.count > 1 for meta in values.metas], bool)[values.meta[rows]]
    return np.compress(~arrays, rows)
