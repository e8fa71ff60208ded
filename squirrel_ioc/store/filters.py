"""Which snapshots are meant: a `SnapshotFilter` in SQL."""

from __future__ import annotations

from typing import Any, Final

from squirrel_ioc.model.snapshot import SnapshotFilter

__all__ = ["CONDITIONS", "arguments"]

CONDITIONS: Final = """
    ($1 = '' OR strpos(search, lower($1)) > 0)
    AND ($2 = '' OR lower($2) IN (SELECT lower(label) FROM unnest(labels) AS label))
    AND ($3 = '' OR lower(username) = lower($3))
    AND ($4::timestamptz IS NULL OR taken >= $4)
    AND ($5::timestamptz IS NULL OR taken <= $5)
    AND ($6::boolean IS NULL OR (kind = 'backup') = $6)
    AND ($7::boolean IS NULL OR reference = $7)
    AND ($8 = '' OR title = $8)
"""
"""Of rows of the table snapshot. The parameters $1 to $8 are `arguments`."""


def arguments(wanted: SnapshotFilter) -> tuple[Any, ...]:
    """For the parameters of CONDITIONS."""
    of_whom = wanted.text, wanted.label, wanted.user
    return (*of_whom, wanted.since, wanted.until, wanted.automatic, wanted.reference, wanted.title)
