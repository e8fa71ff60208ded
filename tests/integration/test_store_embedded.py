"""The embedded server: who starts it, who stops it, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from processes import SECRET

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.errors import DatabaseDownError, StoreError
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.snapshot import NewSnapshot
from squirrel_ioc.store import EmbeddedServer, Store
from squirrel_ioc.store._pg_programs import PgError, PgPrograms

FAST = {"fsync": "off"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state directory that PostgreSQL's own user can reach; nothing may be left running in it."""
    path = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    yield path
    left = processes_in(path)
    for process in left:
        process.kill()
    psutil.wait_procs(left, 10)
    shutil.rmtree(path)
    assert left == []


def processes_in(folder: Path) -> list[psutil.Process]:
    """Living processes that work in a folder."""
    found = []
    for process in psutil.process_iter(("cwd", "status")):
        cwd, status = process.info["cwd"], process.info["status"]
        if cwd is not None and cwd.startswith(f"{folder}/") and status != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def ask(server: EmbeddedServer, sql: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(**server.connect_args, database="postgres")
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        return runner.run(run())


def test_start_and_stop(folder: Path) -> None:
    server = EmbeddedServer(folder / "new" / "state", FAST)
    assert server.pid is None
    server.start()
    assert ask(server, "SELECT current_setting('server_version_num')::int / 10000") == 18
    assert ask(server, "SHOW listen_addresses") == ""
    assert ask(server, "SHOW synchronous_commit") == "on"
    assert [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    server.stop()
    server.stop()
    assert server.pid is None
    assert processes_in(folder) == []


def test_the_data_are_kept(folder: Path) -> None:
    server = EmbeddedServer(folder, FAST)
    server.start()
    ask(server, "CREATE TABLE here ()")
    server.stop()
    again = EmbeddedServer(folder, FAST)
    again.start()
    assert ask(again, "SELECT to_regclass('here')::text") == "here"
    again.stop()


def test_the_last_user_stops_it(folder: Path) -> None:
    first, second = EmbeddedServer(folder, FAST), EmbeddedServer(folder, FAST)
    first.start()
    pid = first.pid
    second.start()
    assert second.pid == pid
    first.stop()
    assert ask(second, "SELECT 1") == 1
    second.stop()
    assert processes_in(folder) == []


USER = """
import sys, time
from pathlib import Path
from squirrel_ioc.store import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]), {"fsync": "off"})
server.start()
print(server.pid, flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
"""


def start_user(folder: Path, then: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, "-c", USER, folder, then], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_killed_user_leaves_nothing_in_the_way(folder: Path) -> None:
    process, pid = start_user(folder, "wait")
    process.kill()
    process.communicate()
    assert psutil.pid_exists(pid)
    server = EmbeddedServer(folder, FAST)
    server.start()
    assert server.pid == pid
    server.stop()
    assert processes_in(folder) == []


def test_a_user_that_forgets_to_stop_stops_it_when_it_ends(folder: Path) -> None:
    process, _ = start_user(folder, "end")
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert processes_in(folder) == []


def test_a_killed_server_is_started_again(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.start()
    ask(server, "CREATE TABLE here ()")
    dead = server.pid
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: server.pid is None)
    server.ensure_running()
    assert server.pid not in (None, dead)
    assert ask(server, "SELECT to_regclass('here')::text") == "here"
    alive = server.pid
    server.ensure_running()
    assert server.pid == alive
    server.stop()
    server.ensure_running()
    assert server.pid is None


def test_a_server_whose_folder_is_gone_does_not_answer(folder: Path) -> None:
    away = folder.with_name(f"{folder.name}-away")
    server = EmbeddedServer(folder)
    server.start()
    folder.rename(away)
    try:
        with pytest.raises(DatabaseDownError, match="No such file or directory"):
            server.ensure_running()
    finally:
        away.rename(folder)
        server.stop()


@pytest.mark.parametrize("content", ["{pid}\n{data}\n1\n5432\n{data}\n\n1 1\nready   \n", "{pid}\n", "", "junk"])
def test_a_pid_file_that_means_nothing(folder: Path, content: str) -> None:
    server = EmbeddedServer(folder, FAST)
    server.start()
    server.stop()
    data = folder / "postgres"
    # The number is that of a living process, which is no PostgreSQL.
    (data / "postmaster.pid").write_text(content.format(pid=os.getpid(), data=data))
    server.start()
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_a_long_path_with_odd_characters(folder: Path) -> None:
    state = folder / "a 'state' $directory" / ("x" * 100)
    server = EmbeddedServer(state, FAST)
    server.start()
    assert ask(server, "SELECT 1") == 1
    sockets = Path(server.connect_args["host"])
    assert len(str(sockets)) < 100
    assert sockets.stat().st_mode & 0o077 == 0
    server.stop()
    assert not sockets.exists()


def test_folders_that_cannot_be_used(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        EmbeddedServer(folder / "file").start()
    old = folder / "old" / "postgres"
    old.mkdir(parents=True)
    (old / "PG_VERSION").write_text("16\n")
    with pytest.raises(StoreError, match="expecting version 18 but found version 16"):
        EmbeddedServer(folder / "old").start()


def test_data_that_were_never_finished_are_made_anew(folder: Path) -> None:
    data = folder / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("18\n")
    (folder / "postgres.unfinished").touch()
    server = EmbeddedServer(folder, FAST)
    server.start()
    assert ask(server, "SELECT 1") == 1
    assert not (folder / "postgres.unfinished").exists()
    server.stop()


def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    server = EmbeddedServer(folder, {"shared_buffers": "nonsense"})
    with pytest.raises(StoreError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    EmbeddedServer(folder, FAST).stop()


def test_what_its_programs_say_is_told_and_their_environment_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("SOMEBODYS_PASSWORD", SECRET)
    with pytest.raises(StoreError) as failed:
        EmbeddedServer(folder, {"shared_buffers": "nonsense"}).start()
    (folder / "postgres" / "PG_VERSION").unlink()  # initdb finds what is no empty folder
    with pytest.raises(StoreError, match=r"initdb failed: .*exists but is not empty"):
        EmbeddedServer(folder, FAST).start()
    assert SECRET not in caplog.text + str(failed.value)


def test_a_full_disk_is_told_as_such(folder: Path) -> None:
    """In the words of initdb that has one."""
    (folder / "postgres").mkdir()
    programs = PgPrograms(folder / "postgres")
    initdb = folder / "bin" / "initdb"
    initdb.parent.mkdir()
    initdb.write_text(f"#!/bin/sh\necho 'initdb: error: could not create file: {os.strerror(errno.ENOSPC)}'; exit 1\n")
    initdb.chmod(0o755)
    folder.chmod(0o755)
    programs._server.bin_path = initdb.parent
    with pytest.raises(PgError, match=r"the disk of .* is full; initdb failed: .*could not create file"):
        programs.run("initdb", timeout_s=20)


async def test_opening_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    opening = asyncio.create_task(Store.open(DatabaseSettings(), folder))
    await asyncio.to_thread(wait_until, lambda: bool(processes_in(folder)))
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert processes_in(folder) == []


def test_looking_makes_no_database(folder: Path) -> None:
    with asyncio.Runner() as runner, pytest.raises(StoreError, match="there is no database in"):
        runner.run(Store.open(DatabaseSettings(), folder, exclusive=False))
    assert list(folder.iterdir()) == []


async def test_a_store_without_a_dsn(folder: Path) -> None:
    frame = Frame.empty(ChannelList.of(["T:A"]))
    store = await Store.open(DatabaseSettings(), folder)
    with pytest.raises(StoreError, match=f"another squirrel-ioc runs on the embedded database.*{os.getpid()}"):
        await Store.open(DatabaseSettings(), folder)
    looker = await Store.open(DatabaseSettings(), folder, exclusive=False)
    saved = await store.save_snapshot(frame, NewSnapshot("t"))
    await store.close()
    assert await looker.snapshot(saved.id) == saved
    await looker.close()
    assert processes_in(folder) == []
    again = await Store.open(DatabaseSettings(), folder)
    assert await again.snapshot(saved.id) == saved
    await again.close()
