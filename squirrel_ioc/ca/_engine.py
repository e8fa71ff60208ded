"""The engine: the one thread that makes bulk calls to libca.

It runs operations, each a slice at a time, so that none waits for another, and keeps the channel table up to date.
With nothing to do it looks four times a second whether a connection has changed. libca's own threads call the
handlers (connection, access rights, value, end of a put) and the exception listener; these only note what has happened.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import _context
from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._answers import Answers
from squirrel_ioc.ca._channels import ChannelTable, abandon
from squirrel_ioc.ca._get import Groups
from squirrel_ioc.ca._iocs import Ioc, Iocs
from squirrel_ioc.ca._meta import MetaStore
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._properties import Properties
from squirrel_ioc.errors import ChannelAccessError
from squirrel_ioc.model.values import Dbf

__all__ = ["Engine", "tell_loop"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

TICK_S: Final = 0.25
"""Between two looks at whether connections or access rights have changed, with nothing else to do."""

POLL_MIN_S: Final = 0.0002
POLL_MAX_S: Final = 0.005
"""Between two polls of what is under way: longer while nothing moves."""

EXIT_S: Final = 1.0


class Engine:
    """`changed` is called in the engine thread when connections or the state of an IOC have changed. For `slow_s` and
    `open_s` see `Iocs`.
    """

    def __init__(self, changed: Callable[[], None], slow_s: float, open_s: float) -> None:
        self.table = ChannelTable()
        self.iocs = Iocs(self._probe, changed, slow_s, open_s)
        self.metas = MetaStore()
        self.properties = Properties(self.table)
        self.groups = Groups()
        self.answers = Answers(self.wake, lambda index: self.iocs.answered(self.iocs.all[index]))
        self.maintenance: Callable[[float], None] = lambda _now: None
        """Called in every round, which is at least every TICK_S."""
        self.refreshed: Callable[[NDArray[np.intp], NDArray[np.intp]], None] = lambda _up, _down: None
        """Called with the slots that have connected, and that were lost."""
        self._changed = changed
        self._operations: list[tuple[Operation, Callable[[BaseException | None], None]]] = []
        self._commands: deque[Callable[[], None]] = deque()
        self._event = threading.Event()
        self._awake = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. The context must exist."""
        _context.add_exception_listener(self.answers.on_exception)
        atexit.register(self._at_exit)
        self._thread = threading.Thread(target=self._run, name="squirrel-ca", daemon=True)
        self._thread.start()

    async def stop(self, timeout_s: float) -> None:
        """Withdraw every operation and end the thread; logged when it does not end in time."""
        if self._thread is None:
            return
        self._stopping = True
        self.wake()
        await asyncio.to_thread(self._thread.join, timeout_s)
        _context.remove_exception_listener(self.answers.on_exception)
        atexit.unregister(self._at_exit)
        if self._thread.is_alive():
            _log.error("the Channel Access thread is stuck in libca; left behind")
        self._thread = None

    def _at_exit(self) -> None:
        """A process that ends without `stop`: libca must not call into an interpreter that is gone."""
        self._stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join(EXIT_S)

    def wake(self) -> None:
        """Make the engine look. Called from any thread, and often."""
        if not self._awake:
            self._awake = True
            self._event.set()

    async def call(self, function: Callable[[], _T]) -> _T:
        """The result of `function`, called in the engine thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def run() -> None:
            try:
                result = function()
            except Exception as e:  # the boundary: raised again where it belongs
                tell_loop(loop, _set_exception, future, e)
            else:
                tell_loop(loop, _set_result, future, result)

        self.post(run)
        return await future

    def post(self, function: Callable[[], None]) -> None:
        """Call `function` in the engine thread; it does not raise."""
        if self._thread is None or self._stopping:
            raise ChannelAccessError("Channel Access is not started")
        self._commands.append(function)
        self.wake()

    async def run(self, operation: Operation) -> None:
        """Run the operation to its end. Cancelled, it withdraws what is under way."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def ended(error: BaseException | None) -> None:
            if error is None:
                tell_loop(loop, _set_result, future, None)
            else:
                tell_loop(loop, _set_exception, future, error)

        self.post(lambda: self.begin(operation, ended))
        try:
            await future
        except asyncio.CancelledError:
            with contextlib.suppress(ChannelAccessError):  # stopped: it is withdrawn already
                self.post(operation.cancel)
            raise

    def begin(self, operation: Operation, ended: Callable[[BaseException | None], None]) -> None:
        """In the engine thread: run the operation, and tell when it has ended."""
        self._operations.append((operation, ended))

    def withdraw_all(self) -> None:
        """In the engine thread: end every operation now."""
        for operation, ended in self._operations:
            operation.cancel()
            ended(ChannelAccessError("Channel Access is stopping"))
        self._operations.clear()

    @property
    def running(self) -> list[Operation]:
        """The operations under way."""
        return [operation for operation, _ in self._operations]

    def tell_changed(self) -> None:
        """In the engine thread: what `live` and `iocs` tell has changed."""
        self._changed()

    # ---- in the engine thread

    def _run(self) -> None:
        _context.attach()
        wait = 0.0
        while not self._stopping:
            if wait != 0.0:
                self._event.wait(wait)
            self._event.clear()
            self._awake = False
            try:
                moved = self._round()
            except Exception:  # the boundary of the thread: everybody waits for it
                _log.exception("Channel Access engine")
                moved = False
            if moved:
                wait = 0.0 if self.table.noted or self._commands else POLL_MIN_S
            elif self._operations:
                wait = min(max(wait, POLL_MIN_S) * 1.3, POLL_MAX_S)
            else:
                wait = min(max(wait, POLL_MIN_S) * 1.5, TICK_S)
        self._end()

    def _round(self) -> bool:
        now = time.monotonic()
        while self._commands:
            self._commands.popleft()()
        moved = self.table.noted
        if moved:
            self.refreshed(*self.table.refresh())
            self._changed()
        self.answers.hand_out(self.running)
        moved = self._step(now) or moved
        if self.iocs.watched:
            self.iocs.tick(now)
        self.maintenance(now)
        return moved

    def _step(self, now: float) -> bool:
        moved = False
        for entry in self._operations[:]:
            operation, ended = entry
            error: BaseException | None = None
            try:
                result = operation.step(now)
            except Exception as e:  # the boundary of a task: it ends this operation only
                result, error = None, e
                operation.cancel()
            if result is None:
                self._operations.remove(entry)
                ended(error)
            moved = moved or result is not False
        if moved:
            ca.flush_io()
        if len(self._operations) > 1:
            self._operations.append(self._operations.pop(0))
        return moved

    def _probe(self, ioc: Ioc, chid: int) -> bool:
        """One small read, with the IOC's index for a token."""
        table = self.table
        if not chid:
            able = np.flatnonzero((table.ioc[: table.size] == ioc.index) & table.readable[: table.size])
            if not len(able):
                return False
            chid = int(table.chid[able[ioc.probes % len(able)]])
        status = ca.array_get_callback(int(Dbf.STRING), 1, chid, self.answers.value_handler, ioc.index)
        ca.flush_io()
        return bool(status == ca.ECA_NORMAL)

    def _end(self) -> None:
        self.withdraw_all()
        while self._commands:
            self._commands.popleft()()
        self.withdraw_all()
        self.groups.close()
        abandon(self.table.release(self.table.used.tolist()))
        _context.detach()


def tell_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: Any) -> None:
    """Have the loop call this; nothing when it is closed, for then nobody waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)


def _set_result(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
