"""The Channel Access server: sockets, clients, beacons."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence, Set
from typing import Final

from squirrel_ioc.errors import ControlPvError
from squirrel_ioc.ioc.kinds.database import Database
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.protocol.bounds import Bounds
from squirrel_ioc.ioc.protocol.circuit import Circuit
from squirrel_ioc.ioc.protocol.fenced import FencedSocket
from squirrel_ioc.ioc.protocol.udp import ANY, Beacons, SearchServer
from squirrel_ioc.ioc.tasks import Tasks

__all__ = ["CaServer", "MAX_CIRCUITS"]

MAX_CIRCUITS: Final = 500
"""Clients at a time. More are turned away."""

_BACKLOG: Final = 100
_WARN_EVERY_S: Final = 60.0

log = logging.getLogger(__name__)


class CaServer:
    """Serves a database on interfaces and a port.

    The port is had or the start fails. (A soft IOC takes any other TCP port when its own is taken, and tells clients
    in the search reply; then a second service with the same names would go unnoticed, and each client get one or the
    other.) Nothing of it comes from the environment, which belongs to the CA client in the same process.

    `acts` is asked before anything is done, and when anything is sent: a service that has lost its lease to another one
    is silent from that moment, before anybody has come to stop it.
    """

    def __init__(
        self, database: Database, interfaces: Sequence[str], port: int, acts: Callable[[], bool] = lambda: True
    ) -> None:
        self._acts = acts
        self._database = database
        self._interfaces = interfaces = [ANY] if ANY in interfaces else list(dict.fromkeys(interfaces))
        self._port = port
        self._search = SearchServer(interfaces, port, database.prefix, self._known, acts)
        self._servers: list[asyncio.Server] = []
        self._circuits: dict[Circuit, None] = {}
        self._clients = Tasks()
        self._writes = Tasks()
        self._beacons = Tasks()
        self._bounds = Bounds()
        self._warned = -_WARN_EVERY_S

    @property
    def connections(self) -> tuple[int, int]:
        """Clients and channels."""
        return len(self._circuits), sum(circuit.channel_count for circuit in self._circuits)

    async def start(self) -> None:
        """Raises ControlPvError when the port cannot be had on every interface."""
        # It would write down every message of every client.
        logging.getLogger("caproto").setLevel(logging.WARNING)
        try:
            for interface in self._interfaces:
                self._servers.append(await self._listen(interface))
            await self._search.start()
        except BaseException:
            await self.stop()
            raise
        self._beacons.start(Beacons(self._interfaces, self._port, self._acts).run(), "beacons")

    async def stop(self) -> None:
        """Disconnect everybody. Bounded."""
        self._search.stop()
        for server in self._servers:
            server.close()
        self._servers.clear()
        if not self._acts():
            for circuit in self._circuits:
                circuit.abort()
        await self._beacons.stop()
        await self._writes.stop()
        await self._clients.stop()

    def disconnect(self, owners: Set[Pv]) -> None:
        """End the channels that clients have to these PVs, which are no more."""
        for circuit in self._circuits:
            circuit.disconnect(owners)

    async def _listen(self, interface: str) -> asyncio.Server:
        sock = FencedSocket(self._acts, socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Linux: does not let two listen on one port, but a port whose last connections have just ended is free.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((interface, self._port))
            return await asyncio.start_server(self._connected, sock=sock, backlog=_BACKLOG)
        except OSError as error:
            sock.close()
            reason = error.strerror
            if error.errno == errno.EADDRINUSE:
                reason = "another program has it; stop that, or set another `port`"
            raise ControlPvError(f"TCP port {self._port} on {interface} cannot be had: {reason}") from error

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._acts():
            writer.transport.abort()
            return
        if len(self._circuits) >= MAX_CIRCUITS:
            if time.monotonic() - self._warned >= _WARN_EVERY_S:
                self._warned = time.monotonic()
                log.warning("%d clients are connected: more are turned away", MAX_CIRCUITS)
            writer.transport.abort()
            return
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        circuit = Circuit(reader, writer, self._database, self._port, self._writes, self._acts, self._bounds)
        self._circuits[circuit] = None
        self._clients.start(self._serve(circuit), f"client {circuit.address}")

    async def _serve(self, circuit: Circuit) -> None:
        try:
            await circuit.serve()
        finally:
            self._circuits.pop(circuit, None)

    def _known(self, name: str) -> bool:
        try:
            self._database.find(name)
        except KeyError:
            return False
        return True
