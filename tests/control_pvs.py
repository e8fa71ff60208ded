"""Control PVs as clients see them, in a test process or a process of their own; through aioca and libca."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aioca
from aioca._catools import get_channel
from epicscorelibs.ca import cadef, dbr

ECA_PUTFAIL = 160


@dataclass
class ControlPvs:
    """Short ways to the PVs of a prefix, and the updates that were watched for."""

    prefix: str
    updates: list[tuple[str, Any]] = field(default_factory=list, kw_only=True)
    monitors: list[Monitor] = field(default_factory=list, kw_only=True)

    def pv(self, name: str) -> str:
        return self.prefix + name

    async def get(self, name: str, **options: Any) -> Any:
        return await aioca.caget(self.pv(name), timeout=30, **options)

    async def text(self, name: str) -> str:
        return str(await self.get(name, datatype=aioca.DBR_CHAR_STR))

    async def label(self, name: str) -> str:
        return str(await self.get(name, datatype=aioca.DBR_ENUM_STR))

    async def say(self, name: str, text: str, **options: Any) -> bool:
        """Write a text of any length; whether it went well."""
        return await self.put(name, text, datatype=aioca.DBR_CHAR_STR, **options)

    async def put(self, name: str, value: Any, *, wait: bool = True, **options: Any) -> bool:
        """Whether the put went well."""
        done = await aioca.caput(self.pv(name), value, wait=wait, timeout=30, throw=False, **options)
        assert done.errorcode in (1, ECA_PUTFAIL), done
        return bool(done.ok)

    async def becomes(self, name: str, wanted: Any, timeout_s: float = 30.0) -> None:
        """Wait for a control PV's value."""
        seen: list[Any] = []
        monitor = aioca.camonitor(self.pv(name), seen.append)
        try:
            await until(lambda: seen and seen[-1] == wanted, timeout_s)
        finally:
            monitor.close()

    async def watch(self, *names: str, datatype: Any = None, count: int = 0, events: int = 5) -> None:
        """Collect updates of these in `updates`, without the first value of each, in the order they arrive.

        Not aioca's monitors: those bring what arrives together in another order.
        """
        await aioca.connect([self.pv(name) for name in names], timeout=30)
        monitors = [Monitor(self, name, datatype, count, events) for name in names]
        await until(lambda: all(monitor.first is not None for monitor in monitors))


class Monitor:
    """A subscription of libca, in aioca's context."""

    def __init__(self, control: ControlPvs, name: str, datatype: Any, count: int, events: int) -> None:
        self.first: Any = None
        self._name = name
        self._updates = control.updates
        channel = get_channel(control.pv(name))
        code, self._value = dbr.type_to_dbr(channel, datatype, aioca.FORMAT_TIME)
        control.monitors.append(self)  # libca has no reference
        self.id = ctypes.c_void_p()
        cadef.ca_create_subscription(
            code, count, channel, events, _heard, ctypes.py_object(self), ctypes.byref(self.id)
        )
        cadef.ca_flush_io()

    def heard(self, args: Any) -> None:
        value = self._value(args.raw_dbr, args.type, args.count) if args.status == 1 else args.status
        if self.first is None:
            self.first = value
        else:
            self._updates.append((self._name, value))


@cadef.event_handler
def _heard(args: Any) -> None:
    args.usr.heard(args)


async def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Wait for what no event tells."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come in time"
        await asyncio.sleep(0.005)
