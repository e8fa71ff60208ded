"""The server: its port, its clients, good and bad, and its end."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import aioca
import caproto as ca
import pytest
from ioc_fakes import (
    Control,
    FakeAway,
    FakeJobs,
    FakeKeeper,
    FakeMachine,
    FakeStore,
    catalogue,
    control,
    restore_result,
    snapshot_result,
    until,
)
from ioc_process import LOOPBACK, give_ports, take_ports
from raw_ca import raw_client

from squirrel_ioc.config import Settings
from squirrel_ioc.errors import ControlPvError
from squirrel_ioc.ioc import ControlIoc, Service
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.scalars import Integer
from squirrel_ioc.ioc.protocol import channels as _channels
from squirrel_ioc.ioc.protocol import outbox, udp, writes
from squirrel_ioc.ioc.protocol import server as _server


@pytest.fixture
async def c() -> AsyncIterator[Control]:
    async with control() as c:
        yield c


async def test_second_service_on_the_port_is_told_so(c: Control) -> None:
    settings = Settings(prefix="OTHER:", port=c.port, interfaces=(LOOPBACK,))
    before = asyncio.all_tasks()
    second = ControlIoc(Service(settings, FakeStore(), FakeMachine(), FakeJobs(), catalogue, FakeKeeper(), FakeAway()))
    with pytest.raises(ControlPvError, match=rf"TCP port {c.port} on 127.0.0.1 cannot be had: another program has it"):
        await second.start()
    assert asyncio.all_tasks() == before
    assert await c.get("VERSION")


async def test_address_of_somebody_else_is_told_so() -> None:
    (port,) = take_ports(1)
    settings = Settings(prefix="OTHER:", port=port, interfaces=("192.0.2.1",))
    ioc = ControlIoc(Service(settings, FakeStore(), FakeMachine(), FakeJobs(), catalogue, FakeKeeper(), FakeAway()))
    with pytest.raises(ControlPvError, match=r"192\.0\.2\.1"):
        await ioc.start()
    give_ports([port])


async def test_environment_is_neither_obeyed_nor_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPICS_CA_SERVER_PORT", "1")
    monkeypatch.setenv("EPICS_CAS_INTF_ADDR_LIST", "192.0.2.1")
    monkeypatch.setenv("EPICS_CAS_AUTO_BEACON_ADDR_LIST", "YES")
    before = dict(os.environ)
    async with control() as c:
        assert await c.get("VERSION")
    assert dict(os.environ) == before


async def test_port_is_free_and_nothing_is_left_after_the_stop() -> None:
    before = asyncio.all_tasks()
    for _ in range(3):
        async with control() as c:
            await c.watch("SNAP:STATUS")
            assert await c.put("SNAP:TRIGGER", 1)
        await until(lambda: asyncio.all_tasks() == before)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as sock:
                if kind == socket.SOCK_STREAM:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((LOOPBACK, c.port))


async def test_stop_while_a_client_waits() -> None:
    jobs = FakeJobs()
    jobs.hold = True
    async with control(jobs=jobs) as c, raw_client(c.port) as client:
        await client.hello()
        channel = await client.channel(c.pv("SNAP:TRIGGER"))
        client.send(channel.write([1], notify=True))
        await until(lambda: jobs.requests)
        begin = time.monotonic()
        await c.ioc.stop()
        assert time.monotonic() - begin < 30
        await client.ended()


async def test_client_that_goes_while_it_waits_does_not_stop_the_job(c: Control) -> None:
    c.jobs.hold = True
    async with raw_client(c.port) as client:
        await client.hello("operator", "cons3")
        channel = await client.channel(c.pv("RESTORE:ID"))
        client.send(channel.write([12], notify=True))
        await until(lambda: c.jobs.requests)
        await c.watch("RESTORE:STATUS", "RESTORE:TRIGGER", "RESTORE:WRITTEN")
    await until(lambda: c.ioc._server.connections[0] == 1)
    c.jobs.begin(100)
    c.jobs.end(100)
    await until(lambda: len(c.updates) == 3)
    assert [(n, int(v)) for n, v in c.updates] == [
        ("RESTORE:WRITTEN", 6),
        ("RESTORE:STATUS", 2),
        ("RESTORE:TRIGGER", 0),
    ]
    assert c.jobs.asked_by == [("operator", "cons3")]
    c.jobs.hold = False
    assert await c.put("RESTORE:TRIGGER", 1)


async def test_names_of_clients_are_shown_as_text(c: Control) -> None:
    async with raw_client(c.port) as client:
        await client.hello("m\x1b[2Jpeters", "h" * 100)
        channel = await client.channel(c.pv("SNAP:TRIGGER"))
        client.send(channel.write([1], notify=True))
        assert (await client.receive(ca.WriteNotifyResponse)).status.name == "ECA_NORMAL"
    assert c.jobs.asked_by == [("m[2Jpeters", "h" * 39)]


async def test_two_clients_one_restore(c: Control) -> None:
    c.jobs.hold = True
    async with raw_client(c.port) as one, raw_client(c.port) as two:
        for client, user in ((one, "anna"), (two, "ben")):
            await client.hello(user, "cons1")
        first, second = await one.channel(c.pv("RESTORE:ID")), await two.channel(c.pv("RESTORE:ID"))
        one.send(first.write([12], notify=True))
        await until(lambda: c.jobs.requests)
        c.jobs.begin(100)
        two.send(second.write([1], notify=True))
        assert (await two.receive(ca.WriteNotifyResponse)).status.name == "ECA_PUTFAIL"
        assert await c.text("RESTORE:MSG") == "restore of snapshot 12 (anna@cons1) is running: 0 of 100 done"
        c.jobs.end(100)
        assert (await one.receive(ca.WriteNotifyResponse)).status.name == "ECA_NORMAL"
    assert await c.get("RESTORE:ID") == 12


async def test_refused_put_without_callback_is_told_by_an_exception(c: Control) -> None:
    async with raw_client(c.port) as client:
        await client.hello()
        channel = await client.channel(c.pv("RESTORE:ID"))
        client.send(channel.write([77]))
        error = await client.receive(ca.ErrorResponse)
        assert error.status.name == "ECA_PUTFAIL"
        assert b"snapshot 77 does not exist" in bytes(error.error_message)
        # Of what goes wrong later, nobody is told who does not wait.
        c.jobs.hold = True
        client.send(channel.write([12]))
        await until(lambda: c.jobs.requests)
        c.jobs.begin(100)
        await c.jobs.abort(100, "somebody")
        await until(lambda: not c.jobs.board.unfinished())
        client.send(ca.EchoRequest())
        await client.receive(ca.EchoResponse)
        assert not any(isinstance(m, ca.ErrorResponse) for m in client.received)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 64,
        struct.pack(">HHHHII", 1, 16, 99, 1, 5, 5) + bytes(16),
        struct.pack(">HHHHII", 15, 0, 6, 1, 12345, 1),
        struct.pack(">HHHHIIII", 19, 0xFFFF, 6, 0, 1, 1, 0xFFFFFFF0, 5),
        struct.pack(">HHHHII", 200, 0, 0, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("introduced", [False, True])
async def test_client_that_breaks_the_protocol_is_disconnected(
    c: Control, garbage: bytes, introduced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_client(c.port) as client:
        if introduced:
            await client.hello()
        client.write(garbage)
        await client.ended()
    assert await c.get("VERSION")
    assert not [record for record in caplog.records if record.exc_info]
    assert any("breaks the protocol" in record.getMessage() for record in caplog.records)


async def test_malformed_writes_are_refused(c: Control) -> None:
    async with raw_client(c.port) as client:
        await client.hello()
        channel = await client.channel(c.pv("RESTORE:ID"))
        # A double whose payload has half of it, and nothing at all.
        client.write(struct.pack(">HHHHII", 19, 4, 6, 1, channel.sid, 7) + bytes(4))
        client.write(struct.pack(">HHHHII", 19, 0, 6, 0, channel.sid, 8))
        channel.circuit._ioids.update({7: channel, 8: channel})
        for _ in range(2):
            assert (await client.receive(ca.WriteNotifyResponse)).status.name == "ECA_PUTFAIL"
    assert not c.jobs.requests


async def test_unknown_channel_is_refused_and_the_circuit_lives(c: Control) -> None:
    async with raw_client(c.port) as client:
        await client.hello()
        for name in ("SNAP:NOPE", 'SNAP:ID.{"dbnd":{"abs":1,"x":2}}', "SNAP:ID." + "x" * 500):
            client.write(bytes(ca.CreateChanRequest(c.pv(name), 77, 13)))
            client._circuit.channels[77] = ca.ClientChannel("X", client._circuit, cid=77)
            client._circuit.channels[77].states.states[ca.CLIENT] = ca.AWAIT_CREATE_CHAN_RESPONSE
            client._circuit.channels[77].states.states[ca.SERVER] = ca.SEND_CREATE_CHAN_RESPONSE
            await client.receive(ca.CreateChFailResponse)
        assert await client.channel(c.pv("SNAP:ID"))
        assert c.ioc._server.connections[1] == 1


async def test_clients_beyond_the_bound_are_turned_away(
    c: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_server, "MAX_CIRCUITS", 2)
    async with raw_client(c.port) as one, raw_client(c.port) as two:
        await one.hello()
        await two.hello()
        for _ in range(3):
            async with raw_client(c.port) as three:
                with pytest.raises(ConnectionError):
                    await three.hello()
    assert len([r for r in caplog.records if "turned away" in r.getMessage()]) == 1
    await until(lambda: c.ioc._server.connections[0] == 0)
    assert await c.get("VERSION")


async def test_channels_and_writes_of_a_client_are_bounded(c: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_channels, "MAX_CHANNELS", 2)
    monkeypatch.setattr(writes, "MAX_WRITES", 3)
    monkeypatch.setattr(writes, "ACCEPT_S", 0.01)
    c.jobs.submit_gate = asyncio.Event()
    async with raw_client(c.port) as client:
        await client.hello()
        trigger = await client.channel(c.pv("SNAP:TRIGGER"))
        reset = await client.channel(c.pv("IOCS:RESET"))
        client.send(ca.CreateChanRequest(c.pv("SNAP:ID"), 77, 13))
        await client.receive(ca.CreateChFailResponse)
        pv = c.ioc.database[c.pv("IOCS:RESET")]
        gate = asyncio.Event()

        async def slow() -> None:
            await gate.wait()

        pv.action = slow  # type: ignore[attr-defined]
        client.send(*[reset.write([1], notify=True, ioid=50 + i) for i in range(5)])
        answers = [await client.receive(ca.WriteNotifyResponse) for _ in range(2)]
        assert {a.status.name for a in answers} == {"ECA_PUTFAIL"}
        gate.set()
        answers = [await client.receive(ca.WriteNotifyResponse) for _ in range(3)]
        assert {a.status.name for a in answers} == {"ECA_NORMAL"}
        assert trigger.sid != reset.sid


async def test_cleared_channel_has_no_monitors(c: Control) -> None:
    pv = c.ioc.database[c.pv("SNAP:ID")]
    async with raw_client(c.port) as client:
        await client.hello()
        channel = await client.channel(c.pv("SNAP:ID"))
        client.send(channel.subscribe())
        await client.receive(ca.EventAddResponse)
        assert len(pv.subscribers) == 1
        client.send(channel.clear())
        await client.receive(ca.ClearChannelResponse)
        assert not pv.subscribers
        channel = await client.channel(c.pv("SNAP:ID"))
        client.send(channel.subscribe())
        await client.receive(ca.EventAddResponse)
    await until(lambda: not pv.subscribers)


async def test_client_that_asks_for_silence_gets_the_newest_values_after_it(c: Control) -> None:
    async with raw_client(c.port) as client:
        await client.hello()
        channel = await client.channel(c.pv("SNAP:ID"))
        client.send(channel.subscribe())
        await client.receive(ca.EventAddResponse)
        client.send(ca.EventsOffRequest(), ca.EchoRequest())
        await client.receive(ca.EchoResponse)
        for snapshot_id in (5, 6, 7):
            c.jobs.result = lambda request, i=snapshot_id: snapshot_result(i)
            assert await c.put("SNAP:TRIGGER", 1)
        client.send(ca.EventsOnRequest(), ca.EchoRequest())
        await client.receive(ca.EchoResponse)
        updates = [m for m in client.received if isinstance(m, ca.EventAddResponse)]
        assert [int(m.data[0]) for m in updates] == [7]


async def test_client_that_does_not_read_costs_the_others_nothing(
    c: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "SEND_TIMEOUT_S", 1.0)
    names = tuple(f"A:RATHER:LONG:NAME:OF:A:PV:{i}" for i in range(40_000))
    async with raw_client(c.port, buffer_bytes=1024) as client:
        await client.hello()
        channel = await client.channel(c.pv("SNAP:MISSING:NAMES"))
        client.send(channel.subscribe())
        await client.receive(ca.EventAddResponse)
        client._writer.transport.pause_reading()  # type: ignore[attr-defined]
        for i in range(20):
            c.jobs.result = lambda request, n=names[i:]: snapshot_result(1, missing=n)
            assert await c.put("SNAP:TRIGGER", 1)
        (circuit,) = [x for x in c.ioc._server._circuits if "somebody" in str(x)]
        assert len(circuit.outbox) <= 4
        await until(lambda: any("neither speaks nor reads" in r.getMessage() for r in caplog.records))
    await until(lambda: c.ioc._server.connections[0] == 1)
    assert await c.get("VERSION")


async def test_pv_made_on_demand_lives_as_long_as_its_channels(c: Control) -> None:
    made: list[str] = []

    def resolve(name: str) -> Pv | None:
        if name != c.pv("SNAP:17:COUNT"):
            return None
        made.append(name)
        sample = c.ioc.database[c.pv("SNAP:ID")]
        return Integer(pvname=name, group=sample.group, pvspec=sample.pvspec, value=17)

    c.ioc.database.resolvers.append(resolve)
    name = c.pv("SNAP:17:COUNT")
    async with raw_client(c.port) as one, raw_client(c.port) as two:
        channels = []
        for client in (one, two):
            await client.hello()
            channels.append(await client.channel(name))
        field = await one.channel(name + ".DESC")
        assert made == [name]
        one.send(channels[0].clear(), field.clear())
        await one.receive(ca.ClearChannelResponse)
        await one.receive(ca.ClearChannelResponse)
        assert name in c.ioc.database
    await until(lambda: name not in c.ioc.database)
    assert await c.get("SNAP:17:COUNT") == 17
    assert made == [name, name]


async def test_more_elements_than_there_can_be_are_refused(c: Control) -> None:
    async with raw_client(c.port) as client:
        await client.hello()
        channel = await client.channel(c.pv("SNAP:MISSING:NAMES"))
        client.send(channel.read(data_count=4_000_000_000))
        answer = await client.receive(ca.ReadNotifyResponse)
        assert (answer.status.name, answer.data_count) == ("ECA_BADCOUNT", 0)
        client.send(channel.subscribe(data_count=4_000_000_000))
        assert (await client.receive(ca.ErrorResponse)).status.name == "ECA_BADCOUNT"


@pytest.mark.parametrize("seed", range(6))
async def test_nonsense_of_a_client_disconnects_at_most_itself(
    c: Control, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Well-formed messages with any content, at a channel of every kind."""
    dice = random.Random(seed)  # noqa: S311
    names = ("SNAP:ID", "SNAP:TITLE", "SNAP:TIME", "RESTORE:MODE", "JOB:RECENT:IDS", "SNAP:EPOCH", "SNAP:MISSING:NAMES")
    for _ in range(40):
        async with raw_client(c.port) as client:
            await client.hello()
            for name in names:
                await client.channel(c.pv(name + dice.choice(["", "", ".DESC", ".SEVR"])))
            for i in range(20):
                command = dice.choice([1, 1, 2, 4, 4, 8, 9, 12, 15, 15, 15, 18, 19, 19, 23])
                payload = dice.randbytes(8 * dice.choice([0, 1, 2, 2, 6, 64]))
                count = dice.choice([0, 1, 1, 2, 5, 100, 60_000])
                ids = dice.choice([0, 1, 2, 3, 4, 5, 6, 6, 99]), dice.choice([i, i, 0, 1])
                client.write(struct.pack(">HHHHII", command, len(payload), dice.randrange(40), count, *ids) + payload)
            client.write(bytes(ca.EchoRequest()))
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(0.3):
                    while await client._reader.read(65536):
                        pass
    assert await c.get("VERSION")
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]


async def test_search_over_tcp(c: Control) -> None:
    async with raw_client(c.port) as client:
        await client.hello()
        client.send(ca.SearchRequest(c.pv("SNAP:ID"), 5, 13, reply=ca.DO_REPLY))
        answer = await client.receive(ca.SearchResponse)
        assert (answer.port, answer.cid) == (c.port, 5)
        client.send(ca.SearchRequest(c.pv("NOPE"), 6, 13, reply=ca.DO_REPLY))
        assert (await client.receive(ca.NotFoundResponse)).cid == 6


async def test_search_over_udp(c: Control) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((LOOPBACK, 0))
        name = c.pv("SNAP:ID").encode()
        body = name.ljust(-(-(len(name) + 1) // 8) * 8, b"\0")
        version = struct.pack(">HHHHII", 0, 0, 1, 13, 4711, 0)
        search = struct.pack(">HHHHII", 6, len(body), 5, 13, 99, 99) + body
        other = struct.pack(">HHHHII", 6, 16, 5, 13, 98, 98) + b"NOT:OURS".ljust(16, b"\0")
        await loop.sock_sendto(sock, b"rubbish", (LOOPBACK, c.port))
        await loop.sock_sendto(sock, version + other, (LOOPBACK, c.port))
        await loop.sock_sendto(sock, version + other + search, (LOOPBACK, c.port))
        async with asyncio.timeout(30):
            answer = await loop.sock_recv(sock, 2048)
    assert struct.unpack(">HHHHII", answer[:16]) == (0, 0, 1, 13, 4711, 0)
    assert struct.unpack(">HHHHII", answer[16:32]) == (6, 8, c.port, 0, 0xFFFFFFFF, 99)
    assert answer[32:] == struct.pack(">H6x", 13)


async def test_beacons(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((LOOPBACK, 0))
        monkeypatch.setattr(udp, "BEACON_PORT", sock.getsockname()[1])
        async with control() as c, asyncio.timeout(30):
            beacons = [struct.unpack(">HHHHII", await loop.sock_recv(sock, 100)) for _ in range(3)]
    assert beacons == [(13, 0, 13, c.port, i, 0) for i in range(3)]


async def test_clients_are_answered_while_a_big_result_is_published(c: Control) -> None:
    names = tuple(f"SECTOR{i % 100:03d}:QUAD:{i}:BDES" for i in range(40_000))
    reasons = tuple(f"no answer in time, and number {i}" for i in range(40_000))
    await c.watch("SNAP:MISSING:NAMES", "SNAP:MISSING:NAMES:LONG", "RESTORE:BAD:NAMES", "RESTORE:BAD:REASONS:LONG")
    c.jobs.result = lambda request: (
        snapshot_result(1, missing=names)
        if request.kind.name == "SNAPSHOT"
        else restore_result(12, bad_names=names, bad_reasons=reasons)
    )
    lags: list[float] = []

    async def watch_the_loop() -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - begin)

    # The client of this test decodes arrays, in this loop: only what the server does is to be measured.
    pvs = [c.ioc.database[c.pv(name)] for name in ("SNAP:MISSING:NAMES", "SNAP:MISSING:NAMES:LONG")]
    assert await c.put("SNAP:TRIGGER", 1)
    costs = []
    for changed in (names[1:], names[2:], names[3:]):
        begin = time.perf_counter()
        for pv in pvs:
            pv.post(changed)
        costs.append(time.perf_counter() - begin)
    assert min(costs) < 10
    watcher = asyncio.create_task(watch_the_loop())
    assert await c.put("RESTORE:ID", 12)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    assert len(await c.get("RESTORE:BAD:NAMES")) == 40_000
    assert (await c.text("RESTORE:BAD:NAMES:LONG")).split("\n") == list(names)
    assert sorted(lags)[-1] < 5


async def test_put_callback_of_a_small_command_is_quick(c: Control) -> None:
    await aioca.connect(c.pv("IOCS:RESET"))
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        assert await c.put("IOCS:RESET", 1)
        times.append(time.perf_counter() - begin)
    assert sorted(times)[len(times) // 2] < 5
