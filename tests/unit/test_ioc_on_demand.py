"""PVs that are made on demand: found, held, discarded, bounded; values fetched together; unknown names for nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from squirrel_ioc.errors import DatabaseDownError
from squirrel_ioc.ioc.groups.snap import SnapGroup
from squirrel_ioc.ioc.kinds.database import Database
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.scalars import Integer
from squirrel_ioc.ioc.ondemand.resource import SPEC, number_of
from squirrel_ioc.ioc.ondemand.resources import Resources
from squirrel_ioc.ioc.ondemand.stored_pv import Stored
from squirrel_ioc.ioc.ondemand.value_loader import Loaded, Loader
from squirrel_ioc.ioc.protocol.pending_pv import Waiting
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta

GROUP = SnapGroup("T:")
NAMES = {"T:X:A", "T:X:A.HOPR", "T:X:B"}


def made(name: str) -> Pv | None:
    return Integer(pvname=name, group=GROUP, pvspec=SPEC) if name in NAMES else None


@pytest.fixture
def database() -> Database:
    database = Database("T:")
    database.resolvers.append(made)
    return database


@pytest.mark.parametrize(
    ("name", "owner", "pv"),
    [
        ("T:X:A", "T:X:A", "T:X:A"),
        ("T:X:A.HOPR", "T:X:A.HOPR", "T:X:A.HOPR"),
        ("T:X:A.LOPR", "T:X:A", "T:X:A.LOPR"),
        ("T:X:A.HOPR.LOPR", "T:X:A.HOPR", "T:X:A.HOPR.LOPR"),
        ("T:X:A.HOPR.VAL", "T:X:A.HOPR", "T:X:A.HOPR"),
        ("T:X:B.HOPR", "T:X:B", "T:X:B.HOPR"),
        ('T:X:A.HOPR.{"dbnd":{"abs":0.5}}', "T:X:A.HOPR", "T:X:A.HOPR"),
        ('T:X:B.VAL{"dbnd":{"abs":0.5}}', "T:X:B", "T:X:B"),
    ],
)
def test_points_in_names(database: Database, name: str, owner: str, pv: str) -> None:
    found = database.find(name)
    assert (found.owner.pvname, found.pv.pvname) == (owner, pv)


@pytest.mark.parametrize(
    "name", ["T:X:C", "T:X:A.NOPE", "T:X:A.HOPR.NOPE", "T:X:A.LOPR.LOPR", "T:." + "." * 300, "T:X:A$"]
)
def test_not_there(database: Database, name: str) -> None:
    with pytest.raises(KeyError):
        database.find(name)


def test_fields_of_what_is_not_known_yet(database: Database) -> None:
    owner = database.find("T:X:A").owner
    owner.waiting = Waiting()
    assert database.find("T:X:A.LOPR").pv is owner
    with pytest.raises(KeyError):
        database.find("T:X:A.NOPE")
    owner.waiting = None
    assert database.find("T:X:A.LOPR").pv.pvname == "T:X:A.LOPR"


def test_discarded_while_held(database: Database) -> None:
    old = database.find("T:X:A").pv
    database.hold(old)
    database.discard(old)
    assert "T:X:A" not in database
    new = database.find("T:X:A").pv
    assert new is not old
    database.hold(new)
    # Who had the old one lets it go, which is nothing to the new one.
    database.release(old)
    database.hold(old)
    assert database.find("T:X:A").pv is new
    database.release(new)
    assert "T:X:A" not in database
    database.discard(new)
    assert database.made(lambda pv: True) == []


def test_held_by_clients_are_bounded(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Database, "MAX_HELD", 1)
    first = database.find("T:X:A").pv
    database.hold(first)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(KeyError):
                database.find("T:X:B")
    assert [record.getMessage() for record in caplog.records] == [
        "clients hold 1 PVs made on demand: no more are found"
    ]
    assert database.find("T:X:A").pv is first
    database.release(first)
    assert database.find("T:X:B").pv.pvname == "T:X:B"


@pytest.mark.parametrize("text", ["", "0", "01", "-1", "+1", "1.0", " 1", "1 ", "x", "٣", "1" * 11, "1_0"])
def test_numbers_are_written_as_they_are(text: str) -> None:
    assert number_of(text) is None


def test_number() -> None:
    assert number_of("2147483647") == 2147483647


def frame(names: Collection[str]) -> Frame:
    builder = FrameBuilder()
    for i, name in enumerate(names):
        builder.add(name, float(i), Meta(Dbf.DOUBLE, 1))
    return builder.build()


class SlowStore:
    """Loads what it is asked for, when it is let."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, list[str]]] = []
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def load_frame(self, snapshot_id: int, names: Collection[str]) -> Frame:
        self.asked.append((snapshot_id, sorted(names)))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return frame([name for name in names if name != "NOPE"])


async def test_values_are_fetched_together() -> None:
    store = SlowStore()
    loader = Loader(store)  # type: ignore[arg-type]
    got: dict[str, Loaded] = {}
    loader.load(1, "A", lambda loaded: got.update(A=loaded))
    loader.load(1, "B", lambda loaded: got.update(B=loaded))
    await asyncio.sleep(0)
    # While these are read, others come, also for the same.
    for name in ("C", "NOPE", "A"):
        loader.load(1, name, lambda loaded, name=name: got.update({f"{name}2": loaded}))
    other = asyncio.create_task(loader.get(2, "A"))
    await asyncio.sleep(0)
    store.gate.set()
    assert isinstance(await other, Stored)
    assert isinstance(await loader.get(1, "D"), Stored)
    assert sorted(store.asked) == [(1, ["A", "B"]), (1, ["A", "C", "NOPE"]), (1, ["D"]), (2, ["A"])]
    assert got.pop("NOPE2") is None
    assert all(isinstance(loaded, Stored) for loaded in got.values())
    assert loader.waiting == 0
    await loader.stop()


async def test_who_cannot_show_a_value_does_not_keep_others_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    store = SlowStore()
    store.gate.set()
    loader = Loader(store)  # type: ignore[arg-type]

    def fail(_: Loaded) -> None:
        raise RuntimeError("cannot")

    loader.load(1, "A", fail)
    assert isinstance(await loader.get(1, "A"), Stored)
    assert "a stored value cannot be shown" in caplog.text
    store.error = DatabaseDownError("no answer")
    assert isinstance(await loader.get(1, "A"), DatabaseDownError)
    await loader.stop()


class Nothing:
    """In place of a store, jobs, groups that have nothing to say."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def test_unknown_names_cost_next_to_nothing_and_leave_nothing() -> None:
    catalogue = SimpleNamespace(channels=ChannelList.of([f"PV:{i}" for i in range(40_000)]))
    service = SimpleNamespace(store=Nothing(), catalogue=lambda: catalogue)
    database = Database("T:")
    nothing: Any = Nothing()
    resources = Resources(service, nothing, database, nothing, nothing, nothing)  # type: ignore[arg-type]
    resources._index.snapshots = dict.fromkeys(range(1, 10_001), 1)
    resources._index.names = frozenset(catalogue.channels.names)
    database.resolvers.append(resources.resolve)
    kinds = (
        "SNAP:5:VAL:NOPE{}",
        "SNAP:9{}9:TITLE",
        "REF:NOPE{}",
        "HIST:NOPE{}:IDS",
        "JOB:{}:STATUS",
        "NOPE{}",
        "A.B{}",
    )
    names = [f"T:{kind.format(10_000 + i)}" for i in range(500) for kind in kinds]
    for name in names:
        with pytest.raises(KeyError):
            database.find(name)
    assert len(database) == 0
