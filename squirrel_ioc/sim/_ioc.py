"""The process of one simulated IOC: EPICS base with one database file. Started by `SimulatedMachine` only.

    python -m squirrel_ioc.sim._ioc DATABASE PORT PARENT

The line `ready` (or `failed: reason`) on standard output tells that it serves. It ends when its standard input
does, so that it never outlives the process that started it. PARENT, when not 0, is the process that started it from
its main thread: then the kernel ends this process with it, even while it is stopped.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""`linux/prctl.h`"""


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _serves(port: int) -> bool:
    """Whether this process listens on the port: base takes another one, with a warning, when it is in use."""
    import psutil

    return any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in psutil.Process().net_connections("tcp"))


def main(database: str, port: int, parent: int) -> None:
    """Run the IOC until standard input ends."""
    if parent:
        _die_with(parent)
    # The terminal's Ctrl-C is for whoever started the machine; he ends this process in his own order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Base prints to standard output; that one is for the answer.
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        from epicscorelibs.ioc import start_ioc

        start_ioc(database)
    except RuntimeError as e:
        answer.write(f"failed: {e}\n")
    else:
        answer.write("ready\n" if _serves(port) else f"failed: port {port} is in use\n")
    answer.close()
    while os.read(0, 1):
        pass
    # Records hold nothing worth an orderly end, and base's takes its time.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
