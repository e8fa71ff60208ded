"""Rules 9 and 10 of the contract, for every control PV."""

from __future__ import annotations

import re

import pytest

from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.record_fields import get_field
from squirrel_ioc.ioc.reference import static_pvs
from squirrel_ioc.ioc.server import GROUPS

PREFIX = "ABCDEFGHIJKLMNOPQRS:"

PVS: list[Pv] = [pv for group in GROUPS for pv in group(PREFIX).pvdb.values()]
BY_NAME = {pv.pvname.removeprefix(PREFIX): pv for pv in PVS}

CONTRACT_NAMES = """
SNAP:TRIGGER SNAP:NOW SNAP:TITLE SNAP:COMMENT SNAP:LABELS SNAP:FILTER SNAP:ID SNAP:TIME SNAP:EPOCH SNAP:STATUS SNAP:MSG
SNAP:COUNT SNAP:MISSING SNAP:MISSING:NAMES SNAP:INVALID SNAP:INVALID:NAMES SNAP:DURATION
RESTORE:ID RESTORE:TRIGGER RESTORE:MODE RESTORE:FILTER RESTORE:ENABLE RESTORE:VERIFY RESTORE:ABORT RESTORE:BACKUP:ID
RESTORE:UNDO RESTORE:STATUS RESTORE:MSG RESTORE:TOTAL RESTORE:WRITTEN RESTORE:UNCHANGED RESTORE:SKIPPED RESTORE:FAILED
RESTORE:MISMATCH RESTORE:BAD:NAMES RESTORE:BAD:REASONS RESTORE:DURATION
RESTORE:UNDO:ID RESTORE:UNDO:OF RESTORE:UNDO:ALL RESTORE:INVALID RESTORE:SKIPPED:NAMES RESTORE:SKIPPED:REASONS
JOB:ID JOB:KIND JOB:STATUS JOB:PROGRESS JOB:DONE JOB:TOTAL JOB:MSG JOB:USER JOB:HOST JOB:ATTEMPT JOB:ELAPSED JOB:ABORT
JOB:QUEUED JOB:RECENT:IDS JOB:RECENT:KINDS JOB:RECENT:STATUSES JOB:RECENT:TIMES JOB:RECENT:TITLES
JOB:RECENT:OUTCOMES JOB:RECENT:USERS
LIST:TEXT LIST:LABEL LIST:USER LIST:SINCE LIST:UNTIL LIST:PAGE LIST:SIZE LIST:TOTAL LIST:PAGES LIST:IDS LIST:TITLES
LIST:TIMES LIST:EPOCHS LIST:USERS LIST:COUNTS LIST:MISSING LIST:FLAGS LIST:MSG
DIFF:A DIFF:B DIFF:TRIGGER DIFF:FILTER DIFF:SHOW DIFF:ATOL DIFF:RTOL DIFF:STATUS DIFF:MSG DIFF:COUNT DIFF:COMPARED
DIFF:MISSING DIFF:NAMES DIFF:A:VAL DIFF:B:VAL DIFF:DELTA DIFF:A:STR DIFF:B:STR DIFF:SEVR DIFF:ROLE DIFF:PAGE DIFF:PAGES
DIFF:SELECT DIFF:SELECTED DIFF:RESTORE
PVS:COUNT PVS:CONNECTED PVS:DISCONNECTED PVS:DISCONNECTED:NAMES PVS:READONLY
PVS:DUPLICATES PVS:DUPLICATES:NAMES
SNAP:DO SNAP:STICKY SNAP:REFUSED RESTORE:DO RESTORE:STICKY RESTORE:REFUSED RESTORE:LAST:ID RESTORE:PLAN:COUNT
RESTORE:PLAN:NAMES RESTORE:PLAN:FROM RESTORE:PLAN:TO DIFF:DO DIFF:REV DIFF:RESTORE:AT DIFF:STALE LIST:AUTO REF:ID
REF:TITLE REF:TIME
SNAP:AWAY PVS:AWAY PVS:AWAY:ADD PVS:AWAY:REMOVE PVS:AWAY:BACK PVS:AWAY:NAMES PVS:AWAY:REASONS
PVS:ADD PVS:REMOVE PVS:RELOAD PVS:MSG PVS:FIND PVS:FOUND PVS:FOUND:NAMES
AREAS:NAMES AREAS:COUNTS AREAS:WORKERS AREAS:DOWN
IOCS:HOSTS IOCS:COUNTS IOCS:STATES IOCS:OPEN IOCS:RESET
HEARTBEAT STARTTOD UPTIME VERSION ROLE DB:STATUS DB:MSG DB:LATENCY CA_CLNT_CNT CA_CONN_CNT SYS_CPU_LOAD
MEM_USED
FILE:IMPORT FILE:EXPORT FILE:FORMAT FILE:ID FILE:STATUS FILE:MSG FILE:ERRORS
"""


def test_all_of_the_contract_is_there_and_nothing_else() -> None:
    own = {name for name in BY_NAME if not name.endswith((":S", ":LONG"))}
    rows = {f"DIFF:ROW{n:02d}:{name}" for n in range(1, 21) for name in ("NAME", "A", "B", "DELTA", "SEL")}
    assert own == set(CONTRACT_NAMES.split()) | rows


@pytest.mark.parametrize("pv", PVS, ids=lambda pv: pv.label)
def test_every_pv_says_what_it_is_and_has_a_name_that_fits(pv: Pv) -> None:
    assert len(PREFIX) == 20
    assert len(pv.pvname) < 60
    desc = get_field(pv, "DESC").value
    assert 3 < len(desc) <= 39
    assert desc == pv.desc
    assert get_field(pv, "RTYP").value in {
        *("ai", "ao", "bi", "bo", "longin", "longout", "mbbi", "mbbo", "stringin", "stringout", "waveform")
    }
    assert len(pv.egu.encode()) < 8
    for label in pv.labels():
        assert 0 < len(label) < 26
    for name in ("NAME", "SCAN", "PROC", "SEVR", "STAT", "PINI", "PHAS", "DTYP", "DISP", "TIME", "UDF", "ASG"):
        assert get_field(pv, name).pvname == f"{pv.pvname}.{name}"
    with pytest.raises(KeyError):
        get_field(pv, "NONSENSE")


def test_texts_have_mirrors_and_names_have_twins() -> None:
    for name, pv in BY_NAME.items():
        if re.fullmatch(r"CHAR\[\d+]", _type(name)) and not name.endswith(":LONG"):
            mirror = BY_NAME[f"{name}:S"]
            assert (_type(f"{name}:S"), mirror.writable) == ("STRING", pv.writable)
        if name.endswith((":NAMES", ":REASONS", ":TITLES", ":HOSTS")):
            assert _type(name).startswith("STRING[")
            assert _type(f"{name}:LONG").startswith("CHAR[")
            assert not BY_NAME[f"{name}:LONG"].writable


@pytest.mark.parametrize(
    ("name", "kind", "record", "writable"),
    [
        ("SNAP:TRIGGER", "ENUM", "bo", True),
        ("SNAP:NOW", "CHAR[256]", "waveform", True),
        ("SNAP:COMMENT", "CHAR[4096]", "waveform", True),
        ("SNAP:FILTER", "CHAR[1024]", "waveform", True),
        ("SNAP:MSG", "CHAR[512]", "waveform", False),
        ("SNAP:ID", "LONG", "longin", False),
        ("SNAP:TIME", "STRING", "stringin", False),
        ("SNAP:EPOCH", "DOUBLE", "ai", False),
        ("SNAP:STATUS", "ENUM", "mbbi", False),
        ("RESTORE:ID", "LONG", "longout", True),
        ("RESTORE:MODE", "ENUM", "mbbo", True),
        ("RESTORE:ENABLE", "ENUM", "bo", True),
        ("RESTORE:UNDO", "ENUM", "bo", True),
        ("JOB:PROGRESS", "DOUBLE", "ai", False),
        ("JOB:RECENT:IDS", "LONG[50]", "waveform", False),
        ("IOCS:RESET", "ENUM", "bo", True),
        ("DB:STATUS", "ENUM", "bi", False),
    ],
)
def test_types_are_those_of_the_contract(name: str, kind: str, record: str, writable: bool) -> None:
    info = next(i for i in static_pvs() if i.name == name)
    assert (info.type, info.record, info.writable) == (kind, record, writable)


def test_states_are_those_of_the_contract() -> None:
    states = {i.name: ",".join(i.states) for i in static_pvs() if i.states}
    assert states["SNAP:STATUS"] == states["RESTORE:STATUS"] == "None,Running,OK,Partial,Failed,Refused,Aborted"
    assert states["RESTORE:MODE"] == "Changed,All,Dry run"
    assert states["JOB:KIND"] == "None,Snapshot,Restore,Compare,Import,Export,Other"
    assert states["JOB:STATUS"] == "IDLE,PENDING,IN_PROGRESS,COMPLETED,FAILED,RETRYING,ABORTED"
    assert states["ROLE"] == "Active,Standby"
    assert states["DB:STATUS"] == "Connected,Down"
    assert states["SNAP:TRIGGER"] == "Done,Snapshot"


def _type(name: str) -> str:
    return next(i.type for i in static_pvs() if i.name == name)
