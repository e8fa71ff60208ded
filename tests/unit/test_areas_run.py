"""A part at its worker: the job it belongs to is known while it is worked on."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import uuid4

import numpy as np
import pytest

from squirrel_ioc.areas._pack import Columns, pack
from squirrel_ioc.areas._parts import Part
from squirrel_ioc.areas._run import Run, carry_out
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.job import running_job


class OnePart:
    """Stands where a `Run` does, and where the lists that it looks into do: those are not there."""

    id = uuid4()

    def __init__(self, columns: Columns) -> None:
        self.part = Part(self.id, "linac", "read", 1, pack(columns), None)
        self.job = -1
        self.answered = ""

    async def claim(self) -> Part:
        return self.part

    async def confirm(self) -> None:
        await asyncio.Event().wait()

    async def channels(self, *_: Any) -> None:
        self.job = running_job.get()
        raise StoreError("not here")

    async def answer(self, _done: int, error: str, _result: bytes) -> None:
        self.answered = error


@pytest.mark.parametrize(
    ("columns", "job"),
    [({"job": np.array(17)}, 17), ({}, 0), ({"job": np.array([1, 2])}, 0), ({"job": np.array("x")}, 0)],
)
async def test_the_log_of_a_worker_knows_the_job(columns: Columns, job: int) -> None:
    one = OnePart(columns)
    anything = cast(Any, one)
    await asyncio.create_task(carry_out(cast(Run, one), anything, anything, anything))
    assert (one.job, one.answered) == (job, "not here")
