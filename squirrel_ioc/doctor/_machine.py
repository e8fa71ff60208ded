"""The PVs of the catalogue: which of them connect, and where the others would have to be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.areas import twice
from squirrel_ioc.ca import Live, Machine
from squirrel_ioc.config import CaSettings
from squirrel_ioc.doctor._finding import Finding, Verdict
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import State

__all__ = ["TWICE_ADVICE", "check_machine"]

_NAMED: Final = 5
TWICE_ADVICE: Final = "which one is used is chance, and may change: take the name out of one of them"
_SECOND_ANSWER_S: Final = 0.5
"""An IOC that serves a name that another has served already answers the search a little later."""

_NOT_WHOLE: Final = {
    State.CUT: "shorten it, or serve it by an IOC that has long strings (NAME$)",
    State.INEXACT: "keep it below 2^53, or in two records",
}
_STATES: Final = ("ok", "slow", "not answering", "down")


async def check_machine(settings: CaSettings, catalogue: Catalogue, channels: ChannelList) -> list[Finding]:
    """Connect these of its channels, as the service does, and let them go again."""
    machine = Machine(settings)
    await machine.start()
    try:
        await machine.watch(channels)
        await machine.settled(settings.connect_timeout_s)
        await asyncio.sleep(_SECOND_ANSWER_S)
        live = machine.live(channels)
        iocs = machine.iocs()
        frame = await machine.read(channels)
    finally:
        await machine.stop()
    findings = [
        Finding("iocs", Verdict.OK if ioc.status == 0 else Verdict.WARNING, f"{ioc.host}: {ioc.channels} PVs, {state}")
        for ioc in iocs
        if (state := _STATES[ioc.status])
    ]
    missing = channels.array[~live.connected].tolist()
    read_only = channels.array[live.connected & ~live.writable & ~_marked(catalogue, channels)].tolist()
    return [
        *_missing(missing, len(channels), settings),
        *_read_only(read_only),
        *_not_whole(frame),
        *_twice(channels, live),
        *_two_names(channels),
        *findings,
    ]


def _marked(catalogue: Catalogue, channels: ChannelList) -> NDArray[np.bool_]:
    """bool[channels]: what is never written: readbacks, and what the catalogue says so of."""
    return catalogue.read_only[catalogue.channels.find(channels)]


def _missing(missing: list[str], total: int, settings: CaSettings) -> Iterator[Finding]:
    if not missing:
        yield Finding("pvs", Verdict.OK, f"all {total} PVs connect")
        return
    within = f"within {settings.connect_timeout_s:g} s (ca.connect_timeout_s)"
    if len(missing) == total:
        address = " ".join(settings.addr_list) or os.environ.get("EPICS_CA_ADDR_LIST", "")
        yield Finding(
            "pvs",
            Verdict.BAD,
            f"none of {total} PVs connect {within}",
            f"are the IOCs on, and at {address or 'the broadcast addresses of this host'}? Try `caget {missing[0]}`; "
            "a firewall must let UDP and TCP of CA through",
            tuple(missing),
        )
        return
    yield Finding(
        "pvs",
        Verdict.WARNING,
        f"{len(missing)} of {total} PVs do not connect {within}: {_some(missing)}",
        "they will be missing in snapshots: start their IOCs, add their addresses to ca.addr_list, or take them out of "
        "the catalogue",
        tuple(missing),
    )


def _not_whole(frame: Frame) -> Iterator[Finding]:
    for state, advice in _NOT_WHOLE.items():
        names = frame.channels.array[frame.state == state].tolist()
        if names:
            yield Finding(
                "pvs",
                Verdict.WARNING,
                f"{state.reason}: {_some(names)}",
                f"not saved, not restored: {advice}",
                tuple(names),
            )


def _twice(channels: ChannelList, live: Live) -> Iterator[Finding]:
    rows = sorted(live.ignored)
    if rows:
        names = channels.array[rows].tolist()
        yield Finding(
            "pvs",
            Verdict.WARNING,
            f"PVs that two IOCs serve, {len(rows)} of them: {_some(list(twice(channels.names, live)))}",
            TWICE_ADVICE,
            tuple(names),
        )


def _two_names(channels: ChannelList) -> Iterator[Finding]:
    """X.VAL and X from an old database; a catalogue is not read so any more."""
    double = [name for name in channels.names if (short := canonical(name)) != name and short in channels.index]
    if double:
        yield Finding(
            "pvs",
            Verdict.WARNING,
            f"{len(double)} PVs are in the catalogue under a second name: {_some(double)}",
            "remove one of the two: a restore writes both",
            tuple(double),
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _read_only(names: list[str]) -> Iterator[Finding]:
    if names:
        yield Finding(
            "pvs",
            Verdict.WARNING,
            f"setpoints that may not be written from here, {len(names)} of them: {_some(names)}",
            "give this user and host write access on the IOC, or mark them read_only in the catalogue",
            tuple(names),
        )
