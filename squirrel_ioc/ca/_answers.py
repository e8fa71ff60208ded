"""What libca tells of requests: noted in its threads, handed out in the engine's."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from squirrel_ioc.ca import _libca as ca
from squirrel_ioc.ca._layout import DBR_TIME, TIME_DTYPE, VALUE_OFFSET
from squirrel_ioc.ca._operation import Operation
from squirrel_ioc.ca._put import UnfinishedPuts
from squirrel_ioc.model.values import ELEMENT_DTYPE

__all__ = ["Answers"]

_TAG_SHIFT: Final = 32
_INDEX: Final = (1 << _TAG_SHIFT) - 1
"""The token of a request is tag | index: the operation's tag, a multiple of 2^32, and the request in it."""

_SIZES: Final = {int(dbf) + DBR_TIME: (VALUE_OFFSET[dbf], ELEMENT_DTYPE[dbf].itemsize) for dbf in TIME_DTYPE}

_immortal: list[Any] = []
"""The handlers. libca may still call one for a request that nobody waits for any more; they are few."""


def _address(handler: Any) -> int:
    _immortal.append(handler)
    return ctypes.cast(handler, ctypes.c_void_p).value or 0


class Answers:
    """`value_handler` and `put_handler` are addresses to give to libca, `on_exception` a listener.

    `wake` is called when something has come, save the end of puts: 40,000 of these come at once, and who waits for
    them polls. Tokens below 2^32 are probes of the IOC with that index: `alive` is called when one is answered.
    """

    def __init__(self, wake: Callable[[], None], alive: Callable[[int], None]) -> None:
        self.unfinished = UnfinishedPuts()
        self._wake = wake
        self._alive = alive
        self._exceptions: deque[tuple[int, int, int]] = deque()
        self._values: deque[tuple[int, int, int, bytes]] = deque()
        self._put_ends: deque[ca.ValueArgs] = deque()
        self._by_tag: dict[int, Operation] = {}
        self._last_tag = 0
        self.value_handler = _address(ca.ValueHandler(self._on_value))
        self.put_handler = _address(ca.ValueHandler(self._put_ends.append))

    def tag(self, operation: Operation) -> int:
        """A tag for the operation's requests, until `untag`."""
        self._last_tag += 1 << _TAG_SHIFT
        self._by_tag[self._last_tag] = operation
        return self._last_tag

    def untag(self, tag: int) -> None:
        """What still comes with this tag is for nobody."""
        self._by_tag.pop(tag, None)

    def on_exception(self, chid: int, status: int, op: int) -> None:
        """In a thread of libca."""
        self._exceptions.append((chid, status, op))
        self._wake()

    def _on_value(self, args: ca.ValueArgs) -> None:
        raw = b""
        if args.status == ca.ECA_NORMAL and args.type in _SIZES:
            offset, size = _SIZES[args.type]
            raw = ctypes.string_at(args.dbr, offset + size * args.count)
        self._values.append((args.usr or 0, args.status, args.count, raw))
        self._wake()

    def hand_out(self, operations: Sequence[Operation]) -> None:
        """In the engine thread: tell those concerned."""
        while self._exceptions:
            failure = self._exceptions.popleft()
            for operation in operations:
                operation.exception(*failure)
        while self._values:
            token, status, count, raw = self._values.popleft()
            index = token & _INDEX
            if token == index:
                # A probe fails with its circuit; any other failure is an answer too.
                if status != ca.ECA_DISCONN:
                    self._alive(index)
            elif found := self._by_tag.get(token - index):
                found.value(index, status, count, raw)
        if self._put_ends:
            self._hand_out_put_ends()

    def _hand_out_put_ends(self) -> None:
        ends = [self._put_ends.popleft() for _ in range(len(self._put_ends))]
        tokens = np.array([end.usr for end in ends], np.int64)
        statuses = np.array([end.status for end in ends], np.int64)
        self.unfinished.ended(tokens)
        tags = tokens & ~_INDEX
        for tag in np.unique(tags).tolist():
            if operation := self._by_tag.get(tag):
                mine = tags == tag
                operation.puts_ended(tokens[mine] & _INDEX, statuses[mine])
