"""Ports that nobody uses, for CA servers on loopback."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

__all__ = ["LOOPBACK", "free_ports", "port_is_free"]

LOOPBACK = "127.0.0.1"

_RANGE = range(20_000, 32_000)
"""Below the ports the kernel gives to clients (`net.ipv4.ip_local_port_range` starts at 32768)."""


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a CA server could have this port alone, TCP and UDP: base's servers share UDP ports without a word."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s:
            if kind == socket.SOCK_STREAM:
                # As servers do: a port whose last connections have only just ended is free.
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError:
                return False
    return True


def free_ports(count: int, preferred: Iterable[int] = ()) -> list[int]:
    """`count` different free ports, the preferred ones first where they are free.

    Raises OSError when there are none left.
    """
    ports = [p for p in dict.fromkeys(preferred) if port_is_free(p)][:count]
    candidates = random.sample(_RANGE, len(_RANGE))
    for port in candidates:
        if len(ports) == count:
            break
        if port not in ports and port_is_free(port):
            ports.append(port)
    if len(ports) < count:
        raise OSError(f"no {count} free ports between {_RANGE.start} and {_RANGE.stop}")
    return ports
