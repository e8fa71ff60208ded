"""What a load is going to do, found out before it does anything; see `dump_files`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakSet

from squirrel_ioc.errors import FormatError, RefusedError
from squirrel_ioc.formats import CatalogueFile, SnapshotFile
from squirrel_ioc.jobs._identical import same_frames
from squirrel_ioc.jobs.exporting import ATTRIBUTES
from squirrel_ioc.jobs.file_types import check_texts
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.snapshot import BACKUP, IMPORT, SNAPSHOT, Snapshot
from squirrel_ioc.model.values import Meta
from squirrel_ioc.store.transfer import Loader

__all__ = ["Loaded", "Plan", "stored"]

_DESCRIPTION: Final = ("title", "comment", "labels", "user", "host", "origin", "protected", "kept", "reference")
_KINDS: Final = (SNAPSHOT, BACKUP, IMPORT)


@dataclass
class Loaded:
    """What a load did, or would do.

    `new` were stored, `same` were there already: numbers in the file with those in the database, 0 in a dry run.
    `changed` of them were given what the file says of them, and `kept` would have been, with `replace`. `catalogue`
    says what became of that, in words; `notes` what else there is to say.
    """

    new: list[tuple[int, int]] = field(default_factory=list)
    same: list[tuple[int, int]] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    catalogue: str = "none in the file"
    notes: list[str] = field(default_factory=list)


class Plan:
    """What is to be done, found out while the file is read for the first time.

    Snapshots are known by their place in the file. `wanted` are the numbers they have there, `new` those to be stored,
    `entries` the catalogue to be put in force, `reference` the new one that is to be the reference. `lists` and `metas`
    are those of the new ones.
    """

    def __init__(self, loader: Loader, *, replace: bool) -> None:
        self.loader = loader
        self.result = Loaded()
        self.wanted: list[int] = []
        self.new: list[int] = []
        self.entries: tuple[Entry, ...] | None = None
        self.reference: int | None = None
        self.lists: list[ChannelList] = []
        self.metas: set[Meta] = set()
        self._seen: WeakSet[ChannelList] = WeakSet()
        self._names: dict[str, str] = {}
        self._replace = replace
        self._taken: set[int] = set()
        self._changes: dict[int, Snapshot] = {}
        self._problems: list[str] = []
        self._in_file: Snapshot | None = None

    async def look(self, record: CatalogueFile | SnapshotFile) -> None:
        """Take one thing of the file."""
        if isinstance(record, CatalogueFile):
            await self._look_at_catalogue(tuple(record.entries))
            return
        place = len(self.wanted)
        snapshot = stored(record, f"snapshot {place + 1} of the file")
        self.wanted.append(snapshot.id)
        if unknown := record.attributes.keys() - ATTRIBUTES:
            self.result.notes.append(f"snapshot {snapshot.id}: not kept: {', '.join(sorted(unknown))}")
        if snapshot.reference:
            if self._in_file is not None:
                raise FormatError(
                    [f"snapshots {self._in_file.id} and {snapshot.id} of the file are both the reference"]
                )
            self._in_file = snapshot
        there = await self._find(snapshot, record)
        if there is None:
            self.new.append(place)
            self.result.new.append((snapshot.id, 0))
            self._keep(record.frame)
            if snapshot.reference:
                self.reference = place
            return
        self._taken.add(there.id)
        self.result.same.append((snapshot.id, there.id))
        if _described_alike(there, snapshot):
            return
        if not self._replace:
            self.result.kept.append(there.id)
            return
        self._changes[there.id] = snapshot
        self.result.changed.append(there.id)
        if there.protected:
            what = ", ".join(name for name in _DESCRIPTION if getattr(there, name) != getattr(snapshot, name))
            self._problems.append(f"snapshot {there.id} is protected, and these would change: {what}")

    async def settle(self) -> None:
        """The file has been read to its end. Raises RefusedError with everything that is protected."""
        now = await self.loader.reference()
        if self.reference is not None and now is not None:
            if self._replace:
                self._check_reference(now)
            else:
                self.result.notes.append(
                    f"snapshot {now.id} stays the reference; it is snapshot {self.wanted[self.reference]} of the file"
                )
                self.reference = None
        elif now is not None and any(c.reference and i != now.id for i, c in self._changes.items()):
            self._check_reference(now)
        if self._problems:
            raise RefusedError("nothing is loaded: " + "\n".join(self._problems))

    async def update(self) -> None:
        """Change what is there already. Raises RefusedError when it has changed since the plan was made."""
        becomes = next((i for i, c in self._changes.items() if c.reference), None)
        if becomes is not None or self.reference is not None:
            await self.loader.unreference_others(becomes or 0)
        for number, snapshot in self._changes.items():
            there = await self.loader.locked(number)
            if there is None or there.protected:
                raise RefusedError(f"snapshot {number} has been deleted or protected meanwhile: load again")
            await self.loader.update(number, snapshot)

    async def _look_at_catalogue(self, entries: tuple[Entry, ...]) -> None:
        now = await self.loader.catalogue()
        if now == entries:
            self.result.catalogue = f"the same, {len(entries)} setpoints"
        elif not now or self._replace:
            self.entries = entries
            self.lists.append(ChannelList.of(Catalogue.channel_names(entries), len(entries)))
            self.result.catalogue = f"{len(entries)} setpoints, from the file"
        else:
            self.result.catalogue = f"kept, {len(now)} setpoints; the file has another one, {len(entries)} setpoints"

    async def _find(self, snapshot: Snapshot, record: SnapshotFile) -> Snapshot | None:
        """The same snapshot in the database; of several, the one with its number."""
        found = await self.loader.taken_at(snapshot.taken, snapshot.kind, snapshot.count, snapshot.missing)
        for candidate in sorted(found, key=lambda c: c.id != snapshot.id):
            if candidate.id not in self._taken:
                frame = await self.loader.frame(candidate)
                if await asyncio.to_thread(same_frames, frame, record.frame):
                    return candidate
        return None

    def _keep(self, frame: Frame) -> None:
        """Lists are kept with the names that they share, so that many of them take little."""
        self.metas.update(frame.metas)
        if frame.channels not in self._seen:
            self._seen.add(frame.channels)
            names = (self._names.setdefault(name, name) for name in frame.channels.names)
            self.lists.append(ChannelList.of(names, frame.channels.setpoints))

    def _check_reference(self, now: Snapshot) -> None:
        if now.protected:
            self._problems.append(f"snapshot {now.id} is the reference and protected: it would not be any more")


def _described_alike(a: Snapshot, b: Snapshot) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in _DESCRIPTION)


def stored(file: SnapshotFile, where: str) -> Snapshot:
    """A snapshot of a file as it is to be stored. Raises FormatError when it says too little of itself."""
    if file.taken is None:
        raise FormatError([f"{where}: it does not say when it was taken; import it instead"])
    if not 1970 <= file.taken.year < 9999:
        raise FormatError([f"{where}: it cannot have been taken at {file.taken.isoformat()}"])
    count = int(file.frame.valid.sum())
    values: dict[str, Any] = {
        "kind": IMPORT,
        "host": "",
        "protected": False,
        "kept": False,
        "reference": False,
        "id": 0,
        **file.attributes,
    }
    if values["kind"] not in _KINDS or not _sound(values):
        raise FormatError([f"{where}: its attributes are not those of a snapshot"])
    texts = (file.title, file.comment, *file.labels, file.user, values["host"], file.origin, file.file_name)
    check_texts(where, file.frame, *texts)
    return Snapshot(
        id=values["id"],
        kind=values["kind"],
        title=file.title,
        comment=file.comment,
        labels=file.labels,
        taken=file.taken,
        user=file.user,
        host=values["host"],
        count=count,
        missing=len(file.frame) - count,
        size_bytes=0,
        protected=values["protected"],
        kept=values["kept"],
        reference=values["reference"],
        origin=f"{file.origin}:{file.file_name}" if file.file_name else file.origin,
        job_id=None,
        channel_list_id=0,
    )


def _sound(values: dict[str, Any]) -> bool:
    flags = all(isinstance(values[name], bool) for name in ("protected", "kept", "reference"))
    return flags and isinstance(values["host"], str) and type(values["id"]) is int
