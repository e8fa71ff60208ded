"""How the bench measures: several times, checked, and what fails is reported in its row while the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from squirrel_ioc.bench._figures import Figure, Target
from squirrel_ioc.bench._peer_process import MeasurementError
from squirrel_ioc.bench._rig import Rig, Service
from squirrel_ioc.errors import SquirrelError

__all__ = ["Measurements", "Progress", "expect", "listed", "restore", "restored_counts", "snapshot", "wait_connected"]

Progress = Callable[[str, int, int], None]
"""Told what is measured, which sample, of how many."""

RESTORE_COUNTS: Final = ("WRITTEN", "UNCHANGED", "SKIPPED", "FAILED", "MISMATCH")
CONNECT_S: Final = 60.0
LISTED_S: Final = 10.0


class Measurements:
    """Collects figures; `progress` is told what is measured."""

    def __init__(self, rig: Rig, iterations: int, progress: Progress) -> None:
        self.rig = rig
        self.times = iterations
        self.figures: list[Figure] = []
        self._progress = progress

    def measure(
        self,
        key: str,
        title: str,
        sample: Callable[[int], float],
        times: int,
        target: Target | None = None,
        unit: str = "s",
    ) -> Figure:
        """Take `times` samples; a MeasurementError becomes the row's failure."""
        figure = Figure(key, title, unit, target)
        self.figures.append(figure)
        try:
            for i in range(times):
                self._progress(title, i, times)
                figure.samples.append(sample(i))
        except MeasurementError as e:
            # Half a row is not a figure.
            figure.samples.clear()
            figure.failure = str(e)
        return figure

    @contextmanager
    def section(self, key: str, title: str) -> Iterator[None]:
        """Around measurements that need the same things: if these fail, it is reported, and the next section runs."""
        try:
            yield
        except SquirrelError as e:
            self.figures.append(Figure(key, title, failure=str(e)))

    def rest(self, key: str, title: str, samples: list[float], target: Target | None = None, unit: str = "s") -> Figure:
        """A row of what was seen beside other measurements."""
        figure = Figure(key, title, unit, target, list(samples), "" if samples else "not measured")
        self.figures.append(figure)
        return figure

    def figure(self, key: str) -> Figure:
        """A row by its key; an empty one if it was not measured."""
        return next((f for f in self.figures if f.key == key), Figure(key, key, failure="not measured"))

    def ratio(self, key: str, title: str, above: str, below: str, target: Target | None = None) -> Figure:
        """A row that is the ratio of two others' medians."""
        figure = Figure(key, title, "x", target)
        numbers = [self.figure(above), self.figure(below)]
        if all(f.samples for f in numbers):
            figure.samples = [numbers[0].median / numbers[1].median]
        else:
            figure.failure = f"no figure for {', '.join(f.title for f in numbers if not f.samples)}"
        self.figures.append(figure)
        return figure


def expect(what: str, got: object, wanted: object) -> None:
    """Raise MeasurementError when a result is not what it must be."""
    if got != wanted:
        raise MeasurementError(f"{what} is {got}, not {wanted}")


def wait_connected(service: Service, count: int) -> float:
    """The time from the start of the service until so many PVs are connected."""
    try:
        service.wait_for("PVS:CONNECTED", count, timeout_s=CONNECT_S)
    except MeasurementError as e:
        connected, missing = service.get("PVS:CONNECTED", "PVS:DISCONNECTED:NAMES")
        raise MeasurementError(f"{e}: {connected} PVs are connected, not {count}; missing: {missing[:5]}") from e
    return time.perf_counter() - service.started


def snapshot(service: Service, count: int, missing: int = 0) -> float:
    """The time of one snapshot, which must have so many values and lack so many."""
    elapsed = _put(service, "SNAP:TRIGGER", 1, "SNAP:MSG")
    got = service.get("SNAP:STATUS", "SNAP:COUNT", "SNAP:MISSING")
    expect("snapshot: STATUS, COUNT, MISSING", got, ["Partial" if missing else "OK", count - missing, missing])
    return elapsed


def restore(service: Service, snapshot_id: int, status: str = "OK", **counts: int) -> float:
    """The time of one restore, which must end with this status and these counts (the others zero)."""
    elapsed = _put(service, "RESTORE:ID", snapshot_id, "RESTORE:MSG")
    got = list(restored_counts(service).values())
    wanted = [counts.get(name.lower(), 0) for name in RESTORE_COUNTS]
    expect(f"restore: STATUS, TOTAL, {', '.join(RESTORE_COUNTS)}", got, [status, sum(wanted), *wanted])
    return elapsed


def listed(service: Service) -> int:
    """LIST:TOTAL, once the snapshot taken last is on the list: it follows on its own. Raises MeasurementError."""
    deadline = time.monotonic() + LISTED_S
    while True:
        newest, taken, total = service.get("LIST:IDS", "SNAP:ID", "LIST:TOTAL")
        if newest[:1] == [taken]:
            return int(total)
        if time.monotonic() > deadline:
            raise MeasurementError(f"snapshot {taken} is not on the list after {LISTED_S:g} s: {newest[:5]}")
        time.sleep(0.05)


def restored_counts(service: Service) -> dict[str, Any]:
    """STATUS, TOTAL and the other counts of the last restore."""
    names = ("STATUS", "TOTAL", *RESTORE_COUNTS)
    return dict(zip(names, service.get(*(f"RESTORE:{name}" for name in names)), strict=True))


def _put(service: Service, name: str, value: float, message: str) -> float:
    try:
        return service.put(name, value)
    except MeasurementError as e:
        raise MeasurementError(f"{e}; {message}: {service.get(message)[0]}") from e
