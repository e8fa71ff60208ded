"""Catalogues as CSV: squirrel-backend's, and the service's own with every column.

Source: slaclab/squirrel, docs/source/import_format.rst: `Setpoint,Readback,[Description,]{Tag Group 1},...`, several
tags of a group separated by commas within quotes, and a row without a setpoint is a PV that is only read. The service's
own files are described in `catalogue`, which reads both.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from squirrel_ioc.errors import CatalogueError, FormatError
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.formats._protocol import NO, CatalogueFile, Guess, Kind, ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats.autosave.autosave import list_losses
from squirrel_ioc.formats.catalogue.catalogue import load_catalogue
from squirrel_ioc.model.catalogue import Entry

__all__ = ["CatalogueCsv", "SquirrelCsv"]

_EXTRA = (
    "description",
    "device",
    "atol",
    "rtol",
    "read_only",
    "order",
    "max_step",
    "step_period",
    "completion",
    "verify",
)
_DEFAULT = Entry("")


class _Csv:
    name: str
    title: str
    suffixes: tuple[str, ...] = (".csv",)
    reads = writes = frozenset([Kind.CATALOGUE])

    def read_catalogue(self, path: Path, options: ReadOptions) -> CatalogueFile:
        """A catalogue; nothing of it is lost."""
        del options
        try:
            return CatalogueFile(load_catalogue([path]))
        except CatalogueError as e:
            raise FormatError([p.replace(str(path), path.name) for p in e.problems]) from e

    def read_snapshot(self, path: Path, options: ReadOptions) -> SnapshotFile:
        """Refused: there are no values in such a file."""
        del options
        raise FormatError([f"{path.name}: {self.title} holds PVs, no values"])

    def write_snapshot(self, sink: Sink, snapshot: SnapshotFile) -> list[str]:
        """Refused: there are no values in such a file."""
        del sink, snapshot
        raise FormatError([f"{self.title} holds PVs, no values"])


class SquirrelCsv(_Csv):
    """The CSV that squirrel and its backend import."""

    name = "squirrel"
    title = "squirrel CSV"

    def sniff(self, head: bytes, name: str) -> Guess:
        """By the names of the columns."""
        del name
        columns = _columns(head)
        if columns[:2] == ["setpoint", "readback"]:
            own = any(c.replace(" ", "_") in _EXTRA[1:] for c in columns)
            return Guess(0.6 if own else 0.9, Kind.CATALOGUE)
        return NO

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """Names, descriptions and tags."""
        losses = Losses()
        groups = list(dict.fromkeys(group for e in entries for group in e.tags))
        described = any(e.description for e in entries)
        row = _row_writer(sink)
        row(["Setpoint", "Readback", *(["Description"] * described), *groups])
        for e in entries:
            if (problem := name_problem(e.setpoint)) is not None:
                losses.left_out(problem, e.setpoint)
                continue
            only_read = e.read_only and not e.readback
            names = ["", e.setpoint] if only_read else [e.setpoint, e.readback or ""]
            row([*names, *([e.description] * described), *(",".join(e.tags.get(g, ())) for g in groups)])
            if e.read_only and not only_read:
                losses.add("read-only is not kept of a PV that has a readback", e.setpoint)
        list_losses(losses, [replace(e, readback=None, description="", tags={}) for e in entries])
        return losses.lines()


class CatalogueCsv(_Csv):
    """The service's own catalogue file; it holds all of a catalogue."""

    name = "catalogue"
    title = "catalogue CSV"
    suffixes = (".csv", ".yaml", ".yml", ".tsv")

    def sniff(self, head: bytes, name: str) -> Guess:
        """By the names of the columns, or as YAML by its suffix."""
        columns = _columns(head)
        if "setpoint" in columns or ("readback" in columns and "pv" not in columns):
            return Guess(0.8, Kind.CATALOGUE)
        return Guess(0.7, Kind.CATALOGUE) if name.endswith((".yaml", ".yml")) else NO

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """Everything; columns that nobody needs are not there."""
        losses = Losses()
        groups = list(dict.fromkeys(group for e in entries for group in e.tags))
        fields = [f for f in _EXTRA if any(getattr(e, f) != getattr(_DEFAULT, f) for e in entries)]
        row = _row_writer(sink)
        row(["setpoint", "readback", *fields, *groups])
        for e in entries:
            if (problem := name_problem(e.setpoint)) is not None:
                losses.left_out(problem, e.setpoint)
            else:
                cells = [_cell(getattr(e, f), getattr(_DEFAULT, f)) for f in fields]
                row([e.setpoint, e.readback or "", *cells, *(",".join(e.tags.get(g, ())) for g in groups)])
        return losses.lines()


def _columns(head: bytes) -> list[str]:
    for line in head.lstrip(b"\xef\xbb\xbf").splitlines():
        if line.strip() and not line.startswith(b"#"):
            first = line.decode("utf-8", "replace")
            separator = max(",;\t", key=first.count)
            return [c.strip().strip('"').lower() for c in first.split(separator)]
    return []


def _cell(value: object, default: object) -> str:
    if value == default:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, float) else str(value)


def _row_writer(sink: Sink) -> Callable[[Sequence[str]], None]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def write(cells: Sequence[str]) -> None:
        writer.writerow(cells)
        sink(buffer.getvalue())
        buffer.seek(0)
        buffer.truncate()

    return write
