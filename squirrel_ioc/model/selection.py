"""Selections: which channels an operator means, as text.

Terms are separated by white space and must all hold. A term is one of

    QUAD:*:BDES        a glob on the PV name, case sensitive: * ? [a-c] [!a-c]
    ~^QUAD.*           an RE2 regular expression, found anywhere in the PV name; runs to the next space
    @Subsystem=Magnet  a tag, of one group or (@Magnet) of any; globs are possible in both, "Cu Linac" for spaces
    %connected         a state: %connected, %missing, %readonly

Commas inside a term mean or, except in a regular expression and inside [] and "". A group holds for the tags that
follow it in the term: `@Subsystem=Magnet,RF,Area=L1`. `!` before a term negates the whole term. An empty selection
is everything.

A PV name stands for one channel: a setpoint's does not match its readback. A tag is on the setpoint and on the
readback of its entry. A state is of one channel:

    %connected  Channel Access is connected
    %missing    it is not
    %readonly   a restore would not write it: read-only in the catalogue, a readback, or connected without write access
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model._selection_index import LiveFlags, Subject
from squirrel_ioc.model._selection_parser import MAX_SELECTION, MAX_TERMS, parse_terms
from squirrel_ioc.model._selection_terms import Term
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList

__all__ = ["EVERYTHING", "LiveFlags", "MAX_SELECTION", "MAX_TERMS", "Selection", "parse"]


@dataclass(frozen=True)
class Selection:
    """A parsed selection. `str()` of it parses to an equal one."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(t.text for t in self.terms)

    @property
    def everything(self) -> bool:
        """Whether it has no term, so that everything matches."""
        return not self.terms

    @property
    def needs_live(self) -> bool:
        """Whether it asks for a state of the live machine."""
        return any(t.needs_live for t in self.terms)

    def match(self, catalogue: Catalogue, live: LiveFlags | None = None) -> NDArray[np.bool_]:
        """Which channels of the catalogue are meant, bool[channels].

        Raises:
            SelectionError: a `%` term, and no `live`.
        """
        return self.match_channels(catalogue.channels, catalogue, live)

    def match_channels(
        self, channels: ChannelList, catalogue: Catalogue, live: LiveFlags | None = None
    ) -> NDArray[np.bool_]:
        """Which of `channels` (a snapshot's, say) are meant, bool[channels].

        Tags and read-only flags are those of today's catalogue; a channel that has left it has none. `live` is
        of `channels`. What was found for a channel list is kept as long as the list itself.

        Raises:
            SelectionError: a `%` term, and no `live`.
        """
        found = np.ones(len(channels), bool)
        subject = Subject(channels, catalogue, live)
        for term in self.terms:
            mask = term.match(subject)
            found &= ~mask if term.negated else mask
        return found


EVERYTHING = Selection()
"""The empty selection."""


def parse(text: str) -> Selection:
    """The selection that `text` says.

    Raises:
        SelectionError: reason, and the position of the character where.
    """
    return Selection(parse_terms(text))
