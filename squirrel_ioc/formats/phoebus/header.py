"""The lines with # at the top of Phoebus' CSV files, and the line with the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import datetime

from squirrel_ioc.formats._problems import Problems

__all__ = ["OPENING", "ENDING", "Header"]

OPENING = "AUTO-GENERATED. DON'T EDIT BELOW IF YOU DON'T KNOW HOW THOSE WORK!"
ENDING = "AUTO-GENERATED. DON'T EDIT ABOVE IF YOU DON'T KNOW HOW THOSE WORK!"
_TAGS = ("Hierarchy:", "SaveSet name:", "Snapshot name:", "Description:", "Creator:", "Date:", "Tags:", OPENING, ENDING)
_MAX_LINES = 10_000


class Header:
    """What the top of a file says."""

    def __init__(self, name: str, problems: Problems) -> None:
        self._name = name
        self._problems = problems
        self._under: dict[str, list[str]] = {}
        self.line = 0

    def read(self, lines: Iterator[tuple[int, str]]) -> list[str]:
        """Take the lines up to the one with the columns; returns these. Raises FormatError when there is none."""
        tag = ""
        for number, text in lines:
            if number > _MAX_LINES:
                break
            if text.startswith("#"):
                content = text[1:].strip()
                named = content.split(": ", 1)
                if content in _TAGS:
                    tag = content
                elif len(named) == 2 and f"{named[0]}:" in _TAGS:  # as CS-Studio wrote it
                    self._under.setdefault(f"{named[0]}:", []).append(named[1].strip())
                else:
                    self._under.setdefault(tag, []).append(content)
            elif text.strip():
                self.line = number
                return self._columns(number, text)
        return self._problems.fatal(self._name, None, "has no line with the names of the columns: PV,...")

    def _columns(self, number: int, text: str) -> list[str]:
        columns = [c.strip().strip('"').strip() for c in text.split(",")]
        if "PV" not in columns:
            self._problems.fatal(self._name, number, "the columns are PV, READBACK, ...; there is no PV")
        if len(set(columns)) < len(columns):
            self._problems.fatal(self._name, number, "a column is there twice")
        return columns

    def first(self, tag: str) -> str:
        """The line under a tag."""
        return self._under.get(tag, [""])[0]

    @property
    def description(self) -> str:
        """All lines of the description."""
        return "\n".join(self._under.get("Description:", [])).strip()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the tags."""
        names = []
        for text in self._under.get("Tags:", []):
            try:
                cells = next(csv.reader([text]), [""])
            except csv.Error:
                continue
            names.append(cells[0].strip())
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def date(self) -> datetime | None:
        """When the snapshot was taken. Raises ValueError when that is no time."""
        text = self.first("Date:")
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").astimezone() if text else None
