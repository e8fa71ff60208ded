"""Macros as macLib has them."""

from __future__ import annotations

import time

import pytest

from squirrel_ioc.formats._macros import MacroError, Macros, parse_macros

MACROS = Macros({"A": "1", "B": "$(A)x", "NAME": "A", "EMPTY": ""})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)${A}", "11"),
        ("$(B)", "1x"),
        ("$($(NAME))", "1"),
        ("$(Z=def)", "def"),
        ("$(Z=)", ""),
        ("$(Z=$(A))", "1"),
        ("$(Z=${Y=deep})", "deep"),
        ("$(EMPTY)", ""),
        ("$(A=unused)", "1"),
        ("$(Z=$(A),A=5)", "5"),
        ("$(B,A=5)", "5x"),
        ("'$(A)'", "'$(A)'"),
        (r"\$(A)", r"\$(A)"),
        ("$A $", "$A $"),
        ("a$(A)b$(A)c", "a1b1c"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert MACROS.expand(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$(P)$(Q)x", "macro P, Q is not defined"),
        ("$(Z=$(Y))", "macro Y is not defined"),
        ("$(A", r"$( without its )"),
        ("${A)", r"${ without its }"),
    ],
)
def test_what_cannot_be_expanded_is_named(text: str, reason: str) -> None:
    with pytest.raises(MacroError) as caught:
        MACROS.expand(text)
    assert str(caught.value) == reason


def test_endless_macros_end() -> None:
    with pytest.raises(MacroError, match="without end"):
        Macros({"L": "$(M)", "M": "$(L)"}).expand("$(L)")


@pytest.mark.parametrize("last", ["x", ""])
def test_a_bomb_is_refused_in_time(last: str) -> None:
    bomb = {f"M{i}": f"$(M{i + 1})" * 10 for i in range(30)} | {"M30": last}
    start = time.perf_counter()
    with pytest.raises(MacroError):
        Macros(bomb).expand("$(M0)")
    assert time.perf_counter() - start < 30


def test_definitions() -> None:
    assert parse_macros("A=1, B = two ,C='x,y',D=,E=$(F=1,G=2)") == {
        "A": "1",
        "B": "two",
        "C": "x,y",
        "D": "",
        "E": "$(F=1,G=2)",
    }
    for bad in ("A", "=1", "A B=1"):
        with pytest.raises(MacroError):
            parse_macros(bad)
