"""Resources and clients that do odd things at odd times; and that nothing stays of those who have gone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import aioca
import caproto as ca
import pytest
from ioc_fakes import Control, control, until
from raw_ca import RawClient, raw_client
from stored import save, shown

from squirrel_ioc.ioc.ondemand.stored_pv import StoredPv
from squirrel_ioc.model.snapshot import Snapshot, SnapshotChange
from squirrel_ioc.store import Store

NAMES = [f"M:{i:04}" for i in range(300)]


@pytest.fixture
async def c(store: Store) -> AsyncIterator[Control]:
    async with control(store=store) as c:  # type: ignore[arg-type]
        yield c


@pytest.fixture
async def s(c: Control, store: Store) -> Snapshot:
    saved = await save(store, dict.fromkeys(NAMES, 1.0))
    await shown(c, f"SNAP:{saved.id}:VAL:{NAMES[-1]}", 1.0)
    aioca.purge_channel_caches()
    await until(lambda: not c.ioc.database._held)
    return saved


@pytest.fixture
async def raw(c: Control) -> AsyncIterator[RawClient]:
    async with raw_client(c.port) as raw:
        await raw.hello()
        yield raw


def ask(raw: RawClient, name: str) -> int:
    """Ask for a channel, and wait for nothing; its number."""
    channel = ca.ClientChannel(name, raw._circuit)
    raw.send(channel.create())
    return int(channel.cid)


async def unknown(raw: RawClient, name: str) -> None:
    """Ask until the server says that there is no such name."""
    async with asyncio.timeout(30):
        while not isinstance(await answer_to(raw, name), ca.CreateChFailResponse):
            await echo(raw)


async def answer_to(raw: RawClient, name: str) -> ca.CreateChanResponse | ca.CreateChFailResponse:
    """What the server says when asked for a channel."""
    cid = ask(raw, name)
    answer = await raw.receive((ca.CreateChanResponse, ca.CreateChFailResponse))
    assert answer.cid == cid
    return answer


async def echo(raw: RawClient) -> None:
    """The circuit works."""
    raw.send(ca.EchoRequest())
    await raw.receive(ca.EchoResponse)


async def test_what_is_said_of_a_channel_that_has_just_ended_is_ignored(
    c: Control, store: Store, s: Snapshot, raw: RawClient
) -> None:
    channels = [await raw.channel(c.pv(f"SNAP:{s.id}:{name}")) for name in (f"VAL:{NAMES[0]}", "TITLE", "KEEP")]
    value, title, keep = channels
    other = await raw.channel(c.pv("SNAP:COUNT"))
    monitor = value.subscribe(mask=5)
    raw.send(monitor)
    await raw.receive(ca.EventAddResponse)
    await store.delete_snapshot(s.id)
    # All of this is on its way when the server says that the channels have ended.
    ended = {(await raw.receive(ca.ServerDisconnResponse)).cid for _ in channels}
    assert ended == {channel.cid for channel in channels}
    raw.write(
        b"".join(
            bytes(message)
            for message in (
                ca.ReadNotifyRequest(6, 1, value.sid, 4711),
                ca.EventAddRequest(6, 1, title.sid, 4712, 0, 0, 0, 5),
                ca.EventCancelRequest(monitor.data_type, value.sid, monitor.subscriptionid),
                ca.WriteNotifyRequest([b"1"], 0, 1, keep.sid, 4713),
                ca.WriteRequest([b"1"], 0, 1, keep.sid, 4714),
                ca.ClearChannelRequest(title.sid, title.cid),
            )
        )
    )
    await echo(raw)
    raw.send(other.read(data_type=5))
    assert (await raw.receive(ca.ReadNotifyResponse)).data[0] == 0
    # What it says of a channel that never was ends the circuit, as ever.
    raw.write(bytes(ca.ReadNotifyRequest(6, 1, 31_000, 4715)))
    await raw.ended()


async def test_the_name_again_when_it_has_ended(c: Control, store: Store, s: Snapshot, raw: RawClient) -> None:
    first = await store.update_snapshot(s.id, SnapshotChange(reference=True))
    assert first.reference
    channel = await raw.channel(c.pv(f"REF:{NAMES[0]}"))
    await store.delete_snapshot(s.id)
    await shown(c, "LIST:TOTAL", 0)
    # It has no reference now, and is not in the catalogue either: whoever has it keeps it, nobody else finds it.
    raw.send(channel.read())
    await raw.receive(ca.ReadNotifyResponse)
    await unknown(raw, c.pv(f"REF:{NAMES[1]}"))


async def test_a_channel_is_asked_for_twice_while_its_value_is_fetched(c: Control, s: Snapshot, raw: RawClient) -> None:
    name = c.pv(f"SNAP:{s.id}:VAL:{NAMES[0]}")
    asked = {ask(raw, name), ask(raw, name)}
    answers = [await raw.receive(ca.CreateChanResponse) for _ in range(2)]
    assert {answer.cid for answer in answers} == asked
    assert {answer.data_type for answer in answers} == {ca.ChannelType.DOUBLE}


async def test_the_same_channel_twice_breaks_the_protocol(c: Control, s: Snapshot, raw: RawClient) -> None:
    name = c.pv(f"SNAP:{s.id}:VAL:{NAMES[0]}")
    raw.write(bytes(ca.CreateChanRequest(name, 501, 13)) * 2)
    await raw.ended()
    # Nobody else is bothered, and nothing is held for it.
    assert await c.get(f"SNAP:{s.id}:VAL:{NAMES[0]}") == 1.0
    aioca.purge_channel_caches()
    await until(lambda: not c.ioc.database._held)


async def test_who_hangs_up_while_values_are_fetched_holds_nothing(c: Control, s: Snapshot) -> None:
    for _ in range(5):
        async with raw_client(c.port) as raw:
            await raw.hello()
            for name in NAMES:
                ask(raw, c.pv(f"SNAP:{s.id}:VAL:{name}"))
            await raw.receive(ca.CreateChanResponse)
    aioca.purge_channel_caches()
    await until(lambda: not c.ioc.database._held)


async def test_a_field_that_such_a_value_has_not(c: Control, s: Snapshot, raw: RawClient) -> None:
    # It is some record's field, so that it is looked for; a number has it not.
    await unknown(raw, c.pv(f"SNAP:{s.id}:VAL:{NAMES[0]}.ZNAM"))
    await until(lambda: not c.ioc.database._held)


async def test_nothing_is_left_of_clients_that_come_and_go(c: Control, s: Snapshot) -> None:
    async def visit() -> None:
        async with raw_client(c.port) as raw:
            await raw.hello()
            for name in (*(f"VAL:{name}" for name in NAMES[:50]), "TITLE", "TITLE:S", f"VAL:{NAMES[0]}.EGU", "DELETE"):
                await raw.channel(c.pv(f"SNAP:{s.id}:{name}"))
            await raw.channel(c.pv(f"HIST:{NAMES[0]}:IDS"))

    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, StoredPv) for thing in gc.get_objects())

    await visit()
    await until(lambda: not c.ioc.database._held)
    before = alive()
    static = len(c.ioc.database)
    for _ in range(5):
        await visit()
    await until(lambda: not c.ioc.database._held)
    assert len(c.ioc.database) == static
    assert alive() <= before
    assert len(c.ioc._resources._tasks) == 0


async def test_thousands_of_searches_for_what_is_there(c: Control, store: Store, s: Snapshot) -> None:
    """Nobody connects: it costs memory for as many as are kept in reserve, and the database stays usable."""
    others = [await save(store, dict.fromkeys(NAMES, 1.0)) for _ in range(20)]
    await shown(c, "LIST:TOTAL", 21)
    for snapshot in others:
        for name in NAMES:
            try:
                c.ioc.database.find(c.pv(f"SNAP:{snapshot.id}:VAL:{name}"))
            except KeyError:
                break  # too many at once
        async with asyncio.timeout(30):
            assert await c.get("LIST:TOTAL") == 21
    assert len(c.ioc.database._loose) <= c.ioc.database.MAX_LOOSE
    assert await c.get(f"SNAP:{s.id}:VAL:{NAMES[0]}") == 1.0
    assert await c.put(f"SNAP:{s.id}:KEEP", 1)
