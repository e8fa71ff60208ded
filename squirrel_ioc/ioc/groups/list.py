"""LIST: browse the snapshots, page by page, newest first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from squirrel_ioc.errors import DatabaseDownError, RefusedError, SquirrelError
from squirrel_ioc.ioc.groups.results import iso_time
from squirrel_ioc.ioc.kinds.arrays import Text
from squirrel_ioc.ioc.kinds.declare import choice, doubles, integer, integers, strings, text
from squirrel_ioc.ioc.kinds.group import Group, post_all
from squirrel_ioc.ioc.kinds.pv import Pv, now
from squirrel_ioc.ioc.tasks import Tasks
from squirrel_ioc.model.snapshot import Snapshot, SnapshotFilter
from squirrel_ioc.model.when import parse_since, parse_until
from squirrel_ioc.store import RESYNC, StoreEvent

__all__ = ["ListGroup", "MAX_SIZE"]

MAX_SIZE: Final = 1_000
"""Rows of a page."""

_DEFAULT_SIZE: Final = 20

_TIMEOUT_S: Final = 10.0
"""A page is there in this time, or the write that asked for it is refused."""

_PAUSE_S: Final = 0.2
"""Changes that come one upon the other are shown at most so often."""

log = logging.getLogger(__name__)


class ListGroup(Group):
    """Contract section 6. A page of the snapshots that all filters let through; it follows the database.

    Whoever writes a filter is answered when the page is there, and sees the first one. A filter, a page or a size
    that cannot be had is refused, and everything stays as it was.
    """

    section = "LIST:"

    wanted_text = text("TEXT", 256, "Part of the title or the comment", writable=True)
    wanted_label = text("LABEL", 256, "One whole label", writable=True)
    wanted_user = text("USER", 64, "Who took them", writable=True)
    since = text("SINCE", 64, "Taken at this ISO time or later", writable=True)
    until = text("UNTIL", 64, "Taken at this ISO time or earlier", writable=True)
    auto = choice("AUTO", ("Hide", "Show"), "Backups that restores have made", writable=True)
    page = integer("PAGE", "Which page, from 1", writable=True, low=1)
    size = integer("SIZE", "Rows of a page", writable=True, low=1, high=MAX_SIZE)

    ids = integers("IDS", "Snapshots of this page, newest first", length=MAX_SIZE)
    titles = strings("TITLES", "Their titles", length=MAX_SIZE)
    times = strings("TIMES", "When they were taken", length=MAX_SIZE, long=False)
    epochs = doubles("EPOCHS", "When they were taken, UNIX time", length=MAX_SIZE, egu="s")
    users = strings("USERS", "Who took them", length=MAX_SIZE, long=False)
    counts = integers("COUNTS", "Values stored", length=MAX_SIZE)
    missing = integers("MISSING", "PVs without a value", length=MAX_SIZE)
    flags = strings("FLAGS", "Protected Kept Reference Auto Undo", length=MAX_SIZE, long=False)
    total = integer("TOTAL", "Snapshots on all pages")
    pages = integer("PAGES", "How many pages there are")
    msg = text("MSG", 512, "Why a write was refused, or no list")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.page.post(1)
        self.pages.post(1)
        self.size.post(_DEFAULT_SIZE)
        for pv in (self.wanted_text, self.wanted_label, self.wanted_user, self.since, self.until):
            pv.on_put = self._filter_writer(pv)
        self.auto.on_put = self._show_automatic
        self.page.on_put = self._turn
        self.size.on_put = self._resize
        self.filter = SnapshotFilter(size=_DEFAULT_SIZE, automatic=False)
        """What is shown."""
        self.filter_changed: Callable[[], None] = lambda: None
        self._showing = asyncio.Lock()
        self._tasks = Tasks()
        self._dirty = False
        self._following = False
        self._stale = False
        self._stop_listening: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Show the newest snapshots, and follow."""
        self._stop_listening = self.service.store.listen(self._changed)
        await self._refresh()

    async def stop(self) -> None:
        """Follow no more."""
        self._stop_listening()
        await self._tasks.stop()

    # What is written

    def _filter_writer(self, pv: Text) -> Callable[[str], Awaitable[None]]:
        async def write(value: str) -> None:
            async with self._showing:
                accepted = (pv, value.strip()), (self.msg, "")
                await self._show(replace(self._with(*accepted[0]), page=0), accepted)
            self.filter_changed()

        return write

    async def _show_automatic(self, value: int) -> None:
        async with self._showing:
            await self._show(
                replace(self.filter, automatic=None if value else False, page=0), [(self.auto, value), (self.msg, "")]
            )
        self.filter_changed()

    def _with(self, pv: Text, value: str) -> SnapshotFilter:
        if pv is self.wanted_text:
            return replace(self.filter, text=value)
        if pv is self.wanted_label:
            return replace(self.filter, label=value)
        if pv is self.wanted_user:
            return replace(self.filter, user=value)
        try:
            if pv is self.since:
                return replace(self.filter, since=parse_since(value))
            return replace(self.filter, until=parse_until(value))
        except RefusedError as error:
            raise RefusedError(f"{pv.label}: {error}") from None

    async def _turn(self, page: int) -> None:
        async with self._showing:
            await self._show(replace(self.filter, page=page - 1), [(self.msg, "")], strict=True)

    async def _resize(self, size: int) -> None:
        async with self._showing:
            first = self.filter.page * self.filter.size
            await self._show(replace(self.filter, page=first // size, size=size), [(self.size, size), (self.msg, "")])

    # What is shown

    def _changed(self, event: StoreEvent) -> None:
        if event.kind in ("snapshot", RESYNC):
            self._dirty = True
            if not self._following:
                self._following = True
                self._tasks.start(self._follow(), f"refresh of {self.ids.label}")

    async def _follow(self) -> None:
        try:
            while self._dirty:
                self._dirty = False
                await self._refresh()
                await asyncio.sleep(_PAUSE_S)
        finally:
            self._following = False

    async def _refresh(self) -> None:
        """Show what has changed. When that cannot be had, MSG says so, and what is shown is from before."""
        try:
            async with self._showing:
                await self._show(self.filter, [])
        except SquirrelError as error:
            log.warning("%s is not up to date: %s", self.ids.label, error)
            self._stale = True
            self.msg.post(f"not up to date: {error}", now())
        else:
            if self._stale:
                self._stale = False
                self.msg.post("", now())

    async def _show(self, wanted: SnapshotFilter, accepted: Sequence[tuple[Pv, Any]], *, strict: bool = False) -> None:
        """Load and post a page. One that is too far is refused when `strict`, else becomes the last there is."""
        found, total, pages = await self._load(wanted)
        if wanted.page >= pages:
            if strict:
                raise RefusedError(f"there is no page {wanted.page + 1}: the pages are 1 to {pages}")
            wanted = replace(wanted, page=pages - 1)
            found, total, pages = await self._load(wanted)
            wanted = replace(wanted, page=min(wanted.page, pages - 1))  # should some have gone meanwhile
        self.filter = wanted
        stamp = now()
        post_all([*accepted, *self._rows(found)], stamp)
        post_all([(self.total, total), (self.pages, pages), (self.page, wanted.page + 1)], stamp)

    async def _load(self, wanted: SnapshotFilter) -> tuple[Sequence[Snapshot], int, int]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found, total = await self.service.store.snapshots(wanted)
        except TimeoutError:
            raise DatabaseDownError(f"the database has not listed the snapshots within {_TIMEOUT_S:g} s") from None
        return found, total, max(1, -(-total // wanted.size))

    def _rows(self, found: Sequence[Snapshot]) -> Sequence[tuple[Pv, Any]]:
        return [
            (self.titles, [s.title for s in found]),
            (self.times, [iso_time(s.taken) for s in found]),
            (self.epochs, [s.taken.timestamp() for s in found]),
            (self.users, [s.user for s in found]),
            (self.counts, [s.count for s in found]),
            (self.missing, [s.missing for s in found]),
            (self.flags, [s.flags for s in found]),
            (self.ids, [s.id for s in found]),
        ]
