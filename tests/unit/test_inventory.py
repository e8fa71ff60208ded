"""What stays of a catalogue and what goes, when files are read again and people change it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.errors import RefusedError, UnknownPvError
from squirrel_ioc.model import inventory as inventory_module
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.inventory import Inventory, Summary

A, B, C = Entry("A", "A:RB", atol=0.1, tags={"Area": ("L1",)}), Entry("B"), Entry("C", order=3)


def names(inventory: Inventory) -> list[str]:
    return [e.setpoint for e in inventory.entries]


def filed(*entries: Entry) -> Inventory:
    return Inventory().with_files(entries)


def test_files_alone_are_the_catalogue() -> None:
    inventory = filed(A, B)
    assert (inventory.entries, inventory.added, inventory.filed, inventory.removed) == ((A, B), frozenset(), {}, {})
    again = inventory.with_files([B, replace(A, atol=0.2), C])
    assert again.entries == (B, replace(A, atol=0.2), C)
    assert again.with_files([C]).entries == (C,)


def test_what_was_added_stays_behind_what_is_filed() -> None:
    inventory = filed(A).with_added(["X", "Y"], {}).with_files([B, A])
    assert names(inventory) == ["B", "A", "X", "Y"]
    assert inventory.added == {"X", "Y"}


def test_what_was_added_and_comes_to_stand_in_a_file_is_the_files() -> None:
    inventory = filed(A).with_added(["X"], {}).with_changed({"X": Entry("X", max_step=2.0, description="mine")})
    both = inventory.with_files([Entry("X", description="theirs", atol=0.5), A])
    assert both.entries == (Entry("X", description="theirs", atol=0.5, max_step=2.0), A)
    assert both.added == frozenset()
    assert names(both.with_files([A])) == ["A"]


def test_what_was_changed_by_hand_stays_until_the_file_changes_the_same() -> None:
    mine = replace(A, atol=0.5, order=7, readback=None, tags={"Area": ("L1", "L2"), "Mine": ("yes",)})
    inventory = filed(A, B).with_changed({"A": mine})
    assert inventory.filed == {"A": A}
    assert inventory.with_files([A, B]).entries == (mine, B)
    said = replace(A, atol=0.3, description="new", tags={"Area": ("L1",), "System": ("RF",)})
    merged = inventory.with_files([said, B])
    assert merged.entries[0] == replace(
        mine, atol=0.3, description="new", tags={"Area": ("L1", "L2"), "Mine": ("yes",), "System": ("RF",)}
    )
    assert merged.filed == {"A": said}
    # The file comes to say what was meant: then there is nothing by hand any more.
    agreed = merged.with_files([merged.entries[0], B])
    assert (agreed.entries, agreed.filed) == ((merged.entries[0], B), {})


def test_a_tag_that_the_file_takes_away_goes() -> None:
    inventory = filed(A).with_changed({"A": replace(A, tags={"Area": ("L1",), "Mine": ("yes",)})})
    assert inventory.with_files([replace(A, tags={})]).entries[0].tags == {"Mine": ("yes",)}


def test_back_to_what_the_file_says_is_not_a_change_by_hand() -> None:
    inventory = filed(A).with_changed({"A": replace(A, atol=9.0)}).with_changed({"A": A})
    assert inventory.filed == {}


def test_what_was_removed_by_hand_stays_away_while_the_file_has_it() -> None:
    inventory = filed(A, B).without(["A"])
    assert (names(inventory), inventory.removed) == (["B"], {"A": A})
    again = inventory.with_files([A, B, C])
    assert (names(again), again.removed) == (["B", "C"], {"A": A})
    gone = again.with_files([B])
    assert gone.removed == {}
    assert names(gone.with_files([A, B])) == ["A", "B"]


def test_what_was_removed_comes_back_as_it_was_and_as_the_file_says_now() -> None:
    changed = filed(A, B).with_changed({"A": replace(A, max_step=1.0)})
    inventory = changed.without(["A"]).with_files([replace(A, atol=0.7), B]).with_added(["A"], {})
    assert inventory.entries == (B, replace(A, atol=0.7, max_step=1.0))
    assert (inventory.added, inventory.removed) == (frozenset(), {})
    assert inventory.with_files([replace(A, atol=0.7), B]).entries == (replace(A, atol=0.7, max_step=1.0), B)


def test_what_was_added_and_removed_is_forgotten_here() -> None:
    inventory = filed(A).with_added(["X"], {}).without(["X"])
    assert (names(inventory), inventory.added, inventory.removed) == (["A"], frozenset(), {})


def test_what_was_here_once_comes_back_as_it_was() -> None:
    former = {"X": Entry("X", "X:RB", max_step=0.5)}
    assert filed(A).with_added(["X", "Y"], former).entries == (A, former["X"], Entry("Y"))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (["X", "A"], "in the catalogue already: A"),
        (["A:RB"], r"watched already, as readback: A:RB \(of A\)"),
        (["X", "Y", "X"], "named more than once: X"),
    ],
)
def test_what_cannot_be_added(wanted: list[str], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        filed(A).with_added(wanted, {})


def test_how_many_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_module, "MAX_ADDED", 3)
    inventory = filed(A, B, C).without(["A"]).with_added(["X", "Y", "A"], {})
    with pytest.raises(RefusedError, match="2 PVs are added already, at most 3"):
        inventory.with_added(["V", "W"], {})
    assert len(inventory.with_added(["V"], {})) == 6


def test_what_cannot_be_removed_or_changed() -> None:
    with pytest.raises(UnknownPvError, match=r"A:RB \(the readback of A\), X, Y1, Y2, Y3 and 1 more"):
        filed(A, B).without(["A", "A:RB", "X", "Y1", "Y2", "Y3", "Y4"])
    with pytest.raises(UnknownPvError, match="X"):
        filed(A).with_changed({"X": Entry("X")})


def test_replaced_by_hand() -> None:
    inventory = filed(A, B, C).with_added(["X", "Y"], {}).without(["C"])
    other = inventory.replaced([C, Entry("Z"), replace(A, atol=1.0), Entry("Y")])
    assert other.entries == (C, Entry("Z"), replace(A, atol=1.0), Entry("Y"))
    assert other.added == {"Z", "Y"}
    assert other.removed == {"B": B}
    assert other.filed == {"A": A}
    assert other.with_files([A, B, C]).entries == (replace(A, atol=1.0), C, Entry("Z"), Entry("Y"))


def test_summary() -> None:
    before = filed(A, B, C)
    after = before.without(["B"]).with_added(["X"], {}).with_changed({"A": replace(A, atol=1.0)})
    summary = Summary.of(before, after)
    assert (summary.added, summary.removed, summary.changed) == (("X",), ("B",), 1)
    assert str(summary) == "1 added, 1 removed, 1 changed"


_entries = st.lists(
    st.builds(
        Entry,
        st.sampled_from("ABCD"),
        atol=st.sampled_from([None, 0.1, 0.2]),
        tags=st.dictionaries(st.sampled_from("GH"), st.sampled_from([("x",), ("y",), ("x", "y")])),
    ),
    unique_by=lambda e: e.setpoint,
)


@given(_entries, st.lists(_entries, max_size=4), _entries)
def test_nothing_by_hand_is_ever_lost(first: list[Entry], files: list[list[Entry]], by_hand: list[Entry]) -> None:
    inventory = filed(*first)
    mine = inventory.replaced(by_hand)
    assert mine.entries == tuple(by_hand)
    # Reading the same files changes nothing but the order.
    again = mine.with_files(first)
    assert sorted(again.entries, key=lambda e: e.setpoint) == sorted(by_hand, key=lambda e: e.setpoint)
    assert (again.added, again.filed, again.removed) == (mine.added, mine.filed, mine.removed)
    for entries in files:
        there, before = {e.setpoint for e in entries}, again
        again = again.with_files(entries)
        assert set(names(again)) == (there - before.removed.keys()) | (before.added - there)
        assert again.removed.keys() == before.removed.keys() & there
        assert again.filed.keys() <= there
        assert again.added == before.added - there
