"""SNAP: take a snapshot. What the job does is in `squirrel_ioc.jobs.snapshot`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.groups.filter_pv import selection_writer
from squirrel_ioc.ioc.groups.job_group import STATUS_ALARMS, STATUS_STATES, JobGroup
from squirrel_ioc.ioc.groups.one_put import Options, read_command, selection
from squirrel_ioc.ioc.groups.parameters import Parameters
from squirrel_ioc.ioc.groups.results import iso_time
from squirrel_ioc.ioc.kinds.declare import binary, choice, command, double, integer, string, strings, text
from squirrel_ioc.ioc.kinds.parse import split_labels
from squirrel_ioc.ioc.kinds.pv import Pv, now
from squirrel_ioc.model.job import JobInfo, JobKind, SnapshotRequest, SnapshotResult

__all__ = ["SnapGroup"]


_TITLE_BYTES: Final = 256
_OPTIONS: Final[Options] = {"title": str, "comment": str, "labels": str, "filter": selection}


class SnapGroup(JobGroup):
    """Contract section 2. The parameters apply to one snapshot, then they are back at their defaults."""

    section = "SNAP:"
    kind = JobKind.SNAPSHOT
    noun = "snapshot"
    result_type = SnapshotResult

    trigger = command("TRIGGER", "Snapshot", "Take a snapshot")
    at_once = text("NOW", _TITLE_BYTES, "Write a title: takes a snapshot", writable=True)
    in_one = text("DO", 8192, "Write title, options: takes a snapshot", writable=True, lines=True)
    title = text("TITLE", _TITLE_BYTES, "Title of the next snapshot", writable=True)
    comment = text("COMMENT", 4096, "Comment on the next snapshot", writable=True, lines=True)
    labels = text("LABELS", 256, "Labels of the next, comma separated", writable=True)
    selection = text("FILTER", 1024, "Selection, of the next; empty is all", writable=True)
    sticky = binary("STICKY", ("Once", "Sticky"), "Whether parameters stay after use", writable=True)

    snapshot_id = integer("ID", "Last snapshot; 0 and INVALID: it failed", invalid_below=1)
    taken = string("TIME", "When it was taken")
    taken_epoch = double("EPOCH", "When it was taken, UNIX time", egu="s", precision=3)
    count = integer("COUNT", "Values stored")
    missing = integer("MISSING", "PVs without a value", alarm_above=0)
    missing_names = strings("MISSING:NAMES", "PVs without a value")
    invalid = integer("INVALID", "Values that were INVALID or UDF", alarm_above=0)
    invalid_names = strings("INVALID:NAMES", "PVs INVALID or UDF when read")
    away = integer("AWAY", "PVs without a value, known to be away")
    duration = double("DURATION", "Trigger to commit", egu="s", precision=3)
    refusal = text("REFUSED", 512, "The last refusal: who, what, why")
    msg = text("MSG", 512, "What happened last")
    status = choice("STATUS", STATUS_STATES, "How the last snapshot ended", alarms=STATUS_ALARMS)

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.starters = frozenset([self.trigger, self.at_once, self.in_one])
        self.resumed = self.trigger
        self.trigger.action = self._trigger
        self.at_once.on_put = self._at_once
        self.in_one.on_put = self._do
        self.selection.on_put = selection_writer(self.selection)
        self.parameters = Parameters([self.title, self.comment, self.labels, self.selection])

    async def _trigger(self) -> None:
        await self._take(self.title.value, [])

    async def _at_once(self, title: str) -> None:
        shown = [(self.title, title)] if self.sticky.value else []
        await self._take(title, [(self.at_once, title), *shown])

    async def _do(self, written: str) -> None:
        """`"title" comment="..." labels=a,b filter="..."`: nobody's parameters have a say."""
        words, options = read_command(written, 1, _OPTIONS)
        if words and "title" in options:
            raise RefusedError("the title is given twice")
        request = SnapshotRequest(
            title=_title(options.get("title", "".join(words))),
            comment=options.get("comment", ""),
            labels=split_labels(options.get("labels", "")),
            selection=options.get("filter", ""),
        )
        await self.run_job(request, self.trigger, [(self.in_one, written)])

    async def _take(self, title: str, accepted: Sequence[tuple[Pv, Any]]) -> None:
        request = SnapshotRequest(
            title=title.strip(),
            comment=self.comment.value,
            labels=split_labels(self.labels.value),
            selection=self.selection.value,
        )
        await self.run_job(request, self.trigger, accepted, self.parameters)

    def nothing(self) -> Iterable[tuple[Pv, Any]]:
        """Of a snapshot that was not stored: no script is to take the one before for it."""
        for counter in (self.count, self.missing, self.away, self.invalid, self.duration, self.snapshot_id):
            yield counter, 0
        yield self.missing_names, ()
        yield self.invalid_names, ()

    def refused(self, pv: Pv, reason: str) -> None:
        """Also: there is no snapshot that this one has taken."""
        super().refused(pv, reason)
        if pv in self.starters and self._run is None:
            self.snapshot_id.post(0)

    def tell(self, text: str) -> None:
        """Show something about snapshots in MSG: what was done to one by its own PVs, or why it was refused."""
        self.msg.post(text, now())

    def results(self, info: JobInfo, result: Any, duration_s: float) -> Iterable[tuple[Pv, Any]]:
        """Of a snapshot that was stored."""
        yield self.taken, iso_time(result.taken)
        yield self.taken_epoch, result.taken.timestamp()
        yield self.count, result.count
        yield self.missing_names, result.missing_names
        yield self.missing, result.missing
        yield self.away, result.away
        yield self.invalid_names, result.invalid_names
        yield self.invalid, result.invalid
        yield self.duration, duration_s
        yield self.snapshot_id, result.snapshot_id


def _title(title: str) -> str:
    title = title.strip()
    if len(title.encode()) > _TITLE_BYTES:
        raise RefusedError(f"the title has {len(title.encode())} bytes, at most {_TITLE_BYTES} are possible")
    return title
