"""Dump and load: the catalogue and snapshots with all they are, from a database into a file and back.

The file is our own format, see `formats.jsonl`; `attributes` of a snapshot are those of `exporting.ATTRIBUTES`.

What makes a snapshot the same in two databases is what it holds: its kind, the moment it was taken, its channels and
every bit of its values. So a file that is loaded twice changes nothing the second time, whatever numbers its snapshots
have got. A snapshot keeps its number where that is free.

A load looks at everything before it writes anything, and writes in one transaction. What is there stays as it is; with
`replace`, the title, comment, labels, flags and user of a snapshot become those of the file, its reference snapshot
becomes the reference, and its catalogue the catalogue. What is protected is not changed: such a load is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from squirrel_ioc.errors import FormatError, RefusedError
from squirrel_ioc.formats import CatalogueFile, Limits, SnapshotFile
from squirrel_ioc.formats.compressed import BigFile, new_file
from squirrel_ioc.formats.jsonl import Writer, read_stream
from squirrel_ioc.jobs._same import same_frames
from squirrel_ioc.jobs.exporting import ATTRIBUTES, snapshot_file
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.snapshot import BACKUP, IMPORT, SNAPSHOT, Snapshot
from squirrel_ioc.store import Store
from squirrel_ioc.store.transfer import Loader

__all__ = ["LOAD_LIMITS", "Loaded", "Progress", "dump", "load"]

LOAD_LIMITS: Final = Limits(line_bytes=1 << 30, file_bytes=1 << 50)
"""For files that somebody with a shell loads: in memory there is one snapshot of them, whatever their size."""

Progress = Callable[[int, int], None]
"""progress(done, total)"""

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


async def dump(
    store: Store, path: Path, ids: Collection[int] | None, *, kept: bool, replace: bool, progress: Progress
) -> int:
    """Write the catalogue and snapshots to a new file; how many snapshots. All, those of `ids`, or only the `kept`.

    Raises FormatError when the file cannot be written, or without `replace` is there already; RefusedError when one of
    `ids` does not exist. Memory is that of a snapshot.
    """
    entries = (await store.load_catalogue()).entries
    async with store.transfer.reading() as reader:
        snapshots = await reader.snapshots(ids, kept=kept)
        if missing := set(ids or ()) - {s.id for s in snapshots}:
            raise RefusedError(f"there is no snapshot {', '.join(map(str, sorted(missing)))}")
        if not replace and await asyncio.to_thread(os.path.lexists, path):
            raise FormatError([f"{path.name}: is there already"])
        with new_file(path, replace=replace) as sink:
            writer = Writer(sink)
            await asyncio.to_thread(writer.catalogue, entries)
            for done, snapshot in enumerate(snapshots):
                progress(done, len(snapshots))
                frame = await reader.frame(snapshot)
                content = snapshot_file(snapshot, frame, None, with_attributes=True)
                await asyncio.to_thread(writer.snapshot, content)
            writer.close()
    progress(len(snapshots), len(snapshots))
    return len(snapshots)


async def load(store: Store, path: Path, *, replace: bool, dry_run: bool, made_by: str, progress: Progress) -> Loaded:
    """Bring what is in a file into the database: all of it or nothing. With `dry_run`, only say what would be done.

    Raises FormatError with everything that is wrong with the file, RefusedError with everything that is protected.
    """
    file = await asyncio.to_thread(BigFile, path, LOAD_LIMITS)
    try:
        async with store.transfer.writing() as loader:
            plan = _Plan(loader, replace=replace)
            async for record in _records(file, progress, 0):
                await plan.look(record)
            await plan.settle()
            if not dry_run:
                await _write(file, plan, made_by, progress)
    finally:
        file.close()
    return plan.result


async def _write(file: BigFile, plan: _Plan, made_by: str, progress: Progress) -> None:
    """The second time through the file."""
    loader, result = plan.loader, plan.result
    await plan.update()
    numbers = dict(zip(plan.new, await loader.numbers([plan.wanted[i] for i in plan.new]), strict=True))
    result.new = [(plan.wanted[i], number) for i, number in numbers.items()]
    index = 0
    async for record in _records(file, progress, 1):
        if isinstance(record, CatalogueFile):
            continue
        if index in numbers:
            stored = _stored(record, file.name)
            if stored.reference and index != plan.reference:
                stored = replace(stored, reference=False)
            await loader.insert(numbers[index], stored, record.frame)
        index += 1
    if plan.entries is not None:
        await loader.replace_catalogue(plan.entries, made_by)
    if file.changed:
        raise FormatError([f"{file.name}: has been written to while it was loaded"])


async def _records(file: BigFile, progress: Progress, turn: int) -> AsyncIterator[CatalogueFile | SnapshotFile]:
    """The content of a file, one by one, read in a thread."""
    total = 2 * file.size_bytes
    with file.text() as text:
        records: Iterator[CatalogueFile | SnapshotFile] = read_stream(text, file.name, LOAD_LIMITS)
        while (record := await asyncio.to_thread(next, records, None)) is not None:
            progress(turn * file.size_bytes + file.position, total)
            yield record


class _Plan:
    """What is to be done, found out while the file is read for the first time.

    Snapshots are known by their place in the file. `wanted` are the numbers they have there, `new` those to be stored,
    `entries` the catalogue to be put in force, `reference` the new one that is to be the reference.
    """

    def __init__(self, loader: Loader, *, replace: bool) -> None:
        self.loader = loader
        self.result = Loaded()
        self.wanted: list[int] = []
        self.new: list[int] = []
        self.entries: tuple[Entry, ...] | None = None
        self.reference: int | None = None
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
        snapshot = _stored(record, f"snapshot {place + 1} of the file")
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
        """Change what is there already. Raises RefusedError when it is not any more as it was looked at."""
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

    def _check_reference(self, now: Snapshot) -> None:
        if now.protected:
            self._problems.append(f"snapshot {now.id} is the reference and protected: it would not be any more")


def _described_alike(a: Snapshot, b: Snapshot) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in _DESCRIPTION)


def _stored(file: SnapshotFile, where: str) -> Snapshot:
    """A snapshot of a file as it is stored. Raises FormatError when it says too little of itself."""
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
    return flags and isinstance(values["host"], str) and "\0" not in values["host"] and type(values["id"]) is int
