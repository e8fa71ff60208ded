"""A signal that comes while the bench starts a process counts when that is known to be stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from squirrel_ioc.bench._interruption import heed_signals, held_back


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heed_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_counts_at_the_end_of_the_outermost(number: signal.Signals) -> None:
    done = []

    def start() -> None:
        with held_back():
            with held_back():
                os.kill(os.getpid(), number)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["inner", "outer"]


def test_it_counts_at_once_elsewhere_and_a_second_one_does_not() -> None:
    with held_back():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
