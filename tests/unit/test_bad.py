"""Which values were bad when they were read."""

from __future__ import annotations

import pytest

from squirrel_ioc.model.bad import alarm_text, bad_rows
from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta

NO_ALARM, MINOR, MAJOR, INVALID = range(4)
READ, HIHI, LOW, STATE, LINK, UDF = 1, 3, 6, 7, 14, 17


@pytest.mark.parametrize(
    ("name", "severity", "status", "bad"),
    [
        ("X", INVALID, UDF, True),
        ("X", MINOR, UDF, True),  # UDFS
        ("X", NO_ALARM, UDF, False),  # by autosave or the database file, never processed
        ("X", INVALID, READ, True),
        ("X", INVALID, LINK, True),
        ("X", MAJOR, READ, False),
        ("X", INVALID, HIHI, False),
        ("X", INVALID, LOW, False),
        ("X", INVALID, STATE, False),
        ("X.VAL", INVALID, UDF, True),
        ('X.VAL{"arr":{"s":1.5}}', INVALID, UDF, True),
        ('X{"ts":{}}', INVALID, UDF, True),
        ("X.HIHI", INVALID, UDF, False),
        ("X.CALC", INVALID, UDF, False),
        ("X.VALUE", INVALID, UDF, False),
    ],
)
def test_bad(name: str, severity: int, status: int, bad: bool) -> None:
    builder = FrameBuilder()
    builder.add_missing("away")
    builder.add(name, 1.0, Meta(Dbf.DOUBLE, 1), severity=severity, status=status)
    assert bad_rows(builder.build()).tolist() == ([1] if bad else [])


def test_the_alarm_in_words() -> None:
    builder = FrameBuilder()
    builder.add("A", 1.0, Meta(Dbf.DOUBLE, 1), severity=INVALID, status=UDF)
    builder.add("B", 1.0, Meta(Dbf.DOUBLE, 1), severity=7, status=99)
    frame = builder.build()
    assert [alarm_text(frame, row) for row in range(2)] == ["INVALID (UDF)", "7 (99)"]
