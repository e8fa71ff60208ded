"""The IOCs the channels live on: what is under way to each, and whether it answers.

An IOC that left requests unanswered is *open* (as a circuit breaker is): its channels are skipped, at no cost, until
the probe that waits in it is answered. All of this is the engine thread's; others only read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

__all__ = ["Ioc", "IocState", "IocStatus", "Iocs"]

_log = logging.getLogger(__name__)

PROBE_AFTER_S: Final = 0.5
"""Silence of an IOC with requests under way, after which it is probed."""

PROBE_EVERY_S: Final = 1.0
"""Between two probes."""

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
    """One virtual circuit, seen from the requests. Times are those of `time.monotonic`, 0 for never."""

    index: int
    host: str
    in_flight: int = 0
    put_bytes: int = 0
    """Of the requests under way, the values to be written."""
    open: bool = False
    sweep_s: float = 0.0
    heard_at: float = 0.0
    """When a bulk request was answered last."""
    probes: int = 0
    """Probes sent and not answered."""
    asked_at: float = 0.0
    """When the first of these was sent."""
    probed_at: float = 0.0
    """When a probe was sent last."""
    replies: int = 0
    """Answers to probes so far."""
    gave_up: bool = False
    """Requests have timed out, and it has not answered a probe since: nothing new goes to it until that is settled."""
    stale_bytes: int = 0
    """Of these requests, what may still fill the circuit."""


class Iocs:
    """All of them. `probe` sends a small request to one, and says whether it could; `changed` is told of openings.

    `slow_s` and `open_s` are the thresholds of the settings: how long its part of a bulk read may take an IOC that is
    not slow; and how long a probe may take, once requests have timed out, before the IOC is open.
    """

    def __init__(
        self, probe: Callable[[Ioc, int], bool], changed: Callable[[], None], slow_s: float, open_s: float
    ) -> None:
        self.all: list[Ioc] = []
        self.slow_s = slow_s
        self._open_s = open_s
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
        return any(ioc.open or ioc.probes for ioc in self.all)

    def ask(self, ioc: Ioc, now: float, chid: int = 0) -> None:
        """Send a probe, to a channel of the IOC or to this one: `replies` grows when it is answered."""
        ioc.probed_at = now
        if self._probe(ioc, chid):
            ioc.asked_at = ioc.asked_at if ioc.probes else now
            ioc.probes += 1

    def talks(self, ioc: Ioc, now: float) -> bool:
        """Whether bulk requests to it have been answered just now."""
        return now - ioc.heard_at <= PROBE_AFTER_S

    def silent(self, ioc: Ioc, now: float) -> None:
        """Requests are under way, and none was answered for a while: is it still there?"""
        if not ioc.probes and now - ioc.probed_at >= PROBE_EVERY_S:
            self.ask(ioc, now)

    def timed_out(self, ioc: Ioc, stale_bytes: int, now: float) -> None:
        """Requests have timed out. If it does not answer the probe either, the IOC is open."""
        if not ioc.probes:
            self.ask(ioc, now)
        if ioc.probes:
            ioc.gave_up = True
            ioc.stale_bytes += stale_bytes
            self._judge(ioc, now)

    def _judge(self, ioc: Ioc, now: float) -> None:
        if ioc.gave_up and ioc.probes and not ioc.open and now - max(ioc.asked_at, ioc.heard_at) >= self._open_s:
            ioc.open = True
            _log.warning("IOC %s does not answer: skipped until it does", ioc.host)
            self._changed()

    def answered(self, ioc: Ioc) -> None:
        """The IOC has answered a probe, or a channel of it has connected."""
        ioc.replies += 1
        if ioc.open:
            _log.info("IOC %s answers again", ioc.host)
        self._forget(ioc)

    def lost(self, ioc: Ioc) -> None:
        """The circuit is gone, and what was under way in it."""
        self._forget(ioc)

    def _forget(self, ioc: Ioc) -> None:
        ioc.probes, ioc.stale_bytes, ioc.gave_up = 0, 0, False
        if ioc.open:
            ioc.open = False
            self._changed()

    def reset(self) -> None:
        """Try every one again, save those whose circuit is full of requests given up."""
        for ioc in self.all:
            if ioc.stale_bytes > MAX_STALE_BYTES:
                _log.warning("IOC %s is not tried again: too much still waits in its circuit", ioc.host)
            elif ioc.open:
                # What is stale stays counted: it is still there.
                ioc.open = ioc.gave_up = False
                self._changed()

    def tick(self, now: float) -> None:
        """Judge, and probe again, what has been silent for long."""
        for ioc in self.all:
            if ioc.open or ioc.probes:
                self._judge(ioc, now)
                if ioc.probes < MAX_PROBES and now - ioc.probed_at >= PROBE_EVERY_S:
                    self.ask(ioc, now)
