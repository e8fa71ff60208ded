"""PVS and IOCS: what is watched, and how it is."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Container, Sequence
from typing import Any, Final

import numpy as np

from squirrel_ioc.errors import CatalogueError, RefusedError, SelectionError, SquirrelError
from squirrel_ioc.formats.catalogue.catalogue import pv_problem
from squirrel_ioc.ioc.groups.results import iso_time
from squirrel_ioc.ioc.kinds.arrays import Text
from squirrel_ioc.ioc.kinds.declare import command, integer, integers, strings, text
from squirrel_ioc.ioc.kinds.group import Group, post_all
from squirrel_ioc.ioc.kinds.pv import now
from squirrel_ioc.ioc.protocol.client import FailedError, accept, current_client
from squirrel_ioc.ioc.service import CatalogueChange
from squirrel_ioc.ioc.tasks import Tasks
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.inventory import few
from squirrel_ioc.model.pv_names import known_as
from squirrel_ioc.model.selection import EVERYTHING, LiveFlags, Selection, parse

__all__ = ["MAX_NAMES_BYTES", "SETTLE_S", "IocsGroup", "PvsGroup"]

IOC_STATES: Final = ("OK", "Slow", "Open", "Down")
MAX_IOCS: Final = 2_000
_OPEN: Final = 2

MAX_NAMES_BYTES: Final = 65_536
"""Of a list of names that is written."""

SETTLE_S: Final = 1.0
"""PVs that were added may take so long to connect before whoever waits is told that they have not."""

_SEPARATORS: Final = re.compile(r"[\s,]+")

log = logging.getLogger(__name__)

Change = Callable[[Sequence[str], str], Awaitable[CatalogueChange]]


class PvsGroup(Group):
    """Contract section 8. PVs are channels: setpoints and readbacks.

    What is written to ADD and REMOVE is done whole or refused whole, one write after the other. The put is answered
    when the change is stored and in force, its channels are made, and those that are new are connected or have had
    their time. RELOAD likewise. What stays when the files are read again is told in `squirrel_ioc.model.inventory`.
    """

    section = "PVS:"

    count = integer("COUNT", "PVs watched, setpoints and readbacks")
    connected = integer("CONNECTED", "PVs connected")
    disconnected_names = strings("DISCONNECTED:NAMES", "PVs not connected")
    disconnected = integer("DISCONNECTED", "PVs not connected", alarm_above=0)
    duplicate_names = strings("DUPLICATES:NAMES", "PVs that two IOCs serve")
    duplicates = integer("DUPLICATES", "PVs that two IOCs serve", alarm_above=0)
    read_only = integer("READONLY", "Setpoints that cannot be written")

    away = integer("AWAY", "PVs known to be away")
    away_back = integer("AWAY:BACK", "Of these, connected again", alarm_above=0)
    away_names = strings("AWAY:NAMES", "PVs known to be away")
    away_reasons = strings("AWAY:REASONS", "Why, for each of AWAY:NAMES")
    away_add = text("AWAY:ADD", MAX_NAMES_BYTES, "Write names: reason. They are away", writable=True, lines=True)
    away_remove = text("AWAY:REMOVE", MAX_NAMES_BYTES, "Write names: they are not away", writable=True, lines=True)
    add_names = text("ADD", MAX_NAMES_BYTES, "Write names: these are watched too", writable=True, lines=True)
    remove_names = text("REMOVE", MAX_NAMES_BYTES, "Write names: these are watched no more", writable=True, lines=True)
    reload = command("RELOAD", "Reload", "Read the catalogue files again")
    selection = text("FIND", 1024, "A selection to find PVs; empty is all", writable=True)
    found_names = strings("FOUND:NAMES", "PVs that the selection means")
    found = integer("FOUND", "How many PVs the selection means")
    msg = text("MSG", 512, "What happened last, or why nothing did")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.add_names.on_put = self._add
        self.remove_names.on_put = self._remove
        self.away_add.on_put = self._away_add
        self.away_remove.on_put = self._away_remove
        self.reload.action = self._reload
        self.selection.on_put = self._find
        self._wanted: Selection = EVERYTHING
        self._finding = asyncio.Lock()
        self._find_again = False
        self._tasks = Tasks()
        self._moved = asyncio.Event()

    async def start(self) -> None:
        """Show the channels as they stand, and follow."""
        self.follow(self.service.machine.listen(self._machine_changed))
        self.follow(self.service.keeper.listen(self._catalogue_changed))
        self.follow(self.service.away.listen(self.refresh))
        self.refresh()
        await self._show_found()

    async def stop(self) -> None:
        """Follow no more."""
        await self._tasks.stop()

    # What is watched

    def _machine_changed(self) -> None:
        self._moved.set()
        self.refresh()
        if self._wanted.needs_live:
            self._follow_found()

    def _catalogue_changed(self, change: CatalogueChange) -> None:
        self.refresh()
        self._follow_found()
        if change.elsewhere:
            self.msg.post(change.message, now())

    def refresh(self) -> None:
        """Show the channels as they stand."""
        catalogue = self.service.catalogue()
        channels = catalogue.channels
        live = self.service.machine.live(channels)
        away = self.service.away.current
        absent = np.array([name in away for name in channels.names], bool) if away else np.zeros(len(channels), bool)
        missing = np.flatnonzero(~live.connected & ~absent)
        read_only = catalogue.is_setpoint & (catalogue.read_only | (live.connected & ~live.writable))
        post_all(
            [
                (self.count, len(channels)),
                (self.connected, np.count_nonzero(live.connected)),
                (self.away_names, list(away)),
                (self.away_reasons, [f"{a.reason} ({a.user}, {iso_time(a.since)})" for a in away.values()]),
                (self.away_back, np.count_nonzero(live.connected & absent)),
                (self.away, len(away)),
                (self.disconnected_names, channels.array[missing].tolist()),
                (self.disconnected, len(missing)),
                (self.duplicate_names, channels.array[sorted(live.ignored)].tolist()),
                (self.duplicates, len(live.ignored)),
                (self.read_only, np.count_nonzero(read_only)),
            ],
            now(),
        )

    # Changing it

    async def _add(self, written: str) -> None:
        keeper = self.service.keeper
        names = _names(written, self.service.catalogue().channels.index)
        keeper.check_add(names)
        await self._change(self.add_names, written, keeper.add(names, str(current_client())))

    async def _remove(self, written: str) -> None:
        keeper = self.service.keeper
        names = _names(written, self.service.catalogue().channels.index)
        keeper.check_remove(names)
        await self._change(self.remove_names, written, keeper.remove(names, str(current_client())))

    async def _away_add(self, written: str) -> None:
        listed, colon, reason = written.partition(": ")
        if not colon or not reason.strip():
            raise RefusedError("write the names, a colon and a reason: PV1 PV2: IOC is being repaired")
        channels = self.service.catalogue().channels.index
        names = _names(listed, channels)
        if unknown := [name for name in names if name not in channels]:
            raise RefusedError(f"not in the catalogue: {few(unknown)}")
        await self.service.away.add(names, reason.strip(), str(current_client()))
        post_all([(self.msg, f"away: {few(names)}"), (self.away_add, written)], now())

    async def _away_remove(self, written: str) -> None:
        names = _names(written, self.service.away.current)
        await self.service.away.remove(names)
        post_all([(self.msg, f"not away any more: {few(names)}"), (self.away_remove, written)], now())

    async def _change(self, pv: Text, written: str, change: Awaitable[CatalogueChange]) -> None:
        done = await change
        accept()
        message = await self._settled(done)
        post_all([(self.msg, message), (pv, written)], now())

    async def _reload(self) -> None:
        self.service.keeper.check_reload()
        with self.reload.busy():
            try:
                done = await self.service.keeper.reload(str(current_client()))
            except SquirrelError as error:
                reason = _problems(error) if isinstance(error, CatalogueError) else str(error)
                self.msg.post(reason, now())
                raise FailedError(reason) from error
            self.msg.post(await self._settled(done), now())

    async def _settled(self, change: CatalogueChange) -> str:
        """What has happened, once the new channels are connected or have had their time."""
        missing = self._not_connected(change.new)
        try:
            async with asyncio.timeout(SETTLE_S):
                while missing:
                    self._moved.clear()
                    await self._moved.wait()
                    missing = self._not_connected(change.new)
        except TimeoutError:
            return f"{change.message}; not connected yet: {few(missing)}"
        return change.message

    def _not_connected(self, channels: ChannelList) -> list[str]:
        if not len(channels):
            return []
        missing: list[str] = channels.array[~self.service.machine.live(channels).connected].tolist()
        return missing

    # Finding in it

    async def _find(self, written: str) -> None:
        try:
            wanted = parse(written)
        except SelectionError as error:
            raise RefusedError(f"{self.selection.label}: {error}") from None
        async with self._finding:
            names = await self._matching(wanted)
            self._wanted = wanted
            post_all(
                [(self.found_names, names), (self.found, len(names)), (self.msg, ""), (self.selection, written)], now()
            )

    async def _show_found(self) -> None:
        async with self._finding:
            names = await self._matching(self._wanted)
            post_all([(self.found_names, names), (self.found, len(names))], now())

    async def _matching(self, wanted: Selection) -> list[str]:
        catalogue = self.service.catalogue()
        live = self.service.machine.live(catalogue.channels)
        flags = LiveFlags(live.connected, live.writable)
        return await asyncio.to_thread(_match, wanted, catalogue, flags)

    def _follow_found(self) -> None:
        self._find_again = True
        if not self._tasks:
            self._tasks.start(self._show_found_again(), f"refresh of {self.found.label}")

    async def _show_found_again(self) -> None:
        while self._find_again:
            self._find_again = False
            await self._show_found()


def _match(wanted: Selection, catalogue: Catalogue, flags: LiveFlags) -> list[str]:
    names: list[str] = catalogue.channels.array[wanted.match(catalogue, flags)].tolist()
    return names


def _names(written: str, known: Container[str]) -> list[str]:
    """The names in a text, between blanks, commas and line ends, as they are known. Raises RefusedError."""
    names = [known_as(name, known) for name in _SEPARATORS.split(written) if name]
    if not names:
        raise RefusedError("no names are given")
    if bad := [reason for name in names if (reason := pv_problem(name)) is not None]:
        raise RefusedError(few(bad))
    return names


def _problems(error: CatalogueError) -> str:
    """The first ones: more do not fit."""
    first = error.problems[0]
    more = f" ({len(error.problems)} problems: squirrel-ioc check shows all)" if len(error.problems) > 1 else ""
    return f"the catalogue files are wrong, nothing is changed: {first}{more}"


class IocsGroup(Group):
    """Contract section 8: the IOCs that the watched PVs live on."""

    section = "IOCS:"

    hosts = strings("HOSTS", "IOCs, host:port", length=MAX_IOCS)
    counts = integers("COUNTS", "PVs that live on each", length=MAX_IOCS)
    states_shown = strings("STATES", "OK, Slow, Open or Down", length=MAX_IOCS, long=False)
    open = integer("OPEN", "IOCs that do not answer", alarm_above=0)
    reset = command("RESET", "Reset", "Try every IOC again")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.reset.action = self._reset

    async def start(self) -> None:
        """Show the IOCs as they stand, and follow."""
        self.follow(self.service.machine.listen(self.refresh))
        self.refresh()

    def refresh(self, *_: Any) -> None:
        """Show the IOCs as they stand."""
        iocs = self.service.machine.iocs()
        post_all(
            [
                (self.hosts, [ioc.host for ioc in iocs]),
                (self.counts, [ioc.channels for ioc in iocs]),
                (self.states_shown, [IOC_STATES[ioc.status] for ioc in iocs]),
                (self.open, sum(ioc.status == _OPEN for ioc in iocs)),
            ],
            now(),
        )

    async def _reset(self) -> None:
        with self.reset.busy():
            self.service.machine.reset_iocs()
            self.refresh()
