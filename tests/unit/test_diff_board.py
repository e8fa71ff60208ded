"""What the board of jobs keeps of their results."""

from __future__ import annotations

import gc
import json
import weakref
from datetime import UTC, datetime
from typing import Any

import numpy as np

from squirrel_ioc.jobs._state import RECENT, JobBoard
from squirrel_ioc.model.compare import compare
from squirrel_ioc.model.difftable import Show, tabulate
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.job import (
    MAX_NAMES_IN_ROW,
    CompareResult,
    JobInfo,
    JobKind,
    JobStatus,
    Outcome,
    RestoreMode,
    RestoreResult,
    SnapshotResult,
)

NAMES = tuple(f"T:{i}" for i in range(3 * MAX_NAMES_IN_ROW))


def compared() -> CompareResult:
    found = compare(*(Frame.empty(ChannelList.of(("A", "B"))) for _ in range(2)))
    return CompareResult(1, 2, 1, 2, found, tabulate(found, Show.ALL), 0)


def snapshot() -> SnapshotResult:
    return SnapshotResult(1, "t", datetime(2024, 5, 17, tzinfo=UTC), 0, len(NAMES), NAMES, NAMES)


def restored() -> RestoreResult:
    return RestoreResult(1, RestoreMode.ALL, Outcome.FAILED, 1, 0, 0, 0, 1, 0, 0, NAMES, NAMES)


def end(board: JobBoard, job_id: int, kind: JobKind, result: Any) -> None:
    board.publish(JobInfo(job_id, kind, JobStatus.IN_PROGRESS))
    board.publish(JobInfo(job_id, kind, JobStatus.COMPLETED, result=result))


def kept(board: JobBoard, job_id: int) -> Any:
    info = board.job(job_id)
    assert info is not None
    return info.result


def test_frames_of_older_comparisons_are_not_kept() -> None:
    board = JobBoard()
    frames = []
    for job_id in range(1, 2 * RECENT):
        result = compared()
        frames.append(weakref.ref(result.comparison.a))
        end(board, job_id, JobKind.COMPARE, result)
        del result
    gc.collect()
    assert [ref() is not None for ref in frames] == [False] * (len(frames) - 1) + [True]
    assert kept(board, len(frames) - 1) == {**compared().to_json()}
    assert isinstance(kept(board, len(frames)), CompareResult)


def test_names_of_older_results_are_those_of_their_rows() -> None:
    board = JobBoard()
    for job_id in range(1, 8):
        end(board, job_id, *((JobKind.SNAPSHOT, snapshot()) if job_id % 2 else (JobKind.RESTORE, restored())))
    assert kept(board, 7) == snapshot()
    assert kept(board, 6) == restored()
    for job_id in range(1, 6):
        older = kept(board, job_id)
        json.dumps(older)
        names = older["missing_names" if job_id % 2 else "bad_names"]
        assert len(names) == MAX_NAMES_IN_ROW


def test_listeners_and_waiters_get_the_whole_result() -> None:
    board = JobBoard()
    heard: list[Any] = []
    board.listen(lambda info: heard.append(info.result))
    for job_id in (1, 2):
        end(board, job_id, JobKind.SNAPSHOT, snapshot())
    assert [r for r in heard if r is not None] == [snapshot(), snapshot()]


def test_jobs_without_a_result_or_with_that_of_a_row() -> None:
    board = JobBoard()
    board.load([JobInfo(1, JobKind.RESTORE, JobStatus.COMPLETED, result={"written": 3})])
    for job_id in (2, 3):
        end(board, job_id, JobKind.RESTORE, None)
    end(board, 4, JobKind.RESTORE, restored())
    assert [kept(board, i) for i in (1, 2, 3)] == [{"written": 3}, None, None]
    assert np.size(kept(board, 4).bad_names) == len(NAMES)
