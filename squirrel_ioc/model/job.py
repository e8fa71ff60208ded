"""Jobs: what can be asked, how it stands, how it ended. All of it is plain data that fits in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar

from squirrel_ioc.model._job_results import (
    MAX_NAMES_IN_ROW,
    CompareResult,
    FileResult,
    RestoreResult,
    SnapshotResult,
)
from squirrel_ioc.model._job_states import JobKind, JobStatus, Outcome, RestoreMode, Undo, running_job
from squirrel_ioc.model.difftable import Show

__all__ = [
    "JobKind",
    "JobStatus",
    "Outcome",
    "RestoreMode",
    "SnapshotRequest",
    "RestoreRequest",
    "CompareRequest",
    "ImportRequest",
    "ExportRequest",
    "Request",
    "SnapshotResult",
    "RestoreResult",
    "CompareResult",
    "FileResult",
    "Result",
    "JobInfo",
    "Undo",
    "MAX_NAMES_IN_ROW",
    "request_from_json",
    "running_job",
]


@dataclass(frozen=True)
class SnapshotRequest:
    """Take a snapshot. An empty title becomes the local time; an empty selection is everything."""

    kind: ClassVar[JobKind] = JobKind.SNAPSHOT
    title: str = ""
    comment: str = ""
    labels: tuple[str, ...] = ()
    selection: str = ""


@dataclass(frozen=True)
class RestoreRequest:
    """Write a snapshot back. `names` (when not None) limits it to these PVs, before the selection does.

    `comment` is kept with the backup. With `undo` the snapshot is the backup of the restore that is taken back.
    `invalid`: also write values that were INVALID or UDF when they were saved.
    """

    kind: ClassVar[JobKind] = JobKind.RESTORE
    snapshot_id: int
    mode: RestoreMode = RestoreMode.CHANGED
    selection: str = ""
    verify: bool = True
    names: tuple[str, ...] | None = None
    comment: str = ""
    undo: Undo = Undo.NO
    invalid: bool = False


@dataclass(frozen=True)
class CompareRequest:
    """Compare snapshots a and b; 0 is the live machine, -1 the reference. Tolerances where a PV has none.

    `show` says which rows the result lists.
    """

    kind: ClassVar[JobKind] = JobKind.COMPARE
    a: int
    b: int
    selection: str = ""
    atol: float = 0.0
    rtol: float = 0.0
    show: Show = Show.DIFFERENT


@dataclass(frozen=True)
class ImportRequest:
    """Make a snapshot of a file of the exchange folder. An empty format is found out, an empty title is the file's."""

    kind: ClassVar[JobKind] = JobKind.IMPORT
    file: str
    format: str = ""
    title: str = ""


@dataclass(frozen=True)
class ExportRequest:
    """Write a snapshot to a new file of the exchange folder. An empty format is told by the name of the file."""

    kind: ClassVar[JobKind] = JobKind.EXPORT
    snapshot_id: int
    file: str
    format: str = ""


Request = SnapshotRequest | RestoreRequest | CompareRequest | ImportRequest | ExportRequest

_REQUESTS: dict[JobKind, type[Request]] = {
    c.kind: c for c in (SnapshotRequest, RestoreRequest, CompareRequest, ImportRequest, ExportRequest)
}


def request_from_json(kind: JobKind, data: Mapping[str, Any]) -> Request:
    """The request that `data` was made from, field by field."""
    cls = _REQUESTS[kind]
    known = {f.name for f in fields(cls)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    if "mode" in values:
        values["mode"] = RestoreMode(values["mode"])
    if "undo" in values:
        values["undo"] = Undo(values["undo"])
    if "show" in values:
        values["show"] = Show(values["show"])
    return cls(**values)


Result = SnapshotResult | RestoreResult | CompareResult | FileResult


@dataclass(frozen=True)
class JobInfo:
    """A job as it stands. `result` is what its handler returned, in the process that ran it, else its JSON."""

    id: int
    kind: JobKind
    status: JobStatus
    title: str = ""
    user: str = ""
    host: str = ""
    attempt: int = 1
    done: int = 0
    total: int = 0
    message: str = ""
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    percent: float | None = None
    result: Any = field(default=None, compare=False)

    @property
    def progress(self) -> float:
        """Percent, 0 to 100: `percent` where a job has phases, else done / total."""
        if self.status is JobStatus.COMPLETED:
            return 100.0
        if self.percent is not None:
            return self.percent
        return 100.0 * self.done / self.total if self.total else 0.0
