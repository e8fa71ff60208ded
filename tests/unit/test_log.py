"""The log: what a record becomes."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from squirrel_ioc.cli._log import JsonFormatter, Labels
from squirrel_ioc.model.job import running_job


class Lines(logging.Handler):
    """Keeps what was logged, as the service would print it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.addFilter(Labels())
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Any:
    handler = Lines()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


async def test_a_record_has_its_job(lines: list[dict[str, Any]]) -> None:
    log = logging.getLogger("test")

    async def work(job: int) -> None:
        running_job.set(job)
        await asyncio.sleep(0)
        await asyncio.create_task(part())

    async def part() -> None:
        log.warning("one of its tasks")

    await asyncio.gather(asyncio.create_task(work(7)), asyncio.create_task(work(8)))
    log.warning("none")
    log.warning("told", extra={"job": 9})
    assert [line.get("job") for line in lines] == [7, 8, None, 9]
    assert set(lines[2]) == {"time", "level", "logger", "message"}


def fail() -> None:
    raise OSError("gone")


def test_the_trace_of_a_library_is_a_line(lines: list[dict[str, Any]]) -> None:
    for name in ("asyncpg.pool", "squirrel_ioc.app"):
        try:
            fail()
        except OSError:
            logging.getLogger(name).exception("%d connections", 3)
    assert lines[0]["message"] == "3 connections: OSError('gone')"
    assert "exception" not in lines[0]
    assert lines[1]["message"] == "3 connections"
    assert "Traceback" in lines[1]["exception"]
