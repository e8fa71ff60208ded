"""Where the errors of asyncpg become those of squirrel-ioc."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from squirrel_ioc.errors import DatabaseDownError, StoreError

__all__ = ["translated", "fault", "reason", "UNREACHABLE", "DISK"]

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

DISK: Final = (asyncpg.DiskFullError, asyncpg.PostgresIOError)
"""What says that the server cannot write to its disk."""

# Classes of SQLSTATE in words, the narrow ones first. All are faults that pass, or that somebody mends at the server;
# what was asked is not to blame, and may well succeed later.
_FAULTS: Final[tuple[tuple[type[asyncpg.PostgresError], str], ...]] = (
    (asyncpg.TooManyConnectionsError, "has no connection left"),
    (asyncpg.QueryCanceledError, "has cancelled it"),
    (asyncpg.DiskFullError, "has a full disk"),
    (asyncpg.InsufficientResourcesError, "is short of resources"),
    (asyncpg.ReadOnlySQLTransactionError, "is read-only"),
    (asyncpg.LockNotAvailableError, "waits for somebody else who has locked a table for too long"),
    (asyncpg.PostgresSystemError, "has trouble with its computer"),
    (asyncpg.InvalidAuthorizationSpecificationError, "refuses the login"),
    (asyncpg.TransactionRollbackError, "was being changed by others in the same place"),
)


def fault(exc: BaseException) -> str:
    """What is wrong with the database, to be said after its name; empty when it is not to blame."""
    for kind, words in _FAULTS:
        if isinstance(exc, kind):
            told = str(exc).partition("\n")[0]  # the server's hint comes in lines of its own
            return f"{words} ({told})"
    return f"does not answer: {reason(exc)}" if isinstance(exc, UNREACHABLE) else ""


def reason(exc: BaseException) -> str:
    """An error in words; some have none of their own, and some speak of the inside of asyncpg."""
    if isinstance(exc, (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.ConnectionDoesNotExistError)):
        return "the connection is lost"
    if isinstance(exc, (FileNotFoundError, ConnectionRefusedError)):
        return "no server is running there"
    return str(exc) or ("no answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise DatabaseDownError when the database does not answer or has a fault, StoreError when it refuses what was
    asked; both say `doing` what."""
    try:
        yield
    except (*UNREACHABLE, asyncpg.PostgresError) as exc:
        if isinstance(exc, ValueError):  # how asyncpg's own error says that an argument does not fit its type
            raise StoreError(f"{doing}: {exc}") from exc
        if words := fault(exc):
            raise DatabaseDownError(f"{doing}: the database {words}") from exc
        raise StoreError(f"{doing}: {exc}") from exc
    except (UnicodeError, OverflowError) as exc:
        raise StoreError(f"{doing}: {exc}") from exc
