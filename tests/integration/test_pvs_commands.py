"""`squirrel-ioc pvs` on a database: what the commands change, what they print, how they exit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from squirrel_ioc import cli as command_line
from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.store import Store


@dataclass
class Done:
    """A command that has run."""

    returncode: int
    stdout: str
    stderr: str


Cli = Callable[..., Done]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A command in this process, in a folder of its own with settings.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["squirrel-ioc", "pvs", *arguments, "--config", "settings.yaml"])
        code = 0
        try:
            command_line.main()
        except SystemExit as e:
            code = int(e.code or 0)
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
async def cli(tmp_path: Path, store: Store, database: DatabaseSettings, commands: Cli) -> Cli:
    """A command, on a database with the entries A (from a file, with a readback), B and C (added)."""
    filed = Entry("A", "A:RB", atol=0.1, tags={"Area": ("L1",), "System": ("Magnet",)})
    await store.change_catalogue(lambda inventory, _: inventory.with_files([filed]))
    await store.change_catalogue(lambda inventory, former: inventory.with_added(["B", "C"], former))
    assert database.dsn is not None
    settings = {"database": {"dsn": database.dsn.get_secret_value()}}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    return commands


def listed(cli: Cli, *arguments: str) -> dict[str, dict[str, Any]]:
    done = cli("list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["total"] == len(told["pvs"])
    return {pv["setpoint"]: pv for pv in told["pvs"]}


def good(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def bad(done: Done, code: int, *reasons: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    told = " ".join(done.stderr.replace("│", " ").split())
    for reason in reasons:
        assert reason in told


def test_list(cli: Cli) -> None:
    table = good(cli("list"))
    for text in ("A:RB", "atol 0.1", "Area=L1; System=Magnet", "added", "3 of 3"):
        assert text in table
    assert "1 of 3" in good(cli("list", "-n", "1"))
    pvs = listed(cli)
    assert list(pvs) == ["A", "B", "C"]
    assert pvs["A"] == {
        "setpoint": "A",
        "readback": "A:RB",
        "description": "",
        "device": "",
        "tags": {"Area": ["L1"], "System": ["Magnet"]},
        "atol": 0.1,
        "rtol": None,
        "read_only": False,
        "order": 0,
        "max_step": None,
        "step_period": 1.0,
        "completion": None,
        "verify": "setpoint",
        "origin": "file",
        "changed": False,
        "removed": False,
    }
    assert pvs["B"]["origin"] == "added"
    assert list(listed(cli, "--filter", "@L1")) == ["A"]
    assert list(listed(cli, "--filter", "!A*")) == ["B", "C"]


def test_add_set_and_remove(cli: Cli) -> None:
    assert good(
        cli("add", "D", "E", "--atol", "0.5", "--tag", "Area=L2", "--tag", "Area=L3", "--read-only")
    ).strip() == ("2 added, 0 removed, 0 changed; 5 setpoints in the catalogue.")
    told = json.loads(good(cli("set", "D", "--max-step", "2", "--order", "-1", "--readback", "D:RB", "--json")))
    assert (told["added"], told["removed"], told["changed"]) == ([], [], 1)
    good(cli("set", "-f", "@Area=L*", "--description", "a thing", "--device", "Q1", "--rtol", "1e-3", "--writable"))
    pvs = listed(cli)
    assert {n: (pv["description"], pv["read_only"]) for n, pv in pvs.items()} == {
        "A": ("a thing", False),
        "B": ("", False),
        "C": ("", False),
        "D": ("a thing", False),
        "E": ("a thing", False),
    }
    d = pvs["D"]
    assert (d["atol"], d["rtol"], d["order"], d["max_step"], d["readback"]) == (0.5, 0.001, -1, 2, "D:RB")
    assert d["tags"] == {"Area": ["L2", "L3"]}
    assert (pvs["A"]["changed"], d["changed"]) == (True, False)
    good(cli("remove", "A", "D"))
    assert list(listed(cli)) == ["B", "C", "E"]
    assert list(listed(cli, "--removed")) == ["A"]
    # What comes back is as it was, but for what is said now.
    good(cli("add", "A", "D", "--rtol", "none"))
    pvs = listed(cli)
    assert (pvs["A"]["origin"], pvs["A"]["description"], pvs["A"]["rtol"]) == ("file", "a thing", None)
    assert (pvs["D"]["max_step"], pvs["D"]["readback"], pvs["D"]["rtol"]) == (2, "D:RB", None)
    good(cli("set", "D", "--max-step", "none", "--readback", "none", "--device", ""))
    d = listed(cli)["D"]
    assert (d["max_step"], d["readback"], d["device"]) == (None, None, "")


def test_dry_run_changes_nothing(cli: Cli, tmp_path: Path) -> None:
    before = listed(cli)
    (tmp_path / "more.csv").write_text("setpoint\nX\nY\n")
    assert good(cli("remove", "-f", "", "--dry-run")) == "It would be: 0 added, 3 removed, 0 changed.\n"
    assert "2 added" in good(cli("import", "more.csv", "--dry-run"))
    assert "1 changed" in good(cli("set", "A", "--atol", "7", "--dry-run"))
    assert "1 changed" in good(cli("tag", "rename", "Area", "Region", "--dry-run"))
    assert listed(cli) == before


def test_what_is_wrong(cli: Cli) -> None:
    bad(cli("add", "A"), 1, "in the catalogue already: A")
    bad(cli("add", "A:RB"), 1, "watched already, as readback")
    bad(cli("add", "a b"), 2, "'a b' is no name of a PV")
    bad(cli("add", "X", "Y", "--readback", "Z"), 2, "one PV at a time")
    bad(cli("add", "X", "--atol", "much", "--order", "1.5"), 2, "atol: 'much' is not a number", "order: 1.5")
    bad(cli("add", "X", "--tag", "nothing"), 2, "is not Group=Tag")
    bad(cli("set", "A", "X", "--atol", "1"), 5, "no setpoint of the catalogue: X")
    bad(cli("set", "A"), 2, "nothing to change")
    bad(cli("set", "--atol", "1"), 2, "or --filter")
    bad(cli("remove", "A", "--filter", "A"), 2, "or --filter")
    bad(cli("remove", "X"), 5, "no setpoint of the catalogue: X")
    bad(cli("remove", "-f", "%missing"), 2, "only the service knows")
    bad(cli("list", "-f", "@"), 1, "position 1")
    bad(cli("tag", "rename", "Area=L1", "Region"), 2, "two tags")
    bad(cli("tag", "remove", "Area=L1;Area=L2"), 2, "not one GROUP=TAG")
    bad(cli("tag", "add", "Area=L1"), 2, "--filter")
    assert list(listed(cli)) == ["A", "B", "C"]


def test_tags(cli: Cli) -> None:
    good(cli("tag", "add", "Area=L2", "Area=L1", "Rank=top", "--filter", "A,B"))
    assert {n: pv["tags"] for n, pv in listed(cli).items()} == {
        "A": {"Area": ["L1", "L2"], "System": ["Magnet"], "Rank": ["top"]},
        "B": {"Area": ["L2", "L1"], "Rank": ["top"]},
        "C": {},
    }
    assert json.loads(good(cli("tag", "list", "--json"))) == {
        "Area": {"L1": 2, "L2": 2},
        "Rank": {"top": 2},
        "System": {"Magnet": 1},
    }
    assert "Magnet" in good(cli("tag", "list"))
    good(cli("tag", "rename", "Area=L1", "Area=L2", "--filter", "B"))  # it has that one already
    good(cli("tag", "rename", "Area", "Region"))
    good(cli("tag", "rename", "System=Magnet", "Kind=Quadrupole magnet"))
    good(cli("tag", "remove", "Region=L2", "--filter", "A"))
    good(cli("tag", "remove", "Rank"))
    assert {n: pv["tags"] for n, pv in listed(cli).items()} == {
        "A": {"Region": ["L1"], "Kind": ["Quadrupole magnet"]},
        "B": {"Region": ["L2"]},
        "C": {},
    }
    assert list(listed(cli, "--filter", '@Kind="Quadrupole magnet"')) == ["A"]


def test_import(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "one.req").write_text("$(P)$(N).VAL\n")
    (tmp_path / "all.req").write_text('# magnets\nA\nfile "one.req" P=X:,N=1\nfile "one.req" P=X:,N=2\n$(TOP)\n')
    arguments = ("import", "all.req", "--format", "autosave", "--path", "sub", "--macros", "TOP=T", "--tag", "From=req")
    told = good(cli(*arguments))
    assert "4 PVs, 1 of them were in the catalogue already" in told
    assert "3 added, 0 removed, 0 changed" in told
    pvs = listed(cli)
    assert list(pvs) == ["A", "B", "C", "X:1", "X:2", "T"]
    assert pvs["T"]["tags"] == {"From": ["req"]}
    assert pvs["A"]["tags"] == {"Area": ["L1"], "System": ["Magnet"]}
    bad(cli("import", "all.req", "--format", "autosave"), 1, "all.req:3: one.req", "all.req:5: macro TOP")
    (tmp_path / "more.csv").write_text("setpoint,readback,atol,Area\nA,,,L9\nB,B:RB,0.5,\nZ,,,\n")
    good(cli("import", "more.csv", "--update"))
    pvs = listed(cli)
    assert pvs["A"] == {**pvs["A"], "readback": "A:RB", "atol": 0.1, "tags": {"Area": ["L9"], "System": ["Magnet"]}}
    assert (pvs["B"]["readback"], pvs["B"]["atol"], "Z" in pvs) == ("B:RB", 0.5, True)
    good(cli("import", "more.csv", "--replace"))
    pvs = listed(cli)
    assert list(pvs) == ["A", "B", "Z"]
    assert (pvs["A"]["readback"], pvs["A"]["origin"], pvs["A"]["changed"]) == (None, "file", True)
    bad(cli("import", "more.csv", "--replace", "--update"), 2, "do not go together")
    bad(cli("import", "absent.csv"), 1, "absent.csv")
    bad(cli("import", "more.csv", "--encoding", "nonsense"), 2, "nonsense")


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_export_and_back(cli: Cli, tmp_path: Path, name: str) -> None:
    good(cli("set", "C", "--atol", "0.1", "--rtol", "1e-9", "--max-step", "3", "--step-period", "0.25", "--read-only"))
    good(cli("set", "B", "--order", "-7", "--description", 'a "thing", grün', "--device", "Q;1"))
    before = listed(cli)
    done = cli("export", name)
    assert good(done).startswith("3 PVs written to all.")
    assert done.stderr == ""
    bad(cli("export", name), 1, "--force")
    good(cli("export", name, "--force"))
    good(cli("remove", "-f", ""))
    good(cli("import", name))
    assert listed(cli) == {n: {**pv, "changed": False} for n, pv in before.items()}


def test_export_says_what_is_lost(cli: Cli, tmp_path: Path) -> None:
    done = cli("export", "part.req", "--format", "burt", "--filter", "A")
    assert "atol" in done.stderr
    assert "A" in (tmp_path / "part.req").read_text().split()
    assert good(cli("export", "-", "--format", "squirrel")).splitlines()[0] == "Setpoint,Readback,Area,System"
    bad(cli("export", "part2.req"), 2, "does not tell the format")
    bad(cli("export", "part2.req", "--format", "nonsense"), 1, "nonsense")


def test_before_there_is_a_database(tmp_path: Path, commands: Cli) -> None:
    (tmp_path / "settings.yaml").write_text("state_dir: state\n")
    bad(commands("list"), 4, "there is no database")
    bad(commands("add", "X"), 4, "there is no database")


@pytest.fixture
async def two_names(cli: Cli, store: Store) -> None:
    """B.VAL is there beside B, as in an old database."""
    await store.change_catalogue(lambda inventory, former: inventory.with_added(["B.VAL"], former))


@pytest.mark.usefixtures("two_names")
def test_of_two_names_of_one_pv_the_one_that_is_written_is_meant(cli: Cli) -> None:
    assert cli("remove", "B.VAL").returncode == 0
    assert cli("remove", "C.VAL").returncode == 0, "there is only C"
    assert [pv["setpoint"] for pv in json.loads(cli("list", "--json").stdout)["pvs"]] == ["A", "B"]
