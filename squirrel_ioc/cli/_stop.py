"""Run until somebody says stop: Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import typer

from squirrel_ioc.cli._exit import ExitCode
from squirrel_ioc.errors import SquirrelError

__all__ = ["run_until_stopped"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
Serve = Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]


def run_until_stopped(serve: Serve, *, may_wait: bool = False) -> None:
    """Run `serve(stop, ready)` in a new event loop; the first signal sets `stop`, a second one cancels.

    With `may_wait`, what comes before `ready` may take for ever: a signal meanwhile cancels at once. The terminal's
    Ctrl-C also goes to whatever is being started: that this fails then is no news.
    """

    early: list[int] = []
    for number in SIGNALS:
        # An exception out of nowhere while the loop is being made would leave it half made.
        signal.signal(number, lambda number, _frame: early.append(number))

    async def body() -> None:
        stop, ready = asyncio.Event(), asyncio.Event()

        def on_signal() -> None:
            if stop.is_set() or (may_wait and not ready.is_set()):
                task.cancel()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)
        if early:
            raise typer.Exit(ExitCode.INTERRUPTED)
        task = asyncio.ensure_future(serve(stop, ready))
        try:
            await task
        except asyncio.CancelledError:
            if not stop.is_set():
                raise
        except SquirrelError as e:
            if not stop.is_set() or ready.is_set():
                raise
            raise typer.Exit(ExitCode.INTERRUPTED) from e

    asyncio.run(body())
