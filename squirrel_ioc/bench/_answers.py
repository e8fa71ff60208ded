"""Which service answers for the control PVs, as one sees it who searches all the time.

By the protocol itself (Channel Access Protocol Specification, "Search" and "Read notify"), because libca, once a search
was in vain, waits longer and longer before the next.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from squirrel_ioc.bench._peer_process import MeasurementError
from squirrel_ioc.bench._service import CONTROL
from squirrel_ioc.sim import LOOPBACK

__all__ = ["Answers", "Circuit"]

HEADER: Final = struct.Struct(">HHHHII")
VERSION, SEARCH, READ_NOTIFY, CREATE_CHAN = 0, 6, 15, 18
MINOR: Final = 13
DBR_STRING: Final = 0

NAME: Final = f"{CONTROL}ROLE".encode()
PADDED: Final = NAME + bytes(8 - len(NAME) % 8)
HELLO: Final = HEADER.pack(VERSION, 0, 1, MINOR, 0, 0)
SEARCHING: Final = HELLO + HEADER.pack(SEARCH, len(PADDED), 5, MINOR, 1, 1) + PADDED

EVERY_S: Final = 0.01
CIRCUIT_S: Final = 2.0


class Answers:
    """Searches for ROLE on several ports, a hundred times a second, and notes when which of them has answered."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = tuple(ports)
        self._heard: list[tuple[float, int]] = []
        self._news = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def wait(self, port: int, after: float, timeout_s: float) -> float:
        """The `time.perf_counter()` when a port answered first after this one. Raises MeasurementError."""
        with self._news:
            if not self._news.wait_for(lambda: self._first(port, after) is not None, timeout_s):
                raise MeasurementError(f"nobody answered for the control PVs on port {port} in {timeout_s:g} s")
            return self._first(port, after) or after

    def turns(self, since: float) -> list[int]:
        """Which ports answered since then, one after the other. One that is there twice had another between."""
        order: list[int] = []
        with self._news:
            for at, port in self._heard:
                if at >= since and order[-1:] != [port]:
                    order.append(port)
        return order

    def _first(self, port: int, after: float) -> float | None:
        return next((at for at, who in self._heard if who == port and at > after), None)

    def _run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind((LOOPBACK, 0))
            udp.settimeout(EVERY_S)
            ask_at = 0.0
            while not self._ended.is_set():
                if time.perf_counter() >= ask_at:
                    ask_at = time.perf_counter() + EVERY_S
                    for port in self._ports:
                        with suppress(OSError):  # nobody listened on a port before, says the kernel
                            udp.sendto(SEARCHING, (LOOPBACK, port))
                with suppress(OSError):
                    _, (_, port) = udp.recvfrom(2048)
                    with self._news:
                        self._heard.append((time.perf_counter(), port))
                        self._news.notify_all()


class Circuit:
    """A TCP circuit to a port, with a channel to ROLE. Raises MeasurementError when there is none."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._data = b""

    def __enter__(self) -> Self:
        try:
            self._sock = socket.create_connection((LOOPBACK, self._port), timeout=CIRCUIT_S)
        except OSError as e:
            raise MeasurementError(f"no circuit to port {self._port}: {e}") from e
        with suppress(OSError):  # then there is no answer
            self._sock.sendall(HELLO + HEADER.pack(CREATE_CHAN, len(PADDED), 0, 0, 1, MINOR) + PADDED)
        answer = self._next(CREATE_CHAN)
        if answer is None:
            self._sock.close()
            raise MeasurementError(f"no channel to ROLE on port {self._port}")
        self._sid = answer[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def ask(self) -> None:
        """Ask for the value of ROLE."""
        with suppress(OSError):
            self._sock.sendall(HEADER.pack(READ_NOTIFY, 0, DBR_STRING, 1, self._sid, 1))

    def answer(self, timeout_s: float = CIRCUIT_S) -> str | None:
        """What it answers; None when the circuit ends before it does, or nothing comes in time."""
        got = self._next(READ_NOTIFY, timeout_s)
        return None if got is None else got[1].split(b"\0")[0].decode()

    def _next(self, wanted: int, timeout_s: float = CIRCUIT_S) -> tuple[int, bytes] | None:
        deadline = time.monotonic() + timeout_s
        while True:
            while len(self._data) >= HEADER.size:
                command, size, _, _, _, two = HEADER.unpack_from(self._data)
                end = HEADER.size + size
                if len(self._data) < end:
                    break
                body, self._data = self._data[HEADER.size : end], self._data[end:]
                if command == wanted:
                    return two, body
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                more = self._sock.recv(65536)
            except OSError:
                return None
            if not more:
                return None
            self._data += more
