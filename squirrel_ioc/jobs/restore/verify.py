"""The readback after the writes: every PV of the restore that should have its saved value must have it."""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs.restore.ledger import Verdict
from squirrel_ioc.jobs.restore.run import WRITE_PERCENT, Run
from squirrel_ioc.model.catalogue import Verify
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.compare import differs
from squirrel_ioc.model.display import text
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import State

__all__ = ["verify"]

_POLL_S: Final = 0.1
_READBACK_PERCENT: Final = 95.0


async def verify(run: Run) -> None:
    """Read what was written or had its value already, and compare it within each PV's tolerance.

    What does not match yet is read again until `restore.verify_timeout_s`: some records settle slowly. The readback
    of a PV whose catalogue entry says `verify: readback` is read then, until `restore.readback_timeout_s`.
    """
    rows = run.ledger.rows(Verdict.WRITTEN, Verdict.UNCHANGED)
    if not len(run.ledger.rows(Verdict.WRITTEN)):
        return  # they have just been read
    settings = run.job.settings.restore
    how = run.job.catalogue.verify[run.entries[rows]]
    run.report(f"verifying {len(rows)} PVs", WRITE_PERCENT)
    await run.job.pause(settings.verify_delay_s)
    await _check(run, rows[how != Verify.NO], None, settings.verify_timeout_s)
    moving = rows[(how == Verify.READBACK) & (run.ledger.verdict[rows] != Verdict.MISMATCH)]
    if len(moving):
        names = [str(run.job.catalogue.entries[entry].readback) for entry in run.entries[moving].tolist()]
        await _check(run, moving, names, settings.readback_timeout_s)


async def _check(run: Run, rows: NDArray[np.intp], readbacks: list[str] | None, timeout_s: float) -> None:
    """Read until all match or the time is over: the PVs themselves, or these readbacks of theirs."""
    deadline = time.monotonic() + timeout_s
    what, percent = ("PVs", WRITE_PERCENT) if readbacks is None else ("readbacks", _READBACK_PERCENT)
    while len(rows):
        wanted = run.saved.take(rows)
        got = await _read(run, wanted, readbacks)
        bad = np.flatnonzero(differs(wanted, got, *run.tolerances(rows)) | ~got.valid)
        if not len(bad) or time.monotonic() >= deadline or run.job.aborted:
            run.ledger.retract(rows[bad], [_mismatch(run, int(rows[i]), wanted, got, i) for i in bad.tolist()])
            return
        rows = rows[bad]
        readbacks = None if readbacks is None else [readbacks[i] for i in bad.tolist()]
        run.report(f"verifying: {len(bad)} {what} do not have their value yet: {got.channels.names[bad[0]]}", percent)
        await run.job.pause(min(_POLL_S, max(0.0, deadline - time.monotonic())))


async def _read(run: Run, wanted: Frame, readbacks: list[str] | None) -> Frame:
    """A row for each of `wanted`, whose readbacks several may share."""
    if readbacks is None:
        return await run.job.targets.read(wanted.channels)
    channels = ChannelList.of(dict.fromkeys(readbacks))
    got = await run.job.targets.read(channels)
    return got.reordered(np.array([channels.index[name] for name in readbacks]), ChannelList.of(readbacks))


def _mismatch(run: Run, row: int, wanted: Frame, got: Frame, i: int) -> str:
    """In words, for a PV that does not read back as wanted."""
    wrote = "wrote" if run.ledger.verdict[row] == Verdict.WRITTEN else "unchanged before the restore:"
    if got.state[i] != State.VALUE:
        return f"{wrote} {text(wanted, i, 40)}, could not be read back: {State(int(got.state[i])).reason}"
    read = got.channels.names[i]
    other = "" if read == wanted.channels.names[i] else f"its readback {read} "
    return f"{wrote} {text(wanted, i, 40)}, {other}reads back {text(got, i, 40)}"
