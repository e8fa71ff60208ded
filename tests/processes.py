"""Which processes are there."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def left_over(folder: Path) -> list[str]:
    """Processes that have to do with a folder: work in it, or name it in their command."""
    found = []
    for p in psutil.process_iter(["cwd", "cmdline", "status"]):
        place = " ".join([p.info["cwd"] or "", *(p.info["cmdline"] or [])])
        if str(folder) in place and p.info["status"] != psutil.STATUS_ZOMBIE and p.pid != os.getpid():
            found.append(place)
    return found
