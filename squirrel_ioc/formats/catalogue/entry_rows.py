"""Rows of catalogue files as text, checked and made entries of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from squirrel_ioc.errors import CatalogueError
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.model.catalogue import Entry, Verify
from squirrel_ioc.model.pv_names import canonical

__all__ = ["FIELDS", "MAX_PROBLEMS", "Rows", "Tags", "add_tag", "parse_tags", "pv_problem"]

MAX_PROBLEMS = 100
"""Problems shown; the others are counted."""

MAX_TEXT = 1000
"""Characters of a description."""

MAX_LABEL = 100
"""Characters of a device, a tag or a tag group."""

MAX_COMPLETION_S = 86400.0

Tags = dict[str, tuple[str, ...]]

_INT32 = 2**31
_TRUE = frozenset({"true", "yes", "on", "y", "x", "1"})
_FALSE = frozenset({"false", "no", "off", "n", "0"})


def _finite(text: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]!r} is not a number")
    return value


def _tolerance(text: str) -> float:
    value = _finite(text)
    if value < 0:
        raise ValueError(f"{text} is negative")
    return value


def _positive(text: str) -> float:
    value = _finite(text)
    if value <= 0:
        raise ValueError(f"{text} is not above 0")
    return value


def _order(text: str) -> int:
    value = _finite(text)
    if value != int(value) or not -_INT32 <= value < _INT32:
        raise ValueError(f"{text[:40]} is not a 32-bit integer")
    return int(value)


def _flag(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{text[:40]!r} is not true or false")
    return word in _TRUE


def _completion(text: str) -> float | None:
    word = text.lower()
    if word in ("wait", "no", "0", "0.0"):
        return None if word == "wait" else 0.0
    try:
        seconds = _positive(text)
    except ValueError:
        seconds = math.inf
    if seconds > MAX_COMPLETION_S:
        raise ValueError(f"{text[:40]!r} is neither wait, no nor seconds up to {MAX_COMPLETION_S:g}")
    return seconds


def _verify(text: str) -> Verify:
    try:
        return Verify(text.lower())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is none of {', '.join(Verify)}") from None


def _description(text: str) -> str:
    return _text(text, MAX_TEXT)


def _label(text: str) -> str:
    return _text(text, MAX_LABEL)


def _text(text: str, limit: int) -> str:
    if len(text) > limit:
        raise ValueError(f"has {len(text)} characters, at most {limit} are possible")
    if not text.isprintable():
        raise ValueError(f"{text[:40]!r} has characters that cannot be shown")
    return text


FIELDS: Mapping[str, Callable[[str], Any]] = {
    "description": _description,
    "device": _label,
    "atol": _tolerance,
    "rtol": _tolerance,
    "read_only": _flag,
    "order": _order,
    "max_step": _positive,
    "step_period": _positive,
    "completion": _completion,
    "verify": _verify,
}
"""What an entry has beside its names and tags, and how it is read from text. Empty text is the default."""


def add_tag(tags: Tags, group: str, tag: str) -> None:
    """Add a tag, once. Raises ValueError when it cannot be one."""
    if not group or not tag:
        raise ValueError(f"'{group}={tag}' is not Group=Tag"[:MAX_LABEL])
    # A catalogue must fit in a CSV file, and a tag in a selection.
    for what, text, forbidden in (("tag group", group, ',;="'), ("tag", tag, ',;"')):
        _text(text, MAX_LABEL)
        if any(c in forbidden for c in text):
            raise ValueError(f"{what} {text!r}: none of {' '.join(forbidden)} is possible")
    have = tags.get(group, ())
    if tag not in have:
        tags[group] = (*have, tag)


def parse_tags(tags: Tags, cell: str) -> None:
    """Add the tags of a cell, `Group=Tag; Group=Tag`. Raises ValueError when they cannot be."""
    for item in cell.replace(",", ";").split(";"):
        if item := item.strip():
            group, _, tag = item.partition("=")
            add_tag(tags, group.strip(), tag.strip())


class Rows:
    """Collects the entries of all files and what is wrong with them."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._seen: dict[str, tuple[str, int]] = {}
        self._problems: list[str] = []
        self._count = 0

    def problem(self, file: str, line: int | None, reason: str) -> None:
        """Note what is wrong."""
        self._count += 1
        if self._count <= MAX_PROBLEMS:
            self._problems.append(f"{file}: {reason}" if line is None else f"{file}:{line}: {reason}")

    def add(self, file: str, line: int, fields: Mapping[str, str], tags: Tags, lines: Mapping[str, int]) -> None:
        """Make an entry of a row, or note what is wrong with it.

        `fields` are `setpoint`, `readback` and FIELDS as text; `lines` says where those are that are not in `line`.
        A row with a readback alone is a PV that is read and never written, as in squirrel-backend.
        """
        before = self._count
        fields = {key: canonical(text) if key in ("setpoint", "readback") else text for key, text in fields.items()}
        setpoint, readback = fields.get("setpoint", ""), fields.get("readback", "")
        values: dict[str, Any] = {}
        for key, text in fields.items():
            try:
                if key in FIELDS:
                    if text:
                        values[key] = FIELDS[key](text)
                elif text and (reason := pv_problem(text)):
                    self.problem(file, lines.get(key, line), f"{key}: {reason}")
            except ValueError as exc:
                self.problem(file, lines.get(key, line), f"{key}: {exc}")
        if not setpoint:
            setpoint, readback = readback, ""
            values["read_only"] = True
        if not setpoint:
            self.problem(file, line, "neither setpoint nor readback")
        elif (first := self._seen.get(setpoint)) is not None:
            self.problem(file, line, f"{setpoint} is there twice, first in {first[0]}:{first[1]}")
        else:
            self._seen[setpoint] = (file, line)
        if values.get("verify") is Verify.READBACK and not readback:
            self.problem(file, lines.get("verify", line), "verify: there is no readback to verify by")
        if self._count == before:
            self._entries.append(Entry(setpoint, readback or None, tags=tags, **values))

    def done(self) -> list[Entry]:
        """The entries.

        Raises:
            CatalogueError: anything was wrong.
        """
        if self._count > MAX_PROBLEMS:
            self._problems.append(f"... and {self._count - MAX_PROBLEMS} more")
        if self._problems:
            raise CatalogueError(self._problems)
        return self._entries


def pv_problem(name: str) -> str | None:
    """Why a catalogue cannot have a PV of this name; None when it can."""
    return name_problem(name)
