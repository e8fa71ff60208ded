"""What a DIFF view lists of a comparison: its rows, the page it is on, the rows that are picked."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.model.difftable import DiffTable, restorable
from squirrel_ioc.model.job import CompareResult

__all__ = ["Listing", "PAGE_ROWS", "Select"]

PAGE_ROWS: Final = 20


class Select(IntEnum):
    """DIFF:SELECT, in the order of its states."""

    NONE = 0
    PAGE = 1
    ALL = 2


class Listing:
    """The rows of `table`, in pages from 1. `select` is how the picked rows came about; a part of them is PAGE."""

    def __init__(self, result: CompareResult, table: DiffTable) -> None:
        self.result = result
        self.table = table
        self.page = 1
        self.selected = np.zeros(len(table), bool)
        self.select = Select.NONE

    @property
    def pages(self) -> int:
        """At least one, which may be empty."""
        return max(1, -(-len(self.table) // PAGE_ROWS))

    @property
    def span(self) -> range:
        """Rows of the table that are on the page."""
        first = (self.page - 1) * PAGE_ROWS
        return range(first, min(first + PAGE_ROWS, len(self.table)))

    @property
    def picked(self) -> int:
        """How many rows are picked."""
        return int(np.count_nonzero(self.selected))

    def turn_to(self, page: int) -> None:
        """Raises RefusedError for a page that is not there."""
        if not 1 <= page <= self.pages:
            raise RefusedError(f"there is no page {page}: the pages are 1 to {self.pages}")
        self.page = page

    def pick(self, which: Select) -> None:
        """Pick no row, those on the page, or all. Raises RefusedError when there is none to pick."""
        if which is not Select.NONE and not len(self.table):
            raise RefusedError("there are no rows to select")
        self.selected[:] = which is Select.ALL
        if which is Select.PAGE:
            self.selected[self.span.start : self.span.stop] = True
        self.select = which

    def pick_row(self, place: int, on: bool) -> None:
        """Pick the row at this place of the page, from 0, or drop it. Raises RefusedError when none is there."""
        if place >= len(self.span):
            raise RefusedError(f"there is no row {place + 1} on page {self.page}")
        self.selected[self.span[place]] = on
        if not self.selected.any():
            self.select = Select.NONE
        else:
            self.select = Select.ALL if self.selected.all() else Select.PAGE

    def names_to_restore(self) -> list[str]:
        """The picked PVs that a restore of A can write. Raises RefusedError when there are none."""
        picked = np.flatnonzero(self.selected)
        if not len(picked):
            raise RefusedError("no row is selected")
        comparison = self.result.comparison
        rows = picked[restorable(comparison)[self.table.rows[picked]]]
        if not len(rows):
            raise RefusedError(
                f"none of the {len(picked)} selected rows can be restored: they are readbacks, or have no value in A"
            )
        return [self.table.names[row] for row in rows.tolist()]
