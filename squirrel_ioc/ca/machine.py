"""The machine: the channels the service holds, read and written in bulk over Channel Access."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import aioca  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _context
from squirrel_ioc.ca._connect import ClearOperation, CreateOperation, RefreshOperation
from squirrel_ioc.ca._duplicates import Duplicates
from squirrel_ioc.ca._engine import Engine, tell_loop
from squirrel_ioc.ca._iocs import IocState
from squirrel_ioc.ca._live_state import Live, ioc_states, live
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._properties import with_metas
from squirrel_ioc.ca._read import ReadOperation
from squirrel_ioc.ca._read_round import ReadPlan
from squirrel_ioc.ca._settings import CaSettings
from squirrel_ioc.ca._upkeep import Upkeep
from squirrel_ioc.ca._whole_values import WholeValues
from squirrel_ioc.ca._write import WriteOperation
from squirrel_ioc.ca._write_texts import LongTexts
from squirrel_ioc.errors import ChannelAccessError
from squirrel_ioc.model.frame import ChannelList, Frame

__all__ = ["Machine"]

_log = logging.getLogger(__name__)

NOTIFY_S: Final = 0.25
"""Listeners are called at most this often."""

STOP_S: Final = 3.0
"""For each of the two parts of `Machine.stop`."""

Progress = Callable[[int, int], None]
_T = TypeVar("_T")


class Machine:
    """Holds channels and reads and writes them in bulk. All methods belong to the event loop's thread.

    A single PV never raises: how it fared stands in its `State` or `WriteState`.
    """

    def __init__(self, settings: CaSettings) -> None:
        self._settings = settings
        self._engine = self._new_engine()
        self._whole = WholeValues(self._engine, settings.max_in_flight_per_ioc)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slot_of: dict[str, int] = {}
        self._duplicates = self._new_duplicates()
        self._watching = asyncio.Lock()
        self._slots_of_list: WeakKeyDictionary[ChannelList, NDArray[np.intp]] = WeakKeyDictionary()
        self._plans: WeakKeyDictionary[ChannelList, ReadPlan] = WeakKeyDictionary()
        self._listeners: list[Callable[[], None]] = []
        self._told = asyncio.Event()
        self._change_posted = False
        self._notify: asyncio.TimerHandle | None = None
        self._told_at = 0.0

    def _new_engine(self) -> Engine:
        return Engine(self._changed_in_engine, self._settings.slow_s, self._settings.open_s)

    def _new_duplicates(self) -> Duplicates:
        return Duplicates(self._engine.table, self._slot_of, self._changed_in_engine)

    async def start(self) -> None:
        """Take part in the process's Channel Access context, which aioca shares, and start the engine.

        Raises ChannelAccessError.
        """
        if self._loop is not None:
            raise ChannelAccessError("already started")
        _context.adopt(dict(self._settings.environment()))
        self._loop = asyncio.get_running_loop()
        self._watching, self._told = asyncio.Lock(), asyncio.Event()
        self._change_posted = False
        self._engine = self._new_engine()
        self._whole = WholeValues(self._engine, self._settings.max_in_flight_per_ioc)
        self._duplicates = self._new_duplicates()
        _context.hear_duplicates(self._duplicates.note)
        Upkeep(self._engine, self._settings.timeout_s, self._settings.max_in_flight_per_ioc)
        self._engine.start()

    async def stop(self) -> None:
        """Withdraw what is under way, clear the channels, end the engine. Takes a few seconds at most."""
        if self._loop is None:
            return
        aioca.purge_channel_caches()
        _context.hear_duplicates(None)
        self._engine.post(self._engine.withdraw_all)
        try:
            async with asyncio.timeout(STOP_S):
                await self._engine.run(ClearOperation(self._engine))
        except TimeoutError:
            _log.warning("channels are left behind: clearing them takes too long")
        await self._engine.stop(STOP_S)
        if self._notify:
            self._notify.cancel()
            self._notify = None
        self._slot_of.clear()
        self._slots_of_list.clear()
        self._loop = None

    async def watch(self, channels: ChannelList) -> None:
        """Hold exactly these channels from now on. Connecting goes on in the background: see `settled`."""
        async with self._watching:
            wanted = dict.fromkeys(channels.names)
            new = [name for name in wanted if name not in self._slot_of]
            if new:
                slots = await self._engine.call(lambda: self._engine.table.reserve(len(new)))
                self._slot_of.update(zip(new, slots, strict=True))
                self._slots_of_list.clear()
                self._begin(CreateOperation(self._engine, slots, new))
            gone = [name for name in self._slot_of if name not in wanted]
            if gone:
                slots = [self._slot_of.pop(name) for name in gone]
                self._whole.forget(gone)
                self._slots_of_list.clear()
                self._begin(ClearOperation(self._engine, slots))

    def _begin(self, operation: Operation) -> None:
        self._engine.post(lambda: self._engine.begin(operation, _log_failure))

    def live(self, channels: ChannelList) -> Live:
        """What is known of these channels now."""
        slots = self._slots(channels)
        return live(self._engine, slots, self._duplicates.of(channels, slots))

    def iocs(self) -> list[IocState]:
        """The IOCs the channels live on, in the order in which they were met."""
        return ioc_states(self._engine, self._whole.slots)

    def reset_iocs(self) -> None:
        """Try every IOC again that is skipped because it did not answer."""
        self._engine.post(self._engine.iocs.reset)

    async def settled(self, timeout_s: float) -> bool:
        """Wait until every channel is connected and known; False when some are not after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._all_ready():
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            return False
        return True

    def _all_ready(self) -> bool:
        slots = np.fromiter(self._slot_of.values(), np.intp, len(self._slot_of))
        return bool(self._engine.table.ready[slots].all())

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called, at most every 0.25 s, when connections or the state of an IOC have changed.

        Returns what ends it.
        """
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    async def refresh(self, channels: ChannelList, *, abort: Callable[[], bool] | None = None) -> None:
        """Read again what connected channels say of themselves: labels, units, limits.

        It is read when a channel connects, and by `read` when the IOC has told that it has changed; not every IOC does.
        """
        slots = self._slots(channels)
        timeout_s, window = self._settings.timeout_s, self._settings.max_in_flight_per_ioc
        await self._engine.run(RefreshOperation(self._engine, slots[slots >= 0], timeout_s, window, abort or _never))

    async def read(
        self,
        channels: ChannelList,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        abort: Callable[[], bool] | None = None,
    ) -> Frame:
        """Read channels, within `timeout_s` in all. The frame's rows are those of `channels`.

        What failed in passing is read once more, in a second round of at most `retry_s` of the settings: channels that
        were lost and are connected again, an error told by the IOC, an IOC that was late but answers. Nothing is waited
        for that is absent, or lives on an IOC that is known not to answer, and what may not be read is not asked again.
        A channel that is not watched is DISCONNECTED. `progress(done, total)` is called in the loop, at most every
        0.1 s. `abort` is asked all the time, in another thread; once it says True, the read ends, and what has not
        come is NOT_READ. Raises ChannelAccessError when not started.

        Texts longer than a DBR_STRING are whole; see `WholeValues` for this, and for what is CUT or INEXACT.
        """
        slots = self._slots(channels)
        timeout_s = self._settings.timeout_s if timeout_s is None else timeout_s
        operation = ReadOperation(
            self._engine,
            channels,
            lambda: self._plan(channels, slots),
            timeout_s,
            self._settings.retry_s,
            self._settings.max_in_flight_per_ioc,
            self._in_loop(progress),
            abort or _never,
        )
        await self._engine.run(operation)
        if operation.frame is None:
            raise ChannelAccessError("the read was withdrawn")
        frame = await self._with_news(operation.frame, slots, timeout_s, abort or _never)
        frame = await self._whole.complete(frame, slots, timeout_s, abort or _never)
        if progress:
            progress(len(channels), len(channels))
        return frame

    async def _with_news(
        self, frame: Frame, slots: NDArray[np.intp], timeout_s: float, abort: Callable[[], bool]
    ) -> Frame:
        """With the labels, units and limits that have changed since they were read."""
        engine = self._engine
        stale = await engine.call(lambda: engine.properties.stale(slots))
        if not len(stale):
            return frame
        window = self._settings.max_in_flight_per_ioc
        await engine.run(RefreshOperation(engine, stale, timeout_s, window, abort))
        rows = np.flatnonzero(np.isin(slots, stale))
        return with_metas(frame, rows, engine.table.meta[slots[rows]], engine.metas)

    async def write(
        self,
        values: Frame,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        abort: Callable[[], bool] | None = None,
        retry: bool = True,
        waiting: Callable[[str, int], None] | None = None,
    ) -> NDArray[np.uint8]:
        """Write the rows that have a value, as the type they have in the frame: uint8[rows], a `WriteState` each.

        Every write is a put with completion, which may take `timeout_s` from being sent. With `retry`, what could not
        be sent, because its channel was disconnected or its IOC did not answer, is sent in a second round if by the end
        of the first one the channel is back, and is what it was: same type, element count and state labels. A put that
        was sent is never sent again, be it refused, late, or its connection lost. Rows without a value are NOT_ISSUED.
        `progress` is as in `read`; `waiting(name, others)`, called as often, names a write that takes longer than a
        second, and says how many more do. `abort` is asked, in another thread, before writes go out; once it says True,
        what was sent still completes, and the rest is NOT_ISSUED. Raises ChannelAccessError when not started.

        A text longer than a DBR_STRING goes to the field's long string; where there is none it is TOO_LONG.
        """
        texts = await LongTexts.of(values, self._slots(values.channels), self._whole, self._engine.table)
        operation = WriteOperation(
            self._engine,
            texts.values,
            texts.slots,
            self._settings.put_timeout_s if timeout_s is None else timeout_s,
            self._settings.retry_s if retry else 0.0,
            self._settings.max_in_flight_per_ioc,
            self._in_loop(progress),
            abort or _never,
            self._in_loop(waiting),
        )
        await self._engine.run(operation)
        if progress:
            progress(len(values), len(values))
        operation.outcome[texts.unsent] = texts.outcome
        return operation.outcome

    def _slots(self, channels: ChannelList) -> NDArray[np.intp]:
        slots = self._slots_of_list.get(channels)
        if slots is None:
            get = self._slot_of.get
            slots = np.fromiter((get(name, -1) for name in channels.names), np.intp, len(channels))
            self._slots_of_list[channels] = slots
        return slots

    def _plan(self, channels: ChannelList, slots: NDArray[np.intp]) -> ReadPlan:
        """In the engine thread."""
        plan = self._plans.get(channels)
        if plan is None or plan.busy or plan.slots is not slots or plan.generation != self._engine.table.generation:
            plan = self._plans[channels] = ReadPlan(self._engine, slots)
        return plan

    def _in_loop(self, callback: Callable[[_T, int], None] | None) -> Callable[[_T, int], None]:
        loop = asyncio.get_running_loop()
        if callback is None:
            return _ignore

        def tell(first: _T, second: int) -> None:
            tell_loop(loop, callback, first, second)

        return tell

    def _changed_in_engine(self) -> None:
        if self._loop is not None and not self._change_posted:
            self._change_posted = True
            tell_loop(self._loop, self._changed)

    def _changed(self) -> None:
        self._change_posted = False
        self._duplicates.look()
        self._told.set()
        if self._loop is not None and self._notify is None:
            # At once when it has been quiet: who waited for a read finds the state of its IOC told.
            self._notify = self._loop.call_at(max(self._loop.time(), self._told_at + NOTIFY_S), self._tell)

    def _tell(self) -> None:
        self._notify = None
        if self._loop is not None:
            self._told_at = self._loop.time()
        for callback in tuple(self._listeners):
            callback()


def _never() -> bool:
    return False


def _ignore(_first: object, _second: int) -> None:
    return None


def _log_failure(error: BaseException | None) -> None:
    if error is not None:
        _log.error("channels could not be made", exc_info=error)
