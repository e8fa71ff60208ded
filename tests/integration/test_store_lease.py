"""The lease: one of two has it, it ends by itself, and who has lost it commits nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from control_pvs import until

from squirrel_ioc.config import DatabaseSettings
from squirrel_ioc.errors import NotActiveError, StoreError
from squirrel_ioc.store import Lease, Store, lease
from squirrel_ioc.store.lease import LEASE_S

UNUSED = Path("unused")


@pytest.fixture
async def both(database: DatabaseSettings) -> AsyncIterator[tuple[Store, Store]]:
    """Two services, of which nobody is active yet."""
    stores = [await Store.open(database, UNUSED, standby=True) for _ in range(2)]
    yield stores[0], stores[1]
    for store in stores:
        await store.close()


def lease_of(store: Store) -> Lease:
    assert store.lease is not None
    return store.lease


async def expire(database: DatabaseSettings) -> None:
    """As if its holder had not been heard of for long."""
    assert database.dsn is not None
    connection = await asyncpg.connect(database.dsn.get_secret_value())
    await connection.execute("UPDATE service_lease SET expires = 'epoch'")
    await connection.close()


async def test_one_of_two(both: tuple[Store, Store]) -> None:
    await asyncio.gather(*(lease_of(store).try_take() for store in both))
    assert [store.acts() for store in both].count(True) == 1


async def test_given_back_the_other_has_it_at_once(both: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 120.0)
    one, two = both
    await lease_of(one).take()
    waiting = asyncio.create_task(lease_of(two).take())
    await asyncio.sleep(0)
    await asyncio.sleep(0.2)  # it has looked, and waits for the lease to run out
    assert not two.acts()
    await lease_of(one).give_back()
    assert not one.acts()
    async with asyncio.timeout(30):
        await waiting
    assert two.acts()
    assert not lease_of(one).lost.is_set()


async def test_it_is_extended_as_long_as_its_holder_lives(both: tuple[Store, Store]) -> None:
    one, two = both
    await lease_of(one).take()
    begin = time.monotonic()
    while time.monotonic() - begin < LEASE_S + 0.5:
        await lease_of(two).try_take()
        assert one.acts()
        assert not two.acts()
        await asyncio.sleep(0.1)


async def test_a_process_that_stands_still_has_lost_it(both: tuple[Store, Store]) -> None:
    one, two = both
    await lease_of(one).take()
    time.sleep(LEASE_S)  # noqa: ASYNC251 - nothing of this process moves
    assert not one.acts()
    await lease_of(two).take()
    async with asyncio.timeout(30):
        await lease_of(one).lost.wait()
    assert two.acts()
    assert not one.acts()


async def test_who_is_late_commits_nothing(both: tuple[Store, Store], database: DatabaseSettings) -> None:
    one, two = both
    await lease_of(one).take()
    await one.set_setting("who", "one")

    async def change_meanwhile() -> None:
        async with one.transaction() as connection:
            await connection.execute("UPDATE setting SET value = '\"one, late\"'")
            await expire(database)
            await lease_of(two).take()
            assert one.acts()  # it cannot know yet

    with pytest.raises(NotActiveError):
        await change_meanwhile()
    assert await two.get_setting("who") == "one"
    await two.set_setting("who", "two")
    await until(lease_of(one).lost.is_set)
    with pytest.raises(NotActiveError, match="not the active one"):
        await one.set_setting("who", "one")
    with pytest.raises(NotActiveError):
        async with one.own_connection():
            pass
    assert await one.get_setting("who") == "two"


async def test_who_stands_by_changes_nothing(both: tuple[Store, Store]) -> None:
    one, two = both
    await lease_of(one).take()
    with pytest.raises(NotActiveError):
        await two.save_catalogue([])
    assert await two.get_setting("who") is None


async def test_who_works_alone_and_who_shares_exclude_each_other(
    both: tuple[Store, Store], database: DatabaseSettings
) -> None:
    with pytest.raises(StoreError, match="another squirrel-ioc runs on"):
        await Store.open(database, UNUSED)
    for store in both:
        await store.close()
    alone = await Store.open(database, UNUSED)
    assert alone.acts()
    with pytest.raises(StoreError, match="must be in the settings of both"):
        await Store.open(database, UNUSED, standby=True)
    await alone.close()
