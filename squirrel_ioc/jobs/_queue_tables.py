"""The queue's tables, which are pgqueuer's."""

from __future__ import annotations

from typing import Any, cast

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries

__all__ = ["ENTRYPOINT", "queries"]

ENTRYPOINT = "squirrel_job"
"""The name under which jobs stand in the queue; the payload is the job's id."""


def queries(connection: Any) -> Queries:
    """pgqueuer's statements on a connection, or on one of a pool, which it does not tell apart."""
    return Queries(AsyncpgDriver(cast(asyncpg.Connection, connection)))
