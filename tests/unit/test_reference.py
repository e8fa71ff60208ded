"""The PV reference: complete, readable, and in the documentation as it is made."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from squirrel_ioc.cli import app
from squirrel_ioc.ioc.ondemand import hist, job_resources, snapshot_resources
from squirrel_ioc.ioc.reference import static_pvs
from squirrel_ioc.panels._on_demand import ON_DEMAND
from squirrel_ioc.panels.reference import BEGIN, END, as_json, group_rows, insert, markdown
from squirrel_ioc.resources import docs_dir

REFERENCE = docs_dir() / "pv-reference.md"


def test_documentation_has_the_reference_as_it_is_made() -> None:
    text = REFERENCE.read_text("utf-8")
    assert insert(text) == text, "the PVs have changed: run `python -m squirrel_ioc.panels`, it writes the file anew"


def test_every_pv_is_in_a_table_once() -> None:
    shown = [name for rows in group_rows().values() for row in rows for name in _unfolded(row[0])]
    assert len(shown) == len(set(shown))
    assert set(shown) == {info.name for info in static_pvs()}


def _unfolded(cell: str) -> list[str]:
    """The names that a cell like `DIFF:ROW<nn>:NAME` or `SNAP:MSG + :S` stands for."""
    stem, *marks = cell.split(" + ")
    stems = [stem.replace("<nn>", f"{row:02d}") for row in range(1, 21)] if "<nn>" in stem else [stem]
    return [name for s in stems for name in (s, *(f"{s}{mark}" for mark in marks))]


def test_row_says_type_access_alarms_and_mirror() -> None:
    rows = {row[0]: row[1:] for rows in group_rows().values() for row in rows}
    assert rows["SNAP:TITLE + :S"] == ("CHAR[256]", "waveform", "rw", "Title of the next snapshot", "")
    assert rows["RESTORE:FAILED"] == ("LONG", "longin", "r", "PVs whose write failed", "MINOR above 0")
    assert rows["DB:STATUS"][-1] == "Connected, Down (MAJOR)"
    assert rows["RESTORE:BAD:NAMES + :LONG"][0] == "STRING[50000]"
    assert rows["JOB:PROGRESS"][-1] == "%"
    assert rows["DIFF:ROW<nn>:SEL"][3] == "Select row <nn>"


def test_markdown_is_whole() -> None:
    text = markdown()
    for name in group_rows():
        assert re.search(rf"^### {name}\b", text, re.MULTILINE), f"the reference has no section {name}"
    assert text.endswith("\n")
    assert not re.search(r"\{[A-Za-z_]*}", text)
    assert "\n\n\n" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1, f"not every row has as many cells as the others:\n{table}"


def test_notes_name_pvs_that_there_are() -> None:
    known = {info.name for info in static_pvs()} | {name for found in ON_DEMAND for name in found.names}
    groups = {name.split(":")[0] for name in known}
    for name in re.findall(r"`([A-Z]+:[A-Z:]+)`", markdown()):
        assert name in known or name.split(":")[0] not in groups, f"the reference speaks of {name}, which there is not"


def test_resources_are_those_that_are_made() -> None:
    writable = {name: found.writable for found in ON_DEMAND for name in found.names}
    items = snapshot_resources._ITEMS
    made = {f"SNAP:<id>:{name}": item.change is not None for name, item in items.items()}
    made |= {f"SNAP:<id>:{name}": True for name in snapshot_resources._COMMANDS}
    made |= {f"JOB:<id>:{name}": False for name in job_resources._ITEMS}
    made |= {f"HIST:<pv>:{part}".rstrip(":"): False for part in hist._PARTS}
    assert writable == made | {"SNAP:<id>:VAL:<pv>": False, "REF:<pv>": False}
    assert {found.type for found in ON_DEMAND if found.names[0].startswith("HIST:")} == {f"DOUBLE[{hist.MAX_POINTS}]"}


def test_insert_replaces_only_what_is_between_the_markers() -> None:
    text = insert(f"before\n{BEGIN}\nOBSOLETE\n{END}\nafter\n")
    assert text.startswith(f"before\n{BEGIN}\n\n- **Commands**")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "OBSOLETE" not in text
    assert insert(text) == text


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {BEGIN} {END}"])
def test_insert_needs_one_pair_of_markers(text: str) -> None:
    with pytest.raises(ValueError, match="pair"):
        insert(text)


def test_json_has_every_pv_one_by_one() -> None:
    found = as_json()
    assert [pv["name"] for pv in found["pvs"]] == [info.name for info in static_pvs()]
    status = next(pv for pv in found["pvs"] if pv["name"] == "SNAP:STATUS")
    assert status["group"] == "SNAP"
    assert status["states"][3:5] == ("Partial", "Failed")
    assert status["severities"][3:5] == ("MINOR", "MAJOR")
    assert json.loads(json.dumps(found))["on_demand"][0]["names"] == ["SNAP:<id>:TITLE"]


def test_command_prints_tables_markdown_and_json() -> None:
    def printed(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["reference", *arguments], env={"COLUMNS": "250"})
        assert result.exit_code == 0
        return result.stdout

    assert re.search(r"SNAP:TRIGGER .* bo .* Take a snapshot", printed())
    assert "HIST:<pv>" in printed()
    assert printed("--markdown") == markdown()
    assert len(json.loads(printed("--json"))["pvs"]) == len(static_pvs())
