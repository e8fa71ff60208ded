"""FILTER: a selection is checked when it is written, not when it is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.ioc.kinds.arrays import Text
from squirrel_ioc.model.selection import parse

__all__ = ["selection_writer"]


def selection_writer(pv: Text) -> Callable[[str], Awaitable[None]]:
    """An `on_put` that refuses what does not parse, with position and reason."""

    async def write(text: str) -> None:
        try:
            parse(text)
        except SelectionError as error:
            raise RefusedError(f"{pv.label}: {error}") from None
        pv.post(text)

    return write
