"""Which PVs there are: those of the groups, and those that are made when somebody looks for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from caproto import ChannelType, RecordModifiers, parse_channel_filter, parse_record_field

from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.record_fields import get_field, is_field

__all__ = ["Database", "Found"]

log = logging.getLogger(__name__)

Resolver = Callable[[str], Pv | None]

MAX_POINTS = 8
"""Points of a name that are taken for the one before a field."""

_WARN_EVERY_S = 60.0

MAX_NAME = 400
"""Characters of a name with field, modifiers and filter. Longer ones are not looked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a client's name stands for: a PV, or the field `pv` of `owner`; perhaps a string as characters."""

    owner: Pv
    pv: Pv
    long_string: bool


class Database(dict[str, Pv]):
    """Name to PV. What is not there is asked of the resolvers, which must answer at once and from memory.

    A resolver gets a name as a client has written it, with and without what follows its first point, and returns a
    PV of exactly that name, or None.

    What a resolver makes is kept as long as a client has a channel to it (`hold`, `release`), or until `MAX_LOOSE`
    others have been found and not connected to.
    """

    MAX_LOOSE = 1_000
    MAX_HELD = 50_000
    """PVs made on demand that clients have channels to. More are not found."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.resolvers: list[Resolver] = []
        self._loose: dict[str, None] = {}
        self._held: dict[str, int] = {}
        self._warned = -_WARN_EVERY_S

    def __missing__(self, name: str) -> Pv:
        if len(self._held) >= self.MAX_HELD:
            self._warn()
            raise KeyError(name)
        for resolve in self.resolvers:
            if (pv := resolve(name)) is not None:
                if len(self._loose) >= self.MAX_LOOSE:
                    oldest = next(iter(self._loose))
                    del self._loose[oldest], self[oldest]
                self[name] = pv
                self._loose[name] = None
                return pv
        raise KeyError(name)

    def _warn(self) -> None:
        if time.monotonic() - self._warned >= _WARN_EVERY_S:
            self._warned = time.monotonic()
            log.warning("clients hold %d PVs made on demand: no more are found", len(self._held))

    def hold(self, pv: Pv) -> None:
        """A client has a channel to this PV, or to a field of it."""
        name = pv.pvname
        if self.get(name) is not pv:
            return
        if name in self._loose:
            del self._loose[name]
            self._held[name] = 0
        if name in self._held:
            self._held[name] += 1

    def release(self, pv: Pv) -> None:
        """A client has closed a channel to it."""
        name = pv.pvname
        if name in self._held and self[name] is pv:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name], self[name]

    def discard(self, pv: Pv) -> None:
        """A PV made on demand is not to be found any more. Who has a channel to it keeps it."""
        if self.get(pv.pvname) is pv:
            self._loose.pop(pv.pvname, None)
            self._held.pop(pv.pvname, None)
            del self[pv.pvname]

    def made(self, wanted: Callable[[Pv], bool]) -> list[Pv]:
        """Those of the PVs made on demand."""
        return [pv for name in (*self._loose, *self._held) if wanted(pv := self[name])]

    def find(self, name: str) -> Found:
        """What a client means by `PV[.FIELD][$][{filter}]`, or by `PV$`. Raises KeyError."""
        if not name.startswith(self.prefix) or len(name) > MAX_NAME:
            raise KeyError(name)
        with suppress(KeyError):  # also one whose own name has a field in it, made on demand
            return Found(self[name], self[name], False)
        if "." not in name:
            if name.endswith("$"):
                return self._found(self[name[:-1]], self[name[:-1]], long_string=True)
            raise KeyError(name)
        # Only what is made on demand has a point in its own name.
        point = name.find(".")
        for _ in range(MAX_POINTS):
            with suppress(KeyError):
                return self._find_field(name[:point], name[point:])
            if (point := name.find(".", point + 1)) < 0:
                break
        raise KeyError(name)

    def _find_field(self, record: str, rest: str) -> Found:
        try:
            _, _, field, modifiers = parse_record_field(f"record{rest}")
        except ValueError:
            raise KeyError(rest) from None
        text = modifiers.filter_ if modifiers else None
        if text:
            self._check_filter(rest, text)
        long_string = bool(modifiers) and RecordModifiers.long_string in modifiers.modifiers
        if field and not is_field(field):
            raise KeyError(field)
        owner = self[record]
        if owner.waiting is not None:  # what fields it has depends on what it becomes: to be found again
            return Found(owner, owner, False)
        return self._found(owner, get_field(owner, field or ""), long_string)

    def _found(self, owner: Pv, pv: Pv, long_string: bool) -> Found:
        if long_string and pv.data_type not in (ChannelType.STRING, ChannelType.CHAR):
            raise KeyError(pv.pvname)
        return Found(owner, pv, long_string and pv.data_type == ChannelType.STRING)

    def _check_filter(self, name: str, text: str) -> None:
        try:
            parsed = parse_channel_filter(text)
        except Exception as error:  # caproto lets whatever JSON can hold through to its own code
            raise KeyError(name) from error
        # There is no state to be in step with, and no array has a step of nothing.
        if parsed.sync is not None or (parsed.arr is not None and parsed.arr.i == 0):
            raise KeyError(name)
