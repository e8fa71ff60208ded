"""What happens on FILE:IMPORT: a file of values becomes a snapshot, whole or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import FormatError, RefusedError
from squirrel_ioc.formats import (
    LINES_A_LOOK,
    Kind,
    Limits,
    ReadOptions,
    SnapshotFile,
    detect,
    format_named,
    read_snapshot,
)
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._exchange_folder import LOOK_S, check_file, exchange_folder, in_thread, private_copy
from squirrel_ioc.jobs.exporting import ATTRIBUTES
from squirrel_ioc.jobs.file_types import check_texts, live_types
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.inventory import few
from squirrel_ioc.model.job import FileResult, ImportRequest
from squirrel_ioc.model.snapshot import IMPORT, NewSnapshot
from squirrel_ioc.model.values import Meta, State

__all__ = ["EXCHANGE_LIMITS", "READ_S", "Imported", "check_import", "import_file", "read_import"]

EXCHANGE_LIMITS: Final = Limits(file_bytes=128 << 20, rows=1_000_000, value_bytes=256 << 20)
"""What a file that is imported over the network may cost."""

READ_S: Final = 120.0
"""A file of the exchange folder that is not read by then is given up."""

_READ: Final = 70.0  # percent of the progress bar that reading ends at
_TELL_S: Final = 0.2
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FUTURE: Final = timedelta(days=366)


@dataclass(frozen=True)
class Imported:
    """A file that was read: what is to be stored of it, and what is not as it is in the file.

    `format` is the one that was found or given; `whole` says whether every value has the type of its PV, as far as
    that is known.
    """

    frame: Frame
    new: NewSnapshot
    format: str
    whole: bool
    warnings: tuple[str, ...]


async def check_import(settings: Settings, request: ImportRequest) -> None:
    """Raise RefusedError for what cannot be imported, before anything is queued."""
    folder = exchange_folder(settings)
    if request.format:
        try:
            if Kind.SNAPSHOT not in format_named(request.format).reads:
                raise RefusedError(f"format {request.format} holds no values")
        except FormatError as error:
            raise RefusedError(str(error)) from error
    limit = EXCHANGE_LIMITS.file_bytes
    await in_thread(lambda: check_file(folder, request.file, limit), LOOK_S, f"looking for {request.file}")


async def import_file(job: JobContext, request: ImportRequest) -> FileResult:
    """Make a snapshot of a file of the exchange folder. Raises RefusedError when the file cannot be opened."""
    start = time.monotonic()
    folder = exchange_folder(job.settings)
    watch = _Watch(job, request.file)
    limits = replace(EXCHANGE_LIMITS, stop=watch.stop)
    options = ReadOptions(live=live_types(job.targets, job.catalogue.channels), limits=limits)
    new = NewSnapshot(request.title, user=job.user, host=job.host, job_id=job.id)

    def read() -> Imported:
        with private_copy(folder, request.file, limits.file_bytes) as copy:
            watch.begin(copy)
            return read_import(copy, request.format or None, options, new, job.catalogue)

    job.report(0, 0, f"reading {request.file}", 0.0)
    try:
        made = await in_thread(read, READ_S + LOOK_S, f"reading {request.file}")
    except FormatError as error:
        job.check_abort()
        return FileResult(0, request.file, request.format, errors=error.problems, duration_s=time.monotonic() - start)
    finally:
        watch.over = True
    job.check_abort()
    total = len(made.frame)
    job.report(0, total, f"storing {total} PVs of {request.file}", _READ)
    snapshot = await job.store.save_snapshot(made.frame, made.new)
    return FileResult(
        snapshot.id,
        request.file,
        made.format,
        snapshot.count,
        snapshot.missing,
        made.whole,
        made.warnings,
        duration_s=time.monotonic() - start,
    )


class _Watch:
    """Looks at a file being read in a thread: how far it is, and whether it should go on."""

    def __init__(self, job: JobContext, name: str) -> None:
        self._job = job
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._end = time.monotonic() + READ_S
        self._lines = self._total = 0
        self._told = time.monotonic()
        self.over = False

    def begin(self, path: Path) -> None:
        """This is the file."""
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                self._total += piece.count(b"\n")

    def stop(self) -> str:
        """What `Limits.stop` is; called in the thread, every so many lines."""
        now = time.monotonic()
        self._lines += LINES_A_LOOK
        if now - self._told > _TELL_S:
            self._told = now
            self._loop.call_soon_threadsafe(self._tell, min(self._lines, self._total))
        if self._job.aborted:
            return "aborted"
        return f"reading it has taken more than {READ_S:g} s" if now > self._end else ""

    def _tell(self, line: int) -> None:
        if not self.over:
            message = f"reading {self._name}, line {line} of {self._total}"
            self._job.report(0, 0, message, _READ * line / max(self._total, 1))


def read_import(
    path: Path, format_name: str | None, options: ReadOptions, new: NewSnapshot, catalogue: Catalogue
) -> Imported:
    """Read a file of values. What `new` has, title, comment and labels, goes before what the file says.

    Raises FormatError with everything that is wrong with the file.
    """
    file = read_snapshot(path, format_name, options)
    found = format_name or detect(path, options.limits)[0].name
    warnings = [*file.warnings]
    taken = _taken(file, warnings)
    _unkept(file, catalogue, warnings)
    title, comment = new.title or file.title or path.stem, new.comment or file.comment
    labels = new.labels or file.labels
    check_texts(path.name, file.frame, title, comment, *labels)
    # Values of our own format are what they were when they came from another tool's file.
    source = file.origin if found == "jsonl" and not file.typed and file.origin else found
    frame = _arranged(file.frame, file.read_only - {e.setpoint for e in catalogue.entries if e.read_only})
    return Imported(
        replace(frame, channels=_numbered(frame.channels, catalogue.channels)),
        replace(
            new,
            title=title,
            comment=comment,
            labels=labels,
            taken=taken,
            kind=IMPORT,
            origin=f"{source}:{path.name}",
        ),
        found,
        file.typed or _fits(file.frame, options.live),
        tuple(warnings),
    )


def _taken(file: SnapshotFile, warnings: list[str]) -> datetime | None:
    """When the values were read; None for the moment of the import, when the file does not know or cannot be right."""
    if file.taken is None:
        warnings.append("the file does not say when its values were read: the time of the import is taken")
    elif not _EARLIEST <= file.taken <= datetime.now(UTC) + _FUTURE:
        warnings.append(f"the file says {file.taken.isoformat()}, which cannot be: the time of the import is taken")
        return None
    return file.taken


def _unkept(file: SnapshotFile, catalogue: Catalogue, warnings: list[str]) -> None:
    """Warn of what a file says that a snapshot has no place for."""
    if file.user:
        warnings.append(f"the file was saved by {file.user!r}: the snapshot has who imported it")
    if others := file.attributes.keys() - ATTRIBUTES:
        warnings.append(f"not kept: {', '.join(sorted(others))}")
    ours = {e.setpoint: e.readback for e in catalogue.entries}
    setpoints = file.frame.channels.names[: file.frame.channels.setpoints]
    if unknown := [name for name in setpoints if name not in ours]:
        warnings.append(f"no setpoint of the catalogue, no restore will write them: {few(unknown)}")
    other = sum(1 for setpoint, readback in file.readbacks.items() if ours.get(setpoint) != readback)
    if other:
        warnings.append(f"{other} readbacks belong to setpoints as the catalogue says, not as the file does")


def _arranged(frame: Frame, read_only: frozenset[str]) -> Frame:
    """Setpoints that are never to be written, says the file alone, stand among the readbacks: no restore writes them.

    Where the catalogue says so too, they stay where they are.
    """
    channels = frame.channels
    closed = np.fromiter((name in read_only for name in channels.names), bool, len(channels))
    closed[channels.setpoints :] = False
    if not closed.any():
        return frame
    rows = np.arange(len(channels))
    setpoints = rows < channels.setpoints
    parts = [frame.take(np.flatnonzero(part)) for part in (setpoints & ~closed, closed, ~setpoints)]
    names = [name for part in parts for name in part.channels.names]
    return Frame.concatenate(parts, ChannelList.of(names, len(parts[0])))


def _numbered(channels: ChannelList, known: ChannelList) -> ChannelList:
    """The same channels with the numbers that the store has given them, as far as they are in the catalogue."""
    if channels.setpoints == known.setpoints and channels.same_as(known):
        return known
    return replace(channels, ids=np.append(known.ids, np.int32(0))[known.find(channels)])


def _fits(frame: Frame, live: Mapping[str, Meta]) -> bool:
    """Whether every value has the type of its PV, as far as that is known."""
    for name, state, dbf in zip(frame.channels.names, frame.state.tolist(), frame.dbf.tolist(), strict=True):
        meta = live.get(name)
        if state == State.VALUE and meta is not None and meta.dbf != dbf:
            return False
    return True
