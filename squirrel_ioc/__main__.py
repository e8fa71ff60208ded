"""Where the program begins."""

import _signal as signal  # type: ignore[import-not-found]  # in C, and there at once

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a command takes care of it (`cli/_stop.py`): Ctrl-C ends the program, whatever it is importing. Python's own
    # handler raises an exception there, which is sometimes lost.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from squirrel_ioc.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
