"""Record fields: what a panel, an alarm handler or `caget -a` asks a record about itself.

Every field is read-only but `.PROC` of a command. Sources: EPICS base `dbCommon.dbd`, `menuScan.dbd`,
`menuAlarmStat.dbd`, and the `.dbd` of each record type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from caproto import AlarmSeverity, AlarmStatus

from squirrel_ioc.ioc.kinds.command import Command
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.scalars import Byte, Choice, Double, Integer, Short, String
from squirrel_ioc.model.values import EPICS_EPOCH_S

__all__ = ["get_field", "is_field"]

_SCAN: Final = (
    "Passive",
    "Event",
    "I/O Intr",
    "10 second",
    "5 second",
    "2 second",
    "1 second",
    ".5 second",
    ".2 second",
    ".1 second",
)
_IO_INTR: Final = 2
_PINI: Final = ("NO", "YES", "RUN", "RUNNING", "PAUSE", "PAUSED")
_NO_YES: Final = ("NO", "YES")
_PRIORITY: Final = ("LOW", "MEDIUM", "HIGH")
_SEVERITY: Final = ("NO_ALARM", "MINOR", "MAJOR", "INVALID")
_STATUS: Final = tuple(status.name for status in AlarmStatus)
_DEVICE: Final = ("Soft Channel",)
_FTVL: Final = (
    "STRING",
    "CHAR",
    "UCHAR",
    "SHORT",
    "USHORT",
    "LONG",
    "ULONG",
    "INT64",
    "UINT64",
    "FLOAT",
    "DOUBLE",
    "ENUM",
)
_ORDINALS: Final = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV", "EI", "NI", "TE", "EL", "TV", "TT", "FT", "FF")
_MINOR: Final = int(AlarmSeverity.MINOR_ALARM)

Make = Callable[..., Pv]
Field = tuple[Make, Callable[[Any], Any]]


def _string(value: Callable[[Any], Any]) -> Field:
    return String, value


def _menu(states: tuple[str, ...], value: Callable[[Any], Any] = lambda pv: 0) -> Field:
    return (lambda **kwargs: Choice(states=states, **kwargs)), value


def _byte(value: Callable[[Any], Any] = lambda pv: 0) -> Field:
    return Byte, value


def _short(value: Callable[[Any], Any] = lambda pv: 0) -> Field:
    return Short, value


def _integer(value: Callable[[Any], Any] = lambda pv: 0) -> Field:
    return Integer, value


def _double(value: Callable[[Any], Any] = lambda pv: 0.0) -> Field:
    return Double, value


def _time(pv: Pv) -> str:
    moment = datetime.fromtimestamp(pv.stamp.secondsSinceEpoch + EPICS_EPOCH_S).astimezone()
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{pv.stamp.nanoSeconds:09d}"


_EMPTY: Final = _string(lambda pv: "")

_COMMON: Final[Mapping[str, Field]] = {
    "NAME": _string(lambda pv: pv.pvname),
    "DESC": _string(lambda pv: pv.desc),
    "RTYP": _string(lambda pv: pv.rtyp),
    "ASG": _string(lambda pv: "DEFAULT" if pv.writable else "READ_ONLY"),
    "TIME": _string(_time),
    "AMSG": _EMPTY,
    "EVNT": _EMPTY,
    "SDIS": _EMPTY,
    "FLNK": _EMPTY,
    "TSEL": _EMPTY,
    "SCAN": _menu(_SCAN, lambda pv: 0 if pv.writable else _IO_INTR),
    "PINI": _menu(_PINI),
    "PRIO": _menu(_PRIORITY),
    "DTYP": _menu(_DEVICE),
    "STAT": _menu(_STATUS, lambda pv: pv.status),
    "SEVR": _menu(_SEVERITY, lambda pv: pv.severity),
    "NSTA": _menu(_STATUS),
    "NSEV": _menu(_SEVERITY),
    "DISS": _menu(_SEVERITY),
    "UDFS": _menu(_SEVERITY),
    "ACKS": _menu(_SEVERITY, lambda pv: pv.acks),
    "ACKT": _menu(_NO_YES, lambda pv: pv.ackt),
    "PHAS": _short(),
    "TSE": _short(lambda pv: -2),
    "DISV": _short(lambda pv: 1),
    "DISA": _short(),
    "UTAG": _integer(),
    "PROC": _byte(),
    "DISP": _byte(lambda pv: not pv.writable),
    "UDF": _byte(lambda pv: pv.status == AlarmStatus.UDF),
    "PACT": _byte(lambda pv: isinstance(pv, Command) and pv.value),
    "PUTF": _byte(),
    "RPRO": _byte(),
    "LCNT": _byte(),
    "TPRO": _byte(),
    "BKPT": _byte(),
}


def _limit(i: int) -> Callable[[Any], Any]:
    return lambda pv: pv.limits[i]


def _limits(make: Callable[[Callable[[Any], Any]], Field]) -> dict[str, Field]:
    names = ("HOPR", "LOPR", "HIHI", "HIGH", "LOW", "LOLO", "DRVH", "DRVL")
    fields = {name: make(_limit(i)) for i, name in enumerate(names)}
    return fields | {name: make(lambda pv: 0) for name in ("HYST", "ADEL", "MDEL", "LALM", "ALST", "MLST")}


_SEVERITIES: Final[Mapping[str, Field]] = {
    "HHSV": _menu(_SEVERITY),
    "HSV": _menu(_SEVERITY, lambda pv: _MINOR if getattr(pv, "alarm_above", None) is not None else 0),
    "LSV": _menu(_SEVERITY),
    "LLSV": _menu(_SEVERITY),
}
_OUTPUT: Final[Mapping[str, Field]] = {
    "OUT": _EMPTY,
    "DOL": _EMPTY,
    "OMSL": _menu(("supervisory", "closed_loop")),
}
_EGU: Final[Mapping[str, Field]] = {"EGU": _string(lambda pv: pv.egu)}
_PREC: Final[Mapping[str, Field]] = {"PREC": _short(lambda pv: pv.prec)}
_ARRAY: Final[Mapping[str, Field]] = {
    "NELM": _integer(lambda pv: pv.max_length),
    "NORD": _integer(lambda pv: pv.nord),
    "FTVL": _menu(_FTVL, lambda pv: _FTVL.index(pv.ftvl)),
    "HOPR": _double(),
    "LOPR": _double(),
    "BUSY": _short(),
    "RARM": _short(),
}


def _label(i: int) -> Callable[[Any], Any]:
    return lambda pv: pv.states[i] if i < len(pv.states) else ""


def _index(i: int) -> Callable[[Any], Any]:
    return lambda pv: i if i < len(pv.states) else 0


def _severity(i: int) -> Callable[[Any], Any]:
    return lambda pv: pv.alarms.get(i, 0)


_STATES: Final[Mapping[str, Field]] = {
    **{f"{o}ST": _string(_label(i)) for i, o in enumerate(_ORDINALS)},
    **{f"{o}VL": _integer(_index(i)) for i, o in enumerate(_ORDINALS)},
    **{f"{o}SV": _menu(_SEVERITY, _severity(i)) for i, o in enumerate(_ORDINALS)},
    "NOBT": _short(lambda pv: 4),
    "RVAL": _integer(lambda pv: pv.value),
    "UNSV": _menu(_SEVERITY),
    "COSV": _menu(_SEVERITY),
}
_BINARY: Final[Mapping[str, Field]] = {
    "ZNAM": _string(_label(0)),
    "ONAM": _string(_label(1)),
    "ZSV": _menu(_SEVERITY, _severity(0)),
    "OSV": _menu(_SEVERITY, _severity(1)),
    "COSV": _menu(_SEVERITY),
    "RVAL": _integer(lambda pv: pv.value),
    "HIGH": _double(),
}

_OF_RECORD: Final[Mapping[str, Mapping[str, Field]]] = {
    "longin": {**_EGU, **_limits(_integer), **_SEVERITIES},
    "longout": {**_EGU, **_limits(_integer), **_SEVERITIES, **_OUTPUT},
    "ai": {**_EGU, **_PREC, **_limits(_double), **_SEVERITIES},
    "ao": {**_EGU, **_PREC, **_limits(_double), **_SEVERITIES, **_OUTPUT},
    "mbbi": _STATES,
    "mbbo": {**_STATES, **_OUTPUT},
    "bi": _BINARY,
    "bo": {**_BINARY, **_OUTPUT},
    "stringin": {},
    "stringout": _OUTPUT,
    "waveform": {**_EGU, **_PREC, **_ARRAY},
}

# What a record does not change while it runs.
_MOVING: Final = frozenset(["TIME", "STAT", "SEVR", "ACKS", "ACKT", "PACT", "NORD", "RVAL"])


def is_field(name: str) -> bool:
    """Whether some record has such a field."""
    return name == "VAL" or name in _COMMON or any(name in fields for fields in _OF_RECORD.values())


def get_field(pv: Pv, name: str) -> Pv:
    """The PV of a record field; the record itself for VAL. Raises KeyError for one that such a record has not."""
    if name in ("", "VAL"):
        return pv
    if name not in pv.fields_made:
        pv.fields_made[name] = _make(pv, name)
    return pv.fields_made[name]


def _make(pv: Pv, name: str) -> Pv:
    own = _OF_RECORD[pv.rtyp]
    make, value = own[name] if name in own else _COMMON[name]
    processes = name == "PROC" and isinstance(pv, Command)
    field = make(pvname=f"{pv.pvname}.{name}", group=pv.group, pvspec=pv.pvspec, value=value(pv), writable=processes)
    field.alarm_source = pv
    field.post(value(pv), pv.stamp)
    moves = pv.follows or name in _MOVING
    pv.dependents.append(lambda: field.post(value(pv) if moves else field.value, pv.stamp))
    if processes:
        field.stands_for = pv
        field.on_put = lambda _: pv.put(1)
    return field
