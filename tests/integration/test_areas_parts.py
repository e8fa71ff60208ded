"""Areas and parts of jobs as they stand in the database: who may begin what, and when it must end."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from squirrel_ioc.areas._directory import Directory
from squirrel_ioc.areas._merge import Columns
from squirrel_ioc.areas._pack import pack, pack_live
from squirrel_ioc.areas._parts import LOST_S, Part
from squirrel_ioc.areas._remote import Answer, Remote
from squirrel_ioc.areas._service_sql import Asked
from squirrel_ioc.areas._worker_sql import Taken
from squirrel_ioc.errors import StoreError
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.store import Store

BODY = pack({})


@pytest.fixture
def asked(store: Store) -> Asked:
    return Asked(store)


@pytest.fixture
def taken(store: Store) -> Taken:
    return Taken(store)


def part(kind: str = "write") -> Part:
    return Part(uuid4(), "one", kind, 5, BODY, 1.5)


async def claimed(asked: Asked, taken: Taken) -> tuple[Part, int]:
    """A part, and who has begun it."""
    worker = (await taken.enrol(["one"], "worker", ()))["one"]
    wanted = part()
    await asked.ask(wanted)
    assert await taken.claim(wanted.id, worker) is not None
    return wanted, worker


async def sql(store: Store, statement: str) -> None:
    async with store.transaction() as connection:
        await connection.execute(statement)


async def test_a_version_never_stands_for_two_lists(asked: Asked, taken: Taken) -> None:
    first = await asked.publish({"one": ["a", "b"], "two": ["c"]})
    assert await asked.publish({"one": ["a", "b"], "two": ["c"]}) == first
    changed = await asked.publish({"one": ["b", "a"], "two": ["c"]})
    assert changed["one"] > first["one"]
    assert changed["two"] == first["two"]
    assert await asked.publish({"two": ["c"]}) == {"two": (await versions(taken))["two"]}
    back = await asked.publish({"one": ["x"], "two": ["c"]})
    assert back["one"] > changed["one"], "a worker may still hold the old list"
    assert await versions(taken) == back
    assert await taken.area_names() == ["one", "two"]
    assert [area.names for area in await taken.lists(["one", "three"])] == [("x",)]
    await asked.publish({"one": []})
    assert [area.names for area in await taken.lists(["one"])] == [()]


async def versions(taken: Taken) -> dict[str, int]:
    return {area.name: area.version for area in await taken.lists(["one", "two"])}


async def test_one_worker_has_a_part(asked: Asked, taken: Taken) -> None:
    one, other = [(await taken.enrol(["one"], name, ()))["one"] for name in ("1", "2")]
    wanted = part()
    assert await taken.claim(wanted.id, one) is None, "it is not there yet"
    await asked.ask(wanted)
    got = await taken.claim(wanted.id, one)
    assert got is not None
    assert (got.area, got.kind, got.version, got.body, got.timeout_s) == ("one", "write", 5, BODY, 1.5)
    assert await taken.claim(wanted.id, other) is None
    assert await taken.claim(wanted.id, one) is None
    assert await taken.go_on(wanted.id, one)
    assert not await taken.go_on(wanted.id, other)
    assert not await asked.withdraw(wanted.id), "it has begun"
    await taken.answer(wanted.id, 3, "", b"result")
    state = await asked.look(wanted.id)
    assert state is not None
    assert (state.worker_id, state.done, state.finished) == (one, 3, True)
    assert await asked.fetch(wanted.id) == ("", b"result")
    assert await asked.look(wanted.id) is None
    assert await asked.fetch(wanted.id) is None


async def test_what_is_withdrawn_is_never_begun(asked: Asked, taken: Taken) -> None:
    wanted = part()
    await asked.ask(wanted)
    assert await asked.withdraw(wanted.id)
    assert await taken.claim(wanted.id, 1) is None


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE service_lease SET generation = generation + 1",
        f"UPDATE area_part SET seen = clock_timestamp() - interval '{LOST_S} s'",
        "UPDATE area_part SET cancelled = true",
        "DELETE FROM area_part",
    ],
)
async def test_what_nobody_waits_for_ends_and_is_not_begun(asked: Asked, taken: Taken, store: Store, end: str) -> None:
    running, worker = await claimed(asked, taken)
    waiting = part()
    await asked.ask(waiting)
    assert await taken.go_on(running.id, worker)
    await sql(store, end)
    assert not await taken.go_on(running.id, worker)
    assert await taken.claim(waiting.id, worker) is None
    # It is told all the same, and nothing comes of it when nobody hears it.
    await taken.answer(running.id, 1, "", b"")


async def test_a_service_that_starts_ends_what_there_is(asked: Asked, taken: Taken, store: Store) -> None:
    running, worker = await claimed(asked, taken)
    waiting = part()
    await asked.ask(waiting)
    assert await asked.cancel_all() == 1
    assert not await taken.go_on(running.id, worker)
    assert await taken.claim(waiting.id, worker) is None
    async with store.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pgqueuer") == 0
    await taken.answer(running.id, 1, "", b"")
    assert await asked.cancel_all() == 0
    await asked.drop_all()
    assert await asked.look(running.id) is None


async def test_workers_come_and_go(asked: Asked, taken: Taken, store: Store) -> None:
    """Two in containers of one host may look the same."""
    first = await taken.enrol(["one", "two"], "same", ())
    second = await taken.enrol(["one"], "same", ())
    assert await taken.renew(list(first.values()))
    assert await taken.renew(list(second.values()))
    again = await taken.enrol(["one", "two"], "same", list(first.values()))
    assert not await taken.renew(list(first.values()))
    assert await taken.renew(list(second.values()))
    await sql(store, f"UPDATE area_worker SET seen = seen - interval '2 min' WHERE id = {second['one']}")
    await taken.enrol(["one"], "third", ())
    rows = await asked.workers()
    assert [(row.area, row.process) for row in rows] == [("one", "same"), ("two", "same"), ("one", "third")]
    await taken.leave(list(again.values()))
    assert [row.process for row in await asked.workers()] == ["third"]


async def test_after_a_crash_of_the_server_another_worker_has_the_id(asked: Asked, taken: Taken, store: Store) -> None:
    """What is known of the former one is not taken for what is known of it."""
    lists = {"one": {5: ChannelList.of(["a", "b"])}, "two": {5: ChannelList.of(["c"])}}
    directory = Directory(asked)
    ids = await taken.enrol(["one"], "first", ())
    assert await taken.tell_live(ids["one"], 5, pack_live(Columns(2).live()), [], 0)
    assert await directory.look(lists)
    assert directory.best("one") is not None
    for told in (False, True):
        await sql(store, "TRUNCATE area_worker RESTART IDENTITY")
        assert (await taken.enrol(["two"], "second", ()))["two"] == ids["one"]
        if told:
            assert await taken.tell_live(ids["one"], 5, pack_live(Columns(1).live()), [], 0)
        await directory.look(lists)
        known = directory.best("two")
        assert (known is not None) is told
        assert known is None or len(known.live.connected) == 1
        assert directory.best("one") is None
        assert (directory.count("one"), directory.count("two")) == (0, 1)
        assert directory.others("two", ids["one"]) == directory.others("two", None) == 0


async def ask(asked: Asked, wanted: Part, abort: Callable[[], bool] = lambda: False) -> Answer:
    return await Remote(asked).ask(wanted, lambda done: None, abort)


async def test_nobody_begins_it(asked: Asked) -> None:
    answer = await ask(asked, part())
    assert (answer.result, answer.begun, answer.reason) == (None, False, "no worker has begun")


async def test_it_is_stopped_before_anybody_begins(asked: Asked) -> None:
    answer = await ask(asked, part(), lambda: True)
    assert (answer.result, answer.begun) == (None, False)


class _Loses(Asked):
    """Its statements do what they are to, but nobody hears of it."""

    def __init__(self, store: Store, *deaf: str) -> None:
        super().__init__(store)
        self._deaf = deaf

    def __getattribute__(self, name: str) -> object:
        method = super().__getattribute__(name)
        if name not in ("ask", "fetch", "cancel") or name not in self._deaf:
            return method

        async def lost(*arguments: object) -> None:
            if name == "ask":
                await method(*arguments)
            raise StoreError("the connection is lost")

        return lost


async def test_nobody_knows_whether_it_was_asked(store: Store, taken: Taken) -> None:
    """It is taken back: a worker that began it later would write what nobody waits for."""
    wanted = part()
    answer = await ask(_Loses(store, "ask"), wanted)
    assert (answer.result, answer.begun) == (None, False)
    assert await taken.claim(wanted.id, 1) is None


async def test_an_answer_that_does_not_arrive_is_given_up(store: Store, taken: Taken, asked: Asked) -> None:
    class Done(_Loses):
        async def ask(self, wanted: Part) -> None:
            await super().ask(wanted)
            await taken.claim(wanted.id, 1)
            await taken.answer(wanted.id, 1, "", b"result")

    answer = await ask(Done(store, "fetch"), part())
    assert (answer.result, answer.begun, answer.reason) == (None, True, "its answer does not arrive")
