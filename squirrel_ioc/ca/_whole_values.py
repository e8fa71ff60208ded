"""Values that one read of a channel cannot carry whole: texts cut at 39 bytes, integers that no double holds.

A DBR_STRING ends at 39 bytes, without a word. The whole text is in the same field's long string, `NAME.FIELD$`, an
array of characters, where the IOC has it: EPICS base since 3.14.11 (`dbChannelCreate`, `dbPutFieldLink`). A text of
exactly 39 bytes is the sign. An int64 record comes as DBR_DOUBLE: from 2^53 on some do not fit; as DBR_STRING every
digit is there. Elements of an array of strings are never longer than what comes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._connect import ClearOperation, CreateOperation
from squirrel_ioc.ca._engine import Engine
from squirrel_ioc.ca._read import ReadOperation
from squirrel_ioc.ca._read_round import ReadPlan
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, Dbf, State

__all__ = ["WholeValues", "with_bytes", "without"]

CONNECT_S: Final = 1.0
"""For the long string of a text to connect, whose IOC answers already; what has not by then is not there."""

_POLL_S: Final = 0.01
_LONGEST: Final = STRING_SIZE - 1
_FIRST_GAP: Final = 2.0**53
_BEYOND: Final = 2.0**64
"""Between these, a double may stand for another integer of 64 bits."""

_DIGITS: Final = re.compile(rb"[+-]?\d+")
_FIELD: Final = re.compile(r"[^.{]+\.[^.{]+")
_BIG_BYTES: Final = 1 << 20


class WholeValues:
    """Completes what was read, and finds where long texts are to be written. Belongs to the event loop's thread.

    It holds the long strings that it once needed, until `forget`.
    """

    def __init__(self, engine: Engine, window: int) -> None:
        self._engine = engine
        self._window = window
        self._slots: dict[str, int] = {}
        self._due: dict[str, float] = {}

    @property
    def slots(self) -> NDArray[np.intp]:
        """Of the channels that are held here."""
        return np.fromiter(self._slots.values(), np.intp, len(self._slots))

    def forget(self, names: Iterable[str]) -> None:
        """These channels are watched no more."""
        known = [name for name in names if name in self._slots]
        gone = [self._slots.pop(name) for name in known]
        if gone:
            for name in known:
                del self._due[name]
            operation = ClearOperation(self._engine, gone)
            self._engine.post(lambda: self._engine.begin(operation, lambda _: None))

    async def complete(
        self, frame: Frame, slots: NDArray[np.intp], timeout_s: float, abort: Callable[[], bool]
    ) -> Frame:
        """The frame with whole texts; what cannot be had whole is CUT or INEXACT. `slots` are those of its channels."""
        texts = _cut_texts(frame)
        if len(texts):
            frame = await self._with_texts(frame, texts, slots[texts], timeout_s, abort)
        big = frame.side_end[-1] > _BIG_BYTES if len(frame.side_end) else False
        numbers = await asyncio.to_thread(_large_numbers, frame) if big else _large_numbers(frame)
        if len(numbers):
            plan = ReadPlan(self._engine, slots[numbers], as_text=True)
            digits = await self._read(frame.channels.take(numbers), lambda: plan, timeout_s, abort)
            inexact = [_is_inexact(frame, row, digits, i) for i, row in enumerate(numbers.tolist())]
            frame = without(frame, numbers[np.array(inexact, bool)], State.INEXACT)
        return frame

    async def _with_texts(
        self,
        frame: Frame,
        rows: NDArray[np.intp],
        own: NDArray[np.intp],
        timeout_s: float,
        abort: Callable[[], bool],
    ) -> Frame:
        names = frame.channels.array[rows].tolist()
        slots = await self.connect(names)
        channels = ChannelList.of([_long_name(name) for name in names])
        long = await self._read(channels, lambda: ReadPlan(self._engine, slots), timeout_s, abort)
        texts = [(long.raw(i) or b"").split(b"\0", 1)[0] for i in range(len(rows))]
        there = np.logical_and(long.valid, long.dbf == Dbf.CHAR)
        good = there & [text.startswith(frame.raw(row) or b"") for text, row in zip(texts, rows.tolist(), strict=True)]
        cut = ~good
        other = np.flatnonzero(there & cut)
        if len(other):
            # Either the text has changed between the two, or, of a waveform of one string, this is not its long form.
            plan = ReadPlan(self._engine, own[other])
            again = await self._read(frame.channels.take(rows[other]), lambda: plan, timeout_s, abort)
            cut[other] = [again.raw(i) != frame.raw(row) for i, row in enumerate(rows[other].tolist())]
        whole = [texts[i] for i in np.flatnonzero(good).tolist()]
        return without(with_bytes(frame, rows[good], whole), rows[cut], State.CUT)

    async def connect(self, names: list[str]) -> NDArray[np.intp]:
        """The slots of the long strings of these channels, connected where they exist."""
        new = [name for name in dict.fromkeys(names) if name not in self._slots]
        if new:
            made = await self._engine.call(lambda: self._engine.table.reserve(len(new)))
            self._slots.update(zip(new, made, strict=True))
            self._due.update(dict.fromkeys(new, time.monotonic() + CONNECT_S))
            operation = CreateOperation(self._engine, made, [_long_name(name) for name in new])
            await self._engine.run(operation)
        slots = np.array([self._slots[name] for name in names], np.intp)
        table = self._engine.table
        # One that was there once comes back with its IOC; one that never was is waited for only once.
        due = np.array([self._due[name] for name in names])
        due[table.dbf[slots] != Dbf.NONE] = time.monotonic() + CONNECT_S
        while True:
            if not np.any(~table.connected[slots] & (due > time.monotonic())):
                return slots
            await asyncio.sleep(_POLL_S)

    def room(self, slots: NDArray[np.intp]) -> NDArray[np.int64]:
        """Bytes that these long strings hold, the NUL included; 0 where there is none."""
        table = self._engine.table
        there = table.connected[slots] & (table.dbf[slots] == Dbf.CHAR)
        return np.where(there, table.count[slots], 0).astype(np.int64)

    async def _read(
        self, channels: ChannelList, plan: Callable[[], ReadPlan], timeout_s: float, abort: Callable[[], bool]
    ) -> Frame:
        operation = ReadOperation(self._engine, channels, plan, timeout_s, 0.0, self._window, _ignore, abort)
        await self._engine.run(operation)
        return operation.frame or Frame.empty(channels)


def _ignore(_done: int, _total: int) -> None:
    return None


def _long_name(name: str) -> str:
    """Only a field has one: VAL must be named."""
    return f"{name}$" if _FIELD.fullmatch(name) else f"{name}.VAL$"


def _cut_texts(frame: Frame) -> NDArray[np.intp]:
    """Rows of scalar strings that are as long as they can be."""
    rows = frame.side_row
    full = frame.side_end - frame.side_start == _LONGEST
    return np.compress(full & (frame.dbf[rows] == Dbf.STRING), rows).astype(np.intp)


def _large_numbers(frame: Frame) -> NDArray[np.intp]:
    """Rows of doubles that may stand for another integer."""
    size = np.abs(frame.number)
    large = (size >= _FIRST_GAP) & (size <= _BEYOND) & (frame.dbf == Dbf.DOUBLE)
    arrays = frame.side_row[frame.dbf[frame.side_row] == Dbf.DOUBLE].astype(np.intp)
    arrays = arrays[frame.count[arrays] > 0]
    if len(arrays):
        elements = np.abs(np.frombuffer(frame.side_bytes(frame.side_position[arrays]), ELEMENT_DTYPE[Dbf.DOUBLE]))
        count = frame.count[arrays]
        some = (elements >= _FIRST_GAP) & (elements <= _BEYOND)
        large[arrays] = np.logical_or.reduceat(some, np.cumsum(count) - count)
    return np.flatnonzero(large)


def _is_inexact(frame: Frame, row: int, digits: Frame, i: int) -> bool:
    """Whether the IOC has an integer there that is not the double. A float is as it was read."""
    raw = digits.raw(i)
    if raw is None:
        return False
    texts = [raw[k : k + STRING_SIZE].split(b"\0", 1)[0].strip() for k in range(0, len(raw), STRING_SIZE)]
    return any(int(text) != int(float(text)) for text in texts if _DIGITS.fullmatch(text))


def with_bytes(frame: Frame, rows: NDArray[np.intp], values: list[bytes]) -> Frame:
    """The frame with other bytes in these ascending rows."""
    if not len(rows):
        return frame
    keep = np.setdiff1d(np.arange(len(frame)), rows)
    fresh = replace(
        frame.reordered(rows, frame.channels.take(rows)),
        side_row=np.arange(len(rows), dtype=np.int32),
        side_end=np.cumsum([len(value) for value in values]).astype(np.int64),
        side=b"".join(values),
    )
    return _merged(frame, keep, rows, fresh)


def without(frame: Frame, rows: NDArray[np.intp], state: State) -> Frame:
    """The frame without the values of these ascending rows."""
    if not len(rows):
        return frame
    none = Frame.empty(frame.channels.take(rows), state)
    none = replace(none, dbf=frame.dbf[rows], meta=frame.meta[rows], metas=frame.metas)
    return _merged(frame, np.setdiff1d(np.arange(len(frame)), rows), rows, none)


def _merged(frame: Frame, keep: NDArray[np.intp], rows: NDArray[np.intp], fresh: Frame) -> Frame:
    order = np.empty(len(frame), np.intp)
    order[np.concatenate((keep, rows))] = np.arange(len(frame))
    rest = frame.reordered(keep, frame.channels.take(keep))
    return Frame.concatenate([rest, fresh], frame.channels).reordered(order, frame.channels)
