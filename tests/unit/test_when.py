"""Times as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.model.when import parse_since, parse_until


@pytest.fixture(autouse=True)
def _in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-11-20", "2026-11-20T00:00:00+01:00", "2026-11-20T23:59:59.999999+01:00"),
        ("20261120", "2026-11-20T00:00:00+01:00", "2026-11-20T23:59:59.999999+01:00"),
        # Summer time begins and ends: these days have 23 and 25 hours.
        ("2026-03-29", "2026-03-29T00:00:00+01:00", "2026-03-29T23:59:59.999999+02:00"),
        ("2026-10-25", "2026-10-25T00:00:00+02:00", "2026-10-25T23:59:59.999999+01:00"),
        ("2026-07-01T10", "2026-07-01T10:00:00+02:00", "2026-07-01T10:59:59.999999+02:00"),
        (" 2026-07-01 10:15 ", "2026-07-01T10:15:00+02:00", "2026-07-01T10:15:59.999999+02:00"),
        ("2026-07-01T10:15:30", "2026-07-01T10:15:30+02:00", "2026-07-01T10:15:30.999999+02:00"),
        ("2026-07-01T10:15:30.25", "2026-07-01T10:15:30.25+02:00", "2026-07-01T10:15:30.259999+02:00"),
        ("2026-07-01T10:15:30.1234567", "2026-07-01T10:15:30.123456+02:00", "2026-07-01T10:15:30.123456+02:00"),
        ("2026-07-01T10:15Z", "2026-07-01T10:15:00+00:00", "2026-07-01T10:15:59.999999+00:00"),
        ("2026-07-01T10:15:30-05:00", "2026-07-01T10:15:30-05:00", "2026-07-01T10:15:30.999999-05:00"),
    ],
)
def test_first_and_last_moment(text: str, first: str, last: str) -> None:
    assert parse_since(text) == moment(first)
    assert parse_until(text) == moment(last)


def test_nothing_is_no_bound() -> None:
    assert parse_since("") is parse_until("  ") is None


def test_a_time_as_shown_is_within_its_own_bounds() -> None:
    taken = moment("2026-07-01T10:15:30.123456+02:00")
    shown = taken.isoformat(timespec="milliseconds")
    since, until = parse_since(shown), parse_until(shown)
    assert since is not None
    assert until is not None
    assert since <= taken <= until < since + timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "text",
    ["yesterday", "10:15", "2026-13-01", "2026-02-30", "2026-11-20T25:00", "2026-11-20T", "9999-12-31", "Ü", "1"],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    for parse in (parse_since, parse_until):
        with pytest.raises(RefusedError, match=r"no date or time .*2026-11-20T10:15"):
            parse(text)
