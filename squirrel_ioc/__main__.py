"""Where the program begins."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `main` takes care of it: Ctrl-C ends the program without a trace of what it was importing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from squirrel_ioc.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
