"""The service's own files: JSON lines that hold a catalogue and snapshots, every value bit for bit. Version 1.

A line is a JSON object (UTF-8). The first is the header; each other one has a single key, which says what it is:

    {"format": "squirrel-ioc", "version": 1, "created": "2026-01-31T12:00:00+00:00", "software": "...",
     "types": ["STRING", "SHORT", ...], "states": ["VALUE", "NOT_READ", ...]}
    {"catalogue": {"entries": 40000}}
    {"entry": {"setpoint": "Q:1:BDES", "readback": "Q:1:BACT", "tags": {"Area": ["L1"]}, "atol": 0.1, ...}}
    {"channels": {"list": 0, "setpoints": 40000, "rows": 80000}}
    {"names": {"list": 0, "names": ["Q:1:BDES", ...]}}
    {"snapshot": {"list": 0, "title": "...", "comment": "", "labels": [], "taken": "...", "user": "", "typed": true,
     "origin": "", "file_name": "", "attributes": {}}}
    {"meta": {"id": 1, "type": "DOUBLE", "count": 1, "units": "kG", "precision": 3, "limits": [...], "labels": []}}
    {"values": {"first": 0, "rows": 1000, "state": 0, "type": 6, "count": 1, "severity": 0, "status": 0,
     "stamp": [...], "number": [...], "meta": [...], "text": [[3, "on"]], "bytes": [[7, "AAAAAAAA8D8="]],
     "readback": [[0, "Q:1:BACT"]], "read_only": [5]}}
    {"forget": {"list": 0}}
    {"end": {"lines": 123}}

- An `entry` has the fields of model.catalogue.Entry; one that is not there has its default. They follow `catalogue`.
- `channels` announces a list of channels, setpoints first; `names` are its names, in order, in as many lines as it
  takes. Snapshots share lists. A list that is not needed any more is forgotten.
- `snapshot` begins one; its `values` follow, in order and without a gap, until all rows of its list have come.
- `meta` is what a channel says of itself; ids are those of the whole file; 0 is a channel that was never connected.
- `values` are columns of at most 1000 rows. A column whose elements are all the same is that element. `type` and
  `state` are indices into the lists of the header (DBF_* of db_access.h; model.values.State), `stamp` are nanoseconds
  since 1970, `count` elements. `number` is the value of a numeric scalar, null where there is none or where it stands
  under `text` or `bytes`; what JSON cannot say is a text: "inf", "-inf", "nan", "nan:7ff8000000000001" (the bits).
  `text` is a scalar string that is UTF-8, by row; `bytes` is any other value, base64: the elements of an array one
  after the other, little endian, a string of an array 40 bytes. `readback` and `read_only` as in SnapshotFile; of
  setpoints without a row they stand in `snapshot`, by name.
- `end` is last, with the number of lines before it: a file without it is not whole.

A reader refuses versions it does not know, and lines with other keys. Memory is that of one snapshot, not of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from squirrel_ioc.formats._lines import open_regular, read_lines
from squirrel_ioc.formats._problems import Problems
from squirrel_ioc.formats._protocol import NO, CatalogueFile, Guess, Kind, Limits, ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats.jsonl.read import read_records
from squirrel_ioc.formats.jsonl.write import VERSION, Writer
from squirrel_ioc.model.catalogue import Entry

__all__ = ["JsonLines", "VERSION", "Writer", "read_stream"]


def read_stream(file: BinaryIO, name: str, limits: Limits | None = None) -> Iterator[CatalogueFile | SnapshotFile]:
    """The catalogue and the snapshots of a file, one by one. Each is checked as a whole before it is given out.

    That the file itself is whole is known when the iterator ends. Raises FormatError.
    """
    limits = limits or Limits()
    problems = Problems(limits.problems)
    yield from read_records(read_lines(file, name, problems, limits), name, problems, limits)


class JsonLines:
    """The service's own format."""

    name = "jsonl"
    title = "JSON lines"
    suffixes = (".jsonl",)
    reads = writes = frozenset(Kind)

    def sniff(self, head: bytes, name: str) -> Guess:
        """By the header; what the file holds, by its first record."""
        lines = head.lstrip(b"\xef\xbb\xbf").split(b"\n", 2)
        if b'"format": "squirrel-ioc"' not in lines[0] and b'"format":"squirrel-ioc"' not in lines[0]:
            return Guess(0.3, Kind.SNAPSHOT) if name.endswith(".jsonl") else NO
        catalogue = len(lines) > 1 and lines[1].lstrip(b"{ ").startswith(b'"catalogue"')
        return Guess(1.0, Kind.CATALOGUE if catalogue else Kind.SNAPSHOT)

    def read_catalogue(self, path: Path, options: ReadOptions) -> CatalogueFile:
        """The catalogue of a file."""
        found = [r for r in self._records(path, options) if isinstance(r, CatalogueFile)]
        if not found:
            Problems(1).fatal(path.name, None, "holds no catalogue")
        return found[0]

    def read_snapshot(self, path: Path, options: ReadOptions) -> SnapshotFile:
        """The only snapshot of a file."""
        found = None
        for record in self._records(path, options):
            if isinstance(record, SnapshotFile):
                if found is not None:
                    Problems(1).fatal(path.name, None, "holds several snapshots; load it instead")
                found = record
        if found is None:
            Problems(1).fatal(path.name, None, "holds no snapshot")
        return found

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """A file with a catalogue; it holds everything."""
        writer = Writer(sink)
        writer.catalogue(entries)
        writer.close()
        return []

    def write_snapshot(self, sink: Sink, snapshot: SnapshotFile) -> list[str]:
        """A file with a snapshot; it holds everything."""
        writer = Writer(sink)
        writer.snapshot(snapshot)
        writer.close()
        return []

    @staticmethod
    def _records(path: Path, options: ReadOptions) -> Iterator[CatalogueFile | SnapshotFile]:
        with open_regular(path, path.name, options.limits) as file:
            yield from read_stream(file, path.name, options.limits)
