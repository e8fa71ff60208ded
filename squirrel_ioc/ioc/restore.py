"""RESTORE: write a snapshot back. What the job does is in `squirrel_ioc.jobs.restore`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from squirrel_ioc.errors import DatabaseDownError, RefusedError
from squirrel_ioc.ioc._client import current_client
from squirrel_ioc.ioc._command import Command
from squirrel_ioc.ioc._declare import binary, choice, command, double, integer, strings, text
from squirrel_ioc.ioc._group import post_all
from squirrel_ioc.ioc._jobgroup import STATUS_ALARMS, STATUS_STATES, JobGroup, abort_job
from squirrel_ioc.ioc._selection import selection_writer
from squirrel_ioc.ioc._tasks import Tasks
from squirrel_ioc.ioc.pv import Pv
from squirrel_ioc.jobs.restore import ENABLE_SETTING
from squirrel_ioc.model.job import JobInfo, JobKind, RestoreMode, RestoreRequest, RestoreResult, Undo

__all__ = ["ENABLE_SETTING", "RestoreGroup"]

log = logging.getLogger(__name__)


class RestoreGroup(JobGroup):
    """Contract section 3."""

    section = "RESTORE:"
    kind = JobKind.RESTORE
    noun = "restore"
    result_type = RestoreResult

    snapshot_id = integer("ID", "Write a snapshot's id: restores it", writable=True)
    trigger = command("TRIGGER", "Restore", "Restore the snapshot in RESTORE:ID")
    mode = choice("MODE", ("Changed", "All", "Dry run"), "What is written", writable=True)
    selection = text("FILTER", 1024, "Selection of PVs; empty is all", writable=True)
    enable = binary("ENABLE", ("Disabled", "Enabled"), "0 refuses every restore", writable=True, value=1)
    verify = binary("VERIFY", ("No", "Yes"), "Read back and compare after writing", writable=True, value=1)
    invalid = choice("INVALID", ("Skip", "Write"), "Values that were bad when saved", writable=True)
    abort = command("ABORT", "Abort", "Stop before the next write")
    undo = command("UNDO", "Undo", "Take the last restore back")
    undo_id = integer("UNDO:ID", "Backup that UNDO restores, 0: none")
    undo_of = integer("UNDO:OF", "Write UNDO:ID: UNDO, if it still is", writable=True)
    undo_all = command("UNDO:ALL", "Undo", "UNDO, also what was moved since")

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
    duration = double("DURATION", "Trigger to end", egu="s", precision=3)
    msg = text("MSG", 512, "What happened last")
    status = choice("STATUS", STATUS_STATES, "How the last restore ended", alarms=STATUS_ALARMS)

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.starters = frozenset([self.snapshot_id, self.trigger, self.undo, self.undo_of, self.undo_all])
        self.snapshot_id.on_put = self._restore_id
        self.trigger.action = self._trigger
        self.undo.action = self._undo
        self.undo_of.on_put = self._undo_of
        self.undo_all.action = self._undo_all
        self.abort.action = self._abort
        self.enable.on_put = self._enable
        self.selection.on_put = selection_writer(self.selection)
        self._tasks = Tasks()
        self._saving = asyncio.Lock()
        self._unsaved = False
        self._shown: RestoreResult | None = None

    async def start(self) -> None:
        """Also: whether restores are enabled, as it was before a restart."""
        await super().start()
        self.follow(self.service.store.listen_status(self._store_changed))
        try:
            kept = await self.service.store.get_setting(ENABLE_SETTING)
            self.undo_id.post(await self.service.store.last_backup())
        except DatabaseDownError as error:
            log.warning("RESTORE:ENABLE is not known, restores are enabled: %s", error)
        else:
            self.enable.post(1 if kept is None else bool(kept))

    async def stop(self) -> None:
        """End what still saves."""
        await self._tasks.stop()

    async def _restore_id(self, snapshot_id: int) -> None:
        await self._restore(snapshot_id, [(self.snapshot_id, snapshot_id)])

    async def _trigger(self) -> None:
        await self._restore(self.snapshot_id.value, [])

    async def restore_snapshot(self, snapshot_id: int, command: Command) -> None:
        """As if the id were written to RESTORE:ID; `command`, of another group, reads 1 until it ends."""
        await self._restore(snapshot_id, [(self.snapshot_id, snapshot_id)], command)

    def refuse(self, reason: str) -> None:
        """A restore that another group has asked for was refused: say why."""
        self.refused(self.snapshot_id, reason)

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
        await self.run_job(request, command or self.trigger, accepted)

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
        await self.run_job(request, command, accepted)

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
        request = RestoreRequest(backup, verify=bool(self.verify.value), undo=undo, invalid=bool(self.invalid.value))
        await self.run_job(request, command, accepted)

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

    async def _enable(self, value: int) -> None:
        # It has effect at once, also when the database cannot keep it.
        self.enable.post(value)
        log.info("RESTORE:ENABLE %d: %s", value, current_client())
        if not value:
            await self._abort_all()
        await self._save_enable()

    async def _abort_all(self) -> None:
        """What waits does not begin any more; what runs stops before its next write."""
        jobs = self.service.jobs
        for info in list(jobs.recent):
            if info.kind is JobKind.RESTORE and not info.status.terminal:
                await jobs.abort(info.id, f"RESTORE:ENABLE 0 of {current_client()}")

    async def _save_enable(self) -> None:
        async with self._saving:
            value = bool(self.enable.value)
            try:
                await self.service.store.set_setting(ENABLE_SETTING, value)
            except DatabaseDownError as error:
                self._unsaved = True
                log.warning("RESTORE:ENABLE is %d, but not kept for a restart yet: %s", value, error)
                self.msg.post(f"RESTORE:ENABLE is {value:d}, but not kept for a restart yet: {error}")
            else:
                self._unsaved = False

    def _store_changed(self, *_: Any) -> None:
        if self._unsaved and self.service.store.status.connected:
            self._unsaved = False
            self._tasks.start(self._save_enable(), "save RESTORE:ENABLE")

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
        yield self.duration, duration_s

    def nothing(self) -> Iterable[tuple[Pv, Any]]:
        """Of a restore that ended before it looked at its PVs."""
        for counter in (self.total, self.written, self.unchanged, self.skipped, self.failed, self.mismatch):
            yield counter, 0
        yield self.backup_id, 0
        for names in (self.bad_names, self.bad_reasons, self.skipped_names, self.skipped_reasons):
            yield names, ()
        yield self.duration, 0.0
