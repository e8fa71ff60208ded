"""Text files line by line, within bounds: one line of them is in memory, never the file."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats._problems import Problems
from squirrel_ioc.formats._protocol import Limits, ReadOptions
from squirrel_ioc.formats._thread_pauses import LINES_A_LOOK, breathe

__all__ = ["first_look", "open_regular", "read_head", "read_lines"]

T = TypeVar("T")

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_REMARKS = (b"#", b"%", b"!")
"""What begins a remark in the formats: whatever bytes one has do no harm."""

_BOM = b"\xef\xbb\xbf"


def open_regular(path: Path, name: str, limits: Limits) -> BinaryIO:
    """Open a plain file for reading; a device or a pipe could keep us waiting for ever.

    Raises FormatError when it is no plain file, cannot be read or is too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as e:
        raise FormatError([f"{name}: cannot be read: {getattr(e, 'strerror', None) or e}"]) from e
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = "is no plain file"
    elif status.st_size > limits.file_bytes:
        problem = f"has {status.st_size} bytes, more than the {limits.file_bytes} that are read"
    if problem is not None:
        os.close(descriptor)
        raise FormatError([f"{name}: {problem}"])
    return io.open(descriptor, "rb")  # noqa: UP020  # of a descriptor, not of a path


def read_head(path: Path, size: int, limits: Limits) -> bytes:
    """The first bytes of a file."""
    with open_regular(path, path.name, limits) as file:
        return file.read(size)


def read_lines(
    file: BinaryIO, name: str, problems: Problems, limits: Limits, encoding: str = "utf-8", *, any_bytes: bool = False
) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers from 1, without their ends.

    A line that is no text is a problem, and left out; a line or a file without end, or a binary file, ends it:
    FormatError. `any_bytes` lets all bytes pass, as surrogates (PEP 383) where they are no text: for a format that puts
    characters into its files as they are.
    """
    number = total = 0
    limit = limits.line_bytes
    while raw := file.readline(limit + 1):
        number += 1
        total += len(raw)
        if len(raw) > limit:
            problems.fatal(name, number, f"the line is longer than {limit} bytes")
        if total > limits.file_bytes:
            problems.fatal(name, number, f"the file is longer than {limits.file_bytes} bytes")
        if number % LINES_A_LOOK == 0:
            breathe()
            if reason := limits.stop():
                problems.fatal(name, number, reason)
        if number == 1 and raw.startswith(_BOM):
            raw = raw[len(_BOM) :]
        raw = raw.removesuffix(b"\n").removesuffix(b"\r")
        if not any_bytes and (control := _CONTROL.search(raw)) is not None:
            problems.fatal(name, number, f"control character 0x{control[0][0]:02x}: this is no text file")
        try:
            text = raw.decode(encoding, "surrogateescape" if any_bytes else "strict")
        except UnicodeDecodeError as e:
            if raw.lstrip().startswith(_REMARKS):
                text = raw.decode(encoding, "replace")
            else:
                reason = f"byte 0x{raw[e.start]:02x} at column {e.start + 1} is no {encoding} text"
                problems.add(name, number, f"{reason}: say what the file is written in, --encoding latin-1")
                continue
        yield number, text


def first_look(
    file: BinaryIO,
    name: str,
    options: ReadOptions,
    look: Callable[[Iterator[tuple[int, str]]], T],
    *,
    any_bytes: bool = False,
) -> T:
    """What `look` finds in the lines of a file that is to be read afterwards: what is wrong with it is told then."""

    def lines() -> Iterator[tuple[int, str]]:
        limits = replace(options.limits, stop=lambda: "")
        with contextlib.suppress(FormatError):
            problems = Problems(limits.problems)
            yield from read_lines(file, name, problems, limits, options.encoding, any_bytes=any_bytes)

    try:
        return look(lines())
    finally:
        file.seek(0)
