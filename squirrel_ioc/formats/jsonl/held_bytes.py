"""How much of a file in JSON lines is in memory while it is read; see `jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Held"]


class Held:
    """Counts the text of what a reader keeps: lists of channels, meta data, and the catalogue or snapshot it is at.

    Of a compressed file its size says nothing. A writer counts in the same way: it writes nothing that is not read.
    """

    def __init__(self) -> None:
        self._lists: dict[object, int] = {}
        self._metas = 0
        self._record = 0

    def line(self, key: str, content: Any, size: int) -> int:
        """Take a line of this kind, whose text has this size; how much is held then."""
        if key == "names" and isinstance(content, Mapping):
            number = str(content.get("list"))
            self._lists[number] = self._lists.get(number, 0) + size
        elif key == "forget" and isinstance(content, Mapping):
            self._lists.pop(str(content.get("list")), None)
        elif key == "meta":
            self._metas += size
        elif key in ("catalogue", "snapshot"):
            self._record = size
        else:
            self._record += size
        return sum(self._lists.values()) + self._metas + self._record
