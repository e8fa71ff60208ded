"""Where the errors of asyncpg become those of squirrel-ioc."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from squirrel_ioc.errors import DatabaseDownError, StoreError

__all__ = ["translated", "reason", "UNREACHABLE"]

UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    ssl.SSLError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What asyncpg raises when there is no server, when it goes away, shuts down, starts up, or does not answer."""


def reason(exc: BaseException) -> str:
    """An error in words; some have none of their own, and some speak of the inside of asyncpg."""
    if isinstance(exc, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return "the connection is lost"
    return str(exc) or ("no answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise DatabaseDownError when the database does not answer, StoreError when it refuses; both say `doing` what."""
    try:
        yield
    except UNREACHABLE as exc:
        if isinstance(exc, ValueError):  # how asyncpg's own error says that an argument does not fit its type
            raise StoreError(f"{doing}: {exc}") from exc
        raise DatabaseDownError(f"{doing}: the database does not answer ({reason(exc)})") from exc
    except (asyncpg.PostgresError, UnicodeError, OverflowError) as exc:
        raise StoreError(f"{doing}: {exc}") from exc
