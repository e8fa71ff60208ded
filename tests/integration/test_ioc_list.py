"""LIST on a real database: filters, pages, what is refused, and that it follows what others do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aioca
import asyncpg
import numpy as np
import pytest
from ioc_fakes import Control, control, until
from stored import NOON, save, shown

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.model.snapshot import BACKUP, Snapshot, SnapshotChange
from squirrel_ioc.model.values import State
from squirrel_ioc.store import Store

ROWS = ("IDS", "TITLES", "TIMES", "EPOCHS", "USERS", "COUNTS", "MISSING", "FLAGS")


@pytest.fixture
async def c(store: Store) -> AsyncIterator[Control]:
    async with control(store=store, views=("OP1",)) as c:  # type: ignore[arg-type]
        yield c


async def fill(store: Store, count: int) -> list[Snapshot]:
    """Snapshots, a minute apart; the first is the oldest."""
    saved = []
    for i in range(count):
        new: dict[str, Any] = {"title": f"number {i}", "taken": NOON + timedelta(minutes=i)}
        if i % 2:
            new |= {"user": "adam", "labels": ("Night", "beam"), "comment": "Odd one"}
        saved.append(await save(store, {"A": 1.0, "B": 2.0} | ({"C": State.TIMEOUT} if i == 0 else {}), **new))
    return saved


async def listed(c: Control, count: int, *, view: str = "") -> list[int]:
    """Wait until so many are shown, and which."""
    await shown(c, f"{view}LIST:TOTAL", count)
    return [int(i) for i in await c.get(f"{view}LIST:IDS")]


async def test_empty(c: Control) -> None:
    for name in ROWS:
        assert len(await c.get(f"LIST:{name}")) == 0
    assert await c.get("LIST:TOTAL") == 0
    assert await c.get("LIST:PAGES") == 1
    assert await c.get("LIST:PAGE") == 1
    assert await c.get("LIST:SIZE") == 20
    assert await c.text("LIST:MSG") == ""


async def test_rows_of_a_page(c: Control, store: Store) -> None:
    first, second = await fill(store, 2)
    assert await listed(c, 2) == [second.id, first.id]
    assert list(await c.get("LIST:TITLES")) == ["number 1", "number 0"]
    assert await c.text("LIST:TITLES:LONG") == "number 1\nnumber 0"
    assert list(await c.get("LIST:TIMES"))[1] == NOON.astimezone().isoformat(timespec="milliseconds")
    np.testing.assert_array_equal(await c.get("LIST:EPOCHS"), [NOON.timestamp() + 60, NOON.timestamp()])
    assert list(await c.get("LIST:USERS")) == ["adam", "eve"]
    assert list(await c.get("LIST:COUNTS")) == [2, 2]
    assert list(await c.get("LIST:MISSING")) == [0, 1]
    assert list(await c.get("LIST:FLAGS")) == ["", ""]
    stamps = {(await c.get(f"LIST:{name}", format=aioca.FORMAT_TIME)).raw_stamp for name in (*ROWS, "TOTAL", "PAGES")}
    assert len(stamps) == 1


async def test_flags(c: Control, store: Store) -> None:
    snapshot, _ = await fill(store, 2)
    backup = await save(store, {"A": 1.0}, kind=BACKUP, taken=NOON - timedelta(days=1))
    await store.update_snapshot(backup.id, SnapshotChange(protected=True, kept=True, reference=True))
    await store.update_snapshot(snapshot.id, SnapshotChange(kept=True))
    await shown(c, "LIST:FLAGS", ["", "K"])
    assert await c.put("LIST:AUTO", "Show")
    await shown(c, "LIST:FLAGS", ["", "K", "PKRAU"])


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"TEXT": "NUMBER"}, [5, 4, 3, 2, 1, 0]),
        ({"TEXT": "odd"}, [5, 3, 1]),
        ({"TEXT": "number 4"}, [4]),
        ({"TEXT": "100%"}, []),
        ({"LABEL": "night"}, [5, 3, 1]),
        ({"LABEL": "nigh"}, []),
        ({"USER": "Eve"}, [4, 2, 0]),
        ({"SINCE": "2026-03-04T12:03:00.250Z"}, [5, 4, 3]),
        ({"UNTIL": "2026-03-04T12:01:00.250Z"}, [1, 0]),
        ({"SINCE": "2026-03-04T12:02Z", "UNTIL": "2026-03-04T12:02Z"}, [2]),
        ({"SINCE": "2026-03-01", "UNTIL": "2026-03-06"}, [5, 4, 3, 2, 1, 0]),
        ({"UNTIL": "2026-03-01"}, []),
        ({"USER": "adam", "LABEL": "beam", "TEXT": " 3 "}, [3]),
    ],
)
async def test_filters(c: Control, store: Store, filters: dict[str, str], numbers: list[int]) -> None:
    saved = await fill(store, 6)
    for name, value in filters.items():
        assert await c.put(f"LIST:{name}", value, datatype=aioca.DBR_CHAR_STR)
    # Whoever waited for the put sees the page.
    assert [int(i) for i in await c.get("LIST:IDS")] == [saved[n].id for n in numbers]
    assert await c.get("LIST:TOTAL") == len(numbers)
    for name, value in filters.items():
        assert await c.text(f"LIST:{name}") == value.strip()
        assert await c.put(f"LIST:{name}:S", "")
    assert await c.get("LIST:TOTAL") == 6


async def test_pages(c: Control, store: Store) -> None:
    saved = await fill(store, 5)
    newest = [s.id for s in reversed(saved)]
    await listed(c, 5)
    assert await c.put("LIST:SIZE", 2)
    assert await c.get("LIST:PAGES") == 3
    assert await c.put("LIST:PAGE", 2)
    assert [int(i) for i in await c.get("LIST:IDS")] == newest[2:4]
    assert await c.put("LIST:PAGE", 3)
    assert [int(i) for i in await c.get("LIST:IDS")] == newest[4:]
    # The first row that was shown stays on the page.
    assert await c.put("LIST:SIZE", 3)
    assert await c.get("LIST:PAGE") == 2
    assert [int(i) for i in await c.get("LIST:IDS")] == newest[3:]
    # A filter shows its first page.
    assert await c.put("LIST:USER", "eve", datatype=aioca.DBR_CHAR_STR)
    assert await c.get("LIST:PAGE") == 1


async def test_what_is_refused_leaves_everything_as_it_was(c: Control, store: Store) -> None:
    await fill(store, 3)
    assert await listed(c, 3)
    assert await c.put("LIST:SIZE", 2)
    assert await c.put("LIST:PAGE", 2)
    await c.watch(*(f"LIST:{name}" for name in (*ROWS, "PAGE", "SIZE", "TOTAL", "PAGES", "SINCE")))
    for name, value, reason in (
        ("PAGE", 3, "there is no page 3: the pages are 1 to 2"),
        ("PAGE", 0, "LIST:PAGE: 0 is not between"),
        ("PAGE", "1.5", "LIST:PAGE: 1.5 is no whole number"),
        ("SIZE", 0, "LIST:SIZE: 0 is not between 1 and 1000"),
        ("SIZE", 1001, "LIST:SIZE: 1001 is not between 1 and 1000"),
        ("SINCE:S", "yesterday", "LIST:SINCE: 'yesterday' is no date or time (2026-11-20"),
        ("UNTIL:S", "2026-02-30", "LIST:UNTIL: '2026-02-30' is no date or time"),
        ("USER:S", "a\x07b", "control character"),
    ):
        options = {"datatype": aioca.DBR_STRING} if isinstance(value, str) else {}
        assert not await c.put(f"LIST:{name}", value, **options), name
        assert reason in await c.text("LIST:MSG")
    assert c.updates == []
    assert await c.text("LIST:SINCE") == ""
    # The next write that is accepted takes the reason away.
    assert await c.put("LIST:PAGE", 1)
    assert await c.text("LIST:MSG") == ""


async def test_follows_what_other_processes_do(
    c: Control, store: Store, database: DatabaseSettings, tmp_path: Any
) -> None:
    (saved,) = await fill(store, 1)
    await listed(c, 1)
    other = await Store.open(database, tmp_path, exclusive=False)
    try:
        added = await save(other, {"A": 1.0}, title="from elsewhere", taken=NOON + timedelta(days=1))
        assert await listed(c, 2) == [added.id, saved.id]
        await other.update_snapshot(saved.id, SnapshotChange(title="renamed"))
        await shown(c, "LIST:TITLES", ["from elsewhere", "renamed"])
        await other.delete_snapshot(added.id)
        assert await listed(c, 1) == [saved.id]
    finally:
        await other.close()


async def test_a_page_that_has_gone_becomes_the_last_one(c: Control, store: Store) -> None:
    saved = await fill(store, 3)
    await listed(c, 3)
    await c.put("LIST:SIZE", 1)
    await c.put("LIST:PAGE", 3)
    await store.delete_snapshot(saved[0].id)
    await shown(c, "LIST:PAGE", 2)
    assert [int(i) for i in await c.get("LIST:IDS")] == [saved[1].id]
    assert await c.get("LIST:PAGES") == 2


async def test_posts_only_what_has_changed(c: Control, store: Store) -> None:
    (saved,) = await fill(store, 1)
    await listed(c, 1)
    await c.watch(*(f"LIST:{name}" for name in (*ROWS, "PAGE", "SIZE", "TOTAL", "PAGES")))
    await store.update_snapshot(saved.id, SnapshotChange(kept=True))
    await until(lambda: c.updates)
    await store.update_snapshot(saved.id, SnapshotChange(comment="not shown"))
    await store.update_snapshot(saved.id, SnapshotChange(title="shown"))
    await until(lambda: len(c.updates) > 1)
    assert [name for name, _ in c.updates] == ["LIST:FLAGS", "LIST:TITLES"]


async def test_many_changes_are_shown_together(c: Control, store: Store) -> None:
    (saved,) = await fill(store, 1)
    await listed(c, 1)
    await c.watch("LIST:TITLES")
    for i in range(40):
        await store.update_snapshot(saved.id, SnapshotChange(title=f"title {i}"))
    await until(lambda: c.updates and list(c.updates[-1][1]) == ["title 39"])
    assert len(c.updates) < 10


async def test_views_have_filters_of_their_own(c: Control, store: Store) -> None:
    saved = await fill(store, 4)
    await listed(c, 4)
    assert await c.put("OP1:LIST:USER", "adam", datatype=aioca.DBR_CHAR_STR)
    assert await c.put("OP1:LIST:SIZE", 1)
    assert [int(i) for i in await c.get("OP1:LIST:IDS")] == [saved[3].id]
    assert await c.get("LIST:TOTAL") == 4
    assert await c.get("LIST:SIZE") == 20
    assert not await c.put("OP1:LIST:PAGE", 9)
    assert "no page 9" in await c.text("OP1:LIST:MSG")
    assert await c.text("LIST:MSG") == ""
    await store.delete_snapshot(saved[3].id)
    assert await listed(c, 1, view="OP1:") == [saved[1].id]


async def test_two_who_write_at_the_same_time_both_have_their_say(c: Control, store: Store) -> None:
    saved = await fill(store, 6)
    await listed(c, 6)
    done = await asyncio.gather(
        c.put("LIST:USER", "adam", datatype=aioca.DBR_CHAR_STR), c.put("LIST:UNTIL:S", "2026-03-04T12:03Z")
    )
    assert all(done)
    assert [int(i) for i in await c.get("LIST:IDS")] == [saved[3].id, saved[1].id]


async def test_without_a_database_it_says_so_and_catches_up(c: Control, store: Store) -> None:
    (saved,) = await fill(store, 1)
    await listed(c, 1)
    await store.pool.execute("ALTER TABLE snapshot RENAME TO elsewhere")
    assert not await c.put("LIST:USER", "adam", datatype=aioca.DBR_CHAR_STR)
    assert "listing snapshots" in await c.text("LIST:MSG")
    assert await c.text("LIST:USER") == ""
    # What is shown is from before.
    assert [int(i) for i in await c.get("LIST:IDS")] == [saved.id]
    await store.pool.execute("UPDATE elsewhere SET title = 'changed'")
    await shown(c, "LIST:MSG:S", "not up to date: listing snapshots: rela")
    await store.pool.execute("ALTER TABLE elsewhere RENAME TO snapshot")
    await store.update_snapshot(saved.id, SnapshotChange(kept=True))
    await shown(c, "LIST:FLAGS", ["K"])
    assert list(await c.get("LIST:TITLES")) == ["changed"]
    assert await c.text("LIST:MSG") == ""


async def test_a_connection_that_was_lost_is_made_up_for(c: Control, store: Store, database: DatabaseSettings) -> None:
    """Every connection is cut, and something changes meanwhile that nobody is told of."""
    (saved,) = await fill(store, 1)
    await listed(c, 1)
    assert database.dsn is not None
    connection = await asyncpg.connect(database.dsn.get_secret_value())
    await connection.execute("ALTER TABLE snapshot DISABLE TRIGGER squirrel_event")
    await connection.execute("UPDATE snapshot SET title = 'changed in silence'")
    await connection.execute("ALTER TABLE snapshot ENABLE TRIGGER squirrel_event")
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    await shown(c, "LIST:TITLES", ["changed in silence"], timeout_s=20)
    assert await c.get(f"SNAP:{saved.id}:TITLE:S") == "changed in silence"
