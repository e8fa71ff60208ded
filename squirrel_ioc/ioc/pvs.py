"""PVS and IOCS: what is watched, and how it is."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from squirrel_ioc.ioc._declare import command, integer, integers, strings
from squirrel_ioc.ioc._group import Group, post_all
from squirrel_ioc.ioc.pv import now

__all__ = ["IocsGroup", "PvsGroup"]

IOC_STATES: Final = ("OK", "Slow", "Open", "Down")
MAX_IOCS: Final = 2_000
_OPEN: Final = 2


class PvsGroup(Group):
    """Contract section 8. PVs are channels: setpoints and readbacks."""

    section = "PVS:"

    count = integer("COUNT", "PVs watched, setpoints and readbacks")
    connected = integer("CONNECTED", "PVs connected")
    disconnected_names = strings("DISCONNECTED:NAMES", "PVs not connected")
    disconnected = integer("DISCONNECTED", "PVs not connected", alarm_above=0)
    read_only = integer("READONLY", "Setpoints that cannot be written")

    async def start(self) -> None:
        """Show the channels as they stand, and follow."""
        self.service.machine.listen(self.refresh)
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Show the channels as they stand."""
        catalogue = self.service.catalogue()
        channels = catalogue.channels
        live = self.service.machine.live(channels)
        missing = np.flatnonzero(~live.connected)
        read_only = catalogue.is_setpoint & (catalogue.read_only | (live.connected & ~live.writable))
        post_all(
            [
                (self.count, len(channels)),
                (self.connected, len(channels) - len(missing)),
                (self.disconnected_names, channels.array[missing].tolist()),
                (self.disconnected, len(missing)),
                (self.read_only, np.count_nonzero(read_only)),
            ],
            now(),
        )


class IocsGroup(Group):
    """Contract section 8: the IOCs that the watched PVs live on."""

    section = "IOCS:"

    hosts = strings("HOSTS", "IOCs, host:port", length=MAX_IOCS)
    counts = integers("COUNTS", "PVs that live on each", length=MAX_IOCS)
    states_shown = strings("STATES", "OK, Slow, Open or Down", length=MAX_IOCS, long=False)
    open = integer("OPEN", "IOCs that do not answer", alarm_above=0)
    reset = command("RESET", "Reset", "Try every IOC again")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.reset.action = self._reset

    async def start(self) -> None:
        """Show the IOCs as they stand, and follow."""
        self.service.machine.listen(self.refresh)
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Show the IOCs as they stand."""
        iocs = self.service.machine.iocs()
        post_all(
            [
                (self.hosts, [ioc.host for ioc in iocs]),
                (self.counts, [ioc.channels for ioc in iocs]),
                (self.states_shown, [IOC_STATES[ioc.status] for ioc in iocs]),
                (self.open, sum(ioc.status == _OPEN for ioc in iocs)),
            ],
            now(),
        )

    async def _reset(self) -> None:
        with self.reset.busy():
            self.service.machine.reset_iocs()
            self.refresh()
