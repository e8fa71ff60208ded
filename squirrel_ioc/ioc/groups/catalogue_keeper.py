"""What the control PVs ask of the catalogue: to be changed; and of the list of PVs that are away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from squirrel_ioc.model.away import Away
from squirrel_ioc.model.channels import ChannelList

__all__ = ["AwayList", "CatalogueChange", "CatalogueKeeper"]


class CatalogueChange(Protocol):
    """The catalogue has changed, and is in force."""

    @property
    def new(self) -> ChannelList:
        """Its channels that were not watched before."""
        ...

    @property
    def message(self) -> str:
        """What has happened, in words."""
        ...

    @property
    def elsewhere(self) -> bool:
        """Whether another process changed it."""
        ...


class CatalogueKeeper(Protocol):
    """Changes the catalogue, whole or not at all. `by` is who wants it. The checks raise RefusedError.

    The coroutines raise RefusedError, DatabaseDownError, StoreError.
    """

    def listen(self, callback: Callable[[CatalogueChange], None]) -> Callable[[], None]:
        """Call back, in the loop, when another catalogue is in force; returns what ends it."""
        ...

    def check_add(self, names: Sequence[str]) -> None:
        """Whether these can be added, as things stand."""
        ...

    async def add(self, names: Sequence[str], by: str) -> CatalogueChange:
        """Take up PVs."""
        ...

    def check_remove(self, names: Collection[str]) -> None:
        """Whether these can be removed, as things stand."""
        ...

    async def remove(self, names: Sequence[str], by: str) -> CatalogueChange:
        """Take PVs out."""
        ...

    def check_reload(self) -> None:
        """Whether there are catalogue files."""
        ...

    async def reload(self, by: str) -> CatalogueChange:
        """Read the catalogue files again. Also raises CatalogueError."""
        ...


class AwayList(Protocol):
    """PVs that are known to be away. The coroutines raise RefusedError, DatabaseDownError, StoreError."""

    @property
    def current(self) -> Mapping[str, Away]:
        """By name, in the order of names."""
        ...

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, in the loop, when the list has changed; returns what ends it."""
        ...

    async def add(self, names: Sequence[str], reason: str, user: str) -> None:
        """Put these on the list."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """Take these off."""
        ...
