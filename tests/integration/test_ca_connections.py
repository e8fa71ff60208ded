"""Channels come, go and come back; the context is one for the whole process."""

from __future__ import annotations

import asyncio

import aioca
import numpy as np
import psutil
import pytest
from ca_helpers import hold, random_prefix, started, states, until
from ioc_process import IocProcess, ca_settings

from squirrel_ioc.ca import IocStatus, Machine
from squirrel_ioc.config import CaSettings
from squirrel_ioc.errors import ChannelAccessError
from squirrel_ioc.model.frame import ChannelList, FrameBuilder
from squirrel_ioc.model.values import NO_META, Dbf, Meta, State, WriteState

P = random_prefix()


def numbers(count: int, prefix: str = P) -> str:
    return "".join(f'record(ao, "{prefix}{i}") {{ field(VAL, "{i}") field(PINI, "YES") }}\n' for i in range(count))


def names(count: int, prefix: str = P) -> list[str]:
    return [f"{prefix}{i}" for i in range(count)]


async def test_a_name_that_does_not_exist() -> None:
    with IocProcess(numbers(3)) as ioc:
        async with started() as machine:
            channels = ChannelList.of([*names(3), f"{P}NOT:THERE", "", "x" * 2000])
            await machine.watch(channels)
            assert not await machine.settled(0.7)
            live = machine.live(channels)
            assert live.connected.tolist() == [True] * 3 + [False] * 3
            assert live.dbf.tolist() == [Dbf.DOUBLE] * 3 + [Dbf.NONE] * 3
            assert [live.metas[i] for i in live.meta[3:]] == [NO_META] * 3
            assert live.ioc.tolist() == [0] * 3 + [-1] * 3
            assert live.iocs[0].endswith(f":{ioc.port}")
            frame = await machine.read(channels)
            assert frame.state.tolist() == [State.VALUE] * 3 + [State.DISCONNECTED] * 3
            assert frame.number[:3].tolist() == [0, 1, 2]
            assert (frame.severity[3], frame.status[3], frame.stamp[3], frame.count[3]) == (-1, -1, 0, 0)
            assert np.isnan(frame.number[3])


async def test_a_channel_that_is_not_watched() -> None:
    with IocProcess(numbers(2)):
        async with started() as machine:
            await hold(machine, names(1))
            both = ChannelList.of(names(2))
            assert (await machine.read(both)).state.tolist() == [State.VALUE, State.DISCONNECTED]
            builder = FrameBuilder()
            for name in both.names:
                builder.add(name, 5.0, Meta(Dbf.DOUBLE, 1))
            result = await machine.write(builder.build(both))
            assert result.tolist() == [WriteState.DONE, WriteState.DISCONNECTED]


async def test_watching_other_channels() -> None:
    with IocProcess(numbers(2000)):
        async with started() as machine:
            everything = await hold(machine, names(2000))
            assert states(await machine.read(everything)) == {State.VALUE: 2000}
            odd = ChannelList.of(names(2000)[1::2])
            await machine.watch(odd)
            frame = await machine.read(everything)
            assert frame.state.tolist() == [State.DISCONNECTED, State.VALUE] * 1000
            assert states(await machine.read(odd)) == {State.VALUE: 1000}
            # Slots that became free are used again, for other channels.
            await hold(machine, names(2000)[::-1])
            frame = await machine.read(everything)
            assert frame.number.tolist() == list(range(2000))
            await machine.watch(ChannelList.of([]))
            await until(lambda: not machine.iocs(), 30)
            assert states(await machine.read(everything)) == {State.DISCONNECTED: 2000}


async def test_channels_that_are_dropped_are_cleared() -> None:
    told = []
    with IocProcess(numbers(500)) as ioc:
        async with started() as machine:
            everything = await hold(machine, names(500))
            machine.listen(lambda: told.append(machine.iocs()))
            reads = [asyncio.create_task(machine.read(everything)) for _ in range(3)]
            await machine.watch(ChannelList.of([]))
            for frame in await asyncio.gather(*reads):
                assert set(states(frame)) <= {State.VALUE, State.DISCONNECTED}
            await until(lambda: [] in told, 30)
            # libca gives up the circuit of an IOC that has no channel any more.
            process = psutil.Process(ioc.pid)
            await until(lambda: {c.status for c in process.net_connections("tcp")} == {psutil.CONN_LISTEN}, 30)
            await hold(machine, names(500))
            assert states(await machine.read(everything)) == {State.VALUE: 500}


async def test_the_same_name_twice_in_a_list() -> None:
    with IocProcess(numbers(2)):
        async with started() as machine:
            channels = await hold(machine, [f"{P}1", f"{P}0", f"{P}1"])
            assert (await machine.read(channels)).number.tolist() == [1, 0, 1]


async def test_an_empty_list() -> None:
    async with started() as machine:
        nothing = ChannelList.of([])
        await machine.watch(nothing)
        assert await machine.settled(1)
        frame = await machine.read(nothing)
        assert len(frame) == 0
        assert (await machine.write(frame)).tolist() == []
        assert machine.iocs() == []


async def test_killed_and_back_with_another_type() -> None:
    text = f'record(stringout, "{P}0") {{ field(VAL, "text") field(PINI, "YES") }}\n' + numbers(200).split("\n", 1)[1]
    changes = []
    with IocProcess(numbers(200)) as ioc:
        async with started() as machine:
            machine.listen(lambda: changes.append(machine.iocs()))
            channels = await hold(machine, names(200))
            await machine.read(channels)
            await until(lambda: bool(changes), 30)
            changes.clear()
            ioc.kill()
            await until(lambda: not machine.live(channels).connected.any(), 30)
            await until(lambda: bool(changes), 30)
            frame = await machine.read(channels)
            assert states(frame) == {State.DISCONNECTED: 200}
            # What they were is still known.
            assert frame.dbf.tolist() == [Dbf.DOUBLE] * 200
            assert machine.iocs()[0].status is IocStatus.DOWN
            assert (machine.iocs()[0].channels, machine.iocs()[0].connected) == (200, 0)
            ioc.restart(text)
            assert await machine.settled(60)
            frame = await machine.read(channels)
            assert states(frame) == {State.VALUE: 200}
            assert (frame.value(0), frame.value(199)) == ("text", 199.0)
            assert frame.metas[frame.meta[0]] == Meta(Dbf.STRING, 1)
            assert [(i.connected, i.status) for i in machine.iocs()] == [(200, IocStatus.OK)]


async def test_start_and_stop_again_and_again() -> None:
    with IocProcess(numbers(20)):
        machine = Machine(ca_settings())
        for _ in range(4):
            await machine.start()
            channels = await hold(machine, names(20))
            assert states(await machine.read(channels)) == {State.VALUE: 20}
            await machine.stop()
            await machine.stop()
        with pytest.raises(ChannelAccessError):
            await machine.read(ChannelList.of(names(20)))


async def test_two_machines_beside_aioca() -> None:
    with IocProcess(numbers(20)):
        async with started() as one, started() as other:
            values: list[float] = []
            subscription = aioca.camonitor(f"{P}3", values.append, all_updates=True)
            channels = await hold(one, names(20))
            same = await hold(other, names(20))
            await aioca.caput(f"{P}3", 33.0, wait=True)
            frames = await asyncio.gather(one.read(channels), other.read(same), one.read(channels))
            assert [f.number[3] for f in frames] == [33.0] * 3
            assert await aioca.caget(f"{P}4") == 4.0
            await until(lambda: 33.0 in values, 30)
            subscription.close()


async def test_a_process_searches_in_one_place_only() -> None:
    async with started():
        with pytest.raises(ChannelAccessError, match="already searches"):
            await Machine(CaSettings(addr_list=("127.0.0.1:1",))).start()


async def test_many_reads_at_once() -> None:
    with IocProcess(numbers(3000)):
        async with started(max_in_flight_per_ioc=100) as machine:
            channels = await hold(machine, names(3000))
            parts = [channels.take(np.arange(k, 3000, 7)) for k in range(7)]
            for frame, part in zip(await asyncio.gather(*map(machine.read, parts)), parts, strict=True):
                assert frame.number.tolist() == [int(name.removeprefix(P)) for name in part.names]
