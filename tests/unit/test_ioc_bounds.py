"""What all clients together may take."""

from __future__ import annotations

import logging
import time

import pytest

from squirrel_ioc.ioc.protocol import bounds as _bounds
from squirrel_ioc.ioc.protocol import outbox as _outbox
from squirrel_ioc.ioc.protocol.bounds import Bounds, ClientLog
from squirrel_ioc.ioc.protocol.outbox import Outbox

log = logging.getLogger("test")


class Transport:
    """What is left of a connection."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


class Writer:
    """A client that reads nothing."""

    def __init__(self) -> None:
        self.transport = Transport()


def outbox(bounds: Bounds) -> Outbox:
    return Outbox(Writer(), bounds=bounds)  # type: ignore[arg-type]


def aborted(box: Outbox) -> bool:
    return bool(box._writer.transport.aborted)  # type: ignore[attr-defined]


async def test_what_several_wait_for_is_counted_once() -> None:
    bounds = Bounds()
    boxes = [outbox(bounds) for _ in range(10)]
    value = bytes(1_000_000)
    for box in boxes:
        box.update("a", [b"header", value], 2)
    assert 1_000_000 < bounds.waiting_bytes < 1_010_000
    assert all(box.waiting_bytes > 1_000_000 for box in boxes)
    for box in boxes[1:]:
        box.forget("a")
    assert 1_000_000 < bounds.waiting_bytes < 1_001_000
    boxes[0].close()
    assert bounds.waiting_bytes == 0
    boxes[0].reply([value])
    assert bounds.waiting_bytes == boxes[0].waiting_bytes == 0


async def test_who_has_stopped_reading_is_disconnected_when_others_need_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_bounds, "EASY_BYTES", 100_000)
    monkeypatch.setattr(_bounds, "MOST_BYTES", 200_000)
    bounds = Bounds()
    idle, stalled, reading, another = (outbox(bounds) for _ in range(4))
    stalled.reply([bytes(90_000)])
    idle.stalled_since = stalled.stalled_since = time.monotonic() - 60
    reading.reply([bytes(20_000)])
    assert [aborted(box) for box in (idle, stalled, reading)] == [False, True, False]
    assert stalled.given_up
    assert bounds.waiting_bytes < 21_000
    # While all of them read, it may become more; but not any amount.
    another.reply([bytes(170_000)])
    assert not aborted(another)
    reading.stalled_since = time.monotonic() - 0.5
    reading.reply([bytes(50_000)])
    assert [aborted(box) for box in (reading, another)] == [True, False]


async def test_big_updates_are_made_when_it_is_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_outbox, "MAX_AHEAD_BYTES", 1_000)
    box = outbox(Bounds())
    box.update("a", [bytes(2_000)], 2)
    assert box.full
    for _ in range(100):
        box.update_later("b", lambda: [b"newest"])
        box.update_later("c", lambda: None)
    box.reply([b"done"])
    assert box.waiting_bytes < 5_000
    sent = [message.buffers for _ in range(4) for message in box._next_batch()]
    assert sent == [[bytes(2_000)], [b"newest"], [], [b"done"]]


def test_log_of_what_clients_do_wrong(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = 100.0
    lines = ClientLog(lambda: now)
    for i in range(1_000):
        lines.line(log, logging.INFO, "refused %s", f"first\nsecond \x1b {'x' * 10_000}")
        lines.line(log, logging.WARNING, "turned away %d", i)
    assert len(caplog.records) == 40
    assert caplog.messages[0] == "refused first"
    now += 2.0
    lines.line(log, logging.INFO, "refused %s", "\x1b[2J")
    lines.line(log, logging.INFO, "refused %s", "again")
    assert caplog.messages[40:] == ["refused ?[2J (and 980 more like this)"]
