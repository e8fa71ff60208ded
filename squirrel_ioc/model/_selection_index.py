"""Matching patterns on many channels: what was found for a list of channels is kept as long as the list."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model._patterns import Pattern
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList

__all__ = ["LiveFlags", "Mask", "Subject", "name_mask", "read_only_mask", "tag_mask"]

Mask = NDArray[np.bool_]

_MASKS_KEPT = 64
"""Masks kept a list of channels, a byte a channel each."""


@dataclass(frozen=True, eq=False)
class LiveFlags:
    """What the live machine says of channels: connected and writable, bool[channels] each."""

    connected: Mask
    writable: Mask


@dataclass(frozen=True, eq=False)
class Subject:
    """What a selection is matched against. `live` is of `channels`."""

    channels: ChannelList
    catalogue: Catalogue
    live: LiveFlags | None


class _Masks:
    """A few masks, the least recently used thrown out."""

    def __init__(self) -> None:
        self._masks: OrderedDict[Hashable, Mask] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Mask]) -> Mask:
        with self._lock:
            if (mask := self._masks.get(key)) is not None:
                self._masks.move_to_end(key)
                return mask
        mask = make()
        mask.setflags(write=False)
        with self._lock:
            self._masks[key] = mask
            if len(self._masks) > _MASKS_KEPT:
                self._masks.popitem(last=False)
        return mask


class _Names:
    """The names of a list of channels, as RE2 and numpy want them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.encoded = [n.encode() for n in names]
        self.array = np.array(self.encoded, np.bytes_)
        self.lengths = np.char.str_len(self.array)
        self.masks = _Masks()

    def match(self, pattern: Pattern) -> Mask:
        """bool[names]"""
        if pattern.literal is not None:
            return np.equal(self.array, pattern.literal)
        candidates = self.lengths >= len(pattern.prefix) + len(pattern.suffix)
        if pattern.prefix:
            candidates &= np.char.startswith(self.array, pattern.prefix)
        if pattern.suffix:
            candidates &= np.char.endswith(self.array, pattern.suffix)
        if pattern.exact:
            return candidates
        rows = np.flatnonzero(candidates)
        names = self.encoded if len(rows) == len(self.encoded) else [self.encoded[i] for i in rows.tolist()]
        candidates[rows] = [found is not None for found in map(pattern.matcher(), names)]
        return candidates


class _Tags:
    """The tags of a catalogue: every distinct (group, tag), and who has it."""

    def __init__(self, catalogue: Catalogue) -> None:
        pairs: dict[tuple[str, str], int] = {}
        sets: dict[tuple[tuple[str, tuple[str, ...]], ...], int] = {}
        pair_of: list[int] = []
        set_of: list[int] = []
        self._entry_set = np.empty(len(catalogue), np.intp)
        # Many entries have the same tags: each distinct combination is matched once.
        for row, entry in enumerate(catalogue.entries):
            key = tuple(entry.tags.items())
            if (number := sets.get(key)) is None:
                number = sets[key] = len(sets)
                found = [pairs.setdefault((g, t), len(pairs)) for g, tags in key for t in tags]
                pair_of += found
                set_of += [number] * len(found)
            self._entry_set[row] = number
        self._pairs = list(pairs)
        self._pair_of = np.array(pair_of, np.intp)
        self._set_of = np.array(set_of, np.intp)
        self._sets = len(sets)
        index = catalogue.channels.index
        readbacks = [(row, index[e.readback]) for row, e in enumerate(catalogue.entries) if e.readback is not None]
        self._readbacks = np.array(readbacks, np.intp).reshape(-1, 2)
        self._channels = len(catalogue.channels)
        self.masks = _Masks()

    def match(self, matches: Callable[[str, str], bool]) -> Mask:
        """bool[channels of the catalogue]: the setpoints and readbacks of entries with a tag that `matches`."""
        pair_found = np.fromiter((matches(g, t) for g, t in self._pairs), bool, len(self._pairs))
        set_found = np.zeros(self._sets, bool)
        set_found[self._set_of[pair_found[self._pair_of]]] = True
        entry_found = set_found[self._entry_set]
        found = np.zeros(self._channels, bool)
        found[: len(entry_found)] = entry_found
        # A readback that entries share, or that is a setpoint itself, has the tags of all of them.
        found[self._readbacks[entry_found[self._readbacks[:, 0]], 1]] = True
        return found


_names: WeakKeyDictionary[ChannelList, _Names] = WeakKeyDictionary()
_tags: WeakKeyDictionary[Catalogue, _Tags] = WeakKeyDictionary()
_rows: WeakKeyDictionary[ChannelList, WeakKeyDictionary[Catalogue, NDArray[np.intp]]] = WeakKeyDictionary()


def name_mask(subject: Subject, pattern: Pattern) -> Mask:
    """Where the name matches, bool[channels]. Not to be written to."""
    names = _names.get(subject.channels)
    if names is None:
        names = _names[subject.channels] = _Names(subject.channels.names)
    return names.masks.get(pattern, lambda: names.match(pattern))


def tag_mask(subject: Subject, key: Hashable, matches: Callable[[str, str], bool]) -> Mask:
    """Where the catalogue has a (group, tag) that `matches`, bool[channels]. `key` stands for `matches`."""
    tags = _tags.get(subject.catalogue)
    if tags is None:
        tags = _tags[subject.catalogue] = _Tags(subject.catalogue)
    return _of_subject(subject, tags.masks.get(key, lambda: tags.match(matches)))


def read_only_mask(subject: Subject) -> Mask:
    """Where a restore would not write, whatever the live machine says, bool[channels]."""
    readback = np.arange(len(subject.channels)) >= subject.channels.setpoints
    return readback | _of_subject(subject, subject.catalogue.read_only)


def _of_subject(subject: Subject, mask: Mask) -> Mask:
    """A mask of the catalogue's channels as one of the subject's; False where a channel has left the catalogue."""
    if subject.channels is subject.catalogue.channels:
        return mask
    known = _rows.setdefault(subject.channels, WeakKeyDictionary())
    rows = known.get(subject.catalogue)
    if rows is None:
        index = subject.catalogue.channels.index
        rows = known[subject.catalogue] = np.array([index.get(n, -1) for n in subject.channels.names], np.intp)
    return np.append(mask, False)[rows]
