"""Request files: lists of PVs with macros that include each other. What autosave, BURT and PSI snapshot share."""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats._lines import open_regular, read_lines
from squirrel_ioc.formats._macros import MacroError, Macros
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses, Problems
from squirrel_ioc.formats._protocol import CatalogueFile, ReadOptions
from squirrel_ioc.formats._thread_pauses import LINES_A_LOOK
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.pv_names import canonical

__all__ = ["Place", "RequestReader"]

_LINE_BYTES = 65536
_CACHED_BYTES = 4 << 20


@dataclass
class Place:
    """A file that is being read, and where. `via` is the file that includes it."""

    path: Path
    name: str
    macros: Macros
    via: Place | None = None
    line: int = 0

    @property
    def depth(self) -> int:
        """How many files include this one."""
        return 0 if self.via is None else self.via.depth + 1

    def chain(self) -> str:
        """How the file came to be read, for a message."""
        return "" if self.via is None else f" (included from {self.via.name}:{self.via.line}{self.via.chain()})"


class RequestReader(ABC):
    """Reads a request file and all it includes. The formats say what a line means.

    A PV that is listed twice is taken once, with a warning: the tools themselves allow it.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.problems = Problems(options.limits.problems)
        self.losses = Losses()
        self._entries: dict[str, Entry] = {}
        self._roots: list[Path] = []
        self._included = 0
        self._end_s = math.inf
        self._cache: dict[Path, list[tuple[int, str]]] = {}
        self._cached_bytes = 0

    def read(self, path: Path) -> CatalogueFile:
        """The PVs of a file. Raises FormatError."""
        self._roots = [folder.resolve() for folder in (path.parent, *self.options.search_path)]
        self._walk(Place(path, path.name, Macros(self.options.macros)))
        self.problems.check()
        if not self._entries:
            self.problems.fatal(path.name, None, "names no PV")
        return CatalogueFile(list(self._entries.values()), self.losses.lines())

    @abstractmethod
    def lines(self, place: Place, lines: Iterator[tuple[int, str]]) -> None:
        """Take the lines of a file."""

    def problem(self, place: Place, reason: str) -> None:
        """Note a problem in the present line."""
        self.problems.add(place.name, place.line, reason + place.chain())

    def expand(self, place: Place, text: str) -> str | None:
        """`text` without macros; None, and a problem, when one is not defined."""
        try:
            return place.macros.expand(text)
        except MacroError as e:
            self.problem(place, str(e))
            return None

    def add(self, place: Place, name: str, *, read_only: bool = False) -> None:
        """Take a PV."""
        name = canonical(name)
        if (reason := name_problem(name)) is not None:
            self.problem(place, reason)
        elif name in self._entries:
            self.losses.add("listed more than once", name)
        elif len(self._entries) >= self.options.limits.rows:
            self.problems.fatal(place.name, place.line, f"more than {self.options.limits.rows} PVs")
        else:
            self._entries[name] = Entry(name, read_only=read_only)

    def include(self, place: Place, name: str, macros: Mapping[str, str]) -> None:
        """Read another file at this point."""
        limits = self.options.limits
        self._included += 1
        if self._included == 1:
            self._end_s = time.monotonic() + limits.include_s
        if self._included > limits.include_count:
            self.problems.fatal(place.name, place.line, f"more than {limits.include_count} files included")
        self._check_time(place)
        if place.depth >= limits.include_depth:
            self.problem(place, f"{name}: files include each other more than {limits.include_depth} deep")
            return
        found = self._find(place, name)
        if found is None:
            return
        above: Place | None = place
        while above is not None:
            if above.path.resolve() == found:
                self.problem(place, f"{name} includes itself")
                return
            above = above.via
        inherited = place.macros.values if self.options.inherit_macros else {}
        self._walk(Place(found, name, Macros({**inherited, **macros}), place))

    def _walk(self, place: Place) -> None:
        lines = self._cache.get(place.path)
        if lines is not None:
            self.lines(place, self._numbered(place, iter(lines)))
            return
        limits = self.options.limits
        try:
            file = open_regular(place.path, place.name, limits)
        except FormatError as e:
            if place.via is None:
                raise
            self.problem(place.via, e.problems[0])
            return
        with file:
            narrow = replace(limits, line_bytes=min(limits.line_bytes, _LINE_BYTES))
            source = read_lines(file, place.name, self.problems, narrow, self.options.encoding)
            size = os.fstat(file.fileno()).st_size
            if place.via is None or self._cached_bytes + size > _CACHED_BYTES:
                self.lines(place, self._numbered(place, source))
                return
            self._cached_bytes += size
            lines = self._cache[place.path] = list(source)
        self.lines(place, self._numbered(place, iter(lines)))

    def _numbered(self, place: Place, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        for number, text in lines:
            place.line = number
            if number % LINES_A_LOOK == 0 and place.via is not None:
                self._check_time(place)
            yield number, text

    def _check_time(self, place: Place) -> None:
        """Raises FormatError when reading what is included takes too long: a file may be included again and again."""
        limits = self.options.limits
        if time.monotonic() > self._end_s:
            self.problems.fatal(place.name, place.line, f"included files take more than {limits.include_s:g} s")
        if reason := limits.stop():
            self.problems.fatal(place.name, place.line, reason)

    def _find(self, place: Place, name: str) -> Path | None:
        """The file an include means; None, and a problem, when there is none or it may not be read."""
        if "\0" in name or not name:
            self.problem(place, "the name of the included file is empty")
            return None
        if self.options.confined and Path(name).is_absolute():
            self.problem(place, f"{name}: only files in the folder of the request file may be included")
            return None
        outside = False
        for folder in (place.path.parent, *self.options.search_path):
            try:
                candidate = (folder / name).resolve()
                if self.options.confined and not any(candidate.is_relative_to(root) for root in self._roots):
                    outside = True
                elif candidate.is_file():
                    return candidate
            except (OSError, RuntimeError, ValueError) as e:
                self.problem(place, f"{name}: cannot be read: {e}")
                return None
        if outside:
            self.problem(place, f"{name}: leads out of the folders that files may be included from")
        else:
            self.problem(place, f"{name}: there is no such file in the search path")
        return None
