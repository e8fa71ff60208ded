"""What a dry run tells: the PVs that would be written, from which value to which."""

from __future__ import annotations

import asyncio

from squirrel_ioc.jobs.restore.ledger import Verdict
from squirrel_ioc.jobs.restore.run import Plan, Run
from squirrel_ioc.model.display import STRING_LIMIT, texts

__all__ = ["plan"]


async def plan(run: Run) -> None:
    """Settle what would be written, and say what it would become."""
    rows = run.ledger.open
    before, after = run.before(rows), run.saved.take(rows)

    def words() -> Plan:
        names: list[str] = run.saved.channels.array[rows].tolist()
        return Plan(tuple(names), tuple(texts(before, None, STRING_LIMIT)), tuple(texts(after, None, STRING_LIMIT)))

    run.plan = await asyncio.to_thread(words)
    run.ledger.settle(rows, Verdict.PLANNED)
