"""`squirrel-ioc diff` as a shell sees it, beside the running service."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import pytest
from ioc_process import IocProcess
from running import Running, running

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.snapshot import SnapshotChange
from squirrel_ioc.store import Store

RECORDS = """
record(ao, "{r}A") {{ field(VAL, "1") field(PREC, "2") field(EGU, "mm") field(PINI, "YES") }}
record(ao, "{r}B") {{ field(VAL, "2") field(PINI, "YES") }}
record(mbbo, "{r}MODE") {{ field(ZRST, "Off") field(ONST, "[red]On[/]") field(VAL, "0") field(PINI, "YES") }}
record(waveform, "{r}WAVE") {{ field(FTVL, "DOUBLE") field(NELM, "8") }}
record(ai, "{r}GET") {{ field(INP, "{r}A") field(SCAN, "Passive") field(PINI, "YES") }}
"""

SAME, DIFFERENT = 0, 6


@dataclass
class Shell:
    """The service, its records, and two snapshots of them."""

    r: str
    s: Running
    first: str
    second: str

    async def diff(self, *arguments: str) -> tuple[int, str, str]:
        return await self.s.run_cli("diff", *arguments)

    async def told(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, out, err = await self.diff(*arguments, "--json")
        assert err == ""
        return code, json.loads(out)


@pytest.fixture
async def shell(database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Shell]:
    r = f"R{secrets.token_hex(3)}:"
    catalogue = f"Setpoint,Readback,Subsystem\n{r}A,{r}GET,Magnet\n{r}B,,RF\n{r}MODE,,\n{r}WAVE,,\n"
    with IocProcess(RECORDS.format(r=r)):
        async with running(tmp_path, database, catalogue, 5) as service:
            ids = []
            for title, value in (("before [bold]lunch[/]", 1.0), ("after\x1b[31m", 1.5)):
                await aioca.caput([r + "A", r + "MODE"], [value, int(2 * value - 2)], wait=True)
                await aioca.caput(r + "WAVE", [value] * 3, wait=True)
                assert await service.put("SNAP:TITLE", title.replace("\x1b", "_"))
                assert await service.put("SNAP:TRIGGER", 1)
                ids.append(str(await service.get("SNAP:ID")))
            yield Shell(r, service, *ids)


async def test_two_snapshots(shell: Shell) -> None:
    code, out, err = await shell.diff(shell.first, shell.second)
    assert (code, err) == (DIFFERENT, "")
    rows = {line.split()[1]: line for line in out.splitlines() if shell.r in line}
    assert set(rows) == {shell.r + name for name in ("A", "MODE", "WAVE")}
    for text in ("1.00 mm", "1.50 mm", "+0.50 mm"):
        assert text in rows[shell.r + "A"]
    assert "[red]On[/]" in rows[shell.r + "MODE"]
    assert f"A: snapshot {shell.first}, " in out
    assert "before [bold]lunch[/]" in out
    assert "3 of 5 PVs differ" in out.splitlines()[-1]
    _, out, _ = await shell.diff(shell.first, shell.second, "--size", "1")
    assert sum(shell.r in line for line in out.splitlines()) == 1
    assert "2 more rows are not shown" in out


async def test_equal_is_zero(shell: Shell) -> None:
    code, out, _ = await shell.diff(shell.first, shell.first)
    assert code == SAME
    assert "0 of 5 PVs differ" in out
    assert shell.r not in out
    code, _, _ = await shell.diff(shell.first, shell.second, "--filter", f"{shell.r}A", "--atol", "1")
    assert code == SAME
    code, told = await shell.told(shell.first, shell.second, "--filter", "@RF", "--show", "all")
    assert code == SAME
    assert [row["pv"] for row in told["rows"]] == [shell.r + "B"]


async def test_live(shell: Shell) -> None:
    await aioca.caput(shell.r + "B", 2.5, wait=True)
    code, told = await shell.told(shell.second, "live")
    assert code == DIFFERENT
    assert (told["compared"], told["different"], told["missing"], told["unread"]) == (5, 1, 0, 0)
    assert told["a"]["id"] == int(shell.second)
    assert told["b"] is None
    (row,) = told["rows"]
    assert (row["pv"], row["role"], row["kind"], row["delta"]) == (shell.r + "B", "setpoint", "different", 0.5)
    assert (row["a"]["value"], row["b"]["value"], row["b"]["text"]) == (2.0, 2.5, "2.5")
    code, out, _ = await shell.diff("live", shell.second, "-f", f"{shell.r}B %connected")
    assert code == DIFFERENT
    assert "A: the live machine" in out


async def test_reference(shell: Shell, database: DatabaseSettings) -> None:
    code, _, err = await shell.diff("reference", shell.second)
    assert code == 5
    assert "there is no reference snapshot" in err
    store = await Store.open(database, shell.s.settings.parent, exclusive=False)
    await store.update_snapshot(int(shell.first), SnapshotChange(reference=True))
    await store.close()
    code, told = await shell.told("reference", shell.second)
    assert code == DIFFERENT
    assert told["a"]["id"] == int(shell.first)


async def test_json_of_all_kinds(shell: Shell) -> None:
    _, told = await shell.told(shell.first, shell.second, "--show", "all")
    rows = {row["pv"].removeprefix(shell.r): row for row in told["rows"]}
    assert set(rows) == {"A", "B", "MODE", "WAVE", "GET"}
    assert rows["GET"]["role"] == "readback"
    assert rows["GET"]["kind"] == "equal"
    assert rows["WAVE"]["a"]["value"] == [1.0, 1.0, 1.0]
    assert rows["WAVE"]["delta"] == 0.5
    assert rows["MODE"]["b"]["label"] == "[red]On[/]"
    assert rows["A"]["a"]["state"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("99999", "1"), 5, "no snapshot 99999"),
        (("seven", "1"), 2, "'seven'"),
        (("live", "live"), 2, "cannot be compared with itself"),
        (("1", "2", "--atol", "-1"), 2, "atol"),
        (("1", "2", "--rtol", "nan"), 2, "rtol"),
        (("1", "2", "--filter", "["), 1, "position"),
        (("1", "2", "--filter", "X*"), 5, "matches no PV"),
        (("1", "2", "--filter", "%connected"), 1, "connected"),
        (("1", "2", "--show", "some"), 2, "some"),
        (("1",), 2, "B"),
    ],
)
async def test_wrong_usage(shell: Shell, arguments: tuple[str, ...], code: int, reason: str) -> None:
    found, _, err = await shell.diff(*arguments)
    assert found == code, err
    assert reason in err
    assert "Traceback" not in err


async def test_no_database(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("state_dir: none\n")
    code, _, err = await Running("", 0, file, None, file).run_cli("diff", "1", "2")  # type: ignore[arg-type]
    assert code == 4
    assert "no database" in err
    assert not (tmp_path / "none").exists()
