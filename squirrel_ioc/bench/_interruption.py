"""Ctrl-C and SIGTERM of the bench: everything is stopped, once, and nothing that has just been started is forgotten."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["heed_signals", "held_back"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class _Interruption:
    """Raises KeyboardInterrupt at the first signal, or at the end of what holds it back."""

    def __init__(self) -> None:
        self.held = 0
        self.came = False

    def on_signal(self, _number: int, _frame: object) -> None:
        if self.held:
            self.came = True
        else:
            self.stop()

    def stop(self) -> None:
        """A second signal must not interrupt the stopping, which is bounded."""
        self.came = False
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt


_interruption: Final = _Interruption()


def heed_signals() -> None:
    """From now on, in the main thread."""
    for number in _SIGNALS:
        signal.signal(number, _interruption.on_signal)


@contextmanager
def held_back() -> Iterator[None]:
    """A process that is started in here has its place in what will stop it before a signal interrupts the bench."""
    _interruption.held += 1
    try:
        yield
    finally:
        _interruption.held -= 1
        if _interruption.came and not _interruption.held:
            _interruption.stop()
