"""Catalogues as CSV: the first line names the columns, a row is an entry."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from squirrel_ioc.formats.catalogue.entry_rows import FIELDS, Rows, Tags, add_tag, parse_tags

__all__ = ["read_csv"]

_COLUMNS = {name.replace("_", ""): name for name in ("setpoint", "readback", "tags", *FIELDS)}
_NEAR = 0.88


@dataclass(frozen=True)
class _Header:
    """Where what stands: our columns by name, the tag groups by their name, and all columns without one."""

    fields: tuple[tuple[int, str], ...]
    tags: tuple[tuple[int, str], ...]
    width: int
    nameless: tuple[int, ...]


def read_csv(rows: Rows, file: str, text: str) -> None:
    """Add the rows of a file. Cells are separated by commas, or by the semicolons or tabs of the first line.

    Empty lines and lines that begin with # are passed over. What cannot be is noted in `rows`.
    """
    header: _Header | None = None
    cache: dict[tuple[str, ...], tuple[Tags, tuple[str, ...]]] = {}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cells) and not cells[0].startswith("#"):
                if header is None:
                    header = _header(rows, file, line, [c.strip() for c in cells])
                    if header is None:
                        return
                else:
                    _row(rows, file, line, [c.strip() for c in cells], header, cache)
            line = reader.line_num + 1
    except csv.Error as exc:
        rows.problem(file, line, f"is not CSV: {exc}")
        return
    if header is None:
        rows.problem(file, None, "is empty: the first line must name the columns, setpoint and others")


def _delimiter(text: str) -> str:
    """What separates the cells of the first line that says something."""
    first = next((s for s in io.StringIO(text) if s.strip() and not s.startswith("#")), "")
    return max(",;\t", key=first.count)


def _header(rows: Rows, file: str, line: int, cells: Sequence[str]) -> _Header | None:
    """The columns; None when they make no sense, which is noted."""
    fields: dict[str, int] = {}
    tags: dict[str, int] = {}
    reasons: list[str] = []
    for i, cell in enumerate(cells):
        key = cell.lower().replace("_", "").replace("-", "").replace(" ", "")
        if not cell:
            continue
        name = _COLUMNS.get(key)
        if cell in tags or name in fields:
            reasons.append(f"column {cell!r} is there twice")
        elif name is not None:
            fields[name] = i
        elif near := difflib.get_close_matches(key, _COLUMNS, 1, _NEAR):
            # A tolerance that silently became a tag group would do harm.
            reasons.append(f"column {cell!r} is almost {_COLUMNS[near[0]]!r}; a tag group needs another name")
        else:
            try:
                add_tag({}, cell, "tag")
            except ValueError as exc:
                reasons.append(str(exc))
            tags[cell] = i
    if "setpoint" not in fields and "readback" not in fields:
        reasons.append("no column 'setpoint': the first line must name the columns")
    for reason in reasons:
        rows.problem(file, line, reason)
    if reasons:
        return None
    cell_tags = fields.pop("tags", None)
    groups = [(i, name) for name, i in tags.items()] + ([] if cell_tags is None else [(cell_tags, "")])
    return _Header(
        tuple((i, name) for name, i in fields.items()),
        tuple(groups),
        len(cells),
        tuple(i for i, c in enumerate(cells) if not c),
    )


def _row(
    rows: Rows,
    file: str,
    line: int,
    cells: list[str],
    header: _Header,
    cache: dict[tuple[str, ...], tuple[Tags, tuple[str, ...]]],
) -> None:
    if len(cells) < header.width:
        cells += [""] * (header.width - len(cells))
    elif any(cells[header.width :]):
        rows.problem(file, line, f"{len(cells)} cells, but the first line names {header.width} columns")
        return
    if any(cells[i] for i in header.nameless):
        rows.problem(file, line, "a cell in a column without a name")
        return
    # Many rows have the same tags: they share one mapping.
    key = tuple(cells[i] for i, _ in header.tags)
    if (known := cache.get(key)) is None:
        known = cache[key] = _tags(header, key)
    tags, reasons = known
    for reason in reasons:
        rows.problem(file, line, reason)
    if not reasons:
        rows.add(file, line, {name: text for i, name in header.fields if (text := cells[i])}, tags, {})


def _tags(header: _Header, cells: Sequence[str]) -> tuple[Tags, tuple[str, ...]]:
    """The tags in the cells of the tag groups and of the column `tags` (whose group is empty)."""
    tags: Tags = {}
    reasons = []
    for (_, group), cell in zip(header.tags, cells, strict=True):
        try:
            if not group:
                parse_tags(tags, cell)
                continue
            for tag in cell.replace(";", ",").split(","):
                if tag := tag.strip():
                    add_tag(tags, group, tag)
        except ValueError as exc:
            reasons.append(str(exc))
    return tags, tuple(reasons)
