"""Messages with a value, as they are sent: answers to reads, and updates of monitors.

Not caproto's: clients may ask for as many elements as there can be, 8 MiB of zeros behind a short text. Here the value
and the zeros are the same memory for all clients that wait for them.

Source: EPICS base `caProto.h`, `caserverio.c` (cas_copy_in_header).
"""

from __future__ import annotations

import struct
from typing import Any, Final

from caproto import CAStatus

from squirrel_ioc.ioc.kinds.wire import Elements

__all__ = ["EVENT_ADD", "READ", "READ_NOTIFY", "answer"]

EVENT_ADD, READ, READ_NOTIFY = 1, 3, 15

_HEADER: Final = struct.Struct(">HHHHII")
_LONG_HEADER: Final = struct.Struct(">HHHHIIII")
_LONG: Final = 0xFFFF
_ZEROS: Final = bytes(64 * 1024)


def answer(command: int, data_type: Any, structure: Any, elements: Elements, one: Any, two: int) -> list[Any]:
    """The buffers of a message. `one` is a number, or a status; `two` is what the client knows its request by."""
    first = one.value.code_with_severity if isinstance(one, CAStatus) else one
    begin = b"" if structure is None else bytes(structure)
    size = len(begin) + len(elements.data) + elements.zeros
    padding = -size % 8
    zeros = elements.zeros + padding
    size += padding
    if size < _LONG and elements.count < _LONG:
        header = _HEADER.pack(command, size, int(data_type), elements.count, first, two)
    else:
        header = _LONG_HEADER.pack(command, _LONG, int(data_type), 0, first, two, size, elements.count)
    buffers: list[Any] = [header + begin]
    if elements.data:
        buffers.append(elements.data)
    if zeros:
        whole, rest = divmod(zeros, len(_ZEROS))
        buffers += [_ZEROS] * whole
        buffers.append(memoryview(_ZEROS)[:rest])
    return buffers
