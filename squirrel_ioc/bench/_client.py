"""Plain Channel Access through aioca: what a client of the service sees, and what the service is compared with."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aioca  # type: ignore[import-untyped]
import numpy as np

__all__ = ["Client"]

PROBE_TIMEOUT_S = 10.0
NAMES_A_DATAGRAM = 20
UNKNOWN_KINDS = (
    "SNAP:{}:VAL:NOPE{}",
    "REF:NOPE:{}{}",
    "SNAP:1:VAL:{}.HOPR{}",
    "HIST:{}:{}:IDS",
    "JOB:9{}:X{}",
    "X{}.{}",
)


class Client:
    """One CA client. Times are seconds from the call to the answer; whoever asks bounds them."""

    def __init__(self) -> None:
        self._probe: asyncio.Task[None] | None = None
        self._probing = False
        self._latencies: list[float] = []
        self._list: list[str] = []
        self._values: list[Any] = []
        self._monitors: list[Any] = []

    async def put(self, name: str, value: Any, text: bool = False) -> float:
        """Put-callback: the time until the service says that it is done. Raises what aioca raises on ECA_PUTFAIL."""
        datatype = aioca.DBR_CHAR_STR if text else None
        start = time.perf_counter()
        await aioca.caput(name, value, datatype=datatype, wait=True, timeout=None)
        return time.perf_counter() - start

    async def get(self, names: Sequence[str]) -> list[Any]:
        """The values; enums as labels, char arrays as text."""
        values = []
        for name in names:
            channel = await aioca.cainfo(name, timeout=None)
            datatype: Any = None
            if channel.datatype == aioca.DBR_ENUM:
                datatype = aioca.DBR_STRING
            elif channel.datatype == aioca.DBR_CHAR:
                datatype = aioca.DBR_CHAR_STR
            value = await aioca.caget(name, datatype=datatype, timeout=None)
            values.append(value.tolist() if isinstance(value, np.ndarray) else _plain(value))
        return values

    async def wait_for(self, name: str, value: float) -> float:
        """The time until the PV has this value."""
        start = time.perf_counter()
        reached = asyncio.Event()

        def check(now: Any) -> None:
            if now.ok and float(now) == value:
                reached.set()

        subscription = aioca.camonitor(name, check, notify_disconnect=True)
        try:
            await reached.wait()
        finally:
            subscription.close()
        return time.perf_counter() - start

    async def watch(self, names: Sequence[str]) -> None:
        """Monitor these from now on, as a panel does; each has shown its value when this is back."""
        shown = {name: asyncio.Event() for name in names}
        for name in names:
            self._monitors.append(aioca.camonitor(name, lambda _, event=shown[name]: event.set()))
        await asyncio.gather(*(event.wait() for event in shown.values()))

    async def probe_start(self, name: str, period_s: float) -> None:
        """Begin to read the PV again and again."""
        await aioca.connect(name, timeout=None)
        self._latencies = []
        self._probing = True
        self._probe = asyncio.create_task(self._read_again_and_again(name, period_s))

    async def probe_stop(self) -> list[float]:
        """How long each read took."""
        # Not cancelled: the read under way may be the slow one, and it counts.
        self._probing = False
        if self._probe is not None:
            await self._probe
            self._probe = None
        return self._latencies

    async def _read_again_and_again(self, name: str, period_s: float) -> None:
        while self._probing:
            start = time.perf_counter()
            await aioca.caget(name, timeout=PROBE_TIMEOUT_S)
            self._latencies.append(time.perf_counter() - start)
            await asyncio.sleep(period_s)

    async def first_reads(self, names: Sequence[str]) -> list[float]:
        """How long `aioca.caget` takes for each of these, to which there is no channel yet."""
        taken = []
        for name in names:
            start = time.perf_counter()
            await aioca.caget(name, timeout=PROBE_TIMEOUT_S)
            taken.append(time.perf_counter() - start)
        return taken

    async def read_many(self, names: Sequence[str]) -> float:
        """`aioca.caget` of all of these at once, connecting included."""
        start = time.perf_counter()
        await aioca.caget(list(names), timeout=None)
        return time.perf_counter() - start

    async def search_unknown(self, prefix: str, rate: float, seconds: float) -> int:
        """Search for names that are not there, so many a second; how many it were."""
        host, port = os.environ["EPICS_CA_ADDR_LIST"].split(":")
        sent, start = 0, time.perf_counter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while (now := time.perf_counter() - start) < seconds:
                if sent <= now * rate:
                    sock.sendto(unknown_names(prefix, sent), (host, int(port)))
                    sent += NAMES_A_DATAGRAM
                else:
                    await asyncio.sleep(0.001)
        return sent

    async def connect_list(self, file: str) -> float:
        """`aioca.connect` of the names in the file."""
        self._list = await asyncio.to_thread(lambda: Path(file).read_text().split())
        start = time.perf_counter()
        await aioca.connect(self._list, timeout=None)
        return time.perf_counter() - start

    async def get_list(self) -> float:
        """`aioca.caget` of the list with time stamps, as a save tool would."""
        start = time.perf_counter()
        self._values = await aioca.caget(self._list, format=aioca.FORMAT_TIME, timeout=None)
        return time.perf_counter() - start

    async def put_list(self) -> float:
        """`aioca.caput` of the values read before, with completion."""
        start = time.perf_counter()
        await aioca.caput(self._list, self._values, wait=True, timeout=None)
        return time.perf_counter() - start


def unknown_names(prefix: str, number: int) -> bytes:
    """A datagram that searches for names of every kind, as libca sends it (CA_PROTO_VERSION, CA_PROTO_SEARCH)."""
    out = struct.pack(">HHHHII", 0, 0, 1, 13, number, 0)
    for i in range(NAMES_A_DATAGRAM):
        kind = UNKNOWN_KINDS[i % len(UNKNOWN_KINDS)]
        name = (prefix + kind.format(number, i)).encode() + b"\0"
        name += bytes(-len(name) % 8)
        out += struct.pack(">HHHHII", 6, len(name), 5, 13, i, i) + name
    return out


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value if isinstance(value, (int, float, str)) else str(value)
