"""All of it, one after the other; what hangs together is skipped when its base is not there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

from squirrel_ioc.areas import channels_here
from squirrel_ioc.config import Settings
from squirrel_ioc.doctor._database import check_database
from squirrel_ioc.doctor._environment import check_disk, check_environment
from squirrel_ioc.doctor._finding import Finding, Verdict
from squirrel_ioc.doctor._machine import check_machine
from squirrel_ioc.doctor._port import check_port
from squirrel_ioc.model.catalogue import Catalogue, Entry

__all__ = ["examine"]


async def examine(settings: Settings, entries: Sequence[Entry]) -> AsyncIterator[Finding]:
    """What there is to say about these settings, and the entries of the catalogue files. Changes nothing.

    Takes as long as the database and the PVs take, each within its timeout of the settings. Raises ChannelAccessError.
    """
    for finding in check_disk(settings):
        yield finding
    findings, catalogue = await check_database(settings)
    for finding in findings:
        yield finding
    for finding in await asyncio.to_thread(lambda: list(check_port(settings))):
        yield finding
    for finding in check_environment(settings.ca, os.environ):
        yield finding
    if catalogue is None:
        catalogue = Catalogue.of(entries)
    else:
        yield Finding("catalogue", Verdict.OK, f"in force: {len(catalogue)} setpoints, version {catalogue.version}")
    channels = channels_here(catalogue, settings.areas)
    if len(channels):
        for finding in await check_machine(settings.ca, catalogue, channels):
            yield finding
