"""Run until somebody says stop: Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

__all__ = ["run_until_stopped"]


def run_until_stopped(serve: Callable[[asyncio.Event], Awaitable[None]], *, cancel: Callable[[], bool]) -> None:
    """Run `serve(stop)` in a new event loop; the first signal sets `stop`, a second one cancels.

    Where `cancel()` holds, the first signal cancels at once: `serve` waits for something that may never come.
    """

    async def body() -> None:
        stop = asyncio.Event()
        task = asyncio.ensure_future(serve(stop))

        def on_signal() -> None:
            if stop.is_set() or cancel():
                task.cancel()
            stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal)
        try:
            await task
        except asyncio.CancelledError:
            if not stop.is_set():
                raise

    asyncio.run(body())
