"""The catalogue: which PVs the service saves and restores, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.frame import ChannelList

__all__ = ["MAX_PV_NAME", "TREATMENT", "Catalogue", "Entry", "Verify"]

MAX_PV_NAME = 100
"""Characters of a PV name, field and modifiers included. EPICS base allows 60 for a record name (dbDefs.h)."""


class Verify(StrEnum):
    """What a restore reads to verify a PV."""

    SETPOINT = "setpoint"
    READBACK = "readback"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Entry:
    """One setpoint of the machine and how it is compared and restored.

    `atol` is in the PV's units, `rtol` a ratio; None means the comparison's default. `order` sorts writes, lowest
    first. A PV with `max_step` (its units) is written in steps of at most that size every `step_period` seconds.
    `completion` is how long a write may take to complete, in seconds: None as the settings say, 0 is not waited for.
    """

    setpoint: str
    readback: str | None = None
    description: str = ""
    device: str = ""
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    atol: float | None = None
    rtol: float | None = None
    read_only: bool = False
    order: int = 0
    max_step: float | None = None
    step_period: float = 1.0
    completion: float | None = None
    verify: Verify = Verify.SETPOINT


TREATMENT: Final = tuple(f.name for f in fields(Entry) if f.name not in ("setpoint", "tags"))
"""What an entry has beside its name and its tags."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """An immutable version of the catalogue, and its channels as columns.

    `channels` are the setpoints in the order of `entries`, so that row i of the channels is entry i, followed by
    the readbacks that are not setpoints themselves.
    """

    entries: tuple[Entry, ...]
    channels: ChannelList
    version: int = 0

    @staticmethod
    def channel_names(entries: Sequence[Entry]) -> list[str]:
        """Every distinct channel: the setpoints, then the readbacks."""
        return list(dict.fromkeys([e.setpoint for e in entries] + [e.readback for e in entries if e.readback]))

    @classmethod
    def of(cls, entries: Sequence[Entry], version: int = 0) -> Catalogue:
        """A catalogue the store knows nothing of."""
        return cls(tuple(entries), ChannelList.of(cls.channel_names(entries), len(entries)), version)

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def is_setpoint(self) -> NDArray[np.bool_]:
        """bool[channels]"""
        return np.arange(len(self.channels)) < len(self.entries)

    @cached_property
    def entry_row(self) -> NDArray[np.int32]:
        """int32[channels]: the entry a channel belongs to (of a shared readback, the first)."""
        rows = np.arange(len(self.channels), dtype=np.int32)
        index = self.channels.index
        for i in range(len(self.entries) - 1, -1, -1):
            readback = self.entries[i].readback
            if readback is not None and (row := index[readback]) >= len(self.entries):
                rows[row] = i
        return rows

    @cached_property
    def atol(self) -> NDArray[np.float64]:
        """float64[channels], NaN where the catalogue gives none."""
        return self._of_entry([np.nan if e.atol is None else e.atol for e in self.entries])

    @cached_property
    def rtol(self) -> NDArray[np.float64]:
        """float64[channels], NaN where the catalogue gives none."""
        return self._of_entry([np.nan if e.rtol is None else e.rtol for e in self.entries])

    @cached_property
    def read_only(self) -> NDArray[np.bool_]:
        """bool[channels]: never written. Readbacks never are."""
        flags = np.array([e.read_only for e in self.entries], bool)
        return np.concatenate((flags, np.ones(len(self.channels) - len(self.entries), bool)))

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """int64[entries]"""
        return np.array([e.order for e in self.entries], np.int64)

    @cached_property
    def max_step(self) -> NDArray[np.float64]:
        """float64[entries], NaN where a PV is written in one step."""
        return np.array([np.nan if e.max_step is None else e.max_step for e in self.entries], np.float64)

    @cached_property
    def step_period(self) -> NDArray[np.float64]:
        """float64[entries], seconds."""
        return np.array([e.step_period for e in self.entries], np.float64)

    @cached_property
    def completion(self) -> NDArray[np.float64]:
        """float64[entries], seconds; NaN as the settings say, 0 not waited for."""
        return np.array([np.nan if e.completion is None else e.completion for e in self.entries], np.float64)

    @cached_property
    def verify(self) -> NDArray[np.object_]:
        """object[entries], a `Verify` each."""
        return np.array([e.verify for e in self.entries], object)

    def _of_entry(self, values: Sequence[float]) -> NDArray[np.float64]:
        return np.array(values, np.float64)[self.entry_row] if self.entries else np.zeros(0)
