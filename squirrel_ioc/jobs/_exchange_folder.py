"""The exchange folder: the only place whose files can be named over the network, and how little is trusted of it.

A name is a base name. What is opened is a plain file that lies in the folder itself: no link is followed, so none can
lead out of it. A file is copied before it is read, so that what is read is one thing, whoever writes it meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import FormatError, RefusedError

__all__ = ["LOOK_S", "check_absent", "check_file", "exchange_folder", "in_thread", "private_copy"]

LOOK_S: Final = 10.0
"""To wait for the exchange folder, which may be on another machine."""

_NAME_BYTES: Final = 255
_PIECE: Final = 1 << 20

T = TypeVar("T")


def exchange_folder(settings: Settings) -> Path:
    """The folder. Raises RefusedError when none is configured."""
    if settings.exchange_dir is None:
        raise RefusedError("there is no exchange folder: exchange_dir of the settings names none")
    return settings.exchange_dir


async def in_thread(work: Callable[[], T], timeout_s: float, doing: str) -> T:
    """Do what waits for a file system. Raises RefusedError when it has not come back in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.to_thread(work)
    except TimeoutError:
        raise RefusedError(f"{doing}: the file system has not answered within {timeout_s:g} s") from None


def check_file(folder: Path, name: str, size_limit: int) -> None:
    """Raises RefusedError unless there is a plain file of this base name, of at most so many bytes."""
    _check_name(name)
    with _opened(folder) as descriptor:
        status = _status(descriptor, name)
    problem = f"there is no file {name!r} in the exchange folder" if status is None else _problem(status, size_limit)
    if problem:
        raise RefusedError(problem if status is None else f"{name}: {problem}")


def check_absent(folder: Path, name: str) -> None:
    """Raises RefusedError unless `name` is a base name that is not in the folder yet."""
    _check_name(name)
    with _opened(folder) as descriptor:
        if _status(descriptor, name) is not None:
            raise RefusedError(f"{name} exists already, and no file is overwritten")


@contextmanager
def private_copy(folder: Path, name: str, size_limit: int) -> Iterator[Path]:
    """A copy of a file, of the same name, that nobody else can change. Raises FormatError, RefusedError."""
    _check_name(name)
    with TemporaryDirectory(prefix="squirrel-import-") as private:
        copy = Path(private) / name
        try:
            with _opened(folder) as descriptor:
                _copy(descriptor, name, copy, size_limit)
        except OSError as e:
            reason = "is a link" if e.errno == errno.ELOOP else f"cannot be read: {e.strerror or e}"
            raise FormatError([f"{name}: {reason}"]) from e
        yield copy


def _check_name(name: str) -> None:
    problem = None
    if not name.strip():
        raise RefusedError("the name of a file is needed")
    if "/" in name or "\\" in name:
        problem = "has a path; the file must be in the exchange folder itself"
    elif name.startswith("."):
        problem = "begins with a dot"
    elif not name.isprintable():
        problem = "has characters that cannot be printed"
    elif len(name.encode("utf-8", "surrogateescape")) > _NAME_BYTES:
        problem = f"is longer than {_NAME_BYTES} bytes"
    if problem is not None:
        raise RefusedError(f"the name {name[:100]!r} {problem}")


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A descriptor of the folder: names in it are then looked up in that folder and no other."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise RefusedError(f"the exchange folder cannot be opened: {e.strerror}") from e
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _status(folder: int, name: str) -> os.stat_result | None:
    """What is there under this name, links not followed; None when there is nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise RefusedError(f"{name}: {e.strerror or e}") from e


def _problem(status: os.stat_result, size_limit: int) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if not stat.S_ISREG(status.st_mode):
        return "is no plain file"
    if status.st_size > size_limit:
        return f"has {status.st_size} bytes, more than the {size_limit} that are read"
    return ""


def _copy(folder: int, name: str, copy: Path, size_limit: int) -> None:
    # Without O_NONBLOCK a pipe would keep us waiting for a writer.
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
    try:
        if problem := _problem(os.fstat(source), size_limit):
            raise FormatError([f"{name}: {problem}"])
        with copy.open("xb") as file:
            while piece := os.read(source, min(_PIECE, size_limit + 1 - file.tell())):
                file.write(piece)
                if file.tell() > size_limit:
                    raise FormatError([f"{name}: has more than the {size_limit} bytes that are read"])
    finally:
        os.close(source)
