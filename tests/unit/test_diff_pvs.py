"""The PVs of DIFF: what the contract says of them, also in a view."""

from __future__ import annotations

import pytest

from squirrel_ioc.config import MAX_PREFIX, MAX_VIEW
from squirrel_ioc.ioc.groups.diff import DiffGroup
from squirrel_ioc.ioc.reference import PvInfo, static_pvs

INFOS: dict[str, PvInfo] = {info.name: info for info in static_pvs()}


@pytest.mark.parametrize(
    ("name", "kind", "record", "writable"),
    [
        ("DIFF:A", "LONG", "longout", True),
        ("DIFF:B", "LONG", "longout", True),
        ("DIFF:TRIGGER", "ENUM", "bo", True),
        ("DIFF:FILTER", "CHAR[1024]", "waveform", True),
        ("DIFF:SHOW", "ENUM", "mbbo", True),
        ("DIFF:ATOL", "DOUBLE", "ao", True),
        ("DIFF:RTOL", "DOUBLE", "ao", True),
        ("DIFF:STATUS", "ENUM", "mbbi", False),
        ("DIFF:MSG", "CHAR[512]", "waveform", False),
        ("DIFF:COUNT", "LONG", "longin", False),
        ("DIFF:COMPARED", "LONG", "longin", False),
        ("DIFF:MISSING", "LONG", "longin", False),
        ("DIFF:NAMES", "STRING[50000]", "waveform", False),
        ("DIFF:A:VAL", "DOUBLE[50000]", "waveform", False),
        ("DIFF:B:VAL", "DOUBLE[50000]", "waveform", False),
        ("DIFF:DELTA", "DOUBLE[50000]", "waveform", False),
        ("DIFF:A:STR", "STRING[50000]", "waveform", False),
        ("DIFF:B:STR", "STRING[50000]", "waveform", False),
        ("DIFF:SEVR", "SHORT[50000]", "waveform", False),
        ("DIFF:ROLE", "STRING[50000]", "waveform", False),
        ("DIFF:PAGE", "LONG", "longout", True),
        ("DIFF:PAGES", "LONG", "longin", False),
        ("DIFF:ROW01:NAME", "STRING", "stringin", False),
        ("DIFF:ROW20:DELTA", "STRING", "stringin", False),
        ("DIFF:ROW20:SEL", "ENUM", "bo", True),
        ("DIFF:SELECT", "ENUM", "mbbo", True),
        ("DIFF:RESTORE", "ENUM", "bo", True),
    ],
)
def test_types_are_those_of_the_contract(name: str, kind: str, record: str, writable: bool) -> None:
    info = INFOS[name]
    assert (info.type, info.record, info.writable) == (kind, record, writable)


def test_states_are_those_of_the_contract() -> None:
    states = {name: ",".join(info.states) for name, info in INFOS.items()}
    assert states["DIFF:SHOW"] == "Different,Missing,All"
    assert states["DIFF:SELECT"] == "None,Page,All"
    assert states["DIFF:STATUS"] == states["RESTORE:STATUS"]


def test_names_of_a_view_fit_a_record_too() -> None:
    group = DiffGroup("P" * MAX_PREFIX + "V" * MAX_VIEW + ":")
    assert len(group.pvdb) == len([name for name in INFOS if name.startswith("DIFF:")])
    assert max(map(len, group.pvdb)) < 60


def test_prefixes_with_braces_are_no_macros() -> None:
    assert "{x}:DIFF:ROW01:NAME" in DiffGroup("{x}:").pvdb
