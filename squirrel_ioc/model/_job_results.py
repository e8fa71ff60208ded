"""How jobs end; see `job`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from squirrel_ioc.model._job_states import Outcome, RestoreMode
from squirrel_ioc.model.compare import Comparison
from squirrel_ioc.model.difftable import DiffTable, side_text

__all__ = ["CompareResult", "FileResult", "MAX_NAMES_IN_ROW", "RestoreResult", "SnapshotResult"]

MAX_NAMES_IN_ROW: Final = 1000
"""Names of bad or missing PVs that a job's row keeps; the control PVs show all of them."""


@dataclass(frozen=True)
class SnapshotResult:
    """How a snapshot ended. `missing_names` with `missing_reasons` are all PVs that had no value.

    `invalid_names` with `invalid_alarms` are all whose value is stored, and was bad when it was read.
    """

    snapshot_id: int
    title: str
    taken: datetime
    count: int
    missing: int
    missing_names: tuple[str, ...] = ()
    missing_reasons: tuple[str, ...] = ()
    away: int = 0
    away_names: tuple[str, ...] = ()
    """PVs without a value that are known to be away; they are not among the missing ones."""
    selection: str = ""
    of: int = 0
    """PVs of the catalogue, which `selection` takes some of."""
    beside: str = ""
    """The restore that ran at the same time, in words."""
    duration_s: float = 0.0
    invalid: int = 0
    invalid_names: tuple[str, ...] = ()
    invalid_alarms: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """PARTIAL when a PV had no value."""
        return Outcome.PARTIAL if self.missing else Outcome.OK

    def summary(self) -> str:
        """One line for a person."""
        of = f" of {self.of} PVs (filter {self.selection})" if self.selection else ""
        text = f"snapshot {self.snapshot_id}: {self.count}{of or ' PVs'} stored"
        if self.missing:
            first = dict(zip(reversed(self.missing_reasons), reversed(self.missing_names), strict=True))
            text += f", {self.missing} without a value ({'; '.join(f'{first[r]}: {r}' for r in reversed(first))})"
        if self.away:
            text += f", {self.away} known to be away"
        if self.invalid:
            text += f", {self.invalid} of them bad ({self.invalid_names[0]}: {self.invalid_alarms[0]})"
        return f"{text}; taken during the {self.beside}" if self.beside else text

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        return _to_json(self)


@dataclass(frozen=True)
class RestoreResult:
    """How a restore ended: total == written + unchanged + skipped + failed + mismatch + planned.

    `planned`, with names and values as people read them, is what a dry run would have written. `backup_id` is 0 when
    nothing was to be written.
    """

    snapshot_id: int
    mode: RestoreMode
    outcome: Outcome
    total: int
    written: int
    unchanged: int
    skipped: int
    failed: int
    mismatch: int
    backup_id: int = 0
    bad_names: tuple[str, ...] = ()
    bad_reasons: tuple[str, ...] = ()
    skipped_names: tuple[str, ...] = ()
    """Those that were not skipped on purpose come first."""
    skipped_reasons: tuple[str, ...] = ()
    planned: int = 0
    plan_names: tuple[str, ...] = ()
    plan_from: tuple[str, ...] = ()
    plan_to: tuple[str, ...] = ()
    selection: str = ""
    subject: str = ""
    """What was restored, in words, where it was no plain snapshot."""
    ramp_s: float = 0.0
    """How long the ramps take, at least."""
    duration_s: float = 0.0

    def summary(self) -> str:
        """One line for a person."""
        dry = self.mode is RestoreMode.DRY_RUN
        done = f"{self.planned} of {self.total} PVs would be" if dry else f"{self.written} of {self.total} PVs"
        text = f"{self._subject()}: {done} written, {self.unchanged} unchanged"
        if self.skipped:
            text += f", {self.skipped} skipped"
            if self.outcome is not Outcome.OK and not self.bad_names:
                text += f" ({self.skipped_names[0]}: {self.skipped_reasons[0]})"
        if self.ramp_s and dry:
            text += f", ramps would take {self.ramp_s:.0f} s"
        return text + self._bad()

    def _subject(self) -> str:
        subject = self.subject or f"snapshot {self.snapshot_id}"
        if self.mode is RestoreMode.DRY_RUN:
            subject = f"DRY RUN, nothing is written: {subject}"
        how = ["mode All"] if self.mode is RestoreMode.ALL else []
        how += [f"filter {self.selection}"] if self.selection else []
        return f"{subject} ({', '.join(how)})" if how else subject

    def so_far(self) -> str:
        """The same of one that was stopped on its way. Ramps that it has left half way are among the failed ones."""
        text = f"{self.written} of {self.total} PVs written{self._bad()}"
        return f"{self.subject}: {text}" if self.subject else text

    def _bad(self) -> str:
        numbers = ((self.failed, "failed"), (self.mismatch, "mismatch"))
        text = "".join(f", {number} {word}" for number, word in numbers if number)
        return f"{text} ({self.bad_names[0]}: {self.bad_reasons[0]})" if self.bad_names else text

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        return _to_json(self)


@dataclass(frozen=True)
class CompareResult:
    """What a comparison found. The columns stay in the process that made them; the job's row keeps the counts.

    `different` PVs have two values that are not the same, `missing` one side only, `compared` both. `a` and `b` are
    as they were asked for; `snapshot_a` and `snapshot_b` are the snapshots they stood for, 0 of the live machine.
    """

    a: int
    b: int
    snapshot_a: int
    snapshot_b: int
    comparison: Comparison
    table: DiffTable
    """The rows that the request's `show` wants, texts cut to what a DBR_STRING carries."""
    unread: int
    """PVs of the live machine that gave no value, but for those that are known to be away."""
    away: int = 0
    """PVs of the live machine that gave no value, and are known to be away."""
    selection: str = ""
    beside: str = ""
    """The restore that ran at the same time, in words; "" when the live machine is on no side."""
    duration_s: float = 0.0

    @property
    def different(self) -> int:
        """PVs that differ."""
        return int(self.comparison.different.sum())

    @property
    def missing(self) -> int:
        """PVs with a value on one side only."""
        return int(self.comparison.missing.sum())

    @property
    def compared(self) -> int:
        """PVs with a value on both sides."""
        return int(self.comparison.compared.sum())

    @property
    def outcome(self) -> Outcome:
        """PARTIAL when the live machine did not give every value."""
        return Outcome.PARTIAL if self.unread else Outcome.OK

    def summary(self) -> str:
        """One line for a person."""
        sides = f"{side_text(self.a, self.snapshot_a)} and {side_text(self.b, self.snapshot_b)}"
        text = f"{sides}{f' (filter {self.selection})' if self.selection else ''}: "
        text += f"{self.different} of {self.compared} PVs differ"
        if self.missing:
            text += f", {self.missing} on one side only"
        if self.unread:
            text += f", {self.unread} could not be read"
        if self.away:
            text += f", {self.away} known to be away"
        return f"{text}; read during the {self.beside}" if self.beside else text

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        counts = {"different": self.different, "missing": self.missing, "compared": self.compared}
        sides = {"a": self.a, "b": self.b, "snapshot_a": self.snapshot_a, "snapshot_b": self.snapshot_b}
        unread = {"unread": self.unread, "away": self.away}
        return {"outcome": self.outcome, **sides, **counts, **unread, "duration_s": self.duration_s}


@dataclass(frozen=True)
class FileResult:
    """How an import or an export ended.

    `snapshot_id` is the snapshot that was made or written, 0 when none was made; `count` are the values in it,
    `missing` the PVs without one. `errors` say why nothing was done, `warnings` what is not as it was, a line each.
    `whole` is False when a value did not come over: left out, or not of the type of its PV.
    """

    snapshot_id: int
    file: str
    format: str
    count: int = 0
    missing: int = 0
    whole: bool = True
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    duration_s: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """PARTIAL when a value did not come over, or a PV had none."""
        if self.errors:
            return Outcome.FAILED
        return Outcome.OK if self.whole and not self.missing else Outcome.PARTIAL

    def summary(self) -> str:
        """One line for a person."""
        if self.errors:
            return _first(self.errors)
        text = f"snapshot {self.snapshot_id}, {self.file} ({self.format}): {self.count} values"
        if self.missing:
            text += f", {self.missing} PVs without one"
        return f"{text}; warning: {_first(self.warnings)}" if self.warnings else text

    def to_json(self) -> dict[str, Any]:
        """For the job's row."""
        return _to_json(self)


def _first(lines: tuple[str, ...]) -> str:
    return lines[0] if len(lines) == 1 else f"{lines[0]} (and {len(lines) - 1} more)"


def _to_json(result: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return value[:MAX_NAMES_IN_ROW] if isinstance(value, tuple) else value

    # Not `asdict`, which would copy every name of 40,000 first.
    return {"outcome": result.outcome, **{f.name: plain(getattr(result, f.name)) for f in fields(result)}}
