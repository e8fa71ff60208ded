"""What systemd is told of a service of `Type=notify`: see sd_notify(3). Without systemd, nothing."""

from __future__ import annotations

import os
import socket

__all__ = ["tell_systemd"]


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
