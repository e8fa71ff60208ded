"""What the service and its workers share: areas, parts of jobs, and the channel on which they tell each other.

They tell {"kind": ..., ...}: `areas` (their channels have changed), `worker` (what it knows has), `part` (with `id`:
claimed, further or ended), `cancel` (with `id`), `reset` (try every IOC again).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from squirrel_ioc.errors import StoreError
from squirrel_ioc.store import Connection

__all__ = ["CHANNEL", "ENTRYPOINTS", "LOST_S", "STALE_S", "AreaList", "Part", "entrypoint", "message", "tell"]

CHANNEL: Final = "squirrel_area"

LOST_S: Final = 4.0
"""Silence after which a worker, or who asked it, counts as gone. A worker stops writing well before."""

STALE_S: Final = LOST_S / 2
"""Without a yes for so long nothing is written any more: who asked may have given it up."""

ENTRYPOINTS: Final = "squirrel_area:"
"""How the names begin under which parts stand in the queue."""

_NOTIFY = "SELECT pg_notify($1, $2)"


def entrypoint(area: str) -> str:
    """The name under which the parts of an area stand in the queue; the payload is the part's id."""
    return ENTRYPOINTS + area


@dataclass(frozen=True)
class AreaList:
    """The channels of an area, and how often they have changed."""

    name: str
    version: int
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """What a worker has claimed: rows of the area's list, in `body`."""

    id: UUID
    area: str
    kind: str
    version: int
    body: bytes
    timeout_s: float | None


async def tell(connection: Connection, kind: str, **more: Any) -> None:
    """Tell the others when this is committed."""
    await connection.execute(_NOTIFY, CHANNEL, json.dumps({"kind": kind, **more}))


def message(payload: object) -> dict[str, Any]:
    """What somebody has told. Raises StoreError."""
    try:
        told = json.loads(str(payload))
    except ValueError:
        raise StoreError(f"not understood on channel {CHANNEL}: {payload}") from None
    if not isinstance(told, dict) or not isinstance(told.get("kind"), str):
        raise StoreError(f"not understood on channel {CHANNEL}: {payload}")
    return told
