"""What control PVs there are: for the PV reference, and for panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from caproto import AlarmSeverity, ChannelType

from squirrel_ioc.ioc.groups.diff_listing import PAGE_ROWS
from squirrel_ioc.ioc.groups.job_group import ABORT_TIMEOUT_S
from squirrel_ioc.ioc.groups.list import MAX_SIZE
from squirrel_ioc.ioc.kinds.arrays import MAX_LONG_TEXT, MAX_NAMES
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.scalars import Choice, Integer
from squirrel_ioc.ioc.protocol.bounds import EASY_BYTES
from squirrel_ioc.ioc.protocol.server import MAX_CIRCUITS
from squirrel_ioc.ioc.server import GROUPS
from squirrel_ioc.jobs.importing import EXCHANGE_LIMITS, READ_S
from squirrel_ioc.jobs.queue import MAX_QUEUED
from squirrel_ioc.model.job import MAX_NAMES_IN_ROW
from squirrel_ioc.model.values import STRING_SIZE

__all__ = ["BOUNDS", "PvInfo", "static_groups", "static_pvs"]

BOUNDS: Final[Mapping[str, int]] = {
    "names": MAX_NAMES,
    "long_text": MAX_LONG_TEXT >> 20,
    "string": STRING_SIZE - 1,
    "names_in_row": MAX_NAMES_IN_ROW,
    "clients": MAX_CIRCUITS,
    "waiting": EASY_BYTES >> 20,
    "queued": MAX_QUEUED,
    "abort": int(ABORT_TIMEOUT_S),
    "rows": PAGE_ROWS,
    "size": MAX_SIZE,
    "import_bytes": EXCHANGE_LIMITS.file_bytes >> 20,
    "import_s": int(READ_S),
}
"""Numbers that the PV reference names."""


@dataclass(frozen=True)
class PvInfo:
    """A control PV.

    `name` is without the prefix; `type` as in the contract: LONG, CHAR[256], STRING[50000] ...; `severities` are those
    of the `states`, MINOR, MAJOR or empty; larger values than `alarm_above` are MINOR.
    """

    name: str
    type: str
    record: str
    writable: bool
    desc: str
    egu: str = ""
    states: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    alarm_above: int | None = None


def static_groups() -> dict[str, list[PvInfo]]:
    """Every PV that is always there, mirrors and twins included, by the name of its group: SNAP, RESTORE, ..."""
    return {
        group.section.rstrip(":") or group.__name__.removesuffix("Group").upper(): [
            _info(pv) for pv in group("").pvdb.values()
        ]
        for group in GROUPS
    }


def static_pvs() -> list[PvInfo]:
    """The same in one list."""
    return [info for infos in static_groups().values() for info in infos]


def _info(pv: Pv) -> PvInfo:
    # caproto has both names of one type, and shows the other.
    name = "SHORT" if pv.data_type == ChannelType.INT else pv.data_type.name
    size = f"[{pv.max_length}]" if pv.rtyp == "waveform" else ""
    return PvInfo(
        name=pv.pvname,
        type=f"{name}{size}",
        record=pv.rtyp,
        writable=pv.writable,
        desc=pv.desc,
        egu=pv.egu,
        states=pv.labels(),
        severities=tuple(_severity(pv, i) for i in range(len(pv.states))) if isinstance(pv, Choice) else (),
        alarm_above=pv.alarm_above if isinstance(pv, Integer) else None,
    )


def _severity(pv: Choice, state: int) -> str:
    severity = pv.alarms.get(state, AlarmSeverity.NO_ALARM)
    return severity.name.removesuffix("_ALARM") if severity else ""
