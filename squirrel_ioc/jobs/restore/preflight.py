"""What must hold before a PV is written: it is there, may be written, and its type still fits the saved value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import Live
from squirrel_ioc.jobs.restore.ledger import Ledger, Verdict
from squirrel_ioc.model.away import Away
from squirrel_ioc.model.bad import alarm_text, bad_rows
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, Dbf, State, WriteState

__all__ = ["catalogue_rows", "check_saved", "check_targets", "check_types", "check_whole", "check_write_access"]


def catalogue_rows(channels: ChannelList, catalogue: Catalogue) -> NDArray[np.int64]:
    """int64[channels]: the catalogue's entry of each setpoint, -1 where it has none."""
    if channels is catalogue.channels or channels is catalogue.channels.setpoint_list:
        return np.where(catalogue.is_setpoint[: len(channels)], np.arange(len(channels)), -1)
    index, last = catalogue.channels.index, len(catalogue)
    rows = np.array([index.get(name, -1) for name in channels.names], np.int64)
    return np.where(rows < last, rows, -1)


def check_targets(
    ledger: Ledger,
    saved: Frame,
    entries: NDArray[np.int64],
    catalogue: Catalogue,
    live: Live,
    away: Mapping[str, Away],
) -> None:
    """Verdicts that need no read: not ours to write, nothing saved, not there."""
    known = np.flatnonzero(entries >= 0)
    read_only = known[catalogue.read_only[entries[known]]]
    ledger.settle(read_only, Verdict.SKIPPED, "read-only in the catalogue", expected=True)
    ledger.settle(np.flatnonzero(entries < 0), Verdict.SKIPPED, "not a setpoint of the catalogue")
    inexact = np.flatnonzero(np.isin(saved.state, (State.CUT, State.INEXACT)))
    ledger.settle(inexact, Verdict.FAILED, [f"not saved: {State(int(s)).reason}" for s in saved.state[inexact]])
    ledger.settle(np.flatnonzero(saved.state == State.AWAY), Verdict.SKIPPED, "no value saved: away", expected=True)
    if away:
        gone = [r for r in np.flatnonzero(~live.connected).tolist() if saved.channels.names[r] in away]
        reasons = [f"known to be away: {away[saved.channels.names[r]].reason}" for r in gone]
        ledger.settle(np.array(gone, np.intp), Verdict.SKIPPED, reasons, expected=True)
    missing = np.flatnonzero(saved.state != State.VALUE)
    ledger.settle(missing, Verdict.SKIPPED, [f"no value saved: {State(int(s)).reason}" for s in saved.state[missing]])
    if live.away is not None:
        ledger.settle(np.flatnonzero(live.away), Verdict.FAILED, State.NO_WORKER.reason)
    ledger.settle(np.flatnonzero(~live.connected), Verdict.FAILED, "disconnected")


def check_write_access(ledger: Ledger, live: Live) -> None:
    """What is still open must be written, and may not be."""
    ledger.settle(np.flatnonzero(~live.writable), Verdict.FAILED, WriteState.NO_WRITE_ACCESS.reason)


def check_saved(ledger: Ledger, saved: Frame) -> None:
    """Verdicts on values that were bad when they were saved, and that the PVs do not have: not written."""
    bad = bad_rows(saved)
    reasons = [f"its value was {alarm_text(saved, row)} when it was saved" for row in bad.tolist()]
    ledger.settle(bad, Verdict.SKIPPED, reasons)


def check_whole(ledger: Ledger, saved: Frame, now: Frame, rows: NDArray[np.intp]) -> None:
    """Verdicts on texts of a file that were cut at 39 characters when it was written: a longer one begins with them."""
    longest = STRING_SIZE - 1
    candidates = np.flatnonzero((saved.dbf == Dbf.STRING) & (now.dbf == Dbf.STRING) & saved.valid & now.valid)
    for row in candidates.tolist():
        text, live = saved.raw(row) or b"", now.raw(row) or b""
        if len(text) == longest < len(live) and live.startswith(text) and not saved.is_array(row):
            reason = (
                f"its text was cut at {longest} characters in the file: the PV has a longer one that begins with it"
            )
            ledger.settle(rows[row : row + 1], Verdict.FAILED, reason)


def check_types(ledger: Ledger, saved: Frame, now: Frame, rows: NDArray[np.intp]) -> None:
    """Verdicts on values that no longer fit. `saved` and `now` have the same channels; `rows` are their ledger rows.

    A PV whose present value could not be read is not written: there would be no way back.
    """
    unread = np.flatnonzero(now.state != State.VALUE)
    reasons = [f"its present value could not be read for the backup: {State(int(s)).reason}" for s in now.state[unread]]
    ledger.settle(rows[unread], Verdict.FAILED, reasons)

    readable = now.state == State.VALUE
    room = np.array([max(m.count, 1) for m in now.metas])[now.meta]
    too_long = np.flatnonzero(readable & (saved.count > room))
    lengths = [f"{int(saved.count[r])} elements saved, it holds {int(room[r])} now" for r in too_long]
    ledger.settle(rows[too_long], Verdict.FAILED, lengths)

    for row in np.flatnonzero(readable & (saved.dbf != now.dbf)).tolist():
        if (reason := _conversion_problem(saved, now, row)) is not None:
            ledger.settle(rows[row : row + 1], Verdict.FAILED, reason)
    _check_labels(ledger, saved, now, rows)


def _conversion_problem(saved: Frame, now: Frame, row: int) -> str | None:
    """Why a value cannot be written to a PV that has another type now; None when it can, unchanged."""
    was, is_now = Dbf(int(saved.dbf[row])), Dbf(int(now.dbf[row]))
    changed = f"its type was {was.name}, it is {is_now.name} now"
    if Dbf.STRING in (was, is_now) or Dbf.ENUM in (was, is_now):
        return changed
    value = saved.value(row)
    elements = np.atleast_1d(np.asarray(value, np.float64))
    target = ELEMENT_DTYPE[is_now]
    if target.kind == "f":
        with np.errstate(over="ignore"):
            fits = np.array_equal(elements.astype(target).astype(np.float64), elements, equal_nan=True)
    else:
        info = np.iinfo(target)
        fits = bool(np.all((elements == np.floor(elements)) & (elements >= info.min) & (elements <= info.max)))
    return None if fits else f"{changed}, and the saved value does not fit"


def _check_labels(ledger: Ledger, saved: Frame, now: Frame, rows: NDArray[np.intp]) -> None:
    """An enum is restored by its index, and only where that index still means the same."""
    enum = np.flatnonzero((saved.dbf == Dbf.ENUM) & (now.dbf == Dbf.ENUM) & (now.state == State.VALUE))
    arrays = enum[np.isnan(saved.number[enum])]
    for row in arrays.tolist():
        if saved.metas[saved.meta[row]].labels != now.metas[now.meta[row]].labels:
            ledger.settle(rows[row : row + 1], Verdict.FAILED, "the labels of its states have changed")
    enum = enum[~np.isnan(saved.number[enum])]
    if not len(enum):
        return
    states = np.column_stack((saved.meta[enum], now.meta[enum], saved.number[enum].astype(np.int64)))
    kinds, which = np.unique(states, axis=0, return_inverse=True)
    for k, (saved_meta, now_meta, index) in enumerate(kinds.tolist()):
        before, after = (_label(m.labels, index) for m in (saved.metas[saved_meta], now.metas[now_meta]))
        if before != after:
            changed = rows[enum[which.reshape(-1) == k]]
            ledger.settle(changed, Verdict.FAILED, f"state {index} was {before!r}, it is {after!r} now")


def _label(labels: tuple[str, ...], index: int) -> str | None:
    return labels[index] if index < len(labels) else None
