"""How a job ended, in the words of STATUS, from its result or from what its row keeps of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from squirrel_ioc.ioc.groups.results import outcome_label
from squirrel_ioc.model.job import FileResult, JobInfo, JobKind, JobStatus

WHOLE = FileResult(7, "a.sav", "autosave", count=3)
PARTIAL = replace(WHOLE, missing=1)


@pytest.mark.parametrize(
    ("status", "result", "label"),
    [
        (JobStatus.PENDING, None, "Waiting"),
        (JobStatus.IN_PROGRESS, None, "Running"),
        (JobStatus.COMPLETED, WHOLE, "OK"),
        (JobStatus.COMPLETED, PARTIAL, "Partial"),
        (JobStatus.COMPLETED, {"count": 3}, "Completed"),
        (JobStatus.FAILED, PARTIAL, "Failed"),
        (JobStatus.ABORTED, None, "Aborted"),
    ],
)
def test_how_it_ended(status: JobStatus, result: Any, label: str) -> None:
    assert outcome_label(JobInfo(1, JobKind.IMPORT, status, result=result)) == label


@pytest.mark.parametrize(("result", "label"), [(WHOLE, "OK"), (PARTIAL, "Partial")])
def test_a_row_keeps_it(result: FileResult, label: str) -> None:
    kept = json.loads(json.dumps(result.to_json()))
    assert outcome_label(JobInfo(1, JobKind.IMPORT, JobStatus.COMPLETED, result=kept)) == label
