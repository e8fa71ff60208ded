"""The scripts in the panels, run with as much of Phoebus as they see."""

from __future__ import annotations

import ast
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from squirrel_ioc.panels import PANELS
from squirrel_ioc.panels._scripts import MAX_ROWS, PICK_ID, ROWS, open_id, write_id


class Pv:
    """A PV of a script."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value

    def getName(self) -> str:
        return self.name

    def write(self, value: Any) -> None:
        self.value = value


class PvUtil:
    """`org.csstudio.display.builder.runtime.script.PVUtil`: names and results as there."""

    def __init__(self) -> None:
        self.puts: list[tuple[str, Any]] = []

    def getString(self, pv: Pv, byte_array_as_string: bool) -> str:
        assert byte_array_as_string
        return str(pv.value)

    def getStringArray(self, pv: Pv) -> list[str]:
        return [str(value) for value in pv.value]

    def getTable(self, pv: Pv) -> list[list[Any]]:
        table: list[list[Any]] = pv.value
        return table

    def getInt(self, pv: Pv) -> int:
        return int(pv.value)

    def writePV(self, name: str, value: Any, timeout_ms: int) -> None:
        assert 0 < timeout_ms <= 10_000
        self.puts.append((name, value))


class Phoebus:
    """A widget whose own PV has a value, in a display with the macro P."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own = Pv("loc://squirrel:SQRL:id", 17)
        self.rows: Any = None
        self.opened: list[tuple[Any, ...]] = []
        self.util = PvUtil()
        self.widget = SimpleNamespace(
            setValue=lambda rows: setattr(self, "rows", rows),
            getEffectiveMacros=lambda: SimpleNamespace(getValue={"P": "SQRL:"}.__getitem__),
        )
        module: Any = ModuleType("org.csstudio.display.builder.runtime.script")
        module.PVUtil = self.util
        module.ScriptUtil = SimpleNamespace(
            getPrimaryPV=lambda widget: self.own, openDisplay=lambda widget, *how: self.opened.append(how)
        )
        parts = module.__name__.split(".")
        for i in range(1, len(parts)):
            monkeypatch.setitem(sys.modules, ".".join(parts[:i]), ModuleType(".".join(parts[:i])))
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def run(self, script: str, *pvs: Pv) -> None:
        exec(compile(script, "script", "exec"), {"widget": self.widget, "pvs": list(pvs)})  # noqa: S102


@pytest.fixture
def phoebus(monkeypatch: pytest.MonkeyPatch) -> Phoebus:
    return Phoebus(monkeypatch)


def test_rows_of_arrays_of_all_kinds(phoebus: Phoebus) -> None:
    phoebus.run(ROWS, Pv("S:IDS", [3, 2]), Pv("S:TITLES:LONG", "Ä\nb, c"), Pv("S:USERS", ["x", "y"]))
    assert phoebus.rows == [["3", "Ä", "x"], ["2", "b, c", "y"]]


def test_no_rows_for_empty_arrays(phoebus: Phoebus) -> None:
    phoebus.run(ROWS, Pv("S:NAMES:LONG", ""), Pv("S:COUNTS", []))
    assert phoebus.rows == []


def test_empty_text_in_a_row_is_a_row(phoebus: Phoebus) -> None:
    phoebus.run(ROWS, Pv("S:NAMES:LONG", "a\nb"), Pv("S:REASONS:LONG", "\n"))
    assert phoebus.rows == [["a", ""], ["b", ""]]


def test_arrays_that_have_not_all_arrived_yet_are_cut(phoebus: Phoebus) -> None:
    phoebus.run(ROWS, Pv("S:IDS", [1, 2, 3]), Pv("S:USERS", ["x"]))
    assert phoebus.rows == [["1", "x"]]


def test_rows_are_bounded(phoebus: Phoebus) -> None:
    phoebus.run(ROWS, Pv("S:IDS", range(50_000)))
    assert len(phoebus.rows) == MAX_ROWS


def test_click_picks_the_id(phoebus: Phoebus) -> None:
    # As SelectionVTable has it: row, column, then the cells of the row.
    phoebus.run(PICK_ID, Pv("loc://selection", [[4, 0, "23", "title"]]), phoebus.own)
    assert phoebus.own.value == 23
    phoebus.run(PICK_ID, Pv("loc://selection", []), phoebus.own)
    assert phoebus.own.value == 23


def test_buttons_write_the_id_and_what_else_is_wanted(phoebus: Phoebus) -> None:
    phoebus.run(write_id(("DIFF:A", None), ("DIFF:B", 0)))
    assert phoebus.util.puts == [("SQRL:DIFF:A", 17), ("SQRL:DIFF:B", 0)]
    with pytest.raises(KeyError):
        write_id(("DIFF:C", None))


def test_button_opens_the_panel_of_the_id(phoebus: Phoebus) -> None:
    phoebus.run(open_id("squirrel_snapshot.bob"))
    assert phoebus.opened == [("squirrel_snapshot.bob", "TAB", {"ID": "17"})]
    assert "squirrel_snapshot.bob" in PANELS


@pytest.mark.parametrize("script", [ROWS, PICK_ID, write_id(("DIFF:A", None)), open_id("x.bob")])
def test_scripts_are_python_2_as_well(script: str) -> None:
    assert script.isascii()
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Nonlocal)
    for node in ast.walk(ast.parse(script)):
        assert not isinstance(node, newer)
        assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print")
