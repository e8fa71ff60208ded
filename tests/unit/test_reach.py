"""Which of two services should be active: the one that reaches clearly more of the machine, for long enough."""

from __future__ import annotations

import itertools
import random

import pytest

from squirrel_ioc.model.reach import FRESH_S, Preference, Reach

PREFER_S = 30.0
ALL, HALF = Reach(40_000, 40_000), Reach(20_000, 40_000)


def given_way_at(
    prefer_s: float,
    until_s: float,
    theirs: Reach | None = ALL,
    *,
    ours: Reach = HALF,
    handed_over_s: float | None = None,
    besides: dict[int, Reach | None] | None = None,
) -> float | None:
    """Looked at once a second: when this one would give way first. `besides`: what they reach at some of the looks."""
    preference = Preference(prefer_s)
    for s in range(int(until_s)):
        them = (besides or {}).get(s, theirs)
        if preference.look(1000.0 + s, ours, them, None if handed_over_s is None else handed_over_s + s):
            return s
    return None


@pytest.mark.parametrize(
    ("theirs", "ours", "clearly"),
    [
        ((40_000, 40_000), (36_000, 40_000), True),
        ((40_000, 40_000), (36_001, 40_000), False),
        ((40_000, 40_000), (40_000, 40_000), False),
        ((36_000, 40_000), (40_000, 40_000), False),
        ((4_000, 40_000), (0, 40_000), True),
        ((1, 1), (0, 1), True),
        ((4, 4), (3, 4), True),
        ((0, 0), (0, 0), False),
        # One of them has not gone over to the new catalogue yet.
        ((40_000, 40_000), (20_000, 20_000), False),
    ],
)
def test_clearly_more_is_a_tenth_of_all(theirs: tuple[int, int], ours: tuple[int, int], clearly: bool) -> None:
    assert Reach(*theirs).clearly_exceeds(Reach(*ours)) == clearly


def test_it_gives_way_when_that_has_lasted() -> None:
    assert given_way_at(PREFER_S, 100) == PREFER_S


def test_never_with_0() -> None:
    assert given_way_at(0, 1000) is None


@pytest.mark.parametrize("theirs", [None, HALF, Reach(0, 40_000), Reach(20_000, 20_000)])
def test_never_for_who_is_not_known_to_reach_more(theirs: Reach | None) -> None:
    assert given_way_at(PREFER_S, 1000, theirs) is None


@pytest.mark.parametrize("besides", [None, HALF])
def test_it_must_last_without_a_break(besides: Reach | None) -> None:
    assert given_way_at(PREFER_S, 100, besides={25: besides}) == 26 + PREFER_S


def test_who_has_become_active_looks_anew() -> None:
    preference = Preference(PREFER_S)
    for s in range(int(PREFER_S)):
        assert not preference.look(s, HALF, ALL, None)
    preference.forget()
    assert not preference.look(PREFER_S, HALF, ALL, None)


def test_what_was_before_it_stood_still_does_not_count() -> None:
    preference = Preference(PREFER_S)
    assert not preference.look(0.0, HALF, ALL, None)
    assert not preference.look(PREFER_S + FRESH_S, HALF, ALL, None)


@pytest.mark.parametrize(
    ("handed_over_s", "at"),
    [(0.0, 10 * PREFER_S), (200.0, 100.0), (10 * PREFER_S, PREFER_S), (None, PREFER_S), (-3600.0, PREFER_S)],
)
def test_once_in_ten_times_as_long(handed_over_s: float | None, at: float) -> None:
    """`handed_over_s` below 0: the database's clock was put back."""
    assert given_way_at(PREFER_S, 1000, handed_over_s=handed_over_s) == at


def test_no_ping_pong_when_both_come_and_go() -> None:
    """Two services lose now this and now that half of the machine; the lease follows ten times slower."""
    chance = random.Random(23)  # noqa: S311 - the same every time
    reach = [ALL, ALL]
    preferences = [Preference(PREFER_S), Preference(PREFER_S)]
    active, handed_over = 0, []
    for s in range(20_000):
        if s % 40 == 0:
            reach = [chance.choice([ALL, HALF, Reach(0, 40_000)]) for _ in range(2)]
        age = s - handed_over[-1] if handed_over else None
        preferences[1 - active].forget()
        if preferences[active].look(s, reach[active], reach[1 - active], age):
            assert reach[1 - active].connected > reach[active].connected
            active = 1 - active
            handed_over.append(s)
    assert len(handed_over) > 10
    assert min(after - before for before, after in itertools.pairwise(handed_over)) >= 10 * PREFER_S
