"""A PostgreSQL server that the bench runs, and can stop and start under services that use it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.store import EmbeddedServer, Store

__all__ = ["Server", "running_server", "stop_server"]

DATABASE = "squirrel"


class Server:
    """A running server with a database for services."""

    def __init__(self, embedded: EmbeddedServer) -> None:
        self._embedded = embedded

    @property
    def dsn(self) -> str:
        """For `database.dsn`."""
        where = self._embedded.connect_args
        query = urlencode({"host": where["host"], "port": where["port"]})
        return f"postgresql://{where['user']}@/{DATABASE}?{query}"

    def stop(self) -> None:
        """As an administrator does it: connections are ended, what is not committed is undone."""
        self._embedded.stop()

    def start(self) -> None:
        """Start it again; it answers when this is back."""
        self._embedded.start()


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """A server with its data in a folder, which has the database; stopped at the end. Raises StoreError."""
    embedded = EmbeddedServer(folder)
    try:
        embedded.start()
        asyncio.run(_make_database(folder))
        yield Server(embedded)
    finally:
        stop_server(embedded)


async def _make_database(folder: Path) -> None:
    store = await Store.open(DatabaseSettings(), folder)
    await store.close()


def stop_server(server: EmbeddedServer) -> None:
    """Stop it, whatever state it is in: who joins it, and leaves it as its last user, stops it."""
    server.start()
    server.stop()
