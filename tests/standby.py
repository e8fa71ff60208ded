"""Two services that share a database, the way to it, and somebody who looks all the time which of them answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aioca
import asyncpg
import yaml
from control_pvs import ControlPvs, until
from ioc_process import ADDR_LIST, LOOPBACK, give_ports, take_ports
from running import START_S, STOP_S, environment

HEADER = struct.Struct(">HHHHII")
VERSION, SEARCH, READ_NOTIFY, CREATE_CHAN = 0, 6, 15, 18
DBR_STRING = 0
EVERY_S = 0.01


class Proxy:
    """A way to a PostgreSQL on a Unix socket that can be cut: `hang` lets nothing through, `refuse` hangs up, too."""

    def __init__(self, folder: Path, server: str) -> None:
        self.folder = folder
        self._server = server
        self._listener: asyncio.Server | None = None
        self._through = asyncio.Event()
        self._through.set()
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Let through, again."""
        self._through.set()
        if self._listener is None:
            path = self.folder / Path(self._server).name
            path.unlink(missing_ok=True)
            self._listener = await asyncio.start_unix_server(self._connected, path)

    def hang(self) -> None:
        """As a network does that is gone: nobody is told."""
        self._through.clear()

    async def refuse(self) -> None:
        """End every connection, and make none."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None
        try:
            await self._through.wait()
            from_there, there = await asyncio.open_unix_connection(self._server)
            pumps = [asyncio.create_task(self._pump(*ends)) for ends in ((reader, there), (from_there, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is away: so is the client, then
        finally:
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._through.wait()
            writer.write(data)
            await writer.drain()


class Answers(threading.Thread):
    """Asks several services the same, over and over, and notes when which of them has answered, and what.

    Searches by UDP, and reads of ROLE over TCP on circuits that stay, so that what a service was asked while it stood
    still is answered, if it is, when it goes on.
    """

    def __init__(self, prefix: str, ports: list[int]) -> None:
        super().__init__(name="answers", daemon=True)
        self.heard: list[tuple[float, int, str]] = []
        self._name = f"{prefix}ROLE".encode()
        self._ports = ports
        self._selector = selectors.DefaultSelector()
        self._circuits: dict[int, _Circuit] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        self._selector.close()

    def run(self) -> None:
        """In the thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((LOOPBACK, 0))
            udp.setblocking(False)
            self._selector.register(udp, selectors.EVENT_READ)
            ask_at = 0.0
            while not self._ended.is_set():
                if time.monotonic() >= ask_at:
                    ask_at = time.monotonic() + EVERY_S
                    for port in self._ports:
                        udp.sendto(_search(self._name), (LOOPBACK, port))
                        self._ask(port)
                for key, _ in self._selector.select(EVERY_S):
                    if key.fileobj is udp:
                        self._searched(udp)
                    else:
                        self._told(key.data)
        for circuit in self._circuits.values():
            circuit.sock.close()

    def _searched(self, udp: socket.socket) -> None:
        with contextlib.suppress(OSError):  # nobody listens on the port, says the kernel
            while True:
                data, (_, port) = udp.recvfrom(2048)
                assert HEADER.unpack_from(data, HEADER.size)[0] == SEARCH
                self.heard.append((time.monotonic(), port, "found"))

    def _ask(self, port: int) -> None:
        if port not in self._circuits:
            with contextlib.suppress(OSError):
                sock = socket.create_connection((LOOPBACK, port), timeout=0.2)
                self._circuits[port] = circuit = _Circuit(sock, port)
                self._selector.register(sock, selectors.EVENT_READ, circuit)
                name = _padded(self._name)
                hello = HEADER.pack(VERSION, 0, 0, 13, 0, 0)
                self._send(circuit, hello + HEADER.pack(CREATE_CHAN, len(name), 0, 0, 1, 13) + name)
        elif self._circuits[port].sid is not None:
            circuit = self._circuits[port]
            self._send(circuit, HEADER.pack(READ_NOTIFY, 0, DBR_STRING, 1, circuit.sid, 1))

    def _send(self, circuit: _Circuit, data: bytes) -> None:
        try:
            circuit.sock.sendall(data)
        except OSError:
            self._drop(circuit)

    def _told(self, circuit: _Circuit) -> None:
        try:
            data = circuit.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop(circuit)
            return
        circuit.data += data
        while (message := circuit.next_message()) is not None:
            command, cid, sid, body = message
            if command == CREATE_CHAN:
                circuit.sid = sid
            elif command == READ_NOTIFY:
                self.heard.append((time.monotonic(), circuit.port, body.split(b"\0")[0].decode()))
            del cid

    def _drop(self, circuit: _Circuit) -> None:
        if self._circuits.get(circuit.port) is circuit:
            self._selector.unregister(circuit.sock)
            del self._circuits[circuit.port]
        circuit.sock.close()

    def turns(self) -> list[int]:
        """Which of the ports answered, one after the other. Twice the same one: there was another between."""
        order: list[int] = []
        for _, port, what in list(self.heard):
            assert what in ("found", "Active"), what
            if order[-1:] != [port]:
                order.append(port)
        return order

    def first(self, port: int, after: float) -> float | None:
        """When a port answered first after a time."""
        return next((at for at, who, _ in list(self.heard) if who == port and at > after), None)


@dataclass
class _Circuit:
    sock: socket.socket
    port: int
    sid: int | None = None
    data: bytes = b""

    def next_message(self) -> tuple[int, int, int, bytes] | None:
        if len(self.data) < HEADER.size:
            return None
        command, size, _, _, one, two = HEADER.unpack_from(self.data)
        if len(self.data) < HEADER.size + size:
            return None
        body = self.data[HEADER.size : HEADER.size + size]
        self.data = self.data[HEADER.size + size :]
        return command, one, two, body


def _padded(name: bytes) -> bytes:
    return name + b"\0" * (8 - len(name) % 8)


def _search(name: bytes) -> bytes:
    name = _padded(name)
    return HEADER.pack(VERSION, 0, 1, 13, 1, 0) + HEADER.pack(SEARCH, len(name), 5, 13, 1, 1) + name


@dataclass
class Member:
    """One of the two services."""

    settings: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc", "run", "--config", self.settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
            )

    async def says(self, text: str, *, times: int = 1, timeout_s: float = START_S) -> None:
        """Wait until it has logged this."""
        await until(lambda: self.said(text) >= times or self.process.poll() is not None, timeout_s)
        assert self.said(text) >= times, "it has ended"

    def said(self, text: str) -> int:
        """How often it has logged this."""
        return self.log.read_text().count(text)

    async def stop(self) -> float:
        """Have it stop, and return how long that took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self.process.wait, STOP_S) == 0
        return time.monotonic() - begin


@dataclass
class Pair(ControlPvs):
    """Both; `first` is the active one."""

    first: Member
    second: Member
    answers: Answers
    proxy: Proxy
    """The way of the first one to the database."""

    async def taken_over(self, by: Member, since: float) -> float:
        """Wait until it answers; how long that took."""
        await until(lambda: self.answers.first(by.port, since), 30)
        at = self.answers.first(by.port, since)
        assert at is not None
        return at - since

    def search_again(self) -> None:
        """Now: libca waits up to 10 s before it searches for what it has lost."""
        aioca.purge_channel_caches()

    def check_turns(self, *members: Member) -> None:
        """These have answered, in this order, and never two at once."""
        assert self.answers.turns() == [member.port for member in members]


@asynccontextmanager
async def pair(
    folder: Path,
    server: dict[str, Any],
    database: str,
    catalogue: str,
    *,
    first_finds: Sequence[str] = ADDR_LIST,
    **settings_of_both: Any,
) -> AsyncIterator[Pair]:
    """Run two services on a database of this server, with this catalogue; the first one finds these IOCs alone."""
    ports = take_ports(2)
    prefix = f"S{secrets.token_hex(4)}:"
    (folder / "pvs.csv").write_text(catalogue)
    (folder / "way").mkdir()
    proxy = Proxy(folder / "way", f"{server['host']}/.s.PGSQL.{server['port']}")
    await proxy.open()
    members = []
    ways = zip(ports, (proxy.folder, server["host"]), (first_finds, ADDR_LIST), strict=True)
    for port, host, finds in ways:
        settings = {
            "prefix": prefix,
            "port": port,
            "interfaces": [LOOPBACK],
            "state_dir": str(folder),
            "standby": True,
            "database": {"dsn": f"postgresql://{server['user']}@/{database}?host={host}&port={server['port']}"},
            "catalogue": {"files": ["pvs.csv"]},
            "ca": {"addr_list": [a for a in finds if a not in {f"{LOOPBACK}:{p}" for p in ports}]},
            **settings_of_both,
        }
        file = folder / f"{port}.yaml"
        file.write_text(yaml.safe_dump(settings))
        members.append(Member(file, port, folder / f"{port}.log"))
    first, second = members
    try:
        first.start()
        await first.says("control PVs")
        second.start()
        await second.says("standing by")
        for member in members:
            await member.says("PVs are connected")
        with Answers(prefix, ports) as answers:
            yield Pair(prefix, first, second, answers, proxy)
        for member in members:
            assert "Traceback" not in member.log.read_text()
    except BaseException:
        for member in members:
            print(member.port, member.log.read_text() if member.log.exists() else "")
        raise
    finally:
        aioca.purge_channel_caches()
        for member in members:
            if hasattr(member, "process"):
                member.process.kill()
                member.process.wait()
        await proxy.refuse()
        give_ports(ports)


async def reached(server: dict[str, Any], database: str, member: Member) -> tuple[int, int]:
    """How many PVs it has told that it reaches, and of how many."""
    connection = await asyncpg.connect(**server, database=database)
    try:
        row = await connection.fetchrow(
            "SELECT connected, total FROM service_reach WHERE service LIKE $1",
            f"squirrel-ioc {member.process.pid} on %",
        )
        return (row["connected"], row["total"]) if row is not None else (0, 0)
    finally:
        await connection.close()


async def lease(server: dict[str, Any], database: str) -> tuple[int, str]:
    """Its generation and its holder."""
    connection = await asyncpg.connect(**server, database=database)
    try:
        row = await connection.fetchrow("SELECT generation, holder FROM service_lease")
        assert row is not None
        return row["generation"], row["holder"]
    finally:
        await connection.close()
