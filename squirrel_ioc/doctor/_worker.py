"""Checks all that a worker needs, on the host where it is to run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from squirrel_ioc.areas import area_channels
from squirrel_ioc.config import Settings
from squirrel_ioc.doctor._database import check_database
from squirrel_ioc.doctor._environment import check_environment
from squirrel_ioc.doctor._finding import Finding, Verdict
from squirrel_ioc.doctor._machine import check_machine
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.store import EmbeddedServer, Store

__all__ = ["examine_worker"]


async def examine_worker(settings: Settings, areas: Sequence[str]) -> AsyncIterator[Finding]:
    """What there is to say about these settings for a worker of these areas. Changes nothing.

    Raises ChannelAccessError.
    """
    for finding in check_environment(settings.ca, os.environ):
        yield finding
    if settings.database.dsn is None and not EmbeddedServer(settings.state_dir).exists:
        text = f"there is no database.dsn, and no embedded one in {settings.state_dir}"
        advice = "give both the service's database.dsn, or on its own machine its state_dir; start the service first"
        yield Finding("database", Verdict.BAD, text, advice)
        return
    findings, catalogue = await check_database(settings)
    for finding in findings:
        yield finding
    if catalogue is None:
        return
    store = await Store.open(settings.database, settings.state_dir, exclusive=False)
    try:
        lists = await area_channels(store)
    finally:
        await store.close()
    for finding in _known(areas, lists):
        yield finding
    channels = ChannelList.of(dict.fromkeys(n for area in areas if area in lists for n in lists[area].names))
    if len(channels):
        for finding in await check_machine(settings.ca, catalogue, channels):
            yield finding


def _known(areas: Sequence[str], lists: Mapping[str, ChannelList]) -> Iterator[Finding]:
    there = ", ".join(lists) or "none"
    for name in areas:
        if name not in lists:
            advice = "correct --area, or `areas` in the settings of the service, and start that again"
            yield Finding("areas", Verdict.BAD, f"the service has no area {name}; it has: {there}", advice)
        else:
            yield Finding("areas", Verdict.OK, f"{name}: {len(lists[name])} PVs")
