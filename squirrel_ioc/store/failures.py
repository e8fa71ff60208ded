"""Where the errors of asyncpg become those of squirrel-ioc."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from squirrel_ioc.errors import DatabaseDownError, StoreError

__all__ = ["translated", "reason", "UNREACHABLE", "DISK"]

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
    (asyncpg.TooManyConnectionsError, "the database has no connection left"),
    (asyncpg.QueryCanceledError, "the database has cancelled it"),
    (asyncpg.DiskFullError, "the disk of the database is full"),
    (asyncpg.InsufficientResourcesError, "the database is short of resources"),
    (asyncpg.ReadOnlySQLTransactionError, "the database is read-only"),
    (asyncpg.LockNotAvailableError, "somebody else has locked a table of the database for too long"),
    (asyncpg.PostgresSystemError, "the database has trouble with its computer"),
    (asyncpg.InvalidAuthorizationSpecificationError, "the database refuses the login"),
    (asyncpg.TransactionRollbackError, "others were changing the same in the database"),
)


def reason(exc: BaseException) -> str:
    """An error in words; some have none of their own, and some speak of the inside of asyncpg."""
    if isinstance(exc, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return "the connection is lost"
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
        for kind, words in _FAULTS:
            if isinstance(exc, kind):
                raise DatabaseDownError(f"{doing}: {words} ({exc})") from exc
        if isinstance(exc, UNREACHABLE):
            raise DatabaseDownError(f"{doing}: the database does not answer ({reason(exc)})") from exc
        raise StoreError(f"{doing}: {exc}") from exc
    except (UnicodeError, OverflowError) as exc:
        raise StoreError(f"{doing}: {exc}") from exc
