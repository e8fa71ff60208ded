"""RESTORE: write a snapshot back. What the job does is in `squirrel_ioc.jobs.restore`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from squirrel_ioc.errors import DatabaseDownError, RefusedError
from squirrel_ioc.ioc.groups.filter_pv import selection_writer
from squirrel_ioc.ioc.groups.job_group import STATUS_ALARMS, STATUS_STATES, JobGroup, abort_job
from squirrel_ioc.ioc.groups.one_put import Options, not_empty, one_of, read_command, selection, whole, yes_or_no
from squirrel_ioc.ioc.groups.parameters import Parameters
from squirrel_ioc.ioc.groups.restore_enable import RestoreSwitch
from squirrel_ioc.ioc.groups.results import result_of
from squirrel_ioc.ioc.kinds.command import Command
from squirrel_ioc.ioc.kinds.declare import binary, choice, command, double, integer, strings, text
from squirrel_ioc.ioc.kinds.group import post_all
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.jobs.restore import ENABLE_SETTING
from squirrel_ioc.model.difftable import REFERENCE
from squirrel_ioc.model.job import JobInfo, JobKind, RestoreMode, RestoreRequest, RestoreResult, Undo
from squirrel_ioc.model.snapshot import SnapshotFilter

__all__ = ["ENABLE_SETTING", "RestoreGroup"]

log = logging.getLogger(__name__)


MODES = ("Changed", "All", "Dry run")
_OPTIONS: Final[Options] = {
    "filter": selection,
    "mode": one_of(MODES),
    "verify": yes_or_no,
    "dry": yes_or_no,
    "invalid": one_of(("Skip", "Write")),
    "comment": str,
    "title": not_empty,
    "label": not_empty,
}


class RestoreGroup(JobGroup):
    """Contract section 3. The parameters apply to one restore, then they are back at their defaults."""

    section = "RESTORE:"
    kind = JobKind.RESTORE
    noun = "restore"
    result_type = RestoreResult

    snapshot_id = integer("ID", "Write a snapshot's id: restores it", writable=True)
    trigger = command("TRIGGER", "Restore", "Restore the snapshot in RESTORE:ID")
    at_once = text("DO", 2048, "Write id and options: restores it", writable=True)
    mode = choice("MODE", MODES, "What is written, of the next", writable=True)
    selection = text("FILTER", 1024, "Selection, of the next; empty is all", writable=True)
    enable = binary("ENABLE", ("Disabled", "Enabled"), "0 refuses every restore", writable=True, value=1)
    verify = binary("VERIFY", ("No", "Yes"), "Read back and compare, of the next", writable=True, value=1)
    invalid = choice("INVALID", ("Skip", "Write"), "Values that were bad when saved", writable=True)
    sticky = binary("STICKY", ("Once", "Sticky"), "Whether parameters stay after use", writable=True)
    abort = command("ABORT", "Abort", "Stop before the next write")
    undo = command("UNDO", "Undo", "Take the last restore back")
    undo_id = integer("UNDO:ID", "Backup that UNDO restores, 0: none")
    undo_of = integer("UNDO:OF", "Write UNDO:ID: UNDO, if it still is", writable=True)
    undo_all = command("UNDO:ALL", "Undo", "UNDO, also what was moved since")

    last_id = integer("LAST:ID", "Snapshot restored last, by whomever")
    backup_id = integer("BACKUP:ID", "Backup of the last restore, 0: none")
    total = integer("TOTAL", "PVs of the restore")
    written = integer("WRITTEN", "PVs written")
    unchanged = integer("UNCHANGED", "PVs that had the value already")
    skipped = integer("SKIPPED", "PVs that were left alone")
    failed = integer("FAILED", "PVs whose write failed", alarm_above=0)
    mismatch = integer("MISMATCH", "PVs that read back something else", alarm_above=0)
    bad_names = strings("BAD:NAMES", "PVs that failed or mismatched")
    bad_reasons = strings("BAD:REASONS", "Why, for each of BAD:NAMES")
    skipped_names = strings("SKIPPED:NAMES", "PVs that were left alone")
    skipped_reasons = strings("SKIPPED:REASONS", "Why, for each of SKIPPED:NAMES")
    planned = integer("PLAN:COUNT", "PVs that a dry run would write")
    plan_names = strings("PLAN:NAMES", "PVs that a dry run would write")
    plan_from = strings("PLAN:FROM", "Their present values", long=False)
    plan_to = strings("PLAN:TO", "The values it would write", long=False)
    refusal = text("REFUSED", 512, "The last refusal: who, what, why")
    duration = double("DURATION", "Trigger to end", egu="s", precision=3)
    msg = text("MSG", 512, "What happened last")
    status = choice("STATUS", STATUS_STATES, "How the last restore ended", alarms=STATUS_ALARMS)

    switch: RestoreSwitch

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.starters = frozenset(
            [self.snapshot_id, self.at_once, self.trigger, self.undo, self.undo_of, self.undo_all]
        )
        self.snapshot_id.on_put = self._restore_id
        self.at_once.on_put = self._do
        self.trigger.action = self._trigger
        self.undo.action = self._undo
        self.undo_of.on_put = self._undo_of
        self.undo_all.action = self._undo_all
        self.abort.action = self._abort
        self.selection.on_put = selection_writer(self.selection)
        self.parameters = Parameters([self.mode, self.selection, self.verify, self.invalid])
        self._shown: RestoreResult | None = None

    async def start(self) -> None:
        """Also: whether restores are enabled, as it was before a restart, and what UNDO would restore."""
        self.switch.show_in(self.enable, self.msg)
        await super().start()
        self.follow(self.service.store.listen_status(self.switch.store_changed))
        self.feed.observe(self._any_restore)
        for info in self.service.jobs.recent:
            self._note_last(info)
            if self.last_id.value:
                break
        await self.switch.start(self.service)
        try:
            self.undo_id.post(await self.service.store.backups.last())
        except DatabaseDownError as error:
            log.warning("what RESTORE:UNDO restores is not known: %s", error)

    async def stop(self) -> None:
        """End what still saves."""
        await self.switch.stop()

    def _any_restore(self, info: JobInfo, stamp: Any) -> None:
        """Whoever asked for it: what was restored last, and what UNDO restores."""
        if info.kind is JobKind.RESTORE and info.status.terminal:
            self._note_last(info)
            result = result_of(info, RestoreResult)
            if result is not None and result.backup_id:
                self.undo_id.post(result.backup_id, stamp)

    def _note_last(self, info: JobInfo) -> None:
        result = result_of(info, RestoreResult) if info.kind is JobKind.RESTORE and info.status.terminal else None
        if result is not None and result.mode is not RestoreMode.DRY_RUN:
            self.last_id.post(result.snapshot_id)

    async def _restore_id(self, snapshot_id: int) -> None:
        snapshot_id = await self._meant(snapshot_id)
        await self._restore(snapshot_id, [(self.snapshot_id, snapshot_id)])

    async def _trigger(self) -> None:
        await self._restore(self.snapshot_id.value, [])

    async def restore_snapshot(self, snapshot_id: int, command: Command) -> None:
        """As if the id were written to RESTORE:ID; `command`, of another group, reads 1 until it ends."""
        await self._restore(snapshot_id, [(self.snapshot_id, snapshot_id)], command)

    def refuse(self, reason: str) -> None:
        """A restore that another group has asked for was refused: say why."""
        self.refused(self.snapshot_id, reason)

    async def _do(self, written: str) -> None:
        """`42 filter="QUAD:*" mode=changed verify=yes dry=no comment="..."`: nobody's parameters have a say."""
        words, options = read_command(written, 1, _OPTIONS)
        snapshot_id = await self._named(words, options)
        request = RestoreRequest(
            snapshot_id,
            _mode(options),
            options.get("filter", ""),
            options.get("verify", True),
            comment=options.get("comment", ""),
            invalid=bool(options.get("invalid", False)),
        )
        self._check(snapshot_id, f"snapshot {snapshot_id} does not exist")
        await self.run_job(request, self.trigger, [(self.at_once, written), (self.snapshot_id, snapshot_id)])

    async def _named(self, words: Sequence[str], options: Mapping[str, Any]) -> int:
        """The snapshot that a one-put command means: by number, as the reference, by title or label the newest."""
        given = [*words, *(f"{name}={options[name]}" for name in ("title", "label") if name in options)]
        if len(given) != 1:
            raise RefusedError("say which snapshot: a number, reference, title=... or label=...")
        if words:
            return await self._meant(REFERENCE if words[0].lower() == "reference" else whole(words[0]))
        title, label = options.get("title", ""), options.get("label", "")
        wanted = SnapshotFilter(title=title, label=label, automatic=False, size=1)
        found, _ = await self.service.store.snapshots(wanted)
        if not found:
            raise RefusedError(f"there is no snapshot with {given[0]}")
        return int(found[0].id)

    async def _meant(self, snapshot_id: int) -> int:
        """-1 is the reference."""
        if snapshot_id != REFERENCE:
            return snapshot_id
        reference = await self.service.store.reference()
        if reference is None:
            raise RefusedError("there is no reference snapshot")
        return int(reference.id)

    async def _restore(
        self, snapshot_id: int, accepted: Sequence[tuple[Pv, Any]], command: Command | None = None
    ) -> None:
        self._check(snapshot_id, f"snapshot {snapshot_id} does not exist")
        request = RestoreRequest(
            snapshot_id=snapshot_id,
            mode=RestoreMode(self.mode.value),
            selection=self.selection.value,
            verify=bool(self.verify.value),
            invalid=bool(self.invalid.value),
        )
        await self.run_job(request, command or self.trigger, accepted, self.parameters)

    async def restore_names(
        self, snapshot_id: int, names: Sequence[str], command: Command, accepted: Sequence[tuple[Pv, Any]]
    ) -> None:
        """Restore these setpoints of a snapshot, and no others, by MODE and VERIFY; FILTER has no say.

        `command`, of another group, reads 1 until it ends; `accepted` is posted when it is queued. Raises as
        `run_job`, and RefusedError while restores are disabled.
        """
        self._check(snapshot_id, f"snapshot {snapshot_id} does not exist")
        request = RestoreRequest(
            snapshot_id,
            RestoreMode(self.mode.value),
            verify=bool(self.verify.value),
            names=tuple(names),
            invalid=bool(self.invalid.value),
        )
        await self.run_job(request, command, accepted, self.parameters)

    async def _undo(self) -> None:
        await self._take_back(Undo.WRITTEN, self.undo)

    async def _undo_all(self) -> None:
        await self._take_back(Undo.ALL, self.undo_all)

    async def _undo_of(self, backup: int) -> None:
        if backup != self.undo_id.value:
            raise RefusedError(f"{backup} is not what UNDO restores: RESTORE:UNDO:ID is {self.undo_id.value}")
        await self._take_back(Undo.WRITTEN, self.undo, [(self.undo_of, backup)])

    async def _take_back(self, undo: Undo, command: Command, accepted: Sequence[tuple[Pv, Any]] = ()) -> None:
        backup = self.undo_id.value
        self._check(backup, "there is nothing to undo: RESTORE:UNDO:ID is 0")
        await self.run_job(RestoreRequest(backup, undo=undo), command, accepted)

    def _check(self, snapshot_id: int, otherwise: str) -> None:
        if not self.enable.value:
            raise RefusedError("restores are disabled: RESTORE:ENABLE is 0")
        if snapshot_id < 1:
            raise RefusedError(otherwise)

    async def _abort(self) -> None:
        jobs = self.service.jobs
        for info in (jobs.current, *jobs.recent):
            if info is not None and info.kind is JobKind.RESTORE and not info.status.terminal:
                await abort_job(jobs, info, self.abort)
                return
        raise RefusedError("no restore is running")

    def job_moved(self, info: JobInfo, stamp: Any) -> None:
        """The counters follow the restore that runs; MSG says how long its ramps take."""
        result = info.result
        if not isinstance(result, RestoreResult) or result is self._shown:
            return
        self._shown = result
        post_all(self.results(info, result, result.duration_s), stamp)
        ramps = f"; its ramps take {result.ramp_s:.0f} s"
        if result.ramp_s >= 1 and not self.msg.value.endswith(ramps):
            self.msg.post(self.msg.value + ramps, stamp)

    def results(self, info: JobInfo, result: Any, duration_s: float) -> Iterable[tuple[Pv, Any]]:
        """Of a restore that came as far as to look at its PVs."""
        if result.backup_id:  # else the way back is still that of the restore before it
            yield self.undo_id, result.backup_id
        yield self.backup_id, result.backup_id
        yield self.total, result.total
        yield self.written, result.written
        yield self.unchanged, result.unchanged
        yield self.skipped, result.skipped
        yield self.skipped_names, result.skipped_names
        yield self.skipped_reasons, result.skipped_reasons
        yield self.bad_names, result.bad_names
        yield self.bad_reasons, result.bad_reasons
        yield self.failed, result.failed
        yield self.mismatch, result.mismatch
        yield self.planned, result.planned
        yield self.plan_names, result.plan_names
        yield self.plan_from, result.plan_from
        yield self.plan_to, result.plan_to
        yield self.duration, duration_s

    def nothing(self) -> Iterable[tuple[Pv, Any]]:
        """Of a restore that ended before it had read its PVs."""
        counters = self.total, self.written, self.unchanged, self.skipped, self.failed, self.mismatch, self.planned
        for counter in (*counters, self.backup_id):
            yield counter, 0
        names = self.bad_names, self.bad_reasons, self.skipped_names, self.skipped_reasons
        for rows in (*names, self.plan_names, self.plan_from, self.plan_to):
            yield rows, ()
        yield self.duration, 0.0


def _mode(options: Mapping[str, Any]) -> RestoreMode:
    """Of a one-put command; `dry` is short for `mode="dry run"`."""
    mode = RestoreMode(options.get("mode", RestoreMode.CHANGED))
    if mode is RestoreMode.DRY_RUN and not options.get("dry", True):
        raise RefusedError('dry=no contradicts mode="dry run"')
    return RestoreMode.DRY_RUN if options.get("dry", False) else mode
