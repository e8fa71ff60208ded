"""import, export, dump and load as a shell sees them, beside the running service."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aioca
import pytest
from ioc_process import IocProcess
from running import Running, environment, running

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.formats import read_snapshot
from squirrel_ioc.store import Store

RECORDS = """
record(ao, "{r}A") {{ field(VAL, "1") field(PREC, "2") field(EGU, "mm") field(PINI, "YES") }}
record(longout, "{r}N") {{ field(VAL, "2") field(PINI, "YES") }}
record(mbbo, "{r}MODE") {{ field(ZRST, "Off") field(ONST, "On") field(VAL, "0") field(PINI, "YES") }}
record(stringout, "{r}TEXT") {{ field(VAL, "before") field(PINI, "YES") }}
"""

SAV = """\
# autosave R5.3\tAutomatically generated - DO NOT MODIFY - 250304-101500
{r}A 4.5
{r}N 7
{r}MODE 1
{r}TEXT 12
<END>
"""


async def shown(service: Running, name: str, value: float) -> None:
    """Wait until a PV has this value."""
    await until(lambda: service.get(name), value)


async def until(ask: Callable[[], Awaitable[Any]], value: Any, timeout_s: float = 30.0) -> None:
    """Ask until the answer is this one."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = await ask()
        if answer == value:
            return
        assert time.monotonic() < deadline, f"{answer} is not {value}"
        await asyncio.sleep(0.02)


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'snapshot_chunk'::regclass"

OK, FAILED, USAGE, NOT_FOUND = 0, 1, 2, 5


@dataclass
class Shell:
    """The service, its records, and a folder with files."""

    r: str
    s: Running
    folder: Path

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text.format(r=self.r))
        return str(path)

    async def cli(self, *arguments: str, code: int = OK) -> tuple[str, str]:
        """Output and errors of a command that must exit so."""
        got, out, err = await self.s.run_cli(*arguments)
        assert got == code, (out, err)
        assert "Traceback" not in err
        return out, err

    async def live(self) -> list[Any]:
        values = await aioca.caget([self.r + n for n in ("A", "N", "MODE", "TEXT")], timeout=30)
        return [v if isinstance(v, str) else v + 0 for v in values]


@pytest.fixture
async def shell(database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Shell]:
    r = f"R{secrets.token_hex(3)}:"
    catalogue = f"Setpoint,Area\n{r}A,L1\n{r}N,L1\n{r}MODE,L2\n{r}TEXT,L2\n"
    (tmp_path / "exchange").mkdir()
    with IocProcess(RECORDS.format(r=r)):
        async with running(tmp_path, database, catalogue, 4, exchange_dir="exchange") as service:
            yield Shell(r, service, tmp_path)


async def test_import_restore_export(shell: Shell) -> None:
    assert await shell.s.put("SNAP:TRIGGER", 1)
    file = shell.write("ring.sav", SAV)
    out, err = await shell.cli("import", file, "--title", "from the old one", "--label", "a", "--label", "b")
    assert out.startswith("snapshot 2: 4 values of ring.sav (autosave), taken 2025-03-04 10:15:00")
    assert err == ""
    # The service follows.
    await shown(shell.s, "LIST:TOTAL", 2)
    assert await shell.s.text("SNAP:2:TITLE") == "from the old one"
    assert await shell.s.text("SNAP:2:LABELS") == "a, b"
    assert await shell.s.get(f"SNAP:2:VAL:{shell.r}N") == 7
    assert await shell.s.put("RESTORE:ID", 2), await shell.s.text("RESTORE:MSG")
    assert await shell.live() == [4.5, 7, 1, "12"]
    code, out, _ = await shell.s.run_cli("diff", "2", "live")
    assert code == OK, out

    target_file = shell.folder / "out.snap"
    target = str(target_file)
    _, err = await shell.cli("export", "2", target, code=FAILED)
    assert "say which of burt, psi" in err
    out, err = await shell.cli("export", "2", target, "--format", "burt")
    assert out == f"4 values written to {target} (burt).\n"
    assert "out.snap: the format has no title" in err
    assert f"{shell.r}MODE 1 On\n" in target_file.read_text()
    _, err = await shell.cli("export", "2", target, "--format", "psi", code=FAILED)
    assert "is there already; --force writes over it" in err
    await shell.cli("export", "2", target, "--format", "psi", "--force")
    assert f'{shell.r}MODE,{{"val": 1}}\n' in target_file.read_text()
    out, _ = await shell.cli("export", "2", "-", "--format", "autosave")
    assert f"{shell.r}A 4.5\n" in out
    for unknown in ("99", "reference"):
        await shell.cli("export", unknown, str(shell.folder / "none.sav"), code=NOT_FOUND)
    await shell.cli("export", "first", str(shell.folder / "none.sav"), code=USAGE)
    assert not (shell.folder / "none.sav").exists()


async def test_import_says_what_is_wrong(shell: Shell) -> None:
    _, err = await shell.cli("import", shell.write("bad.sav", "# autosave R5.3\n{r}A 4.5\n{r}\\ 1\n"), code=FAILED)
    assert err.splitlines() == [
        f"squirrel-ioc: bad.sav:3: '{shell.r}\\\\' is no name of a PV",
        "bad.sav:3: no <END>: the file was not written to its end",
    ]
    _, err = await shell.cli("import", shell.write("list.req", "file x.req\n{r}A\n"), code=FAILED)
    assert err == "squirrel-ioc: list.req: holds a catalogue (autosave), no snapshot\n"
    _, err = await shell.cli("import", str(shell.folder / "none.sav"), code=FAILED)
    assert err == "squirrel-ioc: none.sav: cannot be read: No such file or directory\n"
    _, err = await shell.cli("import", shell.write("a.sav", SAV), "--format", "word", code=FAILED)
    assert "format 'word' is not known" in err
    await shell.cli("import", shell.write("a.sav", SAV), "--encoding", "klingon", code=USAGE)
    assert await shell.s.get("LIST:TOTAL") == 0
    out, _ = await shell.cli("import", shell.write("m.sav", "$(P)A 4.5\n<END>\n"), "--macros", f"P={shell.r}", "--json")
    told = json.loads(out)
    assert (told["format"], told["snapshot"]["kind"], told["snapshot"]["count"]) == ("autosave", "import", 1)
    assert told["snapshot"]["origin"] == "autosave:m.sav"


async def test_dump_and_load_beside_the_service(shell: Shell) -> None:
    for title in ("one", "two", "three"):
        assert await shell.s.put("SNAP:NOW", title, datatype=aioca.DBR_CHAR_STR)
    assert await shell.s.put("SNAP:2:PROTECT", 1)
    path = shell.folder / "all.jsonl.zst"
    file = str(path)
    out, err = await shell.cli("dump", file)
    assert out.startswith(f"3 snapshots written to {file}, ")
    assert err == ""
    assert path.read_bytes().startswith(b"\x28\xb5\x2f\xfd")
    _, err = await shell.cli("dump", file, code=FAILED)
    assert "is there already" in err
    await shell.cli("dump", file, "--force")
    out, _ = await shell.cli("dump", str(shell.folder / "kept.jsonl.gz"), "--kept")
    assert out.startswith("1 snapshots")
    out, _ = await shell.cli("dump", str(shell.folder / "some.jsonl"), "--id", "1", "--id", "3")
    assert out.startswith("2 snapshots")
    await shell.cli("dump", str(shell.folder / "none.jsonl"), "--id", "4", code=NOT_FOUND)
    await shell.cli("dump", str(shell.folder / "none.jsonl"), "--id", "4", "--all", code=USAGE)

    assert await shell.s.put("SNAP:1:DELETE", 1)
    assert await shell.s.put("SNAP:3:DELETE", 1)
    await shown(shell.s, "LIST:TOTAL", 1)
    out, _ = await shell.cli("load", file, "--dry-run")
    assert out.splitlines() == [
        "2 snapshots would be stored, 1 were there already.",
        "Catalogue: the same, 4 setpoints.",
    ]
    assert await shell.s.get("LIST:TOTAL") == 1
    out, _ = await shell.cli("load", file)
    assert out.splitlines() == ["2 snapshots stored, 1 were there already.", "Catalogue: the same, 4 setpoints."]
    await shown(shell.s, "LIST:TOTAL", 3)
    assert await shell.s.text("SNAP:3:TITLE") == "three"
    assert await shell.s.get(f"SNAP:1:VAL:{shell.r}A") == 1.0
    told = json.loads((await shell.cli("load", file, "--json"))[0])
    assert [s["id"] for s in told["same"]] == [1, 2, 3]
    assert told["new"] == []

    assert await shell.s.put("SNAP:2:PROTECT", 0)
    assert await shell.s.put("SNAP:2:TITLE", "mine", datatype=aioca.DBR_CHAR_STR)
    assert await shell.s.put("SNAP:2:PROTECT", 1)
    _, err = await shell.cli("load", file, "--replace", code=FAILED)
    assert err == "squirrel-ioc: nothing is loaded: snapshot 2 is protected, and these would change: title\n"
    assert await shell.s.put("SNAP:2:PROTECT", 0)
    out, _ = await shell.cli("load", file)
    assert "1 of them have another title, comment, labels or flags here: --replace changes them." in out
    await shell.cli("load", file, "--replace")
    await shown(shell.s, "SNAP:2:PROTECT", 1)
    assert await shell.s.text("SNAP:2:TITLE") == "two"
    assert await shell.s.put("RESTORE:ID", 3)


async def test_files_over_channel_access(shell: Shell) -> None:
    """The same, with the exchange folder of the settings."""
    exchange = shell.folder / "exchange"
    (exchange / "ring.sav").write_text(SAV.format(r=shell.r))
    assert await shell.s.put("FILE:IMPORT", "ring.sav", datatype=aioca.DBR_CHAR_STR)
    assert await shell.s.get("FILE:ID") == 1
    assert await shell.s.put("RESTORE:ID", 1)
    assert await shell.live() == [4.5, 7, 1, "12"]
    assert await shell.s.put("FILE:EXPORT", "ring.csv", datatype=aioca.DBR_CHAR_STR)
    assert len(read_snapshot(exchange / "ring.csv").frame) == 4
    assert not await shell.s.put("FILE:IMPORT", "../settings.yaml", datatype=aioca.DBR_CHAR_STR)
    assert "has a path" in await shell.s.text("FILE:MSG")


async def test_a_load_that_is_killed_leaves_nothing(shell: Shell, database: DatabaseSettings, tmp_path: Path) -> None:
    for title in ("one", "two", "three"):
        assert await shell.s.put("SNAP:NOW", title, datatype=aioca.DBR_CHAR_STR)
    file = str(tmp_path / "all.jsonl")
    await shell.cli("dump", file)
    store = await Store.open(database, tmp_path, exclusive=False)
    try:
        for number in (1, 2, 3):
            await store.delete_snapshot(number)
        async with store.transaction() as connection:
            # Values cannot be written: the load waits, with the numbers drawn.
            await connection.execute("LOCK TABLE snapshot_chunk IN SHARE MODE")
            process = subprocess.Popen(  # noqa: ASYNC220 - back at once
                [sys.executable, "-m", "squirrel_ioc", "load", file, "--config", str(shell.s.settings)],
                stdout=subprocess.DEVNULL,
                env=environment(),
            )
            await until(lambda: connection.fetchval(WAITING), 1)
            process.kill()
            await asyncio.to_thread(process.wait)
        assert (await store.snapshots())[1] == 0
        out, _ = await shell.cli("load", file)
        assert out.startswith("3 snapshots stored, 0 were there already.")
        assert await shell.s.put("SNAP:NOW", "four", datatype=aioca.DBR_CHAR_STR)
        assert {s.id: s.title for s in (await store.snapshots())[0]} == {1: "one", 2: "two", 3: "three", 4: "four"}
    finally:
        await store.close()
