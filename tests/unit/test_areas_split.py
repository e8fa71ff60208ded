"""Which area a channel belongs to, and that taking a list apart and putting it together loses and moves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from frame_strategies import Cell, all_bits, cells, check, frame_of
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.areas._held_lists import Held
from squirrel_ioc.areas._merge import Columns, iocs_together
from squirrel_ioc.areas._parts import AreaList, message
from squirrel_ioc.areas._split import HERE, Assignment, Shares, joined
from squirrel_ioc.ca import IocState, IocStatus, Live
from squirrel_ioc.errors import SelectionError, StoreError
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.values import NO_META, Dbf, Meta


def entry(setpoint: str, readback: str | None = None, tag: str | None = None) -> Entry:
    return Entry(setpoint=setpoint, readback=readback, tags={"Area": (tag,)} if tag else {})


def split_names(assignment: Assignment, channels: ChannelList) -> dict[str, list[str]]:
    return {area: channels.array[rows].tolist() for area, rows in assignment.split(channels).items()}


class TestAssignment:
    def test_the_first_area_has_it_and_its_readback(self) -> None:
        assignment = Assignment({"one": "@L1", "two": "Q*", "three": "*"})
        channels = ChannelList.of(["x", "Qa", "Qb", "Qa:RB", "z:RB"])
        assert split_names(assignment, channels) == {HERE: list(channels.names)}
        catalogue = Catalogue.of([entry("Qa", "Qa:RB"), entry("Qb", "z:RB", "L1"), entry("x")])
        assert not assignment.assign(catalogue)
        assert split_names(assignment, channels) == {
            HERE: [],
            "one": ["Qb", "z:RB"],
            "two": ["Qa", "Qa:RB"],
            "three": ["x"],
        }

    def test_a_readback_goes_with_its_setpoint_although_another_area_means_it(self) -> None:
        assignment = Assignment({"one": "*:RB", "two": "a"})
        assignment.assign(Catalogue.of([entry("a", "a:RB"), entry("b", "b:RB")]))
        assert split_names(assignment, ChannelList.of(["a", "b", "a:RB", "b:RB"])) == {
            HERE: ["b", "b:RB"],
            "two": ["a", "a:RB"],
        }

    def test_moved_and_former_channels(self) -> None:
        assignment = Assignment({"one": "@L1", "two": "@L2"})
        assert not assignment.assign(Catalogue.of([entry("a", "r", "L1"), entry("b", None, "L2")]))
        assert not assignment.assign(Catalogue.of([entry("a", "r", "L1")]))
        channels = ChannelList.of(["b", "r", "a", "new"])
        assert split_names(assignment, channels) == {HERE: ["new"], "one": ["r", "a"], "two": ["b"]}
        assert assignment.assign(Catalogue.of([entry("a", "r", "L2"), entry("new", None, "L1")]))
        assert split_names(assignment, channels) == {HERE: [], "one": ["new"], "two": ["b", "r", "a"]}
        assert assignment.assign(Catalogue.of([entry("b")]))

    def test_no_areas_no_tags_no_catalogue(self) -> None:
        assignment = Assignment({})
        assert not assignment.assign(Catalogue.of([entry("a")]))
        assert split_names(assignment, ChannelList.of(["a"])) == {HERE: ["a"]}
        assignment = Assignment({"one": "@L1"})
        assert not assignment.assign(Catalogue.of([]))
        assignment.assign(Catalogue.of([entry("a")]))
        assert split_names(assignment, ChannelList.of(["a"])) == {HERE: ["a"]}
        assert split_names(assignment, ChannelList.of([])) == {HERE: []}

    def test_an_area_that_nothing_fits_has_no_channels(self) -> None:
        assignment = Assignment({"one": "@L1", "none": "@Nowhere"})
        catalogue = Catalogue.of([entry("a", "r", "L1"), entry("b")])
        assignment.assign(catalogue)
        assert assignment.names_of(catalogue.channels) == {"one": ("a", "r"), "none": ()}

    def test_a_state_is_no_area(self) -> None:
        with pytest.raises(SelectionError):
            Assignment({"one": "%connected"}).assign(Catalogue.of([entry("a")]))


AREAS = (HERE, "one", "two", "three")


@st.composite
def parted(draw: st.DrawFn) -> tuple[Assignment, dict[str, list[str]], list[Cell], list[int]]:
    """Areas; the names that each holds; the frame that is asked for; rows of it that its area does not hold."""
    where = draw(st.lists(st.sampled_from(AREAS), max_size=10))
    entries = [entry(f"{area}:{i}", None, area or None) for i, area in enumerate(where)]
    held: dict[str, list[str]] = {area: [] for area in AREAS}
    for e, area in zip(entries, where, strict=True):
        held[area].append(e.setpoint)
    assignment = Assignment({area: f"@{area}" for area in AREAS[1:]})
    assignment.assign(Catalogue.of(entries))
    held = {area: draw(st.permutations(names)) for area, names in held.items()}
    asked = draw(st.permutations([e.setpoint for e in entries]))
    asked = asked[: draw(st.integers(0, len(asked)))]
    strange = [i for i in range(len(asked)) if asked[i].split(":")[0] and draw(st.integers(0, 3)) == 0]
    for i in strange:
        held[asked[i].split(":")[0]].remove(asked[i])
    return assignment, held, [draw(cells(name)) for name in asked], strange


@given(parted())
def test_taken_apart_and_put_together(
    made: tuple[Assignment, dict[str, list[str]], list[Cell], list[int]],
) -> None:
    assignment, held, rows, strange = made
    channels = ChannelList.of([c.name for c in rows])
    whole = frame_of(rows, channels)
    shares = Shares(assignment)
    shares.set({a: (AreaList(a, 7, tuple(n)), ChannelList.of(n)) for a, n in held.items() if a})
    known = shares.of(channels)
    assert shares.of(channels) is known
    assert known.size == len(channels)
    assert known.here_of(channels).names == tuple(n for n in channels.names if n.startswith(":"))
    frames, places = [whole.take(known.here)], [known.here]
    for share in known.shares:
        theirs = held[share.area.name]
        # What the worker makes of it.
        took = range(len(theirs)) if share.places is None else share.places.tolist()
        assert list(took) == sorted(set(took))
        mine = ChannelList.of([theirs[i] for i in took])
        assert mine.names == tuple(channels.array[share.rows].tolist())
        part = whole.reordered(share.rows, mine)
        check(part)
        assert part.channels.names == mine.names
        frames += [part, whole.take(share.strange)]
        places += [share.rows, share.strange]
    assert sorted(np.concatenate([s.strange for s in known.shares] or [np.zeros(0)]).tolist()) == strange
    again = joined(frames, places, channels)
    check(again)
    assert again.channels is channels
    assert all_bits(again) == all_bits(whole)


def test_an_area_that_is_not_published_holds_nothing() -> None:
    assignment = Assignment({"one": "*"})
    assignment.assign(Catalogue.of([entry("a"), entry("b")]))
    (share,) = Shares(assignment).of(ChannelList.of(["b", "a"])).shares
    assert (share.rows.tolist(), share.strange.tolist()) == ([], [0, 1])


def test_what_is_here_alone_is_the_list_itself() -> None:
    channels = ChannelList.of(["a"])
    assert Shares(Assignment({"one": "*"})).of(channels).here_of(channels) is channels


class _Watched:
    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()

    async def watch(self, channels: ChannelList) -> None:
        self.names = channels.names


def rows(*numbers: int) -> Any:
    return np.array(numbers, np.int32)


class TestHeld:
    async def test_versions(self) -> None:
        machine = _Watched()
        held = Held(machine)  # type: ignore[arg-type]
        assert held.newest("one") is None
        for version in (3, 5, 9, 11):
            await held.hold([AreaList("one", version, (f"a{version}", "b")), AreaList("two", 1, ("b", "c"))])
        assert machine.names == ("a11", "b", "c")
        newest = held.newest("one")
        assert newest is not None
        assert (newest[0], newest[1].names) == (11, ("a11", "b"))
        assert await held.channels("one", 11, None) is newest[1]
        assert (await held.channels("one", 5, rows(0))).names == ("a5",)
        assert await held.channels("one", 11, rows(1)) is await held.channels("one", 11, rows(1))
        assert (await held.channels("one", 11, rows())).names == ()
        with pytest.raises(StoreError, match="version 3 of area one"):
            await held.channels("one", 3, None)
        await held.hold([AreaList("two", 1, ("b", "c"))])
        assert machine.names == ("b", "c")
        assert held.newest("one") is None

    async def test_a_version_that_is_still_to_come(self) -> None:
        held = Held(_Watched())  # type: ignore[arg-type]
        waiting = asyncio.create_task(held.channels("one", 2, None))
        await asyncio.sleep(0)
        await held.hold([AreaList("one", 2, ("a",))])
        assert (await waiting).names == ("a",)

    @pytest.mark.parametrize("wanted", [(1, 0), (0, 0), (-1, 0), (0, 3), (3,), (-1,), (0, 2, 1)])
    async def test_other_rows_are_refused(self, wanted: tuple[int, ...]) -> None:
        held = Held(_Watched())  # type: ignore[arg-type]
        await held.hold([AreaList("one", 1, ("a", "b", "c"))])
        with pytest.raises(StoreError, match="no such rows"):
            await held.channels("one", 1, rows(*wanted))

    async def test_the_same_version_of_other_channels(self) -> None:
        """After the database was put back, or an area was gone for a while: never are the former ones written."""
        held = Held(_Watched())  # type: ignore[arg-type]
        await held.hold([AreaList("one", 1, ("a", "b"))])
        assert (await held.channels("one", 1, rows(1))).names == ("b",)
        await held.hold([AreaList("one", 1, ("b", "c"))])
        assert (await held.channels("one", 1, rows(1))).names == ("c",)
        await held.hold([])
        await held.hold([AreaList("one", 1, ("c", "d"))])
        assert (await held.channels("one", 1, None)).names == ("c", "d")
        assert (await held.channels("one", 1, rows(1))).names == ("d",)


def one_live(connected: bool, meta: Meta, ioc: str, connection: int) -> Live:
    flag = np.array([connected])
    one = np.array([1], np.int32)
    dbf = np.array([meta.dbf], np.uint8)
    return Live(flag, flag, ~flag, dbf, one, one, (NO_META, meta), one * 0, (ioc,), np.array([connection], np.int32))


def test_lives_together() -> None:
    columns = Columns(4)
    columns.put(np.array([2]), one_live(True, Meta(Dbf.ENUM, 1, labels=("a",)), "x", 5))
    columns.put(np.array([0]), one_live(False, Meta(Dbf.LONG, 1), "y", 6), np.array([0]))
    live = columns.live()
    assert live.connected.tolist() == live.readable.tolist() == [False, False, True, False]
    assert live.writable.tolist() == [True, False, False, False]
    assert [live.metas[i].dbf for i in live.meta.tolist()] == [Dbf.LONG, NO_META.dbf, Dbf.ENUM, NO_META.dbf]
    assert [live.iocs[i] if i >= 0 else None for i in live.ioc.tolist()] == ["y", None, "x", None]
    assert live.dbf.tolist() == [Dbf.LONG, Dbf.NONE, Dbf.ENUM, Dbf.NONE]


def test_names_that_two_iocs_serve_go_with_their_rows() -> None:
    columns = Columns(3)
    twice = replace(one_live(True, NO_META, "x", 5), ignored={0: "other"})
    columns.put(np.array([2]), twice)
    columns.put(np.array([0]), twice, np.array([0]))
    columns.put(np.array([], np.intp), twice, np.array([], np.int32))
    assert columns.live().ignored == {0: "other", 2: "other"}


def test_an_ioc_of_several_areas_is_one() -> None:
    ok, bad = next(iter(IocStatus)), list(IocStatus)[-1]
    parts = [[IocState("h", 2, 2, ok, 0.1)], [IocState("h", 3, 1, bad, 0.5), IocState("i", 1, 1, ok, 0.0)], []]
    assert iocs_together(parts) == [IocState("h", 5, 3, bad, 0.5), IocState("i", 1, 1, ok, 0.0)]


@pytest.mark.parametrize("payload", ["", "{", "1", "[]", "{}", '{"kind": 1}', "null", None])
def test_what_is_not_understood_on_the_channel(payload: object) -> None:
    with pytest.raises(StoreError):
        message(payload)
