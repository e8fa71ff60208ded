"""What happens on FILE:EXPORT: a snapshot becomes a file of another tool, or one of ours."""

from __future__ import annotations

import time
from typing import Final

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import FormatError, RefusedError
from squirrel_ioc.formats import Kind, SnapshotFile, format_by_name_of, format_named, write_snapshot
from squirrel_ioc.jobs._context import JobContext
from squirrel_ioc.jobs._exchange_folder import LOOK_S, check_absent, exchange_folder, in_thread
from squirrel_ioc.jobs.file_types import UNTYPED
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import ExportRequest, FileResult
from squirrel_ioc.model.snapshot import IMPORT, Snapshot
from squirrel_ioc.store import Store

__all__ = ["ATTRIBUTES", "check_export", "export_format", "export_snapshot", "is_whole", "snapshot_file"]

ATTRIBUTES: Final = ("id", "kind", "host", "protected", "kept", "reference")
"""What files of our own format keep of a snapshot beyond what formats have in common."""

WRITE_S: Final = 120.0
"""A file that is not written by then is given up."""


async def check_export(settings: Settings, store: Store, request: ExportRequest) -> None:
    """Raise RefusedError for what cannot be exported, before anything is queued."""
    folder = exchange_folder(settings)
    try:
        export_format(request.file, request.format)
    except FormatError as error:
        raise RefusedError(str(error)) from error
    await in_thread(lambda: check_absent(folder, request.file), LOOK_S, f"looking for {request.file}")
    if await store.snapshot(request.snapshot_id) is None:
        raise RefusedError(f"snapshot {request.snapshot_id} does not exist")


async def export_snapshot(job: JobContext, request: ExportRequest) -> FileResult:
    """Write a snapshot to a new file of the exchange folder. Raises RefusedError when the snapshot does not exist."""
    start = time.monotonic()
    folder = exchange_folder(job.settings)
    chosen = export_format(request.file, request.format)
    snapshot = await job.store.snapshot(request.snapshot_id)
    if snapshot is None:
        raise RefusedError(f"snapshot {request.snapshot_id} does not exist")
    total = snapshot.count + snapshot.missing
    job.report(0, total, f"loading snapshot {snapshot.id}", 0.0)
    frame = await job.store.load_frame(snapshot.id)
    job.check_abort()
    job.report(0, total, f"writing {request.file}", 20.0)

    def write() -> list[str]:
        check_absent(folder, request.file)
        content = snapshot_file(snapshot, frame, job.catalogue, with_attributes=chosen == "jsonl")
        return write_snapshot(folder / request.file, content, chosen, replace=False)

    try:
        warnings = await in_thread(write, WRITE_S, f"writing {request.file}")
    except FormatError as error:
        problems, took_s = error.problems, time.monotonic() - start
        return FileResult(snapshot.id, request.file, chosen, errors=problems, duration_s=took_s)
    return FileResult(
        snapshot.id,
        request.file,
        chosen,
        snapshot.count,
        snapshot.missing,
        is_whole(warnings),
        tuple(warnings),
        duration_s=time.monotonic() - start,
    )


def export_format(file_name: str, given: str) -> str:
    """The format to write: the one that is given, else that of the name. Raises FormatError."""
    if not given:
        return format_by_name_of(file_name).name
    chosen = format_named(given)
    if Kind.SNAPSHOT not in chosen.writes:
        raise FormatError([f"format {given} holds no values"])
    return chosen.name


def is_whole(warnings: list[str]) -> bool:
    """Whether every value is in the file that was written with these warnings."""
    return not any(line.startswith(("left out", "the value of a readback is left out")) for line in warnings)


def snapshot_file(
    snapshot: Snapshot, frame: Frame, catalogue: Catalogue | None, *, with_attributes: bool = False
) -> SnapshotFile:
    """A stored snapshot as files have it.

    The catalogue says which readback belongs to a setpoint, and what is never written. `with_attributes`: also what
    only our own files keep, so that one of them can be loaded (see `dump_files`).
    """
    readbacks: dict[str, str] = {}
    read_only: set[str] = set()
    here = frame.channels.index
    for entry in catalogue.entries if catalogue is not None else ():
        if here.get(entry.setpoint, len(here)) < frame.channels.setpoints:
            if entry.readback and entry.readback in here:
                readbacks[entry.setpoint] = entry.readback
            if entry.read_only:
                read_only.add(entry.setpoint)
    origin, colon, file_name = snapshot.origin.partition(":") if snapshot.kind == IMPORT else (snapshot.origin, "", "")
    return SnapshotFile(
        frame,
        snapshot.title,
        snapshot.comment,
        snapshot.labels,
        snapshot.taken,
        snapshot.user,
        origin,
        file_name if colon else "",
        typed=snapshot.file_format not in UNTYPED,
        readbacks=readbacks,
        read_only=frozenset(read_only),
        attributes={name: getattr(snapshot, name) for name in ATTRIBUTES} if with_attributes else {},
    )
