"""Searches and beacons: the UDP side of a Channel Access server.

caproto's own takes 30 us a name; names that are not ours must cost nearly nothing, because every search of every
client on the network comes by here. Source: EPICS base `caProto.h`, `caservertask.c`, `cast_server.c`; "Channel Access
Protocol Specification", CA_PROTO_SEARCH, CA_PROTO_RSRV_IS_UP.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import psutil

from squirrel_ioc.errors import ControlPvError
from squirrel_ioc.ioc.protocol.fenced import FencedSocket

__all__ = ["ANY", "Beacons", "SearchServer", "answers", "broadcast_address"]

log = logging.getLogger(__name__)

_HEADER: Final = struct.Struct(">HHHHII")
_VERSION, _SEARCH, _BEACON = 0, 6, 13
_MINOR: Final = 13
_SEQUENCE_VALID: Final = 1
_SENDERS_ADDRESS: Final = 0xFFFFFFFF
_SEARCH_BODY: Final = struct.pack(">H6x", _MINOR)
_MAX_DATAGRAM: Final = 1472
"""Of an Ethernet frame."""

_MAX_SEARCHES_BYTES: Final = 8192
"""Of one datagram; what follows is ignored. Clients send no more than an Ethernet frame."""

_MAX_UNSENT_BYTES: Final = 1024 * 1024
"""Answers that the network has not taken yet. More are not given: clients search again."""

BEACON_PORT: Final = 5065
_BEACON_FIRST_S: Final = 0.02
_BEACON_PERIOD_S: Final = 15.0

ANY: Final = "0.0.0.0"  # noqa: S104


def answers(datagram: bytes, port: int, prefix: bytes, known: Callable[[str], bool]) -> list[bytes]:
    """The datagrams that answer this one; none when nothing in it is ours. Malformed ones are ignored."""
    replies: list[bytes] = []
    sequence = (0, 0)
    offset, end = 0, min(len(datagram), _MAX_SEARCHES_BYTES)
    while offset + _HEADER.size <= end:
        command, size, data_type, _, cid, _ = _HEADER.unpack_from(datagram, offset)
        offset += _HEADER.size
        if command == _SEARCH:
            if datagram.startswith(prefix, offset):
                raw = datagram[offset : offset + size].split(b"\0", 1)[0]
                if raw.isascii() and known(raw.decode()):
                    header = _HEADER.pack(_SEARCH, len(_SEARCH_BODY), port, 0, _SENDERS_ADDRESS, cid)
                    replies.append(header + _SEARCH_BODY)
        elif command == _VERSION and data_type == _SEQUENCE_VALID:
            sequence = (_SEQUENCE_VALID, cid)
        offset += size
    if not replies:
        return []
    # The version comes first, with the client's sequence number: that is how libca measures the round trip.
    version = _HEADER.pack(_VERSION, 0, sequence[0], _MINOR, sequence[1], 0)
    each = (_MAX_DATAGRAM - len(version)) // len(replies[0])
    return [version + b"".join(replies[i : i + each]) for i in range(0, len(replies), each)]


def broadcast_address(interface: str) -> str | None:
    """Where a datagram to everybody behind this interface goes; None where there is no such thing."""
    if interface == ANY:
        return "255.255.255.255"
    if ipaddress.IPv4Address(interface).is_loopback:
        return None
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and address.address == interface:
                return address.broadcast
    return None


def _udp_socket(acts: Callable[[], bool]) -> socket.socket:
    sock = FencedSocket(acts, socket.AF_INET, socket.SOCK_DGRAM)
    # As all CA servers of a host do, so that each of them hears the broadcasts.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with suppress(AttributeError, OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setblocking(False)
    return sock


class _Searches(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], list[bytes]], reply_from: asyncio.DatagramTransport | None) -> None:
        self._answer = answer
        self._reply_from = reply_from

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._reply_from is None:
            self._reply_from = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for reply in self._answer(data):
            transport: Any = self._reply_from  # typeshed does not know that it can tell its buffer's size
            if transport is not None and transport.get_write_buffer_size() < _MAX_UNSENT_BYTES:
                transport.sendto(reply, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("search socket: %s", exc)


class SearchServer:
    """Answers searches on the configured interfaces, as long as the service `acts`."""

    def __init__(
        self,
        interfaces: Sequence[str],
        port: int,
        prefix: str,
        known: Callable[[str], bool],
        acts: Callable[[], bool] = lambda: True,
    ) -> None:
        self._acts = acts
        self._interfaces = interfaces
        self._port = port
        self._prefix = prefix.encode()
        self._known = known
        self._transports: list[asyncio.DatagramTransport] = []

    async def start(self) -> None:
        """Raises ControlPvError."""
        for interface in self._interfaces:
            transport = await self._listen(interface, None)
            # A socket that is bound to an address does not hear broadcasts (Linux), as in base's rsrv.
            broadcast = broadcast_address(interface)
            if interface != ANY and broadcast is not None:
                await self._listen(broadcast, transport)

    async def _listen(self, address: str, reply_from: asyncio.DatagramTransport | None) -> asyncio.DatagramTransport:
        sock = _udp_socket(self._acts)
        try:
            sock.bind((address, self._port))
        except OSError as error:
            sock.close()
            raise ControlPvError(f"UDP port {self._port} on {address} cannot be opened: {error.strerror}") from error
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Searches(self._answer, reply_from), sock=sock
        )
        self._transports.append(transport)
        return transport

    def _answer(self, datagram: bytes) -> list[bytes]:
        return answers(datagram, self._port, self._prefix, self._known)

    def stop(self) -> None:
        """Answer no more."""
        for transport in self._transports:
            transport.close()
        self._transports.clear()


class Beacons:
    """Tells clients that a server is there, so that those who have lost it search again, as long as it `acts`."""

    def __init__(self, interfaces: Sequence[str], port: int, acts: Callable[[], bool] = lambda: True) -> None:
        self._acts = acts
        self._port = port
        self._targets = [broadcast_address(interface) or interface for interface in interfaces]

    async def run(self) -> None:
        """Send until cancelled: quickly at first, as the protocol recommends, then every 15 s."""
        period, number = _BEACON_FIRST_S, 0
        with _udp_socket(self._acts) as sock:
            while True:
                beacon = _HEADER.pack(_BEACON, 0, _MINOR, self._port, number & 0xFFFFFFFF, 0)
                for target in self._targets:
                    # Nobody listens on this host, the network is away, or another service is active: nobody to tell.
                    with suppress(OSError):
                        sock.sendto(beacon, (target, BEACON_PORT))
                number += 1
                await asyncio.sleep(period)
                period = min(2 * period, _BEACON_PERIOD_S)
