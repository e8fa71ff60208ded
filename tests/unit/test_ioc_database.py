"""Names: fields, modifiers, filters, PVs made on demand."""

from __future__ import annotations

import pytest

from squirrel_ioc.ioc.groups.snap import SnapGroup
from squirrel_ioc.ioc.kinds.database import Database
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.scalars import Integer


@pytest.fixture
def database() -> Database:
    database = Database("T:")
    database.update(SnapGroup("T:").pvdb)
    return database


def made_by(database: Database, names: list[str]) -> None:
    """Let PVs `T:SNAP:<n>:ID` be made, and list them."""
    sample = database["T:SNAP:ID"]

    def resolve(name: str) -> Pv | None:
        parts = name.split(":")
        if len(parts) != 4 or not parts[2].isdigit() or parts[3] not in ("ID", "VAL.DRVH"):
            return None
        names.append(name)
        return Integer(pvname=name, group=sample.group, pvspec=sample.pvspec)

    database.resolvers.append(resolve)


@pytest.mark.parametrize(
    ("name", "pvname", "long_string"),
    [
        ("T:SNAP:ID", "T:SNAP:ID", False),
        ("T:SNAP:ID.", "T:SNAP:ID", False),
        ("T:SNAP:ID.VAL", "T:SNAP:ID", False),
        ("T:SNAP:ID.DESC", "T:SNAP:ID.DESC", False),
        ("T:SNAP:ID.DESC$", "T:SNAP:ID.DESC", True),
        ("T:SNAP:TITLE$", "T:SNAP:TITLE", False),
        ("T:SNAP:TITLE.$", "T:SNAP:TITLE", False),
        ("T:SNAP:TITLE.VAL$", "T:SNAP:TITLE", False),
        ("T:SNAP:TITLE:S$", "T:SNAP:TITLE:S", True),
        ('T:SNAP:ID.{"dbnd":{"abs":1}}', "T:SNAP:ID", False),
        ('T:SNAP:ID.DESC${"ts":{}}', "T:SNAP:ID.DESC", True),
        ("T:SNAP:TITLE.VAL[1:5]", "T:SNAP:TITLE", False),
    ],
)
def test_found(database: Database, name: str, pvname: str, long_string: bool) -> None:
    found = database.find(name)
    assert (found.pv.pvname, found.long_string) == (pvname, long_string)
    assert found.owner.pvname == pvname.partition(".")[0]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "T:",
        "SNAP:ID",
        "T:NOPE",
        "T:SNAP:ID.NOPE",
        "T:SNAP:ID.DESC.NAME",
        "T:SNAP:ID$",
        "T:SNAP:ID.VAL$",
        "T:SNAP:ID.{",
        "T:SNAP:ID.{}}",
        'T:SNAP:ID.{"nope":1}',
        'T:SNAP:ID.{"before":"red"}',
        'T:SNAP:ID.{"arr":5}',
        'T:SNAP:ID.{"arr":{"i":0}}',
        "T:SNAP:ID.VAL[a:b]",
        "T:SNAP:ID.VAL[1:0:2:3]",
        "T:SNAP:ID.{" + "[" * 150,
        "T:SNAP:" + "X" * 1000,
        "T:SNAP:ID. ",
    ],
)
def test_not_found(database: Database, name: str) -> None:
    with pytest.raises(KeyError):
        database.find(name)


def test_made_once_and_kept_while_held(database: Database) -> None:
    names: list[str] = []
    made_by(database, names)
    first = database.find("T:SNAP:5:ID.DESC").owner
    assert database.find("T:SNAP:5:ID").pv is first
    database.hold(first)
    database.hold(first)
    database.release(first)
    assert database.find("T:SNAP:5:ID").pv is first
    database.release(first)
    assert "T:SNAP:5:ID" not in database
    assert names == ["T:SNAP:5:ID"]
    # The PVs that are always there stay.
    static = database["T:SNAP:ID"]
    database.hold(static)
    database.release(static)
    assert database["T:SNAP:ID"] is static


def test_name_with_a_field_of_its_own(database: Database) -> None:
    names: list[str] = []
    made_by(database, names)
    found = database.find("T:SNAP:5:VAL.DRVH")
    assert found.owner is found.pv
    assert found.pv.pvname == "T:SNAP:5:VAL.DRVH"
    with pytest.raises(KeyError):
        database.find("T:SNAP:5:VAL.DRVL")


def test_what_nobody_connects_to_is_bounded(database: Database) -> None:
    names: list[str] = []
    made_by(database, names)
    before = len(database)
    held = database.find("T:SNAP:0:ID").pv
    database.hold(held)
    for i in range(1, 3 * Database.MAX_LOOSE):
        database.find(f"T:SNAP:{i}:ID")
    assert len(database) == before + 1 + Database.MAX_LOOSE
    assert database.find("T:SNAP:0:ID").pv is held


def test_unknown_names_are_not_kept(database: Database) -> None:
    for i in range(10_000):
        with pytest.raises(KeyError):
            database.find(f"T:SNAP:X{i}")
