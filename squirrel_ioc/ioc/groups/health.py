"""HEALTH: is the service alive, and how is it. Names are those of devIocStats where it has one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import psutil
from caproto import AlarmSeverity
from caproto.server import pvproperty

from squirrel_ioc import __version__
from squirrel_ioc.ioc.groups.results import iso_time
from squirrel_ioc.ioc.kinds.declare import binary, double, integer, string, text
from squirrel_ioc.ioc.kinds.group import Group
from squirrel_ioc.ioc.kinds.pv import Pv, now
from squirrel_ioc.ioc.kinds.scalars import String
from squirrel_ioc.ioc.kinds.wire import Elements
from squirrel_ioc.ioc.tasks import Tasks

__all__ = ["HealthGroup"]

_SLOW_S: Final = 10
_UPTIME_S: Final = 60
_LOAD_DEADBAND: Final = 5.0
_MEMORY_DEADBAND: Final = 1 << 20
_LATENCY_DEADBAND_S: Final = 0.005


class Uptime(String):
    """As devIocStats writes it: [N days, ]HH:MM:SS. Fresh whenever it is read; monitors hear of it once a minute."""

    def __init__(self, **kwargs: Any) -> None:
        self._started = time.monotonic()
        super().__init__(**kwargs)

    async def read(self, data_type: Any, long_string: bool = False) -> tuple[Any, Elements]:
        """The uptime of this moment. What monitors know is left as it is."""
        known = dict(self._data)
        self._data.update(value=self.text(), timestamp=now())
        try:
            return self._encode(data_type, long_string)
        finally:
            self._data.update(known)

    def text(self) -> str:
        """The uptime of this moment."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        clock = f"{hours:02d}:{minutes:02d}:{seconds:02d}"
        return f"{days} day{'s' if days > 1 else ''}, {clock}" if days else clock


class HealthGroup(Group):
    """Contract section 9."""

    heartbeat = integer("HEARTBEAT", "Counts seconds while the service lives")
    started = string("STARTTOD", "When the service was started")
    uptime: Uptime = pvproperty(dtype=Uptime, name="UPTIME", doc="Time since the start")
    version = string("VERSION", "Version of squirrel-ioc")
    role = binary("ROLE", ("Active", "Standby"), "Whether this service does the work")
    db_status = binary(
        "DB:STATUS", ("Connected", "Down"), "The database", alarms={1: AlarmSeverity.MAJOR_ALARM}, value=1
    )
    db_msg = text("DB:MSG", 512, "What is wrong with the database")
    db_latency = double("DB:LATENCY", "Answer time of the database", egu="s", precision=4)
    clients = integer("CA_CLNT_CNT", "CA clients connected")
    channels = integer("CA_CONN_CNT", "CA channels connected")
    cpu = double("SYS_CPU_LOAD", "CPU load of the host", egu="%", precision=1)
    memory = double("MEM_USED", "Resident memory of the service", egu="byte", precision=0)

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.connections: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """CA clients and channels; the server sets it."""
        self._tasks = Tasks()
        self._process = psutil.Process()

    async def start(self) -> None:
        """Beat."""
        self.started.post(iso_time(datetime.now().astimezone()))
        self.version.post(__version__)
        self.follow(self.service.store.listen_status(self._store_changed))
        self._store_changed()
        psutil.cpu_percent()
        self._tasks.start(self._beat(), "heartbeat")

    async def stop(self) -> None:
        """Beat no more."""
        await self._tasks.stop()

    async def _beat(self) -> None:
        beat = 0
        begin = time.monotonic()
        while True:
            self.heartbeat.post(beat & 0x7FFFFFFF)
            clients, channels = self.connections()
            self.clients.post(clients)
            self.channels.post(channels)
            if beat % _SLOW_S == 0:
                self._show_load()
            if beat % _UPTIME_S == 0:
                self.uptime.post(self.uptime.text())
            beat += 1
            await asyncio.sleep(max(0.0, begin + beat - time.monotonic()))

    def _show_load(self) -> None:
        _post_beyond(self.cpu, psutil.cpu_percent(), _LOAD_DEADBAND)
        _post_beyond(self.memory, self._process.memory_info().rss, _MEMORY_DEADBAND)
        self._store_changed()

    def _store_changed(self, *_: Any) -> None:
        status = self.service.store.status
        stamp = now()
        _post_beyond(self.db_latency, status.latency_s, _LATENCY_DEADBAND_S, stamp)
        self.db_msg.post(status.message, stamp)
        self.db_status.post(not status.ok, stamp)


def _post_beyond(pv: Pv, value: float, deadband: float, stamp: Any = None) -> None:
    if not abs(value - pv.value) <= deadband:
        pv.post(value, stamp)
