"""How a file that is complete gets its name."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["give_name"]


_MODE: Final = 0o640
"""Values of a machine are not for everybody."""


def give_name(part: Path, path: Path, *, replace: bool) -> None:
    """Let `path` be the file that was written as `part`, in one step. Raises OSError.

    Without `replace`, FileExistsError when there is something of that name already, be it a link to nowhere; `part`
    may be left.
    """
    part.chmod(_MODE)
    if replace:
        part.replace(path)
    else:
        try:
            os.link(part, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: the name is taken first, and the file replaces what took it.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
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
