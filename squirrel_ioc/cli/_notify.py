"""What systemd is told of a service of `Type=notify`: see sd_notify(3). Without systemd, nothing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["serving", "tell_systemd"]


@asynccontextmanager
async def serving(stop: asyncio.Event, ready: asyncio.Event) -> AsyncIterator[None]:
    """Tell it when the service is ready, and when it stops."""

    async def tell() -> None:
        await ready.wait()
        tell_systemd("READY=1")
        await stop.wait()
        tell_systemd("STOPPING=1")

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def tell_systemd(message: str) -> None:
    """Send `READY=1` and the like to whoever started this process, if that wants to hear it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.sendall(message.encode())
