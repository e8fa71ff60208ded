"""Signals: a service runs until Ctrl-C or SIGTERM, a command that is interrupted ends what it has begun.

Before that, while modules are imported and nothing has been started, a signal just ends the process (`__main__`): an
exception out of nowhere can be lost in the middle of an import.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import typer

from squirrel_ioc.cli._exit import ExitCode
from squirrel_ioc.errors import SquirrelError

__all__ = ["run_to_its_end", "run_until_stopped"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
Serve = Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]
T = TypeVar("T")


def run_until_stopped(serve: Serve) -> None:
    """Run `serve(stop, ready)` in a new event loop; a signal sets `stop`.

    One that comes before `ready`, and a second one, cancels. The terminal's Ctrl-C also goes to whatever is being
    started: that this fails then is no news.
    """

    async def body(heed: Heed) -> None:
        stop, ready = asyncio.Event(), asyncio.Event()
        cancelled = False

        def on_signal() -> None:
            nonlocal cancelled
            if (stop.is_set() or not ready.is_set()) and not cancelled:
                cancelled = True
                task.cancel()
            stop.set()

        task = asyncio.ensure_future(serve(stop, ready))
        heed(on_signal)
        try:
            await task
        except asyncio.CancelledError:
            if not stop.is_set():
                raise
        except SquirrelError as e:
            if not stop.is_set() or ready.is_set():
                raise
            raise typer.Exit(ExitCode.INTERRUPTED) from e

    _run(body)


def run_to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; the first signal cancels it. Raises typer.Exit then."""

    async def body(heed: Heed) -> T:
        interrupted = False

        def on_signal() -> None:
            nonlocal interrupted
            if not interrupted:
                interrupted = True
                task.cancel()

        task = asyncio.ensure_future(work)
        heed(on_signal)
        try:
            return await task
        except asyncio.CancelledError:
            if not interrupted:
                raise
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    return _run(body)


Heed = Callable[[Callable[[], None]], None]
"""Have this called at each signal from now on, and for one that has come before."""


def _run(body: Callable[[Heed], Coroutine[Any, Any, T]]) -> T:
    early: list[int] = []
    for number in SIGNALS:
        # An exception out of nowhere while the loop is being made would leave it half made.
        signal.signal(number, lambda number, _frame: early.append(number))

    def heed(on_signal: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)
        if early:
            on_signal()

    async def heeding() -> T:
        try:
            return await body(heed)
        finally:
            # What is left to do is bounded, and leaves something behind when it is not done.
            for number in SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    return asyncio.run(heeding())
