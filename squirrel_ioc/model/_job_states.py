"""What states jobs have; see `job`."""

from __future__ import annotations

from contextvars import ContextVar
from enum import IntEnum
from typing import Final

__all__ = ["JobKind", "JobStatus", "Outcome", "RestoreMode", "Undo", "running_job"]

running_job: Final[ContextVar[int]] = ContextVar("running_job", default=0)
"""The job that this task works on, 0 for none; for the log."""


class JobKind(IntEnum):
    """JOB:KIND, in the order of its states."""

    NONE = 0
    SNAPSHOT = 1
    RESTORE = 2
    COMPARE = 3
    IMPORT = 4
    EXPORT = 5
    OTHER = 6

    @property
    def beside(self) -> bool:
        """Whether such a job runs beside snapshots and restores: it leaves the machine alone, or only reads it."""
        return self in (JobKind.COMPARE, JobKind.IMPORT, JobKind.EXPORT)

    def runs_beside(self, other: JobKind) -> bool:
        """Whether such a job may run beside an `other` one, which is the one to be shown."""
        return self.beside or other is JobKind.RESTORE


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


class Undo(IntEnum):
    """Which PVs of a backup a restore is about, when it takes another restore back."""

    NO = 0
    """It takes none back: all of the snapshot."""
    WRITTEN = 1
    """Those that the restore wrote, and that still have the value it gave them."""
    ALL = 2
    """Those that the restore wrote."""


class RestoreMode(IntEnum):
    """RESTORE:MODE, in the order of its states."""

    CHANGED = 0
    ALL = 1
    DRY_RUN = 2
