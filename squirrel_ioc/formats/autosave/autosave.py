"""autosave: request files (.req) and save files (.sav).

Source: epics-modules/autosave, docs/autoSaveRestore.md ("Create request files", "About save files"), and for what the
text leaves open the behaviour of its save_restore task (R5-10).

Request file: a PV a line, `#` comments, `file NAME MACROS` includes another file, with quotes ignored and blanks as
good as commas between macros. A PV may carry `$` (long string). An included file sees the macros of its line alone,
unless ReadOptions.inherit_macros.

Save file: see `autosave.sav`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.formats._protocol import NO, CatalogueFile, Guess, Kind, ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats._request import Place, RequestReader
from squirrel_ioc.formats.autosave import sav, sav_write
from squirrel_ioc.model.catalogue import Entry

__all__ = ["Autosave", "list_losses"]

_SAV_HEADER = re.compile(rb"# ?(save/restore|autosave)\b.*[VR]\d")
_SAV_SUFFIX = re.compile(r"\.(sav[B0-9]?|cfg|savB?\.bu|sav_\d{6}-\d{6})$")
_FILE = re.compile(r'\s*file[\s"]+([^\s"#]+)"?(.*)', re.DOTALL)
_IGNORED_LINE = re.compile(rb"^\s*(//|/\*|[~*=])", re.MULTILINE)
_REMARK = re.compile(r"(?:^|\s)#")
_SECTION = re.compile(r"\[\w+\]")
_FILE_LINE = re.compile(rb'^\s*file[\s"]+\S+', re.MULTILINE)


class Autosave:
    """The format of the synApps autosave module."""

    name = "autosave"
    title = "autosave"
    suffixes = (".req", ".sav")
    reads = writes = frozenset(Kind)

    def sniff(self, head: bytes, name: str) -> Guess:
        """A save file by its header or its <END>; a request file by its `file` lines or its suffix."""
        first = head.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0]
        if _SAV_HEADER.match(first):
            return Guess(0.95, Kind.SNAPSHOT)
        if _SAV_SUFFIX.search(name):
            return Guess(0.7, Kind.SNAPSHOT)
        if name.endswith(".req"):
            clear = _FILE_LINE.search(head) or _IGNORED_LINE.search(head)
            return Guess(0.91 if clear else 0.5, Kind.CATALOGUE)
        if re.search(rb"^<END>", head, re.MULTILINE):
            return Guess(0.6, Kind.SNAPSHOT)
        return NO

    def read_catalogue(self, path: Path, options: ReadOptions) -> CatalogueFile:
        """A request file and all it includes."""
        return _Request(options).read(path)

    def read_snapshot(self, path: Path, options: ReadOptions) -> SnapshotFile:
        """A save file."""
        return sav.read(path, options, self.name)

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """A request file of the PVs that are written."""
        losses = Losses()
        sink("# request file, written by squirrel-ioc\n")
        for entry in entries:
            if entry.read_only:
                losses.left_out("read-only, and autosave writes all it has", entry.setpoint)
            elif (problem := name_problem(entry.setpoint)) is not None:
                losses.left_out(problem, entry.setpoint)
            elif not _begins_a_line(entry.setpoint):
                losses.left_out("autosave ignores lines that begin so", entry.setpoint)
            else:
                sink(entry.setpoint + "\n")
        list_losses(losses, entries)
        return losses.lines()

    def write_snapshot(self, sink: Sink, snapshot: SnapshotFile) -> list[str]:
        """A save file."""
        return sav_write.write(sink, snapshot)


def list_losses(losses: Losses, entries: Sequence[Entry], *, readbacks: bool = True) -> None:
    """Note what a bare list of names cannot hold."""
    default = Entry("")
    kept = {"setpoint", "read_only"} | (set() if readbacks else {"readback"})
    for field in (name for name in Entry.__dataclass_fields__ if name not in kept):
        count = sum(getattr(e, field) != getattr(default, field) for e in entries)
        if count:
            losses.note(f"the format has no {field.replace('_', ' ')} (it is set of {count} PV{'s' * (count != 1)})")


def _begins_a_line(name: str) -> bool:
    """Whether autosave takes a line that begins with this name for one with a PV."""
    return name[0] == "$" or (name[0].isascii() and name[0].isalnum())


class _Request(RequestReader):
    def lines(self, place: Place, lines: Iterator[tuple[int, str]]) -> None:
        for _, raw in lines:
            if not raw.strip() or raw.lstrip().startswith("#"):
                continue
            text = self.expand(place, raw)
            if text is None or not text.strip():
                continue
            name = text.split(None, 1)[0]
            if _SECTION.fullmatch(name) is not None:
                reason = f"{name} begins a section: this is a configuration (of saveData, say), no list of PVs"
                self.problems.fatal(place.name, place.line, reason)
            if name.startswith("file") and (match := _FILE.fullmatch(text)) is not None:
                macros = self._definitions(place, _REMARK.split(match[2], maxsplit=1)[0])
                if macros is not None:
                    self.include(place, match[1], macros)
            elif name == "file":
                self.losses.note(f"{place.name}:{place.line}: an include that names no file is ignored")
            elif not _begins_a_line(name):
                self.losses.add("autosave ignores lines that begin like this one", name)
            else:
                if len(text.split()) > 1 and not text.split()[1].startswith("#"):
                    self.losses.add("text after the name of the PV is ignored", name)
                self.add(place, name)

    def _definitions(self, place: Place, text: str) -> dict[str, str] | None:
        """Quotes are ignored, and blanks separate as commas do."""
        macros = {}
        for item in re.split(r"[\s,]+", text.replace('"', "").strip()):
            name, equals, value = item.partition("=")
            if equals and name:
                macros[name] = value
            elif item:
                self.problem(place, f"{item!r} is no MACRO=VALUE")
                return None
        return macros
