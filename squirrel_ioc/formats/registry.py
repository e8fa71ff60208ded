"""All formats, which of them a file is in, and how a file is read and written with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats._lines import read_head
from squirrel_ioc.formats._new_file import new_binary
from squirrel_ioc.formats._protocol import (
    HEAD_BYTES,
    CatalogueFile,
    Format,
    Kind,
    Limits,
    ReadOptions,
    Sink,
    SnapshotFile,
)
from squirrel_ioc.formats.autosave.autosave import Autosave
from squirrel_ioc.formats.burt.burt import Burt
from squirrel_ioc.formats.catalogue.squirrel_csv import CatalogueCsv, SquirrelCsv
from squirrel_ioc.formats.jsonl.jsonl import JsonLines
from squirrel_ioc.formats.phoebus.phoebus import Phoebus
from squirrel_ioc.formats.psi.psi import Psi
from squirrel_ioc.model.catalogue import Entry

__all__ = [
    "FORMATS",
    "detect",
    "format_by_name_of",
    "format_named",
    "read_catalogue",
    "read_snapshot",
    "write_catalogue",
    "write_snapshot",
]

FORMATS: tuple[Format, ...] = (Autosave(), Burt(), Psi(), Phoebus(), SquirrelCsv(), JsonLines(), CatalogueCsv())
"""In the order of FILE:FORMAT; of two that are equally sure, the first is taken."""

_SURE = 0.25


def format_named(name: str) -> Format:
    """The format of this name. Raises FormatError."""
    for candidate in FORMATS:
        if candidate.name == name:
            return candidate
    raise FormatError([f"format {name!r} is not known, only {', '.join(f.name for f in FORMATS)}"])


def format_by_name_of(file_name: str) -> Format:
    """The format that the name of a file to be written with values stands for. Raises FormatError."""
    writers = [f for f in FORMATS if Kind.SNAPSHOT in f.writes]
    meant = [f for f in writers if file_name.lower().endswith(f.suffixes[-1])]
    if len(meant) != 1:
        names = ", ".join(f.name for f in meant or writers)
        raise FormatError([f"{file_name}: its name does not tell the format; say which of {names} it is to be"])
    return meant[0]


def detect(path: Path, limits: Limits | None = None) -> tuple[Format, Kind]:
    """The format of a file, and what it holds, by its content and its name. Raises FormatError."""
    head = read_head(path, HEAD_BYTES, limits or Limits())
    if not head.strip():
        raise FormatError([f"{path.name}: is empty"])
    guesses = [(f, f.sniff(head, path.name)) for f in FORMATS]
    best, guess = max(guesses, key=lambda pair: pair[1].confidence)
    if guess.confidence < _SURE:
        raise FormatError([f"{path.name}: the format is not recognised; say which of {_names()} it is"])
    return best, guess.kind


def _names() -> str:
    return ", ".join(f.name for f in FORMATS)


def _chosen(path: Path, kind: Kind, format_name: str | None, options: ReadOptions) -> Format:
    if format_name is None:
        chosen, found = detect(path, options.limits)
        if found is not kind and chosen.name != "jsonl":
            raise FormatError([f"{path.name}: holds a {found.value} ({chosen.title}), no {kind.value}"])
    else:
        chosen = format_named(format_name)
    if kind not in chosen.reads:
        raise FormatError([f"{path.name}: {chosen.title} holds no {kind.value}"])
    return chosen


def read_catalogue(path: Path, format_name: str | None = None, options: ReadOptions | None = None) -> CatalogueFile:
    """The catalogue in a file, whose format is found out unless it is given. Raises FormatError."""
    options = options or ReadOptions()
    return _chosen(path, Kind.CATALOGUE, format_name, options).read_catalogue(path, options)


def read_snapshot(path: Path, format_name: str | None = None, options: ReadOptions | None = None) -> SnapshotFile:
    """The values in a file, whose format is found out unless it is given. Raises FormatError."""
    options = options or ReadOptions()
    return _chosen(path, Kind.SNAPSHOT, format_name, options).read_snapshot(path, options)


def write_catalogue(path: Path, entries: Sequence[Entry], format_name: str) -> list[str]:
    """Write a catalogue; the file appears whole or not at all.

    Returns a line for each thing that the format cannot hold. Raises FormatError when it cannot be written.
    """
    chosen = format_named(format_name)
    return _write(path, chosen, Kind.CATALOGUE, lambda sink: chosen.write_catalogue(sink, entries))


def write_snapshot(path: Path, snapshot: SnapshotFile, format_name: str, *, replace: bool = True) -> list[str]:
    """Write values; the file appears whole or not at all. Without `replace`, not where there is one already.

    Returns a line for each thing that the format cannot hold. Raises FormatError when it cannot be written.
    """
    chosen = format_named(format_name)
    return _write(path, chosen, Kind.SNAPSHOT, lambda sink: chosen.write_snapshot(sink, snapshot), replace=replace)


def _write(
    path: Path, chosen: Format, kind: Kind, write: Callable[[Sink], list[str]], *, replace: bool = True
) -> list[str]:
    if kind not in chosen.writes:
        raise FormatError([f"{path.name}: {chosen.title} holds no {kind.value}"])
    try:
        with new_binary(path, replace=replace) as file:
            return write(lambda text: file.write(text.encode("utf-8", "surrogateescape")))
    except UnicodeEncodeError as e:
        raise FormatError([f"{path.name}: cannot be written: {e}"]) from e
