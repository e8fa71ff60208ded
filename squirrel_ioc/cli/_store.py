"""What commands that look into the database have in common: opening it, and the filters of snapshots."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from squirrel_ioc.errors import DatabaseDownError, RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from squirrel_ioc.model.snapshot import SnapshotFilter
    from squirrel_ioc.store import Store

__all__ = [
    "LabelOption",
    "SinceOption",
    "TextOption",
    "UntilOption",
    "UserOption",
    "read_store",
    "snapshot_filter",
]

T = TypeVar("T")

_WHEN = "local date or time, ISO 8601, perhaps with offset"

TextOption = Annotated[str, typer.Option(help="Part of the title or the comment.")]
LabelOption = Annotated[str, typer.Option(help="A label.")]
UserOption = Annotated[str, typer.Option(help="Who took it.")]
SinceOption = Annotated[str, typer.Option(metavar="TIME", help=f"Taken then or later: {_WHEN}.")]
UntilOption = Annotated[str, typer.Option(metavar="TIME", help="Taken then (that whole day, minute) or earlier.")]


def snapshot_filter(text: str, label: str, user: str, since: str, until: str) -> SnapshotFilter:
    """The filters of LIST, from the options of the same names. Raises BadParameter for what is no time."""
    from squirrel_ioc.model.snapshot import SnapshotFilter
    from squirrel_ioc.model.when import parse_since, parse_until

    try:
        return SnapshotFilter(text, label, user, parse_since(since), parse_until(until))
    except RefusedError as e:
        raise typer.BadParameter(str(e)) from None


def read_store(config: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    """What `work` finds in the database of these settings; the service may be running meanwhile."""
    from squirrel_ioc.cli._stop import run_to_its_end
    from squirrel_ioc.config import load_settings
    from squirrel_ioc.store import Store

    settings = load_settings(config)
    if settings.database.dsn is None and not settings.state_dir.is_dir():
        raise DatabaseDownError(f"there is no database in {settings.state_dir} yet: the service makes it")

    async def body() -> T:
        # The service may be running: it has the database for itself only as far as changes go.
        store = await Store.open(settings.database, settings.state_dir, exclusive=False)
        try:
            return await work(store)
        finally:
            await store.close()

    return run_to_its_end(body())
