"""The engine of the service by itself: bulk reads and writes of the machine, and the COPY of a frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from squirrel_ioc.bench._filling import fill_store
from squirrel_ioc.ca import Machine
from squirrel_ioc.config import CaSettings, DatabaseSettings
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.snapshot import NewSnapshot
from squirrel_ioc.model.values import Dbf, State, WriteState
from squirrel_ioc.store import Store

__all__ = ["Bulk"]

CONNECT_S: Final = 60.0


class Bulk:
    """Reads, changes and compares the whole machine without the service."""

    def __init__(self) -> None:
        self._machine: Machine | None = None
        self._channels = ChannelList.of(())
        self._frames: dict[str, Frame] = {}
        self._store: Store | None = None

    async def connect(self, file: str, addr_list: Sequence[str]) -> float:
        """Connect the channels named in the file; how long it took."""
        self._channels = ChannelList.of(Path(file).read_text().split())  # noqa: ASYNC240 - nothing else runs here
        start = time.perf_counter()
        self._machine = Machine(CaSettings(addr_list=tuple(addr_list)))
        await self._machine.start()
        await self._machine.watch(self._channels)
        if not await self._machine.settled(CONNECT_S):
            raise TimeoutError(f"not all of {len(self._channels)} channels connected in {CONNECT_S:g} s")
        return time.perf_counter() - start

    async def settle(self) -> None:
        """Wait until all channels are connected again."""
        if not await self._ready().settled(CONNECT_S):
            raise TimeoutError(f"not all of {len(self._channels)} channels are back after {CONNECT_S:g} s")

    async def read(self, name: str, missing: int = 0) -> float:
        """Read everything, of which so many have no value, and keep it under a name; how long the read took."""
        start = time.perf_counter()
        frame = await self._ready().read(self._channels)
        elapsed = time.perf_counter() - start
        if (without := np.count_nonzero(~frame.valid)) != missing:
            raise ValueError(f"{without} channels had no value, not {missing}")
        self._frames[name] = frame
        return elapsed

    async def write(self, name: str) -> float:
        """Write a frame; how long it took until the last completion."""
        start = time.perf_counter()
        states = await self._ready().write(self._frames[name])
        elapsed = time.perf_counter() - start
        if np.any(states != WriteState.DONE):
            raise ValueError(f"{np.count_nonzero(states != WriteState.DONE)} writes failed")
        return elapsed

    async def change(self, source: str, name: str) -> None:
        """Make a frame in which every value of another one is different."""
        self._frames[name] = changed(self._frames[source])

    async def differences(self, a: str, b: str) -> int:
        """Rows whose values are not the same, bit for bit."""
        return differences(self._frames[a], self._frames[b])

    async def open_store(self, state_dir: str, warm: str) -> None:
        """Open a database of its own and store a first frame: it brings the channel list and the meta data."""
        self._store = await Store.open(DatabaseSettings(), Path(state_dir))
        await self.save(warm)

    async def save(self, name: str) -> float:
        """`Store.save_snapshot` of a frame: how long until it was committed."""
        if self._store is None:
            raise RuntimeError("open the store first")
        start = time.perf_counter()
        await self._store.save_snapshot(self._frames[name], NewSnapshot("bench"))
        return time.perf_counter() - start

    async def close_store(self) -> None:
        """Close the database, which stops it."""
        if self._store is not None:
            await self._store.close()
            self._store = None

    async def fill_store(self, state_dir: str, snapshots: int, listed: int) -> list[int]:
        """Copies of a snapshot in the database of the service, and rows that are only listed."""
        return await fill_store(state_dir, snapshots, listed)

    def _ready(self) -> Machine:
        if self._machine is None:
            raise RuntimeError("connect first")
        return self._machine


def changed(frame: Frame) -> Frame:
    """The frame with another value in every row; types and lengths stay."""
    number = np.where(frame.dbf == Dbf.ENUM, 1.0 - frame.number, frame.number + 1.0)
    side = np.frombuffer(frame.side, np.uint8).copy()
    starts = np.concatenate(([0], frame.side_end[:-1])).astype(np.int64)
    for row, start, end in zip(frame.side_row, starts, frame.side_end, strict=True):
        if frame.dbf[row] == Dbf.STRING:
            side[start] ^= 0x20  # the other case
        else:
            elements: Any = np.frombuffer(side[start:end].tobytes(), "<f8") + 1.0
            side[start:end] = np.frombuffer(elements.tobytes(), np.uint8)
    return replace(frame, number=number, side=side.tobytes())


def differences(a: Frame, b: Frame) -> int:
    """Rows of two frames of the same channels that have not the same value."""
    same = (a.state == State.VALUE) & (b.state == State.VALUE) & (a.dbf == b.dbf) & (a.count == b.count)
    same &= (a.number == b.number) | (np.isnan(a.number) & np.isnan(b.number))
    for row in set(a.side_row.tolist()) | set(b.side_row.tolist()):
        same[row] &= a.raw(row) == b.raw(row)
    return int(np.count_nonzero(~same))
