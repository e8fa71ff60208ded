"""When an IOC is skipped, and when it is taken in again."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from squirrel_ioc.ca._iocs import MAX_PROBES, MAX_STALE_BYTES, PROBE_EVERY_S, Ioc, Iocs
from squirrel_ioc.config import CaSettings

OPEN_S = 3.0


class Recorder:
    """Iocs with one of them, and what they did."""

    def __init__(self) -> None:
        self.probed = 0
        self.changes = 0
        self.reachable = True
        self.iocs = Iocs(self._probe, self._changed, slow_s=1.0, open_s=OPEN_S)
        self.ioc = self.iocs.add("host:5064")

    def _probe(self, _ioc: Ioc, _chid: int) -> bool:
        self.probed += 1
        return self.reachable

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def it() -> Recorder:
    return Recorder()


def hang(it: Recorder, now: float) -> float:
    """Silence, requests that time out, patience: the time when it is open."""
    it.iocs.silent(it.ioc, now)
    it.iocs.timed_out(it.ioc, 100, now + OPEN_S)
    assert it.ioc.open
    return now + OPEN_S


def test_silence_alone_opens_nothing(it: Recorder) -> None:
    for step in range(100):
        it.iocs.silent(it.ioc, 10 + step / 10)
        it.iocs.tick(10 + step / 10)
    assert not it.ioc.open
    assert it.probed == MAX_PROBES
    assert it.changes == 0


def test_silence_and_timeouts_open_it(it: Recorder) -> None:
    hang(it, 10)
    assert it.changes == 1
    assert it.iocs.watched


def test_timeouts_before_patience_has_ended_open_it_later(it: Recorder) -> None:
    it.iocs.timed_out(it.ioc, 100, 10)
    assert it.probed == 1
    assert it.ioc.gave_up
    it.iocs.tick(10 + OPEN_S / 2)
    assert not it.ioc.open
    it.iocs.tick(10 + OPEN_S)
    assert it.ioc.open


def test_an_answer_to_the_probe_clears_it(it: Recorder) -> None:
    it.iocs.timed_out(it.ioc, 100, 10)
    it.iocs.answered(it.ioc)
    it.iocs.tick(20)
    assert not it.ioc.open
    assert (it.ioc.gave_up, it.ioc.probes, it.ioc.stale_bytes) == (False, 0, 0)
    assert not it.iocs.watched


def test_answers_to_other_requests_count_too(it: Recorder) -> None:
    it.iocs.silent(it.ioc, 10)
    it.ioc.heard_at = 10.9
    it.iocs.timed_out(it.ioc, 100, 11)
    assert not it.ioc.open
    it.iocs.tick(10.9 + OPEN_S)
    assert it.ioc.open


def test_it_is_taken_in_again_when_it_answers(it: Recorder) -> None:
    hang(it, 10)
    it.iocs.answered(it.ioc)
    assert not it.ioc.open
    assert it.changes == 2
    hang(it, 50)


def test_it_is_taken_in_again_when_its_circuit_is_lost(it: Recorder) -> None:
    hang(it, 10)
    it.iocs.lost(it.ioc)
    assert not it.ioc.open


def test_probes_are_few(it: Recorder) -> None:
    now = hang(it, 10)
    for step in range(1000):
        it.iocs.tick(now + step * PROBE_EVERY_S / 10)
    assert it.probed == MAX_PROBES


def test_reset_tries_again(it: Recorder) -> None:
    now = hang(it, 10)
    it.iocs.reset()
    assert not it.ioc.open
    assert not it.ioc.gave_up
    it.iocs.tick(now + 0.1)
    assert not it.ioc.open
    it.iocs.timed_out(it.ioc, 100, now + 1)
    assert it.ioc.open


def test_reset_leaves_a_circuit_that_is_full(it: Recorder) -> None:
    it.iocs.silent(it.ioc, 10)
    it.iocs.timed_out(it.ioc, MAX_STALE_BYTES + 1, 10 + OPEN_S)
    it.iocs.reset()
    assert it.ioc.open
    it.iocs.answered(it.ioc)
    assert not it.ioc.open


def test_one_that_cannot_be_asked_is_not_judged(it: Recorder) -> None:
    it.reachable = False
    it.iocs.timed_out(it.ioc, 100, 10)
    it.iocs.tick(20)
    assert (it.ioc.open, it.ioc.gave_up) == (False, False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("slow_s", 0),
        ("slow_s", "soon"),
        ("open_s", 0),
        ("open_s", 61),
        ("open_s", True),
        ("retry_s", -0.1),
        ("retry_s", 61),
        ("retry_s", float("nan")),
    ],
)
def test_thresholds_are_checked(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        CaSettings.model_validate({key: value})


def test_names(it: Recorder) -> None:
    other = it.iocs.add("10.0.0.7:5064")
    it.iocs.rename(other, "vme7:5064")
    assert it.iocs.hosts == ("host:5064", "vme7:5064")
    assert it.iocs.of_host("10.0.0.7:5064") is other
    assert it.iocs.of_host("vme7:5064") is other
    assert it.iocs.of_host("else:5064") is None
