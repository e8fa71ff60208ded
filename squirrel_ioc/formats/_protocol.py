"""What a file format is to the rest of the program: what it reads, what it writes, what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Meta

__all__ = [
    "Kind",
    "Guess",
    "NO",
    "Limits",
    "ReadOptions",
    "CatalogueFile",
    "SnapshotFile",
    "Sink",
    "Format",
    "HEAD_BYTES",
]

HEAD_BYTES = 65536
"""How much of a file is read to find out its format."""

Sink = Callable[[str], object]
"""Takes text to be written: whole lines, in order."""


class Kind(Enum):
    """What a file holds."""

    CATALOGUE = "catalogue"
    """Names of PVs, and how they are to be treated."""
    SNAPSHOT = "snapshot"
    """Values of PVs."""


class Guess(NamedTuple):
    """How sure a format is that a file is its own, 0 to 1, and what the file then holds."""

    confidence: float
    kind: Kind


NO = Guess(0.0, Kind.CATALOGUE)
"""Not this format."""


def _go_on() -> str:
    return ""


@dataclass(frozen=True)
class Limits:
    """What a file may cost. A file beyond them is refused with the line that went too far.

    `stop` is asked now and then while a file is read, in the thread that reads it; a text ends the reading, and is the
    reason.
    """

    line_bytes: int = 16 << 20
    file_bytes: int = 512 << 20
    rows: int = 2_000_000
    value_bytes: int = 1 << 30  # of strings and arrays, which may take more than their text; of JSON lines, all text
    problems: int = 100
    include_depth: int = 16
    include_count: int = 100_000
    include_s: float = 20.0  # from the first include on; 5000 of them with 50,000 PVs take 2
    stop: Callable[[], str] = _go_on


@dataclass(frozen=True)
class ReadOptions:
    """How a file is to be read.

    `macros` are those of the command line. `search_path` are folders that included request files are looked for in,
    after the folder of the file that includes them. `confined`: nothing outside those folders and the folder of the
    file itself is ever opened, whatever an include says. `inherit_macros`: an included file also sees the macros of
    the file that includes it, not only those on its own line. `live` is what the machine says of PVs by name, where
    it is known: values of formats without types are then brought to the type of their PV (see `retype`).
    """

    macros: Mapping[str, str] = field(default_factory=dict)
    search_path: tuple[Path, ...] = ()
    confined: bool = True
    inherit_macros: bool = False
    encoding: str = "utf-8"
    live: Mapping[str, Meta] = field(default_factory=dict)
    limits: Limits = Limits()


@dataclass(frozen=True)
class CatalogueFile:
    """What a file of PV names came to. `warnings` say what it held that has no counterpart here, a line each."""

    entries: list[Entry]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SnapshotFile:
    """A snapshot outside the database: what was read from a file, or what is to be written to one.

    `frame` has the setpoints first, then the readbacks. `taken` is when the values were read, with its offset, None
    where the file does not say. `origin` is the format's name, `file_name` the file's. `typed` says whether the
    file knows the type of its values; where it does not, they are as described in `retype`. `readbacks` and
    `read_only` are what the file says of the catalogue: the readback of a setpoint, setpoints never to be written.
    `attributes` is more that only some formats keep: JSON values by name. `warnings` as in CatalogueFile.
    """

    frame: Frame
    title: str = ""
    comment: str = ""
    labels: tuple[str, ...] = ()
    taken: datetime | None = None
    user: str = ""
    origin: str = ""
    file_name: str = ""
    typed: bool = True
    readbacks: Mapping[str, str] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Format(Protocol):
    """One format. Stateless; `name` is what users write, `title` what they read.

    `reads` and `writes` say which of the four functions work; the others raise FormatError. The readers raise
    FormatError with every problem of the file, and then return nothing. The writers return a line for each thing that
    was given and that the format cannot hold; a value that would come back as another one is left out and named.
    """

    @property
    def name(self) -> str:
        """Its name on a command line."""

    @property
    def title(self) -> str:
        """Its name in a sentence."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How names of its files usually end: of catalogues, of snapshots."""

    @property
    def reads(self) -> frozenset[Kind]:
        """What it can be read for."""

    @property
    def writes(self) -> frozenset[Kind]:
        """What can be written in it."""

    def sniff(self, head: bytes, name: str) -> Guess:
        """How sure this is a file of this format, by its first HEAD_BYTES bytes and its name."""

    def read_catalogue(self, path: Path, options: ReadOptions) -> CatalogueFile:
        """The catalogue in a file."""

    def read_snapshot(self, path: Path, options: ReadOptions) -> SnapshotFile:
        """The values in a file."""

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """Write PVs; returns what the format cannot hold."""

    def write_snapshot(self, sink: Sink, snapshot: SnapshotFile) -> list[str]:
        """Write values; returns what the format cannot hold."""
