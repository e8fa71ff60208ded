"""A look at the areas from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from squirrel_ioc.areas._directory import Directory
from squirrel_ioc.areas._service_sql import Asked
from squirrel_ioc.areas._split import HERE, Assignment
from squirrel_ioc.areas._worker_sql import Taken
from squirrel_ioc.ca import Live
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.store import Store

__all__ = ["AreaReport", "area_channels", "area_reports", "channels_here", "twice"]


@dataclass(frozen=True)
class AreaReport:
    """An area that the service has told its workers of: its channels, how many are connected, who works.

    `connected` is that of the worker that has most, `connected_each` that of each. `duplicates` are PVs that
    two IOCs serve, with both, as that worker knows.
    """

    name: str
    channels: int
    connected: int
    workers: tuple[str, ...]
    connected_each: tuple[int, ...]
    duplicates: tuple[str, ...] = ()


async def area_reports(store: Store) -> list[AreaReport]:
    """Every area there is. Raises StoreError."""
    asked, taken = Asked(store), Taken(store)
    lists = await taken.lists(await taken.area_names())
    directory = Directory(asked)
    await directory.look({area.name: {area.version: ChannelList.of(area.names)} for area in lists})
    reports = []
    for area in lists:
        best = directory.best(area.name)
        rows = [row for row in directory.fresh() if row.area == area.name]
        reports.append(
            AreaReport(
                area.name,
                len(area.names),
                0 if best is None else best.connected,
                tuple(row.process for row in rows),
                tuple(directory.connected(row.id) for row in rows),
                () if best is None or best.version != area.version else twice(area.names, best.live),
            )
        )
    return reports


def twice(names: Sequence[str], live: Live) -> tuple[str, ...]:
    """The PVs that two IOCs serve, with both."""
    return tuple(
        f"{names[row]} ({live.iocs[live.ioc[row]]} is used, {live.ignored[row]} is not)" for row in sorted(live.ignored)
    )


async def area_channels(store: Store) -> dict[str, ChannelList]:
    """The channels of every area, as the workers are told. Raises StoreError."""
    taken = Taken(store)
    return {area.name: ChannelList.of(area.names) for area in await taken.lists(await taken.area_names())}


def channels_here(catalogue: Catalogue, areas: Mapping[str, str]) -> ChannelList:
    """The channels that belong to no area, which the service reads and writes itself."""
    if not areas:
        return catalogue.channels
    assignment = Assignment(areas)
    assignment.assign(catalogue)
    return catalogue.channels.take(assignment.split(catalogue.channels)[HERE])
