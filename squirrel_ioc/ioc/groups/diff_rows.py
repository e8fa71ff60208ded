"""DIFF:ROW<nn>: a page of the rows in PVs of their own, for panels that cannot show arrays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from squirrel_ioc.ioc.groups.diff_listing import PAGE_ROWS, Listing
from squirrel_ioc.ioc.kinds.group import Group
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.scalars import Binary, String
from squirrel_ioc.model.display import STRING_LIMIT, delta_texts

__all__ = ["Rows"]

PickRow = Callable[[int, bool], Awaitable[None]]


class Rows:
    """The PVs ROW01 to ROW20 of a group. `pick(place, on)` is called when SEL is written; places count from 0."""

    def __init__(self, group: Group, like: Pv, pick: PickRow) -> None:
        """`like` is a PV of the group, whose declaration they share."""
        self._rows = [_Row(group, like, place, pick) for place in range(PAGE_ROWS)]
        group.pvdb.update({pv.pvname: pv for row in self._rows for pv in row.pvs})

    def show(self, listing: Listing) -> Iterator[tuple[Pv, Any]]:
        """What to post for the page the listing is on; rows behind the last one are empty."""
        span, table = listing.span, listing.table
        deltas = delta_texts(listing.result.comparison, table.rows[span.start : span.stop], STRING_LIMIT)
        for place, row in enumerate(self._rows):
            cells = ("", "", "", "")
            if place < len(span):
                at = span[place]
                cells = (table.names[at], table.text_a[at], table.text_b[at], deltas[place])
            yield from zip(row.texts, cells, strict=True)
        yield from self.show_picked(listing)

    def show_picked(self, listing: Listing) -> Iterator[tuple[Pv, Any]]:
        """What to post for the picked rows of the page."""
        for place, row in enumerate(self._rows):
            yield row.picked, place < len(listing.span) and bool(listing.selected[listing.span[place]])


class _Row:
    """One row."""

    def __init__(self, group: Group, like: Pv, place: int, pick: PickRow) -> None:
        def text(name: str, desc: str) -> String:
            return String(pvname=f"{prefix}{name}", group=group, pvspec=like.pvspec._replace(doc=f"{desc} {number}"))

        number = f"{place + 1:02d}"
        prefix = f"{group.prefix}ROW{number}:"
        self.texts = (
            text("NAME", "PV of row"),
            text("A", "Value of A in row"),
            text("B", "Value of B in row"),
            text("DELTA", "What B has more, row"),
        )
        self.picked = Binary(
            pvname=f"{prefix}SEL",
            group=group,
            pvspec=like.pvspec._replace(doc=f"Select row {number}"),
            writable=True,
            states=("No", "Yes"),
        )
        self.picked.on_put = partial(pick, place)
        self.pvs: tuple[Pv, ...] = (*self.texts, self.picked)
