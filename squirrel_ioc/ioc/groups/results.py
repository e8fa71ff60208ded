"""What a job has ended with, whichever process it ran in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from squirrel_ioc.model.job import JobInfo, JobStatus, Outcome, RestoreMode, Result

__all__ = ["iso_time", "outcome_label", "outcome_of", "result_of"]

R = TypeVar("R", bound=Result)


def result_of(info: JobInfo, kind: type[R]) -> R | None:
    """The result of a job of this kind; None when it ended without one.

    A job that ran in another process, or before a restart, has its result as JSON.
    """
    if isinstance(info.result, kind):
        return info.result
    if not isinstance(info.result, Mapping):
        return None
    known = {f.name for f in fields(kind)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in info.result.items() if key in known
    }
    if "taken" in values:
        values["taken"] = datetime.fromisoformat(values["taken"])
    if "mode" in values:
        values["mode"] = RestoreMode(values["mode"])
    if "outcome" in values:
        values["outcome"] = Outcome(values["outcome"])
    return kind(**values)


def outcome_of(info: JobInfo, result: Result | None) -> Outcome:
    """STATUS of the group for a job that has ended."""
    if info.status is JobStatus.FAILED:
        return Outcome.FAILED
    if info.status is JobStatus.ABORTED:
        return Outcome.ABORTED
    return result.outcome if result is not None else Outcome.OK


def outcome_label(info: JobInfo) -> str:
    """How a job stands, or has ended, in the words of STATUS: a snapshot without some of its values is Partial."""
    if not info.status.terminal:
        return "Running" if info.status is JobStatus.IN_PROGRESS else "Waiting"
    told = info.result.get("outcome") if isinstance(info.result, Mapping) else getattr(info.result, "outcome", None)
    if info.status is not JobStatus.COMPLETED:
        outcome = outcome_of(info, None)
    elif told is None:
        return "Completed"  # an earlier version did not keep it
    else:
        outcome = Outcome(told)
    return "OK" if outcome is Outcome.OK else outcome.name.capitalize()


def iso_time(moment: datetime | None) -> str:
    """ISO-8601 with offset, local time, milliseconds: 29 characters."""
    return moment.astimezone().isoformat(timespec="milliseconds") if moment is not None else ""
