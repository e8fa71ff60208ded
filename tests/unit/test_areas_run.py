"""A part at its worker: which job it belongs to, and that it can be cancelled."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import numpy as np
import pytest
from control_pvs import until

from squirrel_ioc.areas import worker
from squirrel_ioc.areas._pack import Columns, pack
from squirrel_ioc.areas._parts import Part, entrypoint
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


async def test_a_part_that_is_delivered_again_meanwhile_can_still_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[Run] = []
    goes_on = [asyncio.Event(), asyncio.Event()]

    async def begun(run: Run, *_: Any) -> None:
        runs.append(run)
        await goes_on[len(runs) - 1].wait()

    monkeypatch.setattr(worker, "carry_out", begun)
    one = worker.Worker(cast(Any, None), ["linac"])
    one._ids, part_id = {"linac": 1}, uuid4()
    for name in ("_parts", "_machine", "_held"):
        setattr(one, name, None)
    delivery = SimpleNamespace(payload=part_id.bytes, entrypoint=entrypoint("linac"))
    async with asyncio.TaskGroup() as tasks:
        for _ in goes_on:
            tasks.create_task(one._deliver(cast(Any, delivery)))
        await until(lambda: len(runs) == len(goes_on))
        goes_on[1].set()
        await until(lambda: len(one._runs) == 1)
        one._heard(None, 0, "", json.dumps({"kind": "cancel", "id": part_id.hex}))
        assert runs[0].cancelled
        goes_on[0].set()
    assert not one._runs
    assert not caplog.records
