"""`squirrel-ioc history` and `snapshots list` as a shell sees them."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import environment

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.snapshot import BACKUP, NewSnapshot
from squirrel_ioc.model.values import Dbf, Meta, State
from squirrel_ioc.store import Store

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
METAS = {
    "CUR": Meta(Dbf.DOUBLE, 1, "A", 2),
    "MODE": Meta(Dbf.ENUM, 1, labels=("Off", "[red]On[/]")),
    "NAME": Meta(Dbf.STRING, 1),
    "$ODD_{x}": Meta(Dbf.LONG, 1, "$_{"),
}


@dataclass
class Shell:
    settings: Path
    environment: dict[str, str]

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "squirrel_ioc", *arguments, "--config", str(self.settings)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def told(self, *arguments: str) -> Any:
        code, out, err = await self.run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
async def shell(store: Store, database: DatabaseSettings, tmp_path: Path) -> Shell:
    for day in range(4):
        builder = FrameBuilder()
        if day == 1:
            builder.add_missing("CUR", State.TIMEOUT, METAS["CUR"])
        else:
            builder.add("CUR", day + 0.125, METAS["CUR"])
        builder.add("MODE", day % 2, METAS["MODE"])
        builder.add("NAME", "text", METAS["NAME"])
        builder.add("$ODD_{x}", day, METAS["$ODD_{x}"])
        taken, user = NOON + timedelta(days=day), "adam" if day % 2 else "eve"
        await store.save_snapshot(builder.build(), NewSnapshot(f"[bold]day[/] {day}", taken=taken, user=user))
    assert database.dsn is not None
    file = tmp_path / "settings.yaml"
    dsn = database.dsn.get_secret_value()
    file.write_text(yaml.safe_dump({"prefix": f"T{secrets.token_hex(3)}:", "database": {"dsn": dsn}}))
    return Shell(file, environment() | {"TZ": "Europe/Berlin"})


async def test_as_a_table(shell: Shell) -> None:
    code, out, err = await shell.run("history", "CUR")
    assert (code, err) == (0, "")
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["1", "2026-03-04 13:00:00", "0.12 A", "[bold]day[/] 0"],
        ["2", "2026-03-05 13:00:00", "no answer in time", "[bold]day[/] 1"],
        ["3", "2026-03-06 13:00:00", "2.12 A", "[bold]day[/] 2"],
        ["4", "2026-03-07 13:00:00", "3.12 A", "[bold]day[/] 3"],
    ]
    assert out.splitlines()[-1] == "4 values"


async def test_as_json(shell: Shell) -> None:
    told = await shell.told("history", "CUR", "--limit", "3")
    assert (told["pv"], told["units"]) == ("CUR", "A")
    assert told["points"][0] == {
        "id": 2,
        "taken": "2026-03-05T13:00:00+01:00",
        "number": "NaN",
        "text": "no answer in time",
        "state": "no answer in time",
        "title": "[bold]day[/] 1",
    }
    assert [point["number"] for point in told["points"]] == ["NaN", 2.125, 3.125]


async def test_states_and_texts(shell: Shell) -> None:
    told = await shell.told("history", "MODE")
    assert [(point["number"], point["text"]) for point in told["points"]] == [(0, "Off"), (1, "[red]On[/]")] * 2
    told = await shell.told("history", "NAME")
    assert {(point["number"], point["text"]) for point in told["points"]} == {("NaN", "no number")}


@pytest.mark.parametrize(
    ("options", "days"),
    [
        (("--user", "EVE"), [0, 2]),
        (("--since", "2026-03-06"), [2, 3]),
        (("--until", "2026-03-05"), [0, 1]),
        (("--since", "2026-03-05T12:00Z", "--until", "2026-03-06T13:00"), [1, 2]),
        (("--text", "DAY[/] 3"), [3]),
    ],
)
async def test_the_same_filters_as_the_list(shell: Shell, options: tuple[str, ...], days: list[int]) -> None:
    told = await shell.told("history", "CUR", *options)
    assert [point["title"][-1] for point in told["points"]] == [str(day) for day in days]
    told = await shell.told("snapshots", "list", *options)
    assert [snapshot["title"][-1] for snapshot in told["snapshots"]] == [str(day) for day in reversed(days)]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
@pytest.mark.parametrize("pv", ["CUR", "MODE", "$ODD_{x}"])
async def test_as_a_picture(shell: Shell, tmp_path: Path, pv: str, suffix: str) -> None:
    file = tmp_path / f"history.{suffix}"
    code, out, err = await shell.run("history", pv, "--plot", str(file))
    assert (code, err) == (0, "")
    assert out.strip() == f"{file}: 4 values of {pv}"
    head = file.read_bytes()[:60]
    assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix] in head


async def test_what_is_not_possible(shell: Shell, tmp_path: Path) -> None:
    for arguments, code, reason in (
        (("history", "NOPE"), 5, "none of the snapshots has NOPE"),
        (("history", "CUR", "--user", "nobody"), 5, "none of the snapshots has CUR"),
        (("history", "CUR", "--since", "yesterday"), 2, "no date or time"),
        (("snapshots", "list", "--until", "2026-02-30"), 2, "no date or time"),
        (("history", "CUR", "--limit", "0"), 2, "--limit"),
        (("history", "CUR", "--plot", "history.txt"), 2, ".png"),
        (("history", "CUR", "--plot", str(tmp_path / "none" / "x.png")), 2, "folder"),
    ):
        done, out, err = await shell.run(*arguments)
        assert (done, out) == (code, "")
        assert reason in err
        assert "Traceback" not in err
    (tmp_path / "x.png").mkdir()
    done, _, err = await shell.run("history", "CUR", "--plot", str(tmp_path / "x.png"))
    assert done == 1
    assert "cannot be written" in err


async def test_without_matplotlib(shell: Shell, tmp_path: Path) -> None:
    # Python runs this first.
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None")
    shell.environment["PYTHONPATH"] = str(tmp_path)
    file = tmp_path / "history.png"
    code, out, err = await shell.run("history", "CUR", "--plot", str(file))
    assert (code, out) == (1, "")
    assert err.strip() == "squirrel-ioc: --plot needs matplotlib: pip install 'squirrel-ioc[plot]'"
    assert not file.exists()
    code, out, _ = await shell.run("history", "CUR")
    assert code == 0


async def test_backups_only_when_asked_for(shell: Shell, store: Store) -> None:
    builder = FrameBuilder()
    builder.add("CUR", 1.0, METAS["CUR"])
    await store.save_snapshot(builder.build(), NewSnapshot("backup", kind=BACKUP))
    assert (await shell.told("snapshots", "list"))["total"] == 4
    assert (await shell.told("snapshots", "list", "--backups"))["total"] == 5
    code, out, _ = await shell.run("snapshots", "list", "--backups")
    assert code == 0
    assert "1 to 5 of 5" in out
