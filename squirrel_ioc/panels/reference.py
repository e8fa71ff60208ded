"""The PV reference: every control PV, as Markdown for the documentation, as JSON for scripts, as rows for a terminal.

The tables come from the declarations of the PVs; what they do not say is in `reference.md` beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib.resources import files
from typing import Any, Final

from squirrel_ioc.ioc.reference import BOUNDS, PvInfo, static_groups
from squirrel_ioc.panels._on_demand import ON_DEMAND

__all__ = ["BEGIN", "COLUMNS", "END", "ON_DEMAND_COLUMNS", "as_json", "group_rows", "insert", "markdown"]

BEGIN: Final = "<!-- pv-reference -->"
END: Final = "<!-- /pv-reference -->"
"""What the reference stands between in a Markdown file."""

COLUMNS: Final = ("PV", "type", "record", "access", "description", "units, states")
ON_DEMAND_COLUMNS: Final = ("PV", "type", "access", "description")

_NUMBERED = re.compile(r"(.*:ROW)(\d\d)(:.*)")
_PLACEHOLDER = re.compile(r"\{([A-Z]+)}")


def group_rows() -> dict[str, list[tuple[str, ...]]]:
    """The cells of COLUMNS for every PV that is always there, by group: mirrors, twins and numbered rows folded in."""
    return {name: list(_rows(infos)) for name, infos in static_groups().items()}


def on_demand_rows() -> list[tuple[str, ...]]:
    """The cells of ON_DEMAND_COLUMNS."""
    return [(", ".join(pv.names), pv.type, _access(pv.writable), pv.desc) for pv in ON_DEMAND]


def markdown() -> str:
    """The reference for the documentation; ends with a line end."""
    text = files(__package__).joinpath("reference.md").read_text("utf-8")
    tables = {name: _table(COLUMNS, rows) for name, rows in group_rows().items()}
    others = [name for name in tables if name not in _PLACEHOLDER.findall(text)]
    sections = "\n\n".join(f"### {name}\n\n{tables[name]}" for name in others)
    on_demand = _table(ON_DEMAND_COLUMNS, on_demand_rows())
    bounds = {name: f"{bound:,}" for name, bound in BOUNDS.items()}
    text = text.format(**tables, **bounds, OTHERS=sections, ON_DEMAND=on_demand)
    return re.sub(r"\n{3,}", "\n\n", text)


def as_json() -> dict[str, Any]:
    """Every PV, mirrors and twins and all, one by one, and what is made on demand."""
    pvs = [{"group": name, **asdict(info)} for name, infos in static_groups().items() for info in infos]
    return {"pvs": pvs, "on_demand": [asdict(pv) for pv in ON_DEMAND]}


def insert(text: str) -> str:
    """A Markdown file with the reference between its markers. Raises ValueError when it has not one pair of them."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"there is not one pair of {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{rest.split(END)[1]}"


def _rows(infos: Sequence[PvInfo]) -> Iterator[tuple[str, ...]]:
    names = {info.name for info in infos}
    for info in _folded(infos):
        example = info.name.replace("<nn>", "01")
        marks = [mark for mark in (":S", ":LONG") if f"{example}{mark}" in names]
        name = " + ".join([info.name, *marks])
        yield name, info.type, info.record, _access(info.writable), info.desc, _details(info)


def _folded(infos: Sequence[PvInfo]) -> Iterator[PvInfo]:
    """Without mirrors and twins; of numbered rows that are alike only one, with `<nn>` for the number."""
    names = {info.name for info in infos}
    seen = set()
    for info in infos:
        stem, _, mark = info.name.rpartition(":")
        if mark in ("S", "LONG") and stem in names:
            continue
        shown = info
        if numbered := _NUMBERED.fullmatch(info.name):
            desc = info.desc.replace(numbered[2], "<nn>")
            shown = replace(info, name=f"{numbered[1]}<nn>{numbered[3]}", desc=desc)
        if shown not in seen:
            seen.add(shown)
            yield shown


def _details(info: PvInfo) -> str:
    if info.states:
        both = zip(info.states, info.severities, strict=True)
        return ", ".join(f"{state} ({severity})" if severity else state for state, severity in both)
    if info.alarm_above is not None:
        return f"MINOR above {info.alarm_above}"
    return info.egu


def _access(writable: bool) -> str:
    return "rw" if writable else "r"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join([_code(row[0]), *map(_plain, row[1:])])} |" for row in rows]
    return "\n".join(lines)


def _code(names: str) -> str:
    """Names as code, one by one."""
    return re.sub(r"[^\s,+]+", r"`\g<0>`", names)


def _plain(text: str) -> str:
    """Text that Markdown leaves alone."""
    return text.replace("|", "\\|").replace("<", "&lt;")
