"""The scripts in the panels. Phoebus runs them with the Jython it comes with: Python 2.7.

What they write to a PV is an `int`, which becomes a Java Integer. A `long` would be a BigInteger, which no PV takes.
"""

from __future__ import annotations

from typing import Final

from squirrel_ioc.panels._bob import pv

__all__ = ["MAX_ROWS", "PICK_ID", "ROWS", "open_id", "write_id"]

MAX_ROWS: Final = 1000
"""Rows a table shows, of however many there are."""

ROWS: Final = f"""\
# Arrays of equal length become the columns of the table. They arrive one after the other.
from org.csstudio.display.builder.runtime.script import PVUtil

def column(pv):
    if pv.getName().endswith(":LONG"):
        text = PVUtil.getString(pv, True)
        return text.split("\\n") if text else []
    return PVUtil.getStringArray(pv)

rows = [list(row) for row in zip(*[column(pv)[:{MAX_ROWS}] for pv in pvs])]
widget.setValue(rows)
"""
"""A table's PVs are its columns, from left to right."""

PICK_ID: Final = """\
# The selected row begins with its row and column number, then the snapshot's id.
from org.csstudio.display.builder.runtime.script import PVUtil

rows = PVUtil.getTable(pvs[0])
if len(rows):
    pvs[1].write(int(rows[0][2]))
"""
"""A table's selection is the first PV, the second takes the id in the first column of its first row."""


_OWN: Final = """\
from org.csstudio.display.builder.runtime.script import PVUtil, ScriptUtil

own = PVUtil.getInt(ScriptUtil.getPrimaryPV(widget))
"""


def write_id(*puts: tuple[str, int | None]) -> str:
    """Write control PVs, one after the other; None stands for the value of the widget's own PV."""
    lines = ['prefix = widget.getEffectiveMacros().getValue("P")']
    for name, value in puts:
        bare = pv(name).removeprefix("$(P)")
        lines.append(f'PVUtil.writePV(prefix + "{bare}", {"own" if value is None else value}, 5000)')
    return _OWN + "".join(f"{line}\n" for line in lines)


def open_id(file: str) -> str:
    """Open a panel of one snapshot: the macro ID is the value of the widget's own PV."""
    return f'{_OWN}ScriptUtil.openDisplay(widget, "{file}", "TAB", {{"ID": str(own)}})\n'
