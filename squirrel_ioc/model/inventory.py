"""The catalogue as it is changed while the service runs: its entries, and where they come from.

An entry stands in a catalogue file, or it was added by hand: over Channel Access or on the command line. The rules:

- What was added by hand stays until it is removed by hand. Reading the files again does not touch it; when it has come
  to stand in a file, it belongs to the file from then on, as if it had been in it and changed by hand.
- What was changed by hand stays until the file itself says something new about the same field of the same PV.
- A PV of a file that was removed by hand stays away as long as it stands in the file, until it is added by hand again.
  When it has left the file, that is forgotten: it can come back by the file.
- What comes back by hand comes back as it was, tolerances, ramps and tags included.

Everything here is pure, takes and returns whole inventories, and refuses whole changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Final

from squirrel_ioc.errors import RefusedError, UnknownPvError
from squirrel_ioc.model.catalogue import Entry

__all__ = ["MAX_ADDED", "Edit", "Inventory", "Summary", "few"]

MAX_ADDED: Final = 50_000
"""PVs that can be added by name: anybody on the network can."""

_FEW: Final = 5

Edit = Callable[["Inventory", Mapping[str, Entry]], "Inventory"]
"""A change. Also given: what is known of PVs that were in the catalogue once. Raises RefusedError."""

_FIELDS: Final = tuple(f.name for f in fields(Entry) if f.name not in ("setpoint", "tags"))


@dataclass(frozen=True, eq=False)
class Inventory:
    """The entries in force, in their order, and where they come from.

    `added` are the names of those that stand in no file. `filed` is what the file says of those that were changed by
    hand. `removed` are entries of a file that were removed by hand, as they would come back; `filed` has them too.
    """

    entries: tuple[Entry, ...] = ()
    added: frozenset[str] = frozenset()
    filed: Mapping[str, Entry] = field(default_factory=dict)
    removed: Mapping[str, Entry] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entries)

    def by_name(self) -> dict[str, Entry]:
        """The entries in force by their setpoints."""
        return {e.setpoint: e for e in self.entries}

    def by_hand(self) -> str:
        """What is not as the files say, in words, to follow others."""
        told = ""
        if self.added:
            told += f"; {len(self.added)} beside them"
        if self.removed:
            told += f"; {len(self.removed)} stay removed: {few(list(self.removed))}"
        if changed := self.filed.keys() - self.removed.keys():
            told += f"; {len(changed)} stay as changed by hand: {few(sorted(changed))}"
        return told

    # What files say

    def with_files(self, entries: Sequence[Entry]) -> Inventory:
        """The catalogue files have been read: this is all they say. Added entries follow those of the files."""
        known = {**self.removed, **self.by_name()}
        special = self.added | self.filed.keys() | self.removed.keys()
        in_force: list[Entry] = []
        filed: dict[str, Entry] = {}
        removed: dict[str, Entry] = {}
        for said in entries:
            name = said.setpoint
            entry = said
            if name in special:
                mine = known[name]
                before = Entry(name) if name in self.added else self.filed.get(name, mine)
                entry = _merged(before, mine, said)
                if entry != said:
                    filed[name] = said
            elif (same := known.get(name)) == said:
                entry = same
            if name in self.removed:
                removed[name] = entry
            else:
                in_force.append(entry)
        added = self.added - {said.setpoint for said in entries}
        in_force += [e for e in self.entries if e.setpoint in added]
        return Inventory(tuple(in_force), added, filed, removed)

    # What people do

    def with_added(self, names: Sequence[str], former: Mapping[str, Entry]) -> Inventory:
        """Take these PVs up, at the end; one that was here before as it was. Raises RefusedError."""
        wanted = Counter(names)
        if len(wanted) < len(names):
            raise RefusedError(f"named more than once: {few([name for name, n in wanted.items() if n > 1])}")
        readback_of = {e.readback: e.setpoint for e in self.entries if e.readback}
        there = {e.setpoint for e in self.entries}
        if present := [name for name in names if name in there]:
            raise RefusedError(f"in the catalogue already: {few(present)}")
        if watched := [f"{name} (of {readback_of[name]})" for name in names if name in readback_of]:
            raise RefusedError(f"watched already, as readback: {few(watched)}")
        own = [name for name in names if name not in self.removed]
        if len(self.added) + len(own) > MAX_ADDED:
            raise RefusedError(f"{len(self.added)} PVs are added already, at most {MAX_ADDED} can be")
        back = [self.removed.get(name) or former.get(name) or Entry(name) for name in names]
        left = {name: e for name, e in self.removed.items() if name not in wanted}
        return Inventory((*self.entries, *back), self.added.union(own), self.filed, left)

    def without(self, names: Collection[str]) -> Inventory:
        """Take these PVs out. Raises UnknownPvError."""
        gone = set(names)
        out = {e.setpoint: e for e in self.entries if e.setpoint in gone}
        if unknown := [name for name in names if name not in out]:
            readback_of = {e.readback: e.setpoint for e in self.entries if e.readback}
            told = [f"{n} (the readback of {readback_of[n]})" if n in readback_of else n for n in unknown]
            raise UnknownPvError(f"no setpoint of the catalogue: {few(told)}")
        return Inventory(
            tuple(e for e in self.entries if e.setpoint not in gone),
            self.added - gone,
            self.filed,
            {**self.removed, **{name: e for name, e in out.items() if name not in self.added}},
        )

    def with_changed(self, changed: Mapping[str, Entry]) -> Inventory:
        """Put other entries in the place of those with these names. Raises UnknownPvError."""
        known = self.by_name()
        if unknown := [name for name in changed if name not in known]:
            raise UnknownPvError(f"no setpoint of the catalogue: {few(unknown)}")
        filed = dict(self.filed)
        for name, entry in changed.items():
            if name in self.added:
                continue
            said = filed.pop(name, known[name])
            if said != entry:
                filed[name] = said
        return replace(self, entries=tuple(changed.get(e.setpoint, e) for e in self.entries), filed=filed)

    def with_imported(self, entries: Sequence[Entry], *, update: bool) -> Inventory:
        """By hand: also these entries. Of those that are here already, what is not as by default is taken over if
        `update` says so; nothing else of them changes."""
        known = {**self.removed, **self.by_name()}
        merged = {e.setpoint: _merged(Entry(e.setpoint), known.get(e.setpoint, e), e) for e in entries}
        new = [name for name in merged if name not in known or name in self.removed]
        back = [known.get(name, merged[name]) for name in new]
        left = {name: e for name, e in self.removed.items() if name not in merged}
        added = self.added.union(name for name in new if name not in self.removed)
        whole = Inventory((*self.entries, *back), added, self.filed, left)
        return whole.with_changed(merged) if update else whole

    def replaced(self, entries: Sequence[Entry]) -> Inventory:
        """By hand: exactly these entries, in this order; what is not among them is removed."""
        names = {e.setpoint for e in entries}
        there = self.by_name()
        kept = self.without([name for name in there if name not in names])
        back = kept.removed.keys() & names
        added = kept.added | (names - there.keys() - back)
        known = {**there, **kept.removed}
        left = {name: e for name, e in kept.removed.items() if name not in names}
        whole = Inventory(tuple(known.get(e.setpoint, e) for e in entries), added, kept.filed, left)
        return whole.with_changed({e.setpoint: e for e in entries})


@dataclass(frozen=True)
class Summary:
    """What a change came to: names that came and went, and how many entries are not as they were."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: int

    @classmethod
    def of(cls, before: Inventory, after: Inventory) -> Summary:
        """From the one to the other."""
        old, new = before.by_name(), after.by_name()
        return cls(
            tuple(name for name in new if name not in old),
            tuple(name for name in old if name not in new),
            sum(1 for name, e in new.items() if (was := old.get(name)) is not None and was is not e and was != e),
        )

    def __str__(self) -> str:
        return f"{len(self.added)} added, {len(self.removed)} removed, {self.changed} changed"


def few(names: Sequence[str]) -> str:
    """The first few of many names, for a message."""
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


def _merged(before: Entry, mine: Entry, theirs: Entry) -> Entry:
    """`mine`, with what the file has changed since it said `before`."""
    taken = {name: now for name in _FIELDS if (now := getattr(theirs, name)) != getattr(before, name)}
    tags = {}
    for group in dict.fromkeys((*mine.tags, *theirs.tags)):
        kept = mine if before.tags.get(group) == theirs.tags.get(group) else theirs
        if found := kept.tags.get(group):
            tags[group] = found
    return replace(mine, tags=tags, **taken)
