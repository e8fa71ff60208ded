"""New files: they appear whole or not at all, and are never readable by everybody, also not while they are written."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from squirrel_ioc.errors import FormatError

__all__ = ["new_binary"]


_MODE: Final = 0o640
"""Values of a machine are not for everybody. The umask may take more away."""


@contextmanager
def new_binary(path: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """A file to be written; it gets its name, whole, at the end of the block, and is gone when that raises.

    Raises FormatError when it cannot be written, and without `replace` when there is something of that name already,
    be it a link to nowhere.
    """
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with io.open(_create(part), "wb") as file:  # noqa: UP020  # of a descriptor, not of a path
            yield file
            file.flush()
            os.fsync(file.fileno())
        _give_name(part, path, replace=replace)
    except OSError as e:
        raise FormatError([f"{path.name}: cannot be written: {e.strerror or e}"]) from e
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _create(path: Path) -> int:
    """Open a file that is not there yet; a link that somebody has put there is not followed. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)


def _give_name(part: Path, path: Path, *, replace: bool) -> None:
    """Let `path` be the file that was written as `part`, in one step. Raises OSError; `part` may be left."""
    if replace:
        part.replace(path)
    else:
        try:
            os.link(part, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: the name is taken first, and the file replaces what took it.
            os.close(_create(path))
            part.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """The name, too, is to survive a power cut; not every file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
