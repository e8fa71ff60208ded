"""The database goes, hangs and comes back; another process changes it; another service wants it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest
from postgres import execute, settings_for
from pydantic import SecretStr

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.errors import DatabaseDownError, StoreError
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.job import JobInfo, JobKind, JobStatus
from squirrel_ioc.model.snapshot import NewSnapshot, SnapshotChange
from squirrel_ioc.store import RESYNC, DbStatus, EmbeddedServer, Store, StoreEvent

UNUSED = Path("unused")
FRAME = Frame.empty(ChannelList.of(["T:A", "T:B"]))


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that may be killed."""
    folder = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    server = EmbeddedServer(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
async def own_store(own_server: EmbeddedServer) -> AsyncIterator[Store]:
    """A store on it that knows it by its dsn, and so does not start it again itself."""
    settings = settings_for(own_server, "postgres")
    store = await Store.open(settings.model_copy(update={"connect_timeout_s": 1, "command_timeout_s": 1}), UNUSED)
    yield store
    await store.close()


async def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


def unused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def backends(server: EmbeddedServer) -> list[psutil.Process]:
    postmaster = psutil.Process(server.pid)
    return [postmaster, *postmaster.children(recursive=True)]


async def test_nobody_there() -> None:
    port = unused_port()
    settings = DatabaseSettings(dsn=SecretStr(f"postgresql://me:s3cret@127.0.0.1:{port}/magnets"))
    with pytest.raises(DatabaseDownError) as caught:
        await Store.open(settings, UNUSED)
    assert f"database magnets on 127.0.0.1:{port} does not answer" in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_port_that_never_answers() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        settings = DatabaseSettings(
            dsn=SecretStr(f"postgresql://me@127.0.0.1:{deaf.getsockname()[1]}/magnets"), connect_timeout_s=0.3
        )
        start = time.monotonic()
        with pytest.raises(DatabaseDownError, match="does not answer: no answer in time"):
            await Store.open(settings, UNUSED)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:s3cret/x@host/db",
        "postgresql://me:s3cret#x@host/db",
        "postgresql://me:s3cret?x@host/db",
        "postgresql://me:s3cret@host:1/db?sslmode=s3cret",
    ],
)
async def test_a_dsn_that_makes_no_sense_is_not_repeated(dsn: str) -> None:
    with pytest.raises(StoreError) as caught:
        await Store.open(DatabaseSettings(dsn=SecretStr(dsn), connect_timeout_s=1), UNUSED)
    assert "s3cret@" not in str(caught.value)
    assert "s3cret/x" not in str(caught.value)
    assert "=s3cret" not in str(caught.value)


async def test_wrong_login_and_wrong_database(postgres_server: EmbeddedServer) -> None:
    where = postgres_server.connect_args["host"]
    for dsn, problem in (
        (f"postgresql://nobody@/postgres?host={where}", f'database postgres on {where}:5432: role "nobody" does not'),
        (f"postgresql://postgres@/nothing?host={where}", 'database "nothing" does not exist'),
    ):
        with pytest.raises(StoreError, match=problem) as caught:
            # Waiting would not help.
            await Store.open(DatabaseSettings(dsn=SecretStr(dsn)), UNUSED, wait=True)
        assert not isinstance(caught.value, DatabaseDownError)


async def test_a_password_over_tcp(tmp_path: Path) -> None:
    folder, port = Path(tempfile.mkdtemp(prefix="squirrel-test-")), unused_port()
    rules = folder / "rules"
    rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    server = EmbeddedServer(
        folder, {"fsync": "off", "listen_addresses": "127.0.0.1", "port": str(port), "hba_file": str(rules)}
    )
    await asyncio.to_thread(server.start)
    try:
        await execute(server, "CREATE ROLE me LOGIN PASSWORD 's3cret/@'")
        await execute(server, "CREATE DATABASE mine OWNER me TEMPLATE template0 ENCODING 'UTF8'")
        dsn = f"postgresql://me:{{}}@127.0.0.1:{port}/mine"
        store = await Store.open(DatabaseSettings(dsn=SecretStr(dsn.format("s3cret%2F%40"))), tmp_path)
        saved = await store.save_snapshot(FRAME, NewSnapshot("t"))
        assert len(await store.load_frame(saved.id)) == 2
        await store.close()
        with pytest.raises(StoreError, match=f"database mine on 127.0.0.1:{port}: password authentication") as caught:
            await Store.open(DatabaseSettings(dsn=SecretStr(dsn.format("wr0ng"))), tmp_path)
        assert "wr0ng" not in str(caught.value)
    finally:
        await asyncio.to_thread(server.stop)
        shutil.rmtree(folder)


async def test_waiting_for_the_server(own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for(own_server, "postgres")
    await asyncio.to_thread(own_server.stop)
    opening = asyncio.create_task(Store.open(settings, UNUSED, wait=True))
    await until(lambda: "next try in" in caplog.text)
    await asyncio.to_thread(own_server.start)
    store = await opening
    assert store.status.connected
    await store.close()


async def test_one_service_a_database(database: DatabaseSettings) -> None:
    first = await Store.open(database, UNUSED)
    with pytest.raises(StoreError, match=f"another squirrel-ioc runs on database .*: squirrel-ioc {os.getpid()} on "):
        await Store.open(database, UNUSED)
    looker = await Store.open(database, UNUSED, exclusive=False)
    await first.close()
    second = await Store.open(database, UNUSED)
    assert second.status.connected
    await second.close()
    await looker.close()


async def test_events_of_every_change_by_anybody(store: Store, database: DatabaseSettings) -> None:
    events: list[StoreEvent] = []
    seen: list[StoreEvent] = []
    store.listen(events.append)
    stop = store.listen(seen.append)
    other = await Store.open(database, UNUSED, exclusive=False)
    job = await other.create_job(None, JobKind.SNAPSHOT, {}, title="", user="", host="")
    saved = await other.save_snapshot(FRAME, NewSnapshot("t", job_id=job))
    await until(lambda: len(events) >= 2)
    assert len(seen) == 2
    stop()
    await other.update_snapshot(saved.id, SnapshotChange(kept=True))
    await other.update_job(JobInfo(job, JobKind.SNAPSHOT, JobStatus.COMPLETED))
    catalogue = await other.save_catalogue([Entry("T:A")])
    await other.set_setting("a", 1)
    await other.set_setting("a", 1)
    await other.set_setting("a", 2)
    await other.delete_snapshot(saved.id)
    await other.close()
    await until(lambda: len(events) >= 8)
    assert events == [
        StoreEvent("job", job, "insert"),
        StoreEvent("snapshot", saved.id, "insert"),
        StoreEvent("snapshot", saved.id, "update"),
        StoreEvent("job", job, "update"),
        StoreEvent("catalogue", catalogue.version, "insert"),
        StoreEvent("setting", "a", "insert"),
        StoreEvent("setting", "a", "update"),
        StoreEvent("snapshot", saved.id, "delete"),
    ]
    assert len(seen) == 2


async def test_no_event_before_the_commit(store: Store) -> None:
    events: list[StoreEvent] = []
    store.listen(events.append)

    async def change_my_mind() -> None:
        async with store.transaction() as connection:
            await store.create_job(connection, JobKind.SNAPSHOT, {}, title="", user="", host="")
            raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        await change_my_mind()
    await store.set_setting("a", 1)
    await until(lambda: len(events) > 0)
    assert events == [StoreEvent("setting", "a", "insert")]


async def test_a_listener_that_fails_harms_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: StoreEvent) -> None:
        raise ValueError(f"cannot take {event.kind}")

    events: list[StoreEvent] = []
    store.listen(fail)
    store.listen(events.append)
    await store.set_setting("a", 1)
    await until(lambda: len(events) > 0)
    assert "cannot take setting" in caplog.text


async def assert_works_again(store: Store, events: list[StoreEvent]) -> None:
    """Saving, the pool and the listener are all there, and changes that were missed are owned up to."""
    await until(lambda: store.status.connected)
    await until(lambda: any(e.kind == RESYNC for e in events))
    saved = await store.save_snapshot(FRAME, NewSnapshot("after"))
    assert len(await store.load_frame(saved.id)) == 2
    await until(lambda: StoreEvent("snapshot", saved.id, "insert") in events)


async def test_connections_are_cut(store: Store, database: DatabaseSettings) -> None:
    events: list[StoreEvent] = []
    statuses: list[DbStatus] = []
    store.listen(events.append)
    store.listen_status(statuses.append)
    looker = await Store.open(database, UNUSED, exclusive=False)
    await looker.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await until(lambda: len(statuses) >= 2)
    assert [s.connected for s in statuses] == [False, True]
    assert "does not answer" in statuses[0].message
    await assert_works_again(store, events)
    with pytest.raises(StoreError, match="another squirrel-ioc"):
        await Store.open(database, UNUSED)
    await looker.close()


async def test_the_server_is_killed_and_started_again(own_server: EmbeddedServer, own_store: Store) -> None:
    events: list[StoreEvent] = []
    own_store.listen(events.append)
    before = await own_store.save_snapshot(FRAME, NewSnapshot("before"))
    os.kill(own_server.pid, signal.SIGKILL)
    await until(lambda: not own_store.status.connected)
    assert "database postgres on" in own_store.status.message
    for call in (
        lambda: own_store.snapshot(before.id),
        lambda: own_store.load_frame(before.id),
        lambda: own_store.save_snapshot(FRAME, NewSnapshot("t")),
        lambda: own_store.save_catalogue([Entry("T:A")]),
        lambda: own_store.create_job(None, JobKind.SNAPSHOT, {}, title="", user="", host=""),
    ):
        with pytest.raises(DatabaseDownError):
            await call()
    await asyncio.to_thread(own_server.ensure_running)
    await assert_works_again(own_store, events)
    assert await own_store.snapshot(before.id) == before


async def test_the_embedded_server_is_started_again_by_itself() -> None:
    folder = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    store = await Store.open(DatabaseSettings(), folder)
    events: list[StoreEvent] = []
    store.listen(events.append)
    before = await store.save_snapshot(FRAME, NewSnapshot("before"))
    server = EmbeddedServer(folder)
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: not store.status.connected)
    await assert_works_again(store, events)
    assert await store.snapshot(before.id) == before
    await store.close()
    assert server.pid is None
    shutil.rmtree(folder)


async def test_a_hanging_server_costs_a_bounded_time(own_server: EmbeddedServer, own_store: Store) -> None:
    events: list[StoreEvent] = []
    own_store.listen(events.append)
    stopped = backends(own_server)
    for process in stopped:
        process.suspend()
    try:
        start = time.monotonic()
        with pytest.raises(DatabaseDownError, match="does not answer"):
            await own_store.save_snapshot(FRAME, NewSnapshot("t"))
        assert time.monotonic() - start < 30
        await until(lambda: not own_store.status.connected)
        with pytest.raises(DatabaseDownError, match="listing snapshots: database postgres on"):
            await own_store.snapshots()
    finally:
        for process in stopped:
            process.resume()
    await assert_works_again(own_store, events)


async def test_closing_while_the_server_hangs(own_server: EmbeddedServer) -> None:
    settings = settings_for(own_server, "postgres").model_copy(update={"connect_timeout_s": 1, "command_timeout_s": 1})
    store = await Store.open(settings, UNUSED)
    stopped = backends(own_server)
    for process in stopped:
        process.suspend()
    try:
        start = time.monotonic()
        await store.close()
        assert time.monotonic() - start < 30
    finally:
        for process in stopped:
            process.resume()


async def test_nothing_is_left_after_closing(database: DatabaseSettings) -> None:
    before = asyncio.all_tasks()
    store = await Store.open(database, UNUSED)
    await store.snapshots()
    await store.close()
    assert asyncio.all_tasks() == before
    with pytest.raises(DatabaseDownError):
        await store.snapshots()
