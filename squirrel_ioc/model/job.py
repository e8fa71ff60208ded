"""Jobs: what can be asked, how it stands, how it ended. All of it is plain data that fits in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar

from squirrel_ioc.model.compare import Comparison
from squirrel_ioc.model.difftable import DiffTable, Show, side_text

__all__ = [
    "JobKind",
    "JobStatus",
    "Outcome",
    "RestoreMode",
    "SnapshotRequest",
    "RestoreRequest",
    "CompareRequest",
    "Request",
    "SnapshotResult",
    "RestoreResult",
    "CompareResult",
    "Result",
    "JobInfo",
    "request_from_json",
]

MAX_NAMES_IN_ROW = 1000
"""Names of bad or missing PVs that a job's row keeps; the control PVs show all of them."""


class JobKind(IntEnum):
    """JOB:KIND, in the order of its states."""

    NONE = 0
    SNAPSHOT = 1
    RESTORE = 2
    COMPARE = 3
    IMPORT = 4
    EXPORT = 5
    OTHER = 6


class JobStatus(IntEnum):
    """JOB:STATUS, in the order of its states."""

    IDLE = 0
    PENDING = 1
    IN_PROGRESS = 2
    COMPLETED = 3
    FAILED = 4
    RETRYING = 5
    ABORTED = 6

    @property
    def terminal(self) -> bool:
        """Whether a job in this state has ended."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.ABORTED)


class Outcome(IntEnum):
    """STATUS of a group of control PVs, in the order of its states."""

    NONE = 0
    RUNNING = 1
    OK = 2
    PARTIAL = 3
    FAILED = 4
    REFUSED = 5
    ABORTED = 6


class RestoreMode(IntEnum):
    """RESTORE:MODE, in the order of its states."""

    CHANGED = 0
    ALL = 1
    DRY_RUN = 2


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
    """Write a snapshot back. `names` (when not None) limits it to these PVs, before the selection does."""

    kind: ClassVar[JobKind] = JobKind.RESTORE
    snapshot_id: int
    mode: RestoreMode = RestoreMode.CHANGED
    selection: str = ""
    verify: bool = True
    names: tuple[str, ...] | None = None


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


Request = SnapshotRequest | RestoreRequest | CompareRequest

_REQUESTS: dict[JobKind, type[Request]] = {c.kind: c for c in (SnapshotRequest, RestoreRequest, CompareRequest)}


def request_from_json(kind: JobKind, data: Mapping[str, Any]) -> Request:
    """The request that `data` was made from, field by field."""
    cls = _REQUESTS[kind]
    known = {f.name for f in fields(cls)}
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known}
    if "mode" in values:
        values["mode"] = RestoreMode(values["mode"])
    if "show" in values:
        values["show"] = Show(values["show"])
    return cls(**values)


@dataclass(frozen=True)
class SnapshotResult:
    """How a snapshot ended. `missing_names` with `missing_reasons` are all PVs that had no value."""

    snapshot_id: int
    title: str
    taken: datetime
    count: int
    missing: int
    missing_names: tuple[str, ...] = ()
    missing_reasons: tuple[str, ...] = ()
    duration_s: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """PARTIAL when a PV had no value."""
        return Outcome.PARTIAL if self.missing else Outcome.OK

    def summary(self) -> str:
        """One line for a person."""
        text = f"snapshot {self.snapshot_id}: {self.count} PVs stored"
        if self.missing:
            text += f", {self.missing} without a value ({self.missing_names[0]}: {self.missing_reasons[0]})"
        return text

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        return _to_json(self)


@dataclass(frozen=True)
class RestoreResult:
    """How a restore ended: total == written + unchanged + skipped + failed + mismatch.

    In a dry run `written` counts what would be written. `backup_id` is 0 when nothing was to be written.
    """

    snapshot_id: int
    mode: RestoreMode
    outcome: Outcome
    total: int
    written: int
    unchanged: int
    skipped: int
    failed: int
    mismatch: int
    backup_id: int = 0
    bad_names: tuple[str, ...] = ()
    bad_reasons: tuple[str, ...] = ()
    duration_s: float = 0.0

    def summary(self) -> str:
        """One line for a person."""
        verb = "would be written" if self.mode is RestoreMode.DRY_RUN else "written"
        text = f"snapshot {self.snapshot_id}: {self.written} of {self.total} PVs {verb}, {self.unchanged} unchanged"
        for number, word in ((self.skipped, "skipped"), (self.failed, "failed"), (self.mismatch, "mismatch")):
            if number:
                text += f", {number} {word}"
        return f"{text} ({self.bad_names[0]}: {self.bad_reasons[0]})" if self.bad_names else text

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        return _to_json(self)


@dataclass(frozen=True)
class CompareResult:
    """What a comparison found. The columns stay in the process that made them; the job's row keeps the counts.

    `different` PVs have two values that are not the same, `missing` one side only, `compared` both. `a` and `b` are
    as they were asked for; `snapshot_a` and `snapshot_b` are the snapshots they stood for, 0 of the live machine.
    """

    a: int
    b: int
    snapshot_a: int
    snapshot_b: int
    comparison: Comparison
    table: DiffTable
    """The rows that the request's `show` wants, texts cut to what a DBR_STRING carries."""
    unread: int
    """PVs of the live machine that gave no value."""
    duration_s: float = 0.0

    @property
    def different(self) -> int:
        """PVs that differ."""
        return int(self.comparison.different.sum())

    @property
    def missing(self) -> int:
        """PVs with a value on one side only."""
        return int(self.comparison.missing.sum())

    @property
    def compared(self) -> int:
        """PVs with a value on both sides."""
        return int(self.comparison.compared.sum())

    @property
    def outcome(self) -> Outcome:
        """PARTIAL when the live machine did not give every value."""
        return Outcome.PARTIAL if self.unread else Outcome.OK

    def summary(self) -> str:
        """One line for a person."""
        sides = f"{side_text(self.a, self.snapshot_a)} and {side_text(self.b, self.snapshot_b)}"
        text = f"{sides}: {self.different} of {self.compared} PVs differ"
        if self.missing:
            text += f", {self.missing} on one side only"
        if self.unread:
            text += f", {self.unread} could not be read"
        return text

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        counts = {"different": self.different, "missing": self.missing, "compared": self.compared}
        sides = {"a": self.a, "b": self.b, "snapshot_a": self.snapshot_a, "snapshot_b": self.snapshot_b}
        return {**sides, **counts, "unread": self.unread, "duration_s": self.duration_s}


Result = SnapshotResult | RestoreResult | CompareResult


def _to_json(result: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return value[:MAX_NAMES_IN_ROW] if isinstance(value, tuple) else value

    # Not `asdict`, which would copy every name of 40,000 first.
    return {f.name: plain(getattr(result, f.name)) for f in fields(result)}


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
