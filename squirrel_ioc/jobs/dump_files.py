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
from dataclasses import replace
from pathlib import Path
from typing import Final

from squirrel_ioc.errors import FormatError, RefusedError
from squirrel_ioc.formats import CatalogueFile, Limits, SnapshotFile
from squirrel_ioc.formats.compressed import BigFile, new_file
from squirrel_ioc.formats.jsonl.jsonl import Writer, read_stream
from squirrel_ioc.jobs._load_plan import Loaded, Plan, stored
from squirrel_ioc.jobs.exporting import snapshot_file
from squirrel_ioc.store import Store

__all__ = ["LOAD_LIMITS", "Loaded", "Progress", "dump", "load"]

LOAD_LIMITS: Final = Limits(line_bytes=64 << 20, value_bytes=512 << 20, file_bytes=1 << 50)
"""For files that somebody with a shell loads, whatever their size: in memory there is one snapshot of them, within
bounds. They hold unpacked; of 50,000 PVs, 1000 of them arrays of 1024 numbers, a line has 0.5 MB, the snapshot 15 MB.
"""

Progress = Callable[[int, int], None]
"""progress(done, total)"""


async def dump(
    store: Store, path: Path, ids: Collection[int] | None, *, kept: bool, replace: bool, progress: Progress
) -> int:
    """Write the catalogue and snapshots to a new file; how many snapshots. All, those of `ids`, or only the `kept`.

    Raises FormatError when the file cannot be written, is there already (without `replace`), or could not be loaded
    again (LOAD_LIMITS); RefusedError when one of `ids` does not exist. Memory is that of a snapshot.
    """
    entries = (await store.load_catalogue()).entries
    async with store.transfer.reading() as reader:
        snapshots = await reader.snapshots(ids, kept=kept)
        if missing := set(ids or ()) - {s.id for s in snapshots}:
            raise RefusedError(f"there is no snapshot {', '.join(map(str, sorted(missing)))}")
        if not replace and await asyncio.to_thread(os.path.lexists, path):
            raise FormatError([f"{path.name}: is there already"])
        with new_file(path, replace=replace) as sink:
            writer = Writer(sink, LOAD_LIMITS)
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
            plan = Plan(loader, replace=replace)
            async for record in _records(file, progress, 0):
                await plan.look(record)
            await plan.settle()
            if not dry_run:
                await store.transfer.prepare(plan.lists, plan.metas)
                await _write(file, plan, made_by, progress)
    finally:
        file.close()
    return plan.result


async def _write(file: BigFile, plan: Plan, made_by: str, progress: Progress) -> None:
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
            snapshot = stored(record, file.name)
            if snapshot.reference and index != plan.reference:
                snapshot = replace(snapshot, reference=False)
            await loader.insert(numbers[index], snapshot, record.frame)
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
