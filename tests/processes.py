"""Which processes are there, and what their logs have that they must not."""

from __future__ import annotations

import os
from contextlib import suppress
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


SECRET = "planted-c0ffee"  # noqa: S105
"""In the environment of every program that the tests start, and of the tests: for nobody to write down."""

_LOGS = ("*.log", "log", "*/*.log", "*/log", "*/postgres/log", "postgres/*.log", "*/postgres/*.log")


def logs_with_the_secret(*folders: Path) -> list[Path]:
    """Which of the logs in folders of tests have it."""
    found = []
    for path in {path for folder in folders for pattern in _LOGS for path in folder.glob(pattern)}:
        with suppress(OSError):  # another test process has just removed it
            if path.is_file() and SECRET.encode() in path.read_bytes():
                found.append(path)
    return found
