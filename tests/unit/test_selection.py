"""Selections: what the grammar means, and what a bad one is told."""

from __future__ import annotations

import fnmatch
import gc
import re
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squirrel_ioc.errors import SelectionError
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.selection import EVERYTHING, MAX_SELECTION, MAX_TERMS, LiveFlags, Selection, parse

CATALOGUE = Catalogue.of(
    [
        Entry("QUAD:L1:1:BDES", "QUAD:L1:1:BACT", tags={"Region": ("Cu Linac",), "Subsystem": ("Magnet",)}),
        Entry("QUAD:L2:1:BDES", "QUAD:L2:1:BACT", tags={"Region": ("SC Linac",), "Subsystem": ("Magnet",)}),
        Entry("BEND:L1:2:BDES", "QUAD:L1:1:BACT", tags={"Region": ("Cu Linac", "All")}, read_only=True),
        Entry("RF:L1:PDES", tags={"Region": ("Cu Linac",), "Subsystem": ("RF",)}),
        Entry("RF:L1:ADES", "RF:L1:PDES", tags={"Area": ("Magnet",)}),
        Entry("PV[1]", tags={}),
    ]
)
Q1, Q2, B, P, A, X, Q1R, Q2R = CATALOGUE.channels.names


def live(connected: str = "11111111", writable: str = "11111111") -> LiveFlags:
    return LiveFlags(np.array([c == "1" for c in connected]), np.array([c == "1" for c in writable]))


def names(text: str, flags: LiveFlags | None = None) -> list[str]:
    """The channels of the catalogue that a selection means."""
    mask = parse(text).match(CATALOGUE, flags)
    assert mask.dtype == bool
    return [n for n, m in zip(CATALOGUE.channels.names, mask, strict=True) if m]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", CATALOGUE.channels.names),
        (" \t\n ", CATALOGUE.channels.names),
        ("*", CATALOGUE.channels.names),
        ("QUAD:L1:1:BDES", [Q1]),
        ("quad:*", []),
        ("QUAD:*", [Q1, Q2, Q1R, Q2R]),
        ("*:BDES", [Q1, Q2, B]),
        ("QUAD:*:BDES", [Q1, Q2]),
        ("QUAD:L1:1:BDES*BDES", []),  # prefix and suffix may not overlap
        ("*L1*", [Q1, B, P, A, Q1R]),
        ("????:L1:?:*", [Q1, B, Q1R]),
        ("QUAD:L[13-9]:*", [Q1, Q1R]),
        ("QUAD:L[!1]:*", [Q2, Q2R]),
        ("PV[[]1]", [X]),
        ("PV[1]", []),
        ("QUAD:L[1,2]:1:BDES", [Q1, Q2]),
        ("QUAD:*,BEND:*", [Q1, Q2, B, Q1R, Q2R]),
        ("QUAD:* *:BDES", [Q1, Q2]),
        ("QUAD:* !*:BDES", [Q1R, Q2R]),
        ("!QUAD:*,BEND:*", [P, A, X]),
        ("~^QUAD.*S$", [Q1, Q2]),
        ("~L1:.:B(DES|ACT)", [Q1, B, Q1R]),
        ("~^.{5}$", [X]),
        ("~A,B", []),
        ("!~L[12]", [X]),
    ],
)
def test_names(text: str, expected: list[str]) -> None:
    assert names(text) == list(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@Subsystem=Magnet", [Q1, Q2, Q1R, Q2R]),
        ("@Magnet", [Q1, Q2, P, A, Q1R, Q2R]),  # RF:L1:PDES is the readback of an entry tagged Area=Magnet
        ("@Magnet,RF", [Q1, Q2, P, A, Q1R, Q2R]),
        ("@Subsystem=Magnet,RF", [Q1, Q2, P, Q1R, Q2R]),
        ("@Subsystem=RF,Region=SC*", [Q2, P, Q2R]),
        ("@RF,Region=SC*", [Q2, P, Q2R]),
        ("@Region=All", [B, Q1R]),  # a shared readback has the tags of all its entries
        ("@Region=Cu*", [Q1, B, P, Q1R]),
        ("@Region=?u?Linac", [Q1, B, P, Q1R]),
        ('@Region="Cu Linac"', [Q1, B, P, Q1R]),
        ('@"SC Linac",RF', [Q2, P, Q2R]),
        ('@Reg*="C"[uv]" L"*', [Q1, B, P, Q1R]),
        ("@Region=*", [Q1, Q2, B, P, Q1R, Q2R]),
        ("!@Region=*", [A, X]),
        ("@magnet", []),
        ("@Nothing=Magnet", []),
        ("@Magnet @Region=Cu* *:BDES", [Q1]),
    ],
)
def test_tags(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%connected", [Q1, Q2, B, P, Q1R]),
        ("%missing", [A, X, Q2R]),
        ("!%missing", [Q1, Q2, B, P, Q1R]),
        ("%readonly", [Q2, B, Q1R, Q2R]),  # not A, X: nobody knows whether they could be written
        ("%missing,readonly", [Q2, B, A, X, Q1R, Q2R]),
        ("%connected !%readonly", [Q1, P]),
    ],
)
def test_states(text: str, expected: list[str]) -> None:
    assert names(text, live(connected="11110010", writable="10110010")) == expected


def test_state_needs_the_live_machine() -> None:
    selection = parse("QUAD:* %missing")
    assert selection.needs_live
    assert not parse("QUAD:* @Magnet").needs_live
    with pytest.raises(SelectionError, match="%missing needs the live machine") as caught:
        selection.match(CATALOGUE)
    assert caught.value.position == 7


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("!", 0, "needs a term"),
        ("QUAD:* ! BEND", 7, "needs a term"),
        ("!!QUAD", 0, "needs a term"),
        ("QUAD,,BEND", 5, "empty alternative"),
        (",QUAD", 0, "empty alternative"),
        ("QUAD, BEND", 5, "empty alternative"),
        ("@", 1, "empty tag"),
        ("@Region=", 8, "empty tag"),
        ("@=Magnet", 1, "empty tag"),
        ("@Magnet,", 8, "empty tag"),
        ('@""', 1, "empty tag"),
        ('@Region="Cu Linac', 8, "not closed"),
        ("QUAD,@Magnet", 5, "beginning of a term"),
        ("@Magnet,%missing", 8, "beginning of a term"),
        ("%", 1, "unknown state '%'"),
        ("%conected", 1, "%connected, %missing, %readonly"),
        ("%missing,readonly,", 18, "unknown state"),
        ("~", 1, "empty regular expression"),
        ("QUAD ~L(1", 6, "missing )"),
        (r"~(\w)\1", 1, "invalid escape sequence"),
        ("~.{900}", 1, "too complex"),
        ("QUAD:[ab", 5, "not closed"),
        ("QUAD:[]", 5, "not closed"),
        ("QUAD:[a b]", 5, "not closed"),
        ("QUAD:[z-a]", 6, "range z-a is empty"),
        ("QUAD\0", 4, "is not text"),
        ("QUAD\ud800", 4, "is not text"),
        ("Q" * (MAX_SELECTION + 1), MAX_SELECTION, "too long"),
        ("Q " * (MAX_TERMS + 1), 2 * MAX_TERMS, "too many terms"),
    ],
)
def test_bad_selections_name_position_and_reason(text: str, position: int, reason: str) -> None:
    with pytest.raises(SelectionError, match=re.escape(reason)) as caught:
        parse(text)
    assert caught.value.position == position


def test_empty_selection_is_everything() -> None:
    assert parse("") == EVERYTHING == Selection()
    assert EVERYTHING.everything
    assert not parse("*").everything


def test_longest_selection_is_taken() -> None:
    assert not parse("Q" * MAX_SELECTION).match(CATALOGUE).any()
    assert parse("* " * MAX_TERMS).match(CATALOGUE).all()


def test_empty_catalogue() -> None:
    nothing = Catalogue.of([])
    flags = LiveFlags(np.zeros(0, bool), np.zeros(0, bool))
    for text in ("", "*", "A*b?", "~x", "@A=b", "%readonly"):
        assert len(parse(text).match(nothing, flags)) == 0


def test_channels_of_an_older_catalogue() -> None:
    # Setpoints: one that has left the catalogue, one that is a readback by now; then a readback.
    channels = ChannelList.of(["GONE:BDES", Q2, Q1R, Q2R], 3)
    flags = live("1111", "1111")

    def match(text: str) -> list[bool]:
        found: list[bool] = parse(text).match_channels(channels, CATALOGUE, flags).tolist()
        return found

    assert match("*") == [True] * 4
    assert match("*:BDES") == [True, True, False, False]
    assert match("@Magnet") == [False, True, True, True]
    assert match("!@Magnet") == [True, False, False, False]
    assert match("%readonly") == [False, False, True, True]
    assert parse("%missing").match_channels(channels, CATALOGUE, live("0110")).tolist() == [True, False, False, True]


def test_a_result_can_be_written_to_without_harm() -> None:
    for text in ("QUAD:*", "@Magnet", "%connected", ""):
        flags = live()
        expected = names(text, flags)
        parse(text).match(CATALOGUE, flags)[:] = False
        assert names(text, flags) == expected


def test_what_is_kept_goes_with_the_list() -> None:
    catalogue = Catalogue.of([Entry("A", "B", tags={"G": ("T",)})])
    channels = ChannelList.of(["B", "A"])
    parse("A* ~B @G=T").match_channels(channels, catalogue)
    gone = weakref.ref(catalogue), weakref.ref(catalogue.channels), weakref.ref(channels)
    del catalogue, channels
    gc.collect()
    assert [r() for r in gone] == [None, None, None]


def test_many_selections_on_one_list() -> None:
    for i in range(200):
        assert names(f"*:BDES !*:{i}") == [Q1, Q2, B]
        assert names(f"~:BDES$ !@{i}") == [Q1, Q2, B]


def test_large_catalogue_agrees_with_fnmatch() -> None:
    catalogue = Catalogue.of([Entry(f"DEV:{i:05d}:SP", f"DEV:{i:05d}:RB") for i in range(20_000)])
    for glob in ("DEV:*:SP", "DEV:0?7*", "*[3-5]:RB", "DEV:00042:SP", "*9*9*9*"):
        expected = [fnmatch.fnmatchcase(n, glob) for n in catalogue.channels.names]
        assert parse(glob).match(catalogue).tolist() == expected


ALPHABET = 'AB:12?*[]!-~@%,= "\\.(){}+|^$é\n'


def parsed(text: str) -> Selection | SelectionError:
    try:
        return parse(text)
    except SelectionError as exc:
        return exc


@given(st.text(ALPHABET, max_size=30) | st.text(max_size=60))
@settings(max_examples=400, deadline=None)
def test_arbitrary_text_parses_or_is_refused(text: str) -> None:
    outcome = parsed(text)
    if isinstance(outcome, SelectionError):
        assert 0 <= outcome.position <= len(text)
        assert outcome.reason
    else:
        assert parse(str(outcome)) == outcome
        assert outcome.match(CATALOGUE, live()).shape == (8,)


@given(st.text("AB:1?*[]!-", min_size=1, max_size=8), st.lists(st.text("AB:1-!", min_size=1, max_size=6), max_size=8))
@settings(max_examples=400, deadline=None)
def test_globs_are_those_of_fnmatch(glob: str, pv_names: list[str]) -> None:
    selection = parsed(glob)
    if glob.startswith("!") or isinstance(selection, SelectionError):
        return
    catalogue = Catalogue.of([Entry(n) for n in dict.fromkeys(pv_names)])
    expected = [fnmatch.fnmatchcase(n, glob) for n in catalogue.channels.names]
    assert selection.match(catalogue).tolist() == expected
