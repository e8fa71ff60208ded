"""Times as people write them: ISO 8601, local time unless they have an offset."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from squirrel_ioc.errors import RefusedError

__all__ = ["parse_since", "parse_until"]

_FORM = re.compile(
    r"[^T ]+[T ](?P<clock>\d\d(:?\d\d(:?\d\d)?)?)([.,](?P<fraction>\d+))?(Z|[+-][\d:.]+)?", re.IGNORECASE
)
_LAST = timedelta(microseconds=1)


def parse_since(text: str) -> datetime | None:
    """The first moment of a date or time, with its offset; None for an empty text. Raises RefusedError."""
    text = text.strip()
    return _moment(text)[0] if text else None


def parse_until(text: str) -> datetime | None:
    """The last moment of a date or time: "2026-11-20" is the whole day, "2026-11-20 10:15" the whole minute.

    With its offset; None for an empty text. Raises RefusedError.
    """
    text = text.strip()
    return _moment(text)[1] if text else None


def _moment(text: str) -> tuple[datetime, datetime]:
    try:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            first = datetime.fromisoformat(text).astimezone()
            return first, first + _resolution(text) - _LAST
        start = datetime(day.year, day.month, day.day).astimezone()
        # Not 24 hours: the clocks may be changed on that day.
        next_day = day + timedelta(days=1)
        return start, datetime(next_day.year, next_day.month, next_day.day).astimezone() - _LAST
    except (ValueError, OverflowError, OSError):
        raise RefusedError(
            f"{text!r} is no date or time (2026-11-20, 2026-11-20T10:15, 2026-11-20T10:15:30+01:00)"
        ) from None


def _resolution(text: str) -> timedelta:
    form = _FORM.fullmatch(text)
    if form is None:  # another of ISO 8601's ways to write a time
        return timedelta(seconds=1)
    if form["fraction"]:
        return timedelta(microseconds=10 ** max(0, 6 - len(form["fraction"])))
    digits = len(form["clock"].replace(":", ""))
    return {2: timedelta(hours=1), 4: timedelta(minutes=1)}.get(digits, timedelta(seconds=1))
