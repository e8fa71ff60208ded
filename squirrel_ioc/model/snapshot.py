"""Snapshots: what is stored beside the values, how snapshots are searched, what a PV's past looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SNAPSHOT",
    "BACKUP",
    "IMPORT",
    "Snapshot",
    "NewSnapshot",
    "SnapshotChange",
    "SnapshotFilter",
    "SnapshotKeys",
    "History",
]

SNAPSHOT = "snapshot"
"""Kind of a snapshot that somebody asked for."""

BACKUP = "backup"
"""Kind of a snapshot that a restore took before its first write."""

IMPORT = "import"
"""Kind of a snapshot that came from another tool's file."""


@dataclass(frozen=True)
class NewSnapshot:
    """What is to be stored with a frame.

    `taken` is when the values were read, with its offset; None is the moment of the commit. `origin` says what a backup
    was taken for, or which file an import came from: `burt:ring.snap`, the format first. A second save with the same
    `job_id` stores nothing.
    """

    title: str
    comment: str = ""
    labels: tuple[str, ...] = ()
    taken: datetime | None = None
    user: str = ""
    host: str = ""
    kind: str = SNAPSHOT
    origin: str = ""
    job_id: int | None = None


@dataclass(frozen=True)
class Snapshot:
    """A stored snapshot without its values.

    `count` are the channels that have a value, `missing` those that have none. `size_bytes` is what the values take
    in the database, compressed. Protected: cannot be changed or deleted. Kept: never evicted. At most one snapshot
    is the reference.
    """

    id: int
    kind: str
    title: str
    comment: str
    labels: tuple[str, ...]
    taken: datetime
    user: str
    host: str
    count: int
    missing: int
    size_bytes: int
    protected: bool
    kept: bool
    reference: bool
    origin: str
    job_id: int | None
    channel_list_id: int
    undo: bool = field(default=False, compare=False)
    """Whether it is the backup that RESTORE:UNDO needs; known of the snapshots of a list only."""

    @property
    def automatic(self) -> bool:
        """Whether the service took it by itself."""
        return self.kind == BACKUP

    @property
    def file_format(self) -> str:
        """The format of the file that an import came from, empty for what was read from the machine."""
        return self.origin.partition(":")[0] if self.kind == IMPORT else ""

    @property
    def flags(self) -> str:
        """In letters: P protected, K kept, R reference, A automatic, U needed by UNDO."""
        held = (self.protected, self.kept, self.reference, self.automatic, self.undo)
        return "".join(letter for letter, on in zip("PKRAU", held, strict=True) if on)


@dataclass(frozen=True)
class SnapshotChange:
    """What is to change about a snapshot; None leaves it as it is."""

    title: str | None = None
    comment: str | None = None
    labels: tuple[str, ...] | None = None
    protected: bool | None = None
    kept: bool | None = None
    reference: bool | None = None


@dataclass(frozen=True)
class SnapshotFilter:
    """Which snapshots to list, newest first; everything given must hold.

    `text` is part of the title or the comment, `label` one whole label, `user` a whole name; case does not matter in
    any of them. `title` is the whole title, with its case. `since` and `until` bound the time it was taken, both
    inclusive, with their offsets. `automatic` chooses the service's own snapshots, or leaves them out. `page` counts
    from 0, `size` are the rows of a page.
    """

    text: str = ""
    label: str = ""
    user: str = ""
    since: datetime | None = None
    until: datetime | None = None
    automatic: bool | None = None
    reference: bool | None = None
    title: str = ""
    page: int = 0
    size: int = 20


@dataclass(frozen=True)
class SnapshotKeys:
    """Snapshots by number only: `lists` is the number of each one's channel list; `reference` is 0 without one."""

    lists: Mapping[int, int]
    reference: int


@dataclass(frozen=True, eq=False)
class History:
    """One channel across snapshots, oldest first; all columns of one length.

    ids     int32    the snapshots
    epochs  float64  when they were taken, UNIX seconds
    numbers float64  the stored number; NaN where the value is no numeric scalar, or where there is none
    states  uint8    a `State`
    """

    ids: NDArray[np.int32]
    epochs: NDArray[np.float64]
    numbers: NDArray[np.float64]
    states: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)
