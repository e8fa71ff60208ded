"""The one Channel Access context of this process.

libca's context is made once and stays: destroying it waits 30 s for a circuit that hangs, and aioca keeps using the
one it saw first. What a context cannot change afterwards is where it searches.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._duplicates import DUPLICATE
from squirrel_ioc.errors import ChannelAccessError

__all__ = ["adopt", "attach", "detach", "add_exception_listener", "remove_exception_listener", "hear_duplicates"]

_log = logging.getLogger(__name__)

ExceptionListener = Callable[[int, int, int], None]
"""Called in a thread of libca with channel id, ECA status, CA_OP."""

REPORTS: Final = 20
REPORT_PERIOD_S: Final = 10.0
"""At most so many lines in the log in so many seconds."""

_report_count = 0
_report_since = 0.0

_context: int | None = None
_environment: dict[str, str] = {}
_listeners: tuple[ExceptionListener, ...] = ()
_duplicate_listener: Callable[[str, str], None] | None = None


def _on_exception(args: ca.ExceptionArgs) -> None:
    """Without a handler libca prints a page for every request that fails."""
    if args.chid:
        for listener in _listeners:
            listener(args.chid, args.status, args.op)
    elif args.status == ca.ECA_DBLCHNL and (told := DUPLICATE.search(args.context or b"")):
        name, used, ignored = map(_text, told.groups())
        _report("%s is served by two IOCs: %s is used, %s is not", name, used, ignored)
        if _duplicate_listener is not None:
            _duplicate_listener(name, ignored)
    elif args.status in (ca.ECA_DISCONN, ca.ECA_UNRESPTMO):
        _report("IOC %s: %s", _text(args.context), _text(ca.message(args.status)))
    else:
        _report("Channel Access: %s: %s", _text(ca.message(args.status)), _text(args.context))


def _report(message: str, *arguments: str) -> None:
    """Log, but not 40,000 times: a name that two IOCs have is told for each channel."""
    global _report_count, _report_since
    now = time.monotonic()
    if now - _report_since > REPORT_PERIOD_S:
        if _report_count > REPORTS:
            _log.warning("Channel Access: %d more of these", _report_count - REPORTS)
        _report_count, _report_since = 0, now
    _report_count += 1
    if _report_count <= REPORTS:
        _log.warning(message, *arguments)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("latin-1")


_handler = ca.ExceptionHandler(_on_exception)


def adopt(environment: Mapping[str, str]) -> None:
    """Attach the calling thread (the event loop's) to the context, made now with these EPICS_CA_* variables if new.

    A context that the thread already has, made by aioca, is taken as it is. aioca takes the one made here, when it
    is used first in the same thread. Raises ChannelAccessError when the context cannot be had, or searches elsewhere.
    """
    global _context
    if _context is not None:
        if environment != _environment:
            raise ChannelAccessError(
                "this process already searches with "
                f"{_environment or 'the settings of its environment'}; it cannot change to {dict(environment)}"
            )
        attach()
        return
    os.environ.update(environment)
    status = ca.context_create(1)
    if status != ca.ECA_NORMAL:
        raise ChannelAccessError(f"no Channel Access context: {_text(ca.message(status))}")
    _context = ca.current_context()
    _environment.update(environment)
    atexit.register(ca.add_exception_event, None, None)
    ca.add_exception_event(ctypes.cast(_handler, ctypes.c_void_p), None)


def attach() -> None:
    """Attach the calling thread to the context. Raises ChannelAccessError."""
    current = ca.current_context()
    if current == _context:
        return
    if current:
        ca.detach_context()
    status = ca.attach_context(_context)
    if status != ca.ECA_NORMAL:
        raise ChannelAccessError(f"thread not attached to Channel Access: {_text(ca.message(status))}")


def detach() -> None:
    """Detach the calling thread before it ends."""
    ca.detach_context()


def add_exception_listener(listener: ExceptionListener) -> None:
    """`listener` gets the failures of single requests from now on."""
    global _listeners
    _listeners = (*_listeners, listener)


def hear_duplicates(listener: Callable[[str, str], None] | None) -> None:
    """`listener`, the only one, gets the names that two IOCs serve, and the IOC that is not used, from now on."""
    global _duplicate_listener
    _duplicate_listener = listener


def remove_exception_listener(listener: ExceptionListener) -> None:
    """The reverse."""
    global _listeners
    _listeners = tuple(other for other in _listeners if other != listener)
