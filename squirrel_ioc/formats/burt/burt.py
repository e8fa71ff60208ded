"""BURT, the backup and restore tool: request files (.req) and snapshot files (.snap), not the SDDS ones.

Source: "BURT: Back Up and Restore Tool" (EPICS extensions manuals, chapter 3 "BURT Components" and the appendices), and
the snapshots of vanilla BURT in the tests of DiamondLightSource/pyburt.

Request file: `[RO|RON|WO] PV [elements]` a line, `%` begins a comment. It goes through the C preprocessor: `#include`
and `#define` of a plain name are done here (ReadOptions.macros are the names of its -D), other directives are refused.

Snapshot file: see `burt.snap`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.formats._protocol import NO, CatalogueFile, Guess, Kind, ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats._request import Place, RequestReader
from squirrel_ioc.formats.autosave.autosave import list_losses
from squirrel_ioc.formats.burt import snap
from squirrel_ioc.model.catalogue import Entry

__all__ = ["Burt"]

_TAGGED = re.compile(rb"^(RO|RON|WO)[ \t]+\S|^[ \t]*%|^#[ \t]*(include|define)\b", re.MULTILINE)
_DIRECTIVE = re.compile(r"\s*#\s*(\w+)\s*(.*)")
_INCLUDE = re.compile(r'"([^"]+)"|<([^>]+)>')
_DEFINE = re.compile(r"([A-Za-z_]\w*)(\()?\s*(.*)")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_MAX_PASSES = 16
_MAX_LINE = 65536


class Burt:
    """The format of burtrb and burtwb, with -nosdds."""

    name = "burt"
    title = "BURT"
    suffixes = (".req", ".snap")
    reads = writes = frozenset(Kind)

    def sniff(self, head: bytes, name: str) -> Guess:
        """A snapshot by its header, a request file by its tags and comments, or its suffix."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(snap.START.encode()):
            return Guess(0.95, Kind.SNAPSHOT)
        if start.startswith(b"SDDS") and name.endswith((".snap", ".snp", ".req")):
            return Guess(0.6, Kind.CATALOGUE if name.endswith(".req") else Kind.SNAPSHOT)
        if name.endswith(".req"):
            return Guess(0.8 if _TAGGED.search(head) else 0.3, Kind.CATALOGUE)
        return Guess(0.2, Kind.SNAPSHOT) if name.endswith(".snap") else NO

    def read_catalogue(self, path: Path, options: ReadOptions) -> CatalogueFile:
        """A request file and all it includes."""
        return _Request(options).read(path)

    def read_snapshot(self, path: Path, options: ReadOptions) -> SnapshotFile:
        """A snapshot file."""
        return snap.read(path, options, self.name)

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """A request file; what is read-only is RO."""
        losses = Losses()
        sink("% request file, written by squirrel-ioc\n")
        for entry in entries:
            if (problem := name_problem(entry.setpoint)) is not None:
                losses.left_out(problem, entry.setpoint)
            else:
                sink(f"{'RO ' * entry.read_only}{entry.setpoint}\n")
        list_losses(losses, entries)
        return losses.lines()

    def write_snapshot(self, sink: Sink, snapshot: SnapshotFile) -> list[str]:
        """A snapshot file; what is read-only, and readbacks, are RO."""
        return snap.write(sink, snapshot)


class _Request(RequestReader):
    def __init__(self, options: ReadOptions) -> None:
        super().__init__(options)
        self._defines = dict(options.macros)

    def lines(self, place: Place, lines: Iterator[tuple[int, str]]) -> None:
        in_comment = False
        for number, raw in lines:
            if number == 1 and raw.startswith("SDDS"):
                self.problem(place, "an SDDS file; only the plain request files of BURT are read")
                return
            text, in_comment = _without_comments(raw, in_comment)
            if (directive := _DIRECTIVE.fullmatch(text)) is not None:
                self._directive(place, directive[1], directive[2].strip())
                continue
            words = (self._substitute(place, text) or "").split("%", 1)[0].split()
            if words:
                self._entry(place, words)

    def _entry(self, place: Place, words: list[str]) -> None:
        tag = words.pop(0) if words[0] in ("RO", "RON", "WO") and len(words) > 1 else ""
        name = words.pop(0)
        if words and not (len(words) == 1 and words[0].isdecimal() and int(words[0][:9]) > 0):
            self.problem(place, f"{' '.join(words)!r} after {name} is no number of elements")
            return
        if words:
            self.losses.add("the number of elements to save is not kept", name)
        if tag == "RON":
            self.losses.add("RON is taken as RO: nothing is written, and nobody is notified", name)
        elif tag == "WO":
            self.losses.add("WO is taken as an ordinary PV", name)
        self.add(place, name, read_only=tag in ("RO", "RON"))

    def _directive(self, place: Place, keyword: str, rest: str) -> None:
        if keyword == "include" and (match := _INCLUDE.match(rest)) is not None:
            self.include(place, match[1] or match[2], {})
        elif keyword == "define" and (match := _DEFINE.match(rest)) is not None and not match[2]:
            self._defines[match[1]] = match[3].strip()
        elif keyword == "undef":
            self._defines.pop(rest, None)
        else:
            self.problem(place, f"#{keyword} {rest}: only #include and #define of a plain name are understood")

    def _substitute(self, place: Place, text: str) -> str | None:
        """Replace what is defined, as the C preprocessor does."""
        for _ in range(_MAX_PASSES):
            replaced = _IDENTIFIER.sub(lambda m: self._defines.get(m[0], m[0]), text) if self._defines else text
            if replaced == text:
                return text
            if len(replaced) > _MAX_LINE:
                break
            text = replaced
        self.problem(place, "#define: names refer to each other without end")
        return None


def _without_comments(text: str, inside: bool) -> tuple[str, bool]:
    """A line without its /* comments */, and whether one goes on in the next line."""
    kept = ""
    while True:
        if inside:
            _, ended, text = text.partition("*/")
            if not ended:
                return kept, True
        before, begun, text = text.partition("/*")
        kept += before
        if not begun:
            return kept, False
        inside = True
