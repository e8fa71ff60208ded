"""Files are read and written in threads, beside an event loop that has clients."""

from __future__ import annotations

import time

__all__ = ["LINES_A_LOOK", "breathe"]

LINES_A_LOOK = 250
"""Lines or rows after which to breathe, and to ask `Limits.stop`: about 2 ms of work."""


def breathe() -> None:
    """Let other threads run.

    One that computes keeps the event loop waiting for 5 ms at each of its system calls (sys.setswitchinterval), and on
    a machine of few cores, where the kernel does not wake it at once, for 0.1 s and more.
    """
    time.sleep(0)
