"""The IOCs the channels live on: what is under way to each, and whether it answers.

An IOC that left requests unanswered is *open* (as a circuit breaker is): its channels are skipped, at no cost, until
the probe that waits in it is answered. All of this is the engine thread's; others only read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

__all__ = ["Ioc", "IocState", "IocStatus", "Iocs", "SLOW_SWEEP_S"]

_log = logging.getLogger(__name__)

SLOW_SWEEP_S: Final = 1.0
"""An IOC is slow when its part of the last bulk read took longer."""

PROBE_AFTER_S: Final = 0.5
"""Silence of an IOC with requests under way, after which it is probed."""

PROBE_EVERY_S: Final = 1.0
MAX_PROBES: Final = 5
"""A probe that waits in a hung IOC is answered when it goes on; a few more, in case one was lost."""

MAX_STALE_BYTES: Final = 128 * 1024
"""Requests given up that may still fill the circuit. libca blocks the caller beyond 0x58000 (ca_client_context.cpp)."""


class IocStatus(IntEnum):
    """IOCS:STATES, in the order of its states."""

    OK = 0
    SLOW = 1
    OPEN = 2
    """Did not answer: skipped until it does."""
    DOWN = 3
    """None of its channels is connected."""


@dataclass(frozen=True)
class IocState:
    """An IOC as it stands. `host` is host:port as libca names it; `sweep_s` how long its last bulk read took."""

    host: str
    channels: int
    connected: int
    status: IocStatus
    sweep_s: float


@dataclass(eq=False)
class Ioc:
    """One virtual circuit, seen from the requests."""

    index: int
    host: str
    in_flight: int = 0
    open: bool = False
    sweep_s: float = 0.0
    stale_bytes: int = 0
    probes: int = 0
    """Probes not answered."""
    probed_at: float = 0.0
    suspect: bool = False
    """Probed on suspicion: requests are under way, and nothing comes back."""
    heard: int = field(default=0)
    """Answers to probes so far."""


class Iocs:
    """All of them. `probe` sends a small request to one, and says whether it could; `changed` is told of openings."""

    def __init__(self, probe: Callable[[Ioc], bool], changed: Callable[[], None]) -> None:
        self.all: list[Ioc] = []
        self._by_host: dict[str, Ioc] = {}
        self._probe = probe
        self._changed = changed

    def of_host(self, host: str) -> Ioc | None:
        """The IOC of this name, present or former."""
        return self._by_host.get(host)

    def add(self, host: str) -> Ioc:
        """A new one."""
        ioc = Ioc(len(self.all), host)
        self.all.append(ioc)
        self._by_host[host] = ioc
        return ioc

    def rename(self, ioc: Ioc, host: str) -> None:
        """The name of its address has become known."""
        ioc.host = host
        self._by_host[host] = ioc

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every name, by index."""
        return tuple(ioc.host for ioc in self.all)

    @property
    def watched(self) -> bool:
        """Whether `tick` has something to do."""
        return any(ioc.open or ioc.suspect for ioc in self.all)

    def silent(self, ioc: Ioc, now: float) -> None:
        """Requests to this IOC are under way, and it has not answered any for a while: ask it."""
        if not ioc.suspect and not ioc.open:
            ioc.suspect = True
            self._send_probe(ioc, now)

    def ask(self, ioc: Ioc, now: float) -> None:
        """Send a probe, whatever is known: `heard` grows when it is answered."""
        self._send_probe(ioc, now)

    def gave_up(self, ioc: Ioc, stale_bytes: int) -> None:
        """Requests timed out. If it does not even answer the probe, the IOC is open."""
        if ioc.suspect and ioc.probes and not ioc.open:
            ioc.open = True
            _log.warning("IOC %s does not answer: skipped until it does", ioc.host)
            self._changed()
        ioc.stale_bytes += stale_bytes

    def answered(self, ioc: Ioc) -> None:
        """The IOC has answered a probe, or a channel of it has connected."""
        ioc.probes, ioc.stale_bytes, ioc.suspect = 0, 0, False
        ioc.heard += 1
        if ioc.open:
            ioc.open = False
            _log.info("IOC %s answers again", ioc.host)
            self._changed()

    def lost(self, ioc: Ioc) -> None:
        """The circuit is gone, and what was under way in it."""
        ioc.probes, ioc.stale_bytes, ioc.suspect = 0, 0, False
        if ioc.open:
            ioc.open = False
            self._changed()

    def reset(self) -> None:
        """Try every one again, save those whose circuit is full of requests given up."""
        for ioc in self.all:
            if ioc.stale_bytes > MAX_STALE_BYTES:
                _log.warning("IOC %s is not tried again: too much waits in its circuit", ioc.host)
            elif ioc.open or ioc.suspect:
                ioc.open = ioc.suspect = False
                ioc.probes = 0
                self._changed()

    def tick(self, now: float) -> None:
        """Probe again what has been silent for long."""
        for ioc in self.all:
            if (ioc.open or ioc.suspect) and ioc.probes < MAX_PROBES and now - ioc.probed_at >= PROBE_EVERY_S:
                self._send_probe(ioc, now)

    def _send_probe(self, ioc: Ioc, now: float) -> None:
        ioc.probed_at = now
        if self._probe(ioc):
            ioc.probes += 1
