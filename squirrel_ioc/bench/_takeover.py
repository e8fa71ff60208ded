"""Hot standby: how long nobody answers when the active service of two is killed, stands still, or is stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from squirrel_ioc.bench._answers import Answers, Circuit
from squirrel_ioc.bench._figures import Target
from squirrel_ioc.bench._measure import Measurements, expect, listed, snapshot
from squirrel_ioc.bench._rig import Rig, Service

__all__ = ["Takeover"]

TAKEOVER: Final = Target(5.0, worst=True)
WAIT_S: Final = 30.0
STANDS_BY: Final = "standing by: "
ALL_CONNECTED: Final = "PVs are connected"


class Takeover:
    """Two services on a database, which take turns."""

    def __init__(self, m: Measurements, rig: Rig, first: Service, second: Service, times: int) -> None:
        self._m = m
        self._rig = rig
        self._active = first
        self._other = second
        self._times = times

    def rows(self) -> None:
        """All of them."""
        m, active, other = self._m, self._active, self._other
        other.wait_logged(STANDS_BY)
        for service in (active, other):
            service.wait_logged(ALL_CONNECTED)
        with Answers([active.port, other.port]) as answers:
            for key, title, disturb in (
                ("killed", "killed (SIGKILL)", self._kill),
                ("stopped", "stands still (SIGSTOP)", self._stop),
                ("ended", "stopped in order (SIGTERM)", self._terminate),
            ):
                title = f"Takeover, active service {title}"
                sample = self._sample(answers, disturb)
                m.measure(f"takeover_{key}", title, sample, self._times, TAKEOVER)

    def _sample(self, answers: Answers, disturb: Callable[[], Callable[[], None]]) -> Callable[[int], float]:
        """Disturb the active one; until the other one answers. What `disturb` returns makes a standby of it."""

        def sample(_: int) -> float:
            active, other = self._active, self._other
            since = time.perf_counter()
            active.renew_client()
            snapshot(active, self._rig.count)
            total, last = listed(active), active.one("SNAP:ID")
            with Circuit(active.port) as old:
                begin = time.perf_counter()
                back = disturb()
                answers.wait(other.port, begin, WAIT_S)
                with Circuit(other.port) as circuit:
                    circuit.ask()
                    expect("ROLE", circuit.answer(), "Active")
                elapsed = time.perf_counter() - begin
                # Asked while it stands still, if it does: it must not answer when it goes on.
                old.ask()
                self._active, self._other = other, active
                back()
                expect("the answer of the one that was active", old.answer(), None)
            other.renew_client()
            expect("SNAP:ID, LIST:TOTAL", [other.one("SNAP:ID"), listed(other)], [last, total])
            snapshot(other, self._rig.count)
            expect("whether they answered one after the other", answers.turns(since), [active.port, other.port])
            return elapsed

        return sample

    def _kill(self) -> Callable[[], None]:
        self._active.process.kill()
        return self._again

    def _terminate(self) -> Callable[[], None]:
        self._active.process.terminate()
        return self._again

    def _stop(self) -> Callable[[], None]:
        service = self._active
        times = service.logged(STANDS_BY)
        service.process.send_signal(signal.SIGSTOP)

        def go_on() -> None:
            service.process.send_signal(signal.SIGCONT)
            service.wait_logged(STANDS_BY, times + 1)

        return go_on

    def _again(self) -> None:
        """Start the one that has ended: it stands by."""
        service = self._other
        service.stop()
        service.client.stop()
        seen = [(text, service.logged(text)) for text in (STANDS_BY, ALL_CONNECTED)]
        service.start()
        for text, times in seen:
            service.wait_logged(text, times + 1)
