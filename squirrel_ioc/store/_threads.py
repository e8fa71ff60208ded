"""Blocking work that its caller may not leave half done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

__all__ = ["in_thread"]

_log = logging.getLogger(__name__)


async def in_thread(function: Callable[[], None], give_up: Callable[[], None] | None = None) -> None:
    """Run to the end what cannot be cancelled half-way, even when the caller is cancelled; `give_up` brings it near."""
    task = asyncio.create_task(asyncio.to_thread(function))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if give_up is not None and not task.done():
            give_up()
        await asyncio.wait([task])
        if error := task.exception():
            _log.debug("given up: %s", error)
        raise
