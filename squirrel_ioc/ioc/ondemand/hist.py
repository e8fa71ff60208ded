"""HIST:<pv>: a PV's number across the newest snapshots."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

from caproto import AlarmSeverity, AlarmStatus

from squirrel_ioc.errors import StoreError
from squirrel_ioc.ioc.kinds.arrays import Doubles
from squirrel_ioc.ioc.kinds.group import post_all
from squirrel_ioc.ioc.kinds.pv import NO_ALARM, Alarm, Pv, now
from squirrel_ioc.ioc.kinds.wire import Elements
from squirrel_ioc.ioc.ondemand.resource import SPEC, Context, Resource
from squirrel_ioc.ioc.ondemand.stored_pv import Stored
from squirrel_ioc.model.snapshot import SnapshotFilter

__all__ = ["Histories", "MAX_POINTS"]

MAX_POINTS: Final = 1_000
"""Snapshots that are looked into, the newest that hold the PV."""

_PAUSE_S: Final = 0.5
"""A history that is monitored is read at most this often."""

_READ_S: Final = 5.0
"""A client that reads waits this long for what is new."""

_STALE: Final[Alarm] = (AlarmStatus.READ, AlarmSeverity.INVALID_ALARM)
_PARTS: Final = {"": "Number across snapshots", "EPOCHS": "When they were taken, UNIX time", "IDS": "Snapshots"}

log = logging.getLogger(__name__)


class _HistoryPv(Doubles):
    """One of the three arrays of a history. What is read is up to date, or in alarm READ/INVALID."""

    group: _History

    async def read(self, data_type: Any, long_string: bool = False) -> tuple[Any, Elements]:
        """Look for what is new first."""
        await self.group.fresh()
        return self.encode(data_type, long_string)

    def encode(self, data_type: Any, long_string: bool = False) -> tuple[Any, Elements]:
        """A monitor begins with what is there; what is new follows."""
        self.group.refresh()
        return super().encode(data_type, long_string)

    def alarm_of(self, value: Any) -> Alarm:
        """READ/INVALID when it may not be up to date."""
        return _STALE if self.group.failed else NO_ALARM


class _History(Resource):
    """A channel across snapshots: read when somebody connects, and again when there may be more and somebody looks."""

    def __init__(self, context: Context, prefix: str, name: str, wanted: Callable[[], SnapshotFilter]) -> None:
        super().__init__(context)
        self.failed = False
        self._prefix = prefix
        self._name = name
        self._wanted = wanted
        self._pvs: WeakValueDictionary[str, _HistoryPv] = WeakValueDictionary()
        self._stale = True
        self._read_at = -_PAUSE_S
        self._reading: asyncio.Event | None = None

    def pv(self, part: str) -> Pv:
        """The PV of a part."""
        pv = self._pvs.get(part)
        if pv is None:
            pv = self._pvs[part] = _HistoryPv(
                pvname=f"{self._prefix}{self._name}{':' if part else ''}{part}",
                group=self,
                pvspec=SPEC._replace(doc=_PARTS[part]),
                max_length=MAX_POINTS,
                precision=3 if part == "EPOCHS" else 0,
                egu="s" if part == "EPOCHS" else "",
            )
            self.wait_for(pv)
            self._stale = True
            self._read_at = -_PAUSE_S
            self.refresh()
        return pv

    def changed(self) -> None:
        """Snapshots have come or gone."""
        self._stale = True
        if any(pv.subscribers for pv in self._pvs.values()):
            self.refresh()

    def refresh(self) -> None:
        """Read what is new, in the background."""
        if self._stale and self._reading is None:
            self._reading = asyncio.Event()
            wait_s = max(0.0, self._read_at + _PAUSE_S - time.monotonic())
            self.context.tasks.start(self._read(self._reading, wait_s), f"history of {self._name}")

    async def fresh(self) -> None:
        """Wait until it is up to date; not for long, and not when that is known to fail."""
        if not self._stale:
            return
        self._read_at = -_PAUSE_S
        self.refresh()
        if self._reading is not None:
            try:
                async with asyncio.timeout(_READ_S):
                    await self._reading.wait()
            except TimeoutError:
                self._fail("it takes too long")

    async def _read(self, done: asyncio.Event, wait_s: float) -> None:
        try:
            await asyncio.sleep(wait_s)
            async with self.context.reading:
                self._stale = False
                self._read_at = time.monotonic()
                history = await self.context.service.store.history(self._name, MAX_POINTS, self._wanted())
            if len(history) and (value := self._pvs.get("")) is not None:
                await self._describe(value, int(history.ids[-1]))
            self.failed = False
            arrays = {"EPOCHS": history.epochs, "IDS": history.ids, "": history.numbers}
            shown = [(pv, array) for part, array in arrays.items() if (pv := self._pvs.get(part)) is not None]
            post_all(shown, now())
            for pv, _ in shown:
                self.context.fetched(pv, good=True)
        except StoreError as error:
            self._stale = True
            self._fail(str(error))
        except Exception as error:  # who waits must hear of it, whatever it is
            log.exception("history of %s", self._name)
            self._fail(f"internal error: {error!r}")
        finally:
            self._reading = None
            done.set()
        if self._stale and not self.failed:
            self.changed()

    async def _describe(self, pv: _HistoryPv, snapshot_id: int) -> None:
        stored = await self.context.loader.get(snapshot_id, self._name)
        if isinstance(stored, Stored):
            pv.egu, pv.prec = stored.meta.units, max(0, stored.meta.precision)

    def _fail(self, reason: str) -> None:
        log.warning("history of %s is not up to date: %s", self._name, reason)
        self.failed = True
        for pv in list(self._pvs.values()):
            if pv.waiting is not None:
                self.context.fetched(pv, good=False)
            else:
                pv.post(pv.value, pv.stamp)


class Histories:
    """The histories of all PVs, of the snapshots that are `wanted`. `prefix` begins their names: ...HIST:"""

    def __init__(self, context: Context, prefix: str, wanted: Callable[[], SnapshotFilter] = SnapshotFilter) -> None:
        self._context = context
        self._prefix = prefix
        self._wanted = wanted
        self._known: WeakValueDictionary[str, _History] = WeakValueDictionary()

    def resolve(self, pvname: str, rest: str) -> Pv | None:
        """The PV of this name; `rest` is what follows HIST. None when there is none.

        A name that is a PV's own is that PV's history, even if it ends in :IDS or :EPOCHS.
        """
        names = self._context.index.names
        if rest in names:
            return self._history(rest).pv("")
        name, colon, part = rest.rpartition(":")
        if colon and part in _PARTS and part and name in names:
            return self._history(name).pv(part)
        return None

    def _history(self, name: str) -> _History:
        history = self._known.get(name)
        if history is None:
            history = self._known[name] = _History(self._context, self._prefix, name, self._wanted)
        return history

    def changed(self) -> None:
        """Snapshots have come or gone, or others are wanted."""
        for history in list(self._known.values()):
            history.changed()
