"""Phoebus save-and-restore: configurations and snapshots as CSV.

Source: ControlSystemStudio/phoebus, app/save-and-restore/app/doc/index.rst ("Configuration View"), and what its client
writes and reads (package `filehandler.csv`).

Lines with `#` at the top carry the names of things: after `# Snapshot name:` a line with the name, likewise SaveSet
name, Description, Creator, Date (local time) and Tags. Then a line with the columns: of a configuration
`PV,READBACK,READ_ONLY`, of a snapshot see `phoebus.snap`. Columns are found by their names; unknown ones are ignored
with a warning. A PV that a configuration lists twice is taken once, as Phoebus does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from squirrel_ioc.formats._lines import open_regular, read_lines
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses, Problems
from squirrel_ioc.formats._protocol import NO, CatalogueFile, Guess, Kind, ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats.autosave.autosave import list_losses
from squirrel_ioc.formats.phoebus import snap, snap_write
from squirrel_ioc.formats.phoebus.header import ENDING, OPENING, Header
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.pv_names import canonical

__all__ = ["Phoebus"]

_FLAGS = {"1": True, "true": True, "0": False, "false": False, "": False}


class Phoebus:
    """The format of the save-and-restore application of Phoebus."""

    name = "phoebus"
    title = "Phoebus"
    suffixes = (".csv",)
    reads = writes = frozenset(Kind)

    def sniff(self, head: bytes, name: str) -> Guess:
        """By the names of the columns."""
        del name
        for line in head.lstrip(b"\xef\xbb\xbf").splitlines():
            if line.strip() and not line.startswith(b"#"):
                columns = [c.strip().strip(b'"') for c in line.split(b",")]
                if b"PV" not in columns:
                    return NO
                if b"VALUE" in columns:
                    return Guess(0.95, Kind.SNAPSHOT)
                return Guess(0.95 if b"READBACK" in columns or b"READ_ONLY" in columns else 0.6, Kind.CATALOGUE)
        return NO

    def read_catalogue(self, path: Path, options: ReadOptions) -> CatalogueFile:
        """A configuration."""
        problems = Problems(options.limits.problems)
        with open_regular(path, path.name, options.limits) as file:
            lines = read_lines(file, path.name, problems, options.limits, options.encoding)
            reader = _Configuration(path.name, problems, options)
            header = Header(path.name, problems)
            reader.read(header.read(lines), lines)
        problems.check()
        if not reader.entries:
            problems.fatal(path.name, None, "names no PV")
        return CatalogueFile(list(reader.entries.values()), reader.losses.lines())

    def read_snapshot(self, path: Path, options: ReadOptions) -> SnapshotFile:
        """A snapshot."""
        return snap.read(path, options, self.name)

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """A configuration."""
        losses = Losses()
        sink(f"# {OPENING}\n# Hierarchy:\n# squirrel-ioc\n# SaveSet name:\n# squirrel-ioc\n")
        sink(f"# Description:\n# exported by squirrel-ioc\n# {ENDING}\nPV,READBACK,READ_ONLY\n")
        for entry in entries:
            problem = name_problem(entry.setpoint) or (name_problem(entry.readback) if entry.readback else None)
            if problem is not None:
                losses.left_out(problem, entry.setpoint)
            else:
                sink(f"{entry.setpoint},{entry.readback or ''},{int(entry.read_only)}\n")
        list_losses(losses, entries, readbacks=False)
        return losses.lines()

    def write_snapshot(self, sink: Sink, snapshot: SnapshotFile) -> list[str]:
        """A snapshot."""
        return snap_write.write(sink, snapshot)


class _Configuration:
    def __init__(self, name: str, problems: Problems, options: ReadOptions) -> None:
        self.entries: dict[str, Entry] = {}
        self.losses = Losses()
        self._name = name
        self._problems = problems
        self._limit = options.limits.rows

    def read(self, columns: Sequence[str], lines: Iterator[tuple[int, str]]) -> None:
        known = {"PV", "READBACK", "READ_ONLY"}
        if "VALUE" in columns:
            self._problems.fatal(self._name, None, "is a snapshot, no configuration")
        if unknown := [c for c in columns if c not in known]:
            self.losses.note(f"columns {', '.join(unknown)} are not kept")
        for number, text in lines:
            if not text.strip() or text.startswith("#"):
                continue
            try:
                cells = [c.strip() for c in next(csv.reader([text]))]
            except csv.Error as e:
                self._problems.add(self._name, number, str(e))
                continue
            if len(cells) > len(columns):
                self._problems.add(self._name, number, f"{len(cells)} cells under {len(columns)} columns")
                continue
            self._entry(number, dict(zip(columns, cells, strict=False)))

    def _entry(self, number: int, cells: dict[str, str]) -> None:
        name, readback = canonical(cells.get("PV", "")), canonical(cells.get("READBACK", ""))
        read_only = _FLAGS.get(cells.get("READ_ONLY", "").lower())
        problem = name_problem(name) or (name_problem(readback) if readback else None)
        if problem is not None:
            self._problems.add(self._name, number, problem)
        elif read_only is None:
            self._problems.add(self._name, number, f"{name}: READ_ONLY is 0 or 1, not {cells['READ_ONLY']!r}")
        elif name in self.entries:
            self.losses.add("listed more than once, the first one is taken", name)
        elif len(self.entries) >= self._limit:
            self._problems.fatal(self._name, number, f"more than {self._limit} PVs")
        else:
            self.entries[name] = Entry(name, readback or None, read_only=read_only)
