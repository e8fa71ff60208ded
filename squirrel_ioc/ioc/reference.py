"""What control PVs there are: for the PV reference, and for panels."""

from __future__ import annotations

from dataclasses import dataclass

from squirrel_ioc.ioc.pv import Pv
from squirrel_ioc.ioc.server import GROUPS

__all__ = ["PvInfo", "static_pvs"]


@dataclass(frozen=True)
class PvInfo:
    """A control PV. `name` is without the prefix; `type` as in the contract: LONG, CHAR[256], STRING[50000] ..."""

    name: str
    type: str
    record: str
    writable: bool
    desc: str
    egu: str = ""
    states: tuple[str, ...] = ()


def static_pvs() -> list[PvInfo]:
    """Every PV that is always there, group by group, mirrors and twins included."""
    return [_info(pv) for group in GROUPS for pv in group("").pvdb.values()]


def _info(pv: Pv) -> PvInfo:
    size = f"[{pv.max_length}]" if pv.rtyp == "waveform" else ""
    return PvInfo(pv.pvname, f"{pv.data_type.name}{size}", pv.rtyp, pv.writable, pv.desc, pv.egu, pv.labels())
