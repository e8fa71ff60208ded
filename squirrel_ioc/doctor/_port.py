"""Whether the port of the control PVs is free, or our own service has it."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Final

import psutil

from squirrel_ioc.config import Settings
from squirrel_ioc.doctor._finding import Finding, Verdict

__all__ = ["check_port"]

_HEADER: Final = struct.Struct(">HHHHII")
_VERSION, _SEARCH, _DONT_REPLY, _MINOR = 0, 6, 5, 13
_ANSWER_S: Final = 0.5
_ANY: Final = "0.0.0.0"  # noqa: S104
_LOOPBACK: Final = "127.0.0.1"


def check_port(settings: Settings) -> Iterator[Finding]:
    """Every interface and the port."""
    for interface in settings.interfaces:
        place = f"port {settings.port} on {interface}"
        error = _bind(interface, settings.port)
        if error is None:
            yield Finding("port", Verdict.OK, f"{place} is free")
        elif error.errno == errno.EADDRNOTAVAIL:
            yield Finding(
                "port", Verdict.BAD, f"{interface} is no address of this host", "correct `interfaces`: see `ip addr`"
            )
        elif error.errno != errno.EADDRINUSE:
            yield Finding("port", Verdict.BAD, f"{place} cannot be had: {error.strerror}", "set another `port`")
        elif _answers(_LOOPBACK if interface == _ANY else interface, settings.port, f"{settings.prefix}HEARTBEAT"):
            yield Finding("port", Verdict.OK, f"a service with prefix {settings.prefix} answers on {place}")
        else:
            who = _listener(settings.port)
            yield Finding(
                "port",
                Verdict.BAD,
                f"{place} is taken by {who or 'another program'}, which does not know {settings.prefix}HEARTBEAT",
                "stop that, or set another `port`: an IOC on the same host takes 5064",
            )


def _bind(interface: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((interface, port))
        except OSError as error:
            return error
    return None


def _answers(host: str, port: int, name: str) -> bool:
    """A search by UDP, as a CA client does it ("Channel Access Protocol Specification", CA_PROTO_SEARCH)."""
    raw = name.encode() + b"\0"
    raw += b"\0" * (-len(raw) % 8)
    version = _HEADER.pack(_VERSION, 0, 0, _MINOR, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_ANSWER_S)
        try:
            sock.sendto(version + _HEADER.pack(_SEARCH, len(raw), _DONT_REPLY, _MINOR, 1, 1) + raw, (host, port))
            return len(sock.recv(2048)) > 0
        except OSError:
            return False


def _listener(port: int) -> str:
    """The program that listens, as far as we may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:] == (port,)
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return ""
