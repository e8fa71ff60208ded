"""PSI snapshot: request files (.req) and saved files (.snap).

Source: paulscherrerinstitute/snapshot, Readme.md ("Format of configuration", "Format of saved files"), and for what it
leaves open the behaviour of its parser (2.1.4).

Request file: first, perhaps, a JSON object for the tool's windows (labels, filters, machine parameters; not kept here);
then a PV a line, up to a comma; `#`, `data{` and `}` begin lines without meaning; `!file,"A=B,C=D"` includes a file of
the same folder with macros, of which the included file sees these alone, unless ReadOptions.inherit_macros.

Request files in YAML or JSON have `pvs: {list: [{name: ...}]}` and `include: [{name: ..., macros: [{...}]}]`.

Saved file: see `psi.snap`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from squirrel_ioc.formats._macros import MacroError, parse_macros
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.formats._protocol import NO, CatalogueFile, Guess, Kind, ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats._request import Place, RequestReader
from squirrel_ioc.formats.autosave.autosave import list_losses
from squirrel_ioc.formats.psi import snap
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.yaml_depth import NESTED, too_deep_at

__all__ = ["Psi"]

_SAVED_LINE = re.compile(rb'^[^\s,#]+,(\{"val"|[\["]|-?\d)', re.MULTILINE)
_INCLUDE_LINE = re.compile(rb"^\s*!\S", re.MULTILINE)
_STRUCTURED = (".yaml", ".yml", ".json")
_STRUCTURED_HEAD = re.compile(
    rb"""^\s*\{?\s*["']?(pvs["']?\s*:\s*(\{|\n\s+(defaults|list)\s*:)|include["']?\s*:)""", re.MULTILINE
)
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}]')
_HEADER_CHARS = 1 << 20


class Psi:
    """The format of PSI's snapshot tool."""

    name = "psi"
    title = "PSI snapshot"
    suffixes = (".req", ".snap")
    reads = writes = frozenset(Kind)

    def sniff(self, head: bytes, name: str) -> Guess:
        """A saved file by its JSON header or its lines, a request file by its header or its includes."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if re.match(rb"#\s*\{", start):
            return Guess(0.9, Kind.SNAPSHOT)
        if name.endswith(_STRUCTURED):
            return Guess(0.85, Kind.CATALOGUE) if _STRUCTURED_HEAD.search(head) else NO
        if name.endswith(".req"):
            clear = start.startswith((b"{", b"data{")) or _INCLUDE_LINE.search(head)
            return Guess(0.9 if clear else 0.4, Kind.CATALOGUE)
        if name.endswith(".snap"):
            return Guess(0.8 if _SAVED_LINE.search(head) else 0.1, Kind.SNAPSHOT)
        return NO

    def read_catalogue(self, path: Path, options: ReadOptions) -> CatalogueFile:
        """A request file and all it includes."""
        return _Request(options).read(path)

    def read_snapshot(self, path: Path, options: ReadOptions) -> SnapshotFile:
        """A saved file."""
        return snap.read(path, options, self.name)

    def write_catalogue(self, sink: Sink, entries: Sequence[Entry]) -> list[str]:
        """A request file of the PVs that are written."""
        losses = Losses()
        for entry in entries:
            if entry.read_only:
                losses.left_out("read-only, and snapshot restores all it has", entry.setpoint)
            elif (problem := name_problem(entry.setpoint)) is not None or entry.setpoint[0] in "!}":
                losses.left_out(
                    problem or "its name begins with a character that means something there", entry.setpoint
                )
            else:
                sink(entry.setpoint + "\n")
        list_losses(losses, entries)
        return losses.lines()

    def write_snapshot(self, sink: Sink, snapshot: SnapshotFile) -> list[str]:
        """A saved file."""
        return snap.write(sink, snapshot)


def _items(value: Any) -> list[Any]:
    """A list; one thing alone is a list of one."""
    return value if isinstance(value, list) else [] if value is None else [value]


class _Request(RequestReader):
    def lines(self, place: Place, lines: Iterator[tuple[int, str]]) -> None:
        if place.name.endswith(_STRUCTURED):
            self._structured(place, "\n".join(text for _, text in lines))
            return
        for _, raw in self._after_header(place, lines):
            text = raw.strip()
            if not text or text.startswith(("#", "data{", "}")):
                continue
            if text.startswith("!"):
                self._include(place, text)
            elif (name := self.expand(place, text.split(",", 1)[0].rstrip())) is not None:
                self.add(place, name)

    def _structured(self, place: Place, text: str) -> None:
        """A request file in YAML or JSON, which is YAML, too."""
        place.line = 1
        if (line := too_deep_at(text)) is not None:
            self.problems.fatal(place.name, line, NESTED)
        try:
            content = yaml.load(text, yaml.CSafeLoader)
        except yaml.YAMLError as error:
            self.problems.fatal(place.name, None, f"no YAML or JSON: {str(error).splitlines()[0]}")
        content = content if isinstance(content, dict) else {}
        listed = content.get("pvs")
        for item in _items(listed.get("list") if isinstance(listed, dict) else listed):
            name = item.get("name") if isinstance(item, dict) else item
            if not isinstance(name, str):
                self.problem(place, f"{str(item)[:40]!r} has no name of a PV")
            elif (expanded := self.expand(place, name)) is not None:
                self.add(place, expanded)
        for item in _items(content.get("include")):
            self._include_item(place, item)

    def _include_item(self, place: Place, item: Any) -> None:
        """A file, once with each of its sets of macros."""
        name = item.get("name") if isinstance(item, dict) else item
        if not isinstance(name, str):
            self.problem(place, f"{str(item)[:40]!r} has no name of a file")
            return
        for macros in _items(item.get("macros") if isinstance(item, dict) else None) or [{}]:
            if isinstance(macros, dict):
                self.include(place, name, {str(key): str(value) for key, value in macros.items()})
            else:
                self.problem(place, f"{name}: {str(macros)[:40]!r} are no macros")

    def _after_header(self, place: Place, lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """The lines that follow the JSON object at the beginning, if there is one."""
        header: list[str] = []
        depth = size = 0
        for number, text in lines:
            if depth == 0 and not header and not text.strip():
                continue
            if not header and not text.lstrip().startswith("{"):
                yield number, text
                break
            end = len(text)
            for token in _TOKEN.finditer(text):
                depth += {"{": 1, "}": -1}.get(token[0], 0)
                if depth == 0 and token[0] == "}":
                    end = token.end()
                    break
            header.append(text[:end])
            size += end
            if size > _HEADER_CHARS:
                self.problems.fatal(place.name, number, f"the JSON header is longer than {_HEADER_CHARS} characters")
            if depth == 0:
                self._header(place, "\n".join(header), number - len(header) + 1)
                yield number, text[end:]
                break
        else:
            if depth:
                self.problem(place, "the JSON header has no end")
        yield from lines

    def _header(self, place: Place, text: str, first: int) -> None:
        try:
            content = json.loads(text)
        except json.JSONDecodeError as e:
            self.problems.add(place.name, first + e.lineno - 1, f"the JSON header: {e.msg}{place.chain()}")
        except (ValueError, RecursionError) as e:
            self.problems.add(place.name, first, f"the JSON header: {e}{place.chain()}")
        else:
            if place.via is not None:
                self.problem(place, "a JSON header may only stand in the first file")
            elif content:
                self.losses.note(f"{', '.join(sorted(content))} of the JSON header are not kept")

    def _include(self, place: Place, text: str) -> None:
        name, comma, quoted = text[1:].partition(",")
        macros: dict[str, str] = {}
        if comma:
            quoted = quoted.strip()
            if len(quoted) < 2 or quoted[0] not in "\"'" or quoted[-1] != quoted[0]:
                self.problem(place, 'macros stand in quotes: !file,"A=B"')
                return
            expanded = self.expand(place, quoted[1:-1])
            if expanded is None:
                return
            try:
                macros = parse_macros(expanded)
            except MacroError as e:
                self.problem(place, str(e))
                return
        if (path := self.expand(place, name.strip())) is not None:
            self.include(place, path, macros)
