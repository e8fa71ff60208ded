"""DIFF: compare. What the job does is in `squirrel_ioc.jobs.compare`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from caproto import AlarmSeverity

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.groups.diff_listing import Listing, Select
from squirrel_ioc.ioc.groups.diff_rows import Rows
from squirrel_ioc.ioc.groups.filter_pv import selection_writer
from squirrel_ioc.ioc.groups.job_group import STATUS_ALARMS, STATUS_STATES, JobGroup
from squirrel_ioc.ioc.groups.one_put import Options, not_negative, one_of, read_command, selection, whole
from squirrel_ioc.ioc.kinds.arrays import MAX_NAMES
from squirrel_ioc.ioc.kinds.command import Command
from squirrel_ioc.ioc.kinds.declare import binary, choice, command, double, doubles, integer, shorts, strings, text
from squirrel_ioc.ioc.kinds.group import post_all
from squirrel_ioc.ioc.kinds.pv import Pv, now
from squirrel_ioc.ioc.protocol.client import Client, current_client
from squirrel_ioc.model.difftable import LIVE, REFERENCE, Show, side_text, tabulate
from squirrel_ioc.model.display import STRING_LIMIT
from squirrel_ioc.model.job import CompareRequest, CompareResult, JobInfo, JobKind, Outcome

__all__ = ["DiffGroup", "Restorer"]

_PRECISION: Final = 6
_SEEN_S: Final = 2.0
"""Rows that another client has changed less long ago are not selected or restored."""

STALE_ALARMS: Final = {1: AlarmSeverity.MINOR_ALARM}
_OPTIONS: Final[Options] = {
    "filter": selection,
    "show": one_of(("Different", "Missing", "All")),
    "atol": not_negative,
    "rtol": not_negative,
}


class Restorer(Protocol):
    """Who restores: `RestoreGroup`."""

    async def restore_names(
        self, snapshot_id: int, names: Sequence[str], command: Command, accepted: Sequence[tuple[Pv, Any]]
    ) -> None:
        """Restore these setpoints of a snapshot, and no others; `command` reads 1 until it ends."""
        ...


class DiffGroup(JobGroup):
    """Contract section 5. What is not in the contract: SELECTED, how many rows are picked.

    The rows are those of the last comparison that succeeded, as SHOW stood then or has been set since. What is picked
    belongs to the rows: it is gone when they change.
    """

    section = "DIFF:"
    kind = JobKind.COMPARE
    noun = "comparison"
    result_type = CompareResult

    a = integer("A", "Snapshot A; 0 is live, -1 the reference", writable=True, low=REFERENCE)
    b = integer("B", "Write snapshot B (0, -1 as A): compares", writable=True, low=REFERENCE)
    trigger = command("TRIGGER", "Compare", "Compare B with A")
    in_one = text("DO", 2048, "Write A, B and options: compares", writable=True)
    selection = text("FILTER", 1024, "Selection of PVs; empty is all", writable=True)
    show = choice("SHOW", ("Different", "Missing", "All"), "Which rows are listed", writable=True)
    atol = double("ATOL", "Absolute tolerance where a PV has none", writable=True, low=0, precision=_PRECISION)
    rtol = double("RTOL", "Relative tolerance where a PV has none", writable=True, low=0, precision=_PRECISION)

    names = strings("NAMES", "PVs of the rows")
    number_a = doubles("A:VAL", "Number of A; NaN: it is none", length=MAX_NAMES, precision=_PRECISION)
    number_b = doubles("B:VAL", "Number of B; NaN: it is none", length=MAX_NAMES, precision=_PRECISION)
    delta = doubles("DELTA", "B minus A; of arrays the largest", length=MAX_NAMES, precision=_PRECISION)
    text_a = strings("A:STR", "Value of A as people read it", long=False)
    text_b = strings("B:STR", "Value of B as people read it", long=False)
    severity = shorts("SEVR", "Worse severity of both sides, 0 to 3", length=MAX_NAMES)
    role = strings("ROLE", "Setpoint or readback", long=False)
    pages = integer("PAGES", "Pages of 20 rows")
    page = integer("PAGE", "Page that the row PVs show, from 1", writable=True)
    select = choice("SELECT", ("None", "Page", "All"), "Select rows", writable=True)
    selected = integer("SELECTED", "Rows that are selected")
    restore = command("RESTORE", "Restore", "Restore A's value of selected rows")
    revision = integer("REV", "Grows when the rows are others")
    restore_at = integer("RESTORE:AT", "Write REV: RESTORE, if it still is", writable=True)
    stale = binary("STALE", ("No", "Yes"), "Whether rows were restored since", alarms=STALE_ALARMS)
    compared = integer("COMPARED", "PVs with a value on both sides")
    missing = integer("MISSING", "PVs with a value on one side only", alarm_above=0)
    count = integer("COUNT", "PVs that differ", alarm_above=0)
    msg = text("MSG", 512, "What happened last")
    status = choice("STATUS", STATUS_STATES, "How the last comparison ended", alarms=STATUS_ALARMS)

    restorer: Restorer

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.starters = frozenset([self.b, self.trigger, self.in_one])
        self.b.on_put = self._compare_with
        self.in_one.on_put = self._do
        self.restore_at.on_put = self._restore_rows_of
        self.trigger.action = self._trigger
        self.selection.on_put = selection_writer(self.selection)
        self.show.on_put = self._show_rows
        self.page.on_put = self._turn_to
        self.select.on_put = self._select
        self.restore.action = self._restore
        self._rows = Rows(self, self.page, self._pick_row)
        self._listing: Listing | None = None
        self._changed_by: Client | None = None
        self._changed_at = 0.0
        self._as_compared = False
        self._showing = asyncio.Lock()
        self._quiet = asyncio.Event()
        self._quiet.set()
        post_all([(self.page, 1), (self.pages, 1)], now())

    async def start(self) -> None:
        """Nothing has been compared: the rows of a comparison before a restart are gone."""
        self.feed.observe(self._job_changed)

    # Comparing

    async def _compare_with(self, b: int) -> None:
        await self._compare(b, [(self.b, b)])

    async def _trigger(self) -> None:
        await self._compare(self.b.value, [])

    async def _do(self, written: str) -> None:
        """`41 42 filter="QUAD:*" atol=0.1 rtol=0 show=all`. Nobody's parameters have a say; SHOW does, if not given."""
        words, options = read_command(written, 2, _OPTIONS)
        if len(words) != 2:
            raise RefusedError("say what is compared: A and B, two numbers; 0 is live, -1 the reference")
        a, b = (REFERENCE if word.lower() == "reference" else whole(word) for word in words)
        if min(a, b) < REFERENCE:
            raise RefusedError(f"{min(a, b)} is no snapshot")
        now_shown: int = self.show.value
        request = CompareRequest(
            a,
            b,
            options.get("filter", ""),
            options.get("atol", 0.0),
            options.get("rtol", 0.0),
            Show(options.get("show", now_shown)),
        )
        accepted: list[tuple[Pv, Any]] = [(self.a, a), (self.b, b), (self.show, request.show), (self.in_one, written)]
        await self._run_comparison(request, accepted)

    async def _compare(self, b: int, accepted: Sequence[tuple[Pv, Any]]) -> None:
        request = CompareRequest(
            self.a.value, b, self.selection.value, self.atol.value, self.rtol.value, Show(self.show.value)
        )
        await self._run_comparison(request, accepted)

    async def _run_comparison(self, request: CompareRequest, accepted: Sequence[tuple[Pv, Any]]) -> None:
        if self._run is None:
            self._quiet.clear()
        try:
            await self.run_job(request, self.trigger, accepted)
        finally:
            if self._run is None:
                self._quiet.set()

    def results(self, info: JobInfo, result: Any, duration_s: float) -> Iterable[tuple[Pv, Any]]:
        """The rows, and how many there are."""
        listing = Listing(result, result.table)
        shown = [
            *self._table(listing),
            (self.compared, result.compared),
            (self.missing, result.missing),
            (self.count, result.different),
        ]
        self._listing = listing
        if self._run is not None:
            self._changed_by, self._changed_at = self._run.client, time.monotonic()
        return [*shown, (self.stale, 0), (self.revision, self.revision.value + 1)]

    def job_ended(self, info: JobInfo, stamp: Any) -> None:
        """Also: whether the rows are those of this comparison."""
        super().job_ended(info, stamp)
        self._as_compared = self.status.value in (Outcome.OK, Outcome.PARTIAL)

    # Showing

    async def _show_rows(self, value: int) -> None:
        """SHOW and the rows change together: at once, or when the comparison under way has ended."""
        async with self._showing:
            while value != self.show.value:
                await self._quiet.wait()
                listing = self._listing
                if listing is None:
                    self.show.post(value)
                    return
                result = listing.result
                table = await asyncio.to_thread(tabulate, result.comparison, Show(value), STRING_LIMIT)
                # Another comparison may have come meanwhile, listed as SHOW still says.
                if self._run is None and self._listing is listing:
                    self._listing = Listing(result, table)
                    self._changed_by, self._changed_at = current_client(), time.monotonic()
                    revision = self.revision, self.revision.value + 1
                    post_all([*self._table(self._listing), (self.show, value), revision], now())

    def _check_seen(self) -> None:
        """Refuse what depends on rows that another client has changed just now: nobody has read them yet."""
        age_s = time.monotonic() - self._changed_at
        if self._changed_by not in (None, current_client()) and age_s < _SEEN_S:
            raise RefusedError(f"the rows are others since {age_s:.1f} s, by {self._changed_by}: look at them again")

    async def _turn_to(self, page: int) -> None:
        if self._listing is None:
            if page != 1:
                raise RefusedError("there is only page 1: nothing has been compared")
            return
        self._listing.turn_to(page)
        post_all([*self._rows.show(self._listing), (self.page, page)], now())

    async def _select(self, value: int) -> None:
        if self._listing is None:
            raise RefusedError("there are no rows to select: nothing has been compared")
        self._check_seen()
        self._listing.pick(Select(value))
        self._show_picked(self._listing)

    async def _pick_row(self, place: int, on: bool) -> None:
        if self._listing is None:
            raise RefusedError("there are no rows to select: nothing has been compared")
        self._check_seen()
        self._listing.pick_row(place, bool(on))
        self._show_picked(self._listing)

    def _show_picked(self, listing: Listing) -> None:
        post_all([*self._rows.show_picked(listing), *self._picked(listing)], now())

    def _picked(self, listing: Listing) -> list[tuple[Pv, Any]]:
        return [(self.selected, listing.picked), (self.select, listing.select)]

    def _table(self, listing: Listing) -> Iterable[tuple[Pv, Any]]:
        table = listing.table
        yield self.names, table.names
        yield self.number_a, table.number_a
        yield self.number_b, table.number_b
        yield self.delta, table.delta
        yield self.text_a, table.text_a
        yield self.text_b, table.text_b
        yield self.severity, table.severity
        yield self.role, table.role
        yield from self._rows.show(listing)
        yield self.pages, listing.pages
        yield self.page, listing.page
        yield from self._picked(listing)

    # Restoring

    async def _restore_rows_of(self, revision: int) -> None:
        if revision != self.revision.value:
            raise RefusedError(f"the rows are others: DIFF:REV is {self.revision.value}, not {revision}: look again")
        await self._restore_rows([(self.restore_at, revision)])

    async def _restore(self) -> None:
        self._check_seen()
        await self._restore_rows([])

    async def _restore_rows(self, accepted: Sequence[tuple[Pv, Any]]) -> None:
        reference = await self.service.store.reference() if self.a.value == REFERENCE else None
        listing = self._checked(0 if reference is None else reference.id)
        snapshot_id, names = listing.result.snapshot_a, listing.names_to_restore()
        left_out = listing.picked - len(names)
        message = f"restore of {len(names)} PVs of snapshot {snapshot_id}"
        if left_out:
            message += f"; {left_out} selected rows are readbacks or have no value in A, and are left out"
        await self.restorer.restore_names(snapshot_id, names, self.restore, [*accepted, (self.msg, message)])

    def _checked(self, reference: int) -> Listing:
        """The rows, if what they show of A is what A stands for. Raises RefusedError."""
        listing = self._listing
        if self._run is not None:
            raise RefusedError("a comparison is running")
        if listing is None:
            raise RefusedError("nothing has been compared")
        result = listing.result
        if not self._as_compared:
            raise RefusedError("the last comparison did not succeed, the rows are older: compare again")
        if (self.a.value, self.b.value) != (result.a, result.b):
            rows, pvs = ((side_text(a), side_text(b)) for a, b in ((result.a, result.b), (self.a.value, self.b.value)))
            raise RefusedError(
                f"the rows compare {rows[0]} and {rows[1]}, but A and B are {pvs[0]} and {pvs[1]}: compare again"
            )
        if result.a == LIVE:
            raise RefusedError("A is the live machine: there is nothing to restore")
        if result.a == REFERENCE and result.snapshot_a != reference:
            is_now = f"is snapshot {reference}" if reference else "is none"
            raise RefusedError(f"the rows show snapshot {result.snapshot_a}, the reference {is_now} now: compare again")
        return listing

    def _job_changed(self, info: JobInfo, stamp: Any) -> None:
        """A restore changes the live machine. While this group's restore runs, it is the only one."""
        if info.kind is not JobKind.RESTORE or not info.status.terminal:
            return
        if self._listing is not None and LIVE in (self._listing.result.a, self._listing.result.b):
            self.stale.post(1, stamp)
        if self.restore.value:
            self.msg.post(info.message, stamp)
