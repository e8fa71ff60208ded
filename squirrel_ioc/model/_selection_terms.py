"""The terms of a selection, and how each is matched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from typing import ClassVar

import numpy as np

from squirrel_ioc.errors import SelectionError
from squirrel_ioc.model._patterns import Glob, Regex
from squirrel_ioc.model._selection_index import LiveFlags, Mask, Subject, name_mask, read_only_mask, tag_mask

__all__ = ["Term", "NameTerm", "RegexTerm", "TagTerm", "Tag", "Flag", "FlagTerm"]


class Flag(StrEnum):
    """What can be asked of a channel's state."""

    CONNECTED = "connected"
    MISSING = "missing"
    READONLY = "readonly"


@dataclass(frozen=True)
class Term:
    """One term. `text` is its source, `!` included; `position` where that was."""

    text: str
    position: int = field(compare=False)
    negated: bool
    needs_live: ClassVar[bool] = False

    def match(self, subject: Subject) -> Mask:
        """Which channels of the subject it holds for, before negation, bool[channels]. Not to be written to."""
        raise NotImplementedError


@dataclass(frozen=True)
class NameTerm(Term):
    """Globs on the PV name."""

    globs: tuple[Glob, ...]

    def match(self, subject: Subject) -> Mask:
        """See Term."""
        return _any(name_mask(subject, g) for g in self.globs)


@dataclass(frozen=True)
class RegexTerm(Term):
    """A regular expression on the PV name."""

    regex: Regex

    def match(self, subject: Subject) -> Mask:
        """See Term."""
        return name_mask(subject, self.regex)


@dataclass(frozen=True)
class Tag:
    """A tag, in one group or (None) any."""

    group: Glob | None
    tag: Glob

    def matches(self, group: str, tag: str) -> bool:
        """Whether this is meant."""
        return (self.group is None or self.group.matches(group)) and self.tag.matches(tag)


@dataclass(frozen=True)
class TagTerm(Term):
    """Tags of the entry a channel belongs to."""

    tags: tuple[Tag, ...]

    def match(self, subject: Subject) -> Mask:
        """See Term."""
        return _any(tag_mask(subject, t, t.matches) for t in self.tags)


@dataclass(frozen=True)
class FlagTerm(Term):
    """States of the channel."""

    flags: tuple[Flag, ...]
    needs_live: ClassVar[bool] = True

    def match(self, subject: Subject) -> Mask:
        """See Term.

        Raises:
            SelectionError: the subject has no live flags.
        """
        live = subject.live
        if live is None:
            raise SelectionError(f"{self.text} needs the live machine", self.position)
        return _any(self._mask(flag, subject, live) for flag in self.flags)

    @staticmethod
    def _mask(flag: Flag, subject: Subject, live: LiveFlags) -> Mask:
        match flag:
            case Flag.CONNECTED:
                return live.connected
            case Flag.MISSING:
                return ~live.connected
            case Flag.READONLY:
                # Only a connected channel says whether it can be written.
                return read_only_mask(subject) | (live.connected & ~live.writable)


def _any(masks: Iterable[Mask]) -> Mask:
    return reduce(np.logical_or, masks)
