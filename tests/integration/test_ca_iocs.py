"""IOCs that hang, die or are slow cost the others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from ca_helpers import hold, outcomes, random_prefix, started, states, until
from ioc_process import IocProcess

from squirrel_ioc.ca import IocStatus, Machine
from squirrel_ioc.errors import ChannelAccessError
from squirrel_ioc.model.frame import ChannelList, Frame
from squirrel_ioc.model.values import State, WriteState

P = random_prefix()
EACH = 60


def database(number: int) -> str:
    numbers = "".join(
        f'record(ao, "{P}{number}:{i}") {{ field(VAL, "{i}") field(PINI, "YES") }}\n' for i in range(EACH - 1)
    )
    return numbers + f'record(waveform, "{P}{number}:W") {{ field(FTVL, "LONG") field(NELM, "5") }}\n'


@pytest.fixture
def iocs() -> Iterator[list[IocProcess]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(IocProcess(database(number))) for number in range(3)]


@contextlib.asynccontextmanager
async def machine_with(iocs: list[IocProcess], **settings: float) -> AsyncIterator[tuple[Machine, ChannelList]]:
    async with started(**settings) as machine:
        names = [f"{P}{n}:{i}" for i in (*range(EACH - 1), "W") for n in range(len(iocs))]
        yield machine, await hold(machine, names)


def of_ioc(number: int) -> slice:
    """The rows of one IOC's channels."""
    return slice(number, None, 3)


def status_of(machine: Machine, ioc: IocProcess) -> IocStatus:
    return next(state.status for state in machine.iocs() if state.host.endswith(f":{ioc.port}"))


async def timed_read(machine: Machine, channels: ChannelList) -> tuple[Frame, float]:
    started_at = time.monotonic()
    frame = await machine.read(channels)
    return frame, time.monotonic() - started_at


async def start_read(machine: Machine, channels: ChannelList) -> asyncio.Task[Frame]:
    """A read under way: what answers has answered, one IOC has not."""
    done: list[int] = []
    reading = asyncio.create_task(machine.read(channels, progress=lambda n, _: done.append(n)))
    await until(lambda: 2 * EACH in done, 30)
    assert not reading.done()
    return reading


@pytest.mark.parametrize("window", [2000, 7])
async def test_one_hangs_and_goes_on(iocs: list[IocProcess], window: int) -> None:
    async with machine_with(iocs, timeout_s=1.5, max_in_flight_per_ioc=window) as (machine, channels):
        iocs[1].pause()
        frame, seconds = await timed_read(machine, channels)
        assert 1.4 < seconds < 20
        assert states(frame) == {State.VALUE: 2 * EACH, State.TIMEOUT: EACH}
        assert frame.state[of_ioc(1)].tolist() == [State.TIMEOUT] * EACH
        # The second time it is not asked.
        await until(lambda: status_of(machine, iocs[1]) is IocStatus.OPEN, 30)
        frame = await machine.read(channels)
        assert states(frame) == {State.VALUE: 2 * EACH, State.IOC_OPEN: EACH}
        result = await machine.write(await machine.read(channels))
        assert outcomes(result) == {WriteState.DONE: 2 * EACH, WriteState.NOT_ISSUED: EACH}
        # It is taken in again by itself.
        iocs[1].resume()
        await until(lambda: status_of(machine, iocs[1]) is IocStatus.OK, 30)
        frame = await machine.read(channels)
        assert states(frame) == {State.VALUE: 3 * EACH}
        assert frame.number[of_ioc(1)][:-1].tolist() == list(range(EACH - 1))


async def test_all_hang(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=1.0) as (machine, channels):
        for ioc in iocs:
            ioc.pause()
        frame, seconds = await timed_read(machine, channels)
        assert seconds < 20
        assert states(frame) == {State.TIMEOUT: 3 * EACH}
        await until(lambda: [i.status for i in machine.iocs()] == [IocStatus.OPEN] * 3, 30)
        for ioc in iocs:
            ioc.resume()
        await until(lambda: [i.status for i in machine.iocs()] == [IocStatus.OK] * 3, 30)
        assert states(await machine.read(channels)) == {State.VALUE: 3 * EACH}


async def test_reset_tries_again(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=1.0) as (machine, channels):
        iocs[0].pause()
        await machine.read(channels)
        await until(lambda: status_of(machine, iocs[0]) is IocStatus.OPEN, 30)
        machine.reset_iocs()
        frame, seconds = await timed_read(machine, channels)
        assert 0.9 < seconds < 20
        assert states(frame) == {State.VALUE: 2 * EACH, State.TIMEOUT: EACH}
        await until(lambda: status_of(machine, iocs[0]) is IocStatus.OPEN, 30)


async def test_killed_while_it_is_read(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=20) as (machine, channels):
        iocs[2].pause()
        reading = await start_read(machine, channels)
        iocs[2].kill()
        async with asyncio.timeout(30):
            frame = await reading
        assert states(frame) == {State.VALUE: 2 * EACH, State.DISCONNECTED: EACH}
        assert frame.state[of_ioc(2)].tolist() == [State.DISCONNECTED] * EACH
        await until(lambda: status_of(machine, iocs[2]) is IocStatus.DOWN, 30)


async def test_a_write_to_one_that_hangs(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, put_timeout_s=1.5, max_in_flight_per_ioc=10) as (machine, channels):
        values = await machine.read(channels)
        iocs[1].pause()
        started_at = time.monotonic()
        result = await machine.write(values)
        assert 1.4 < time.monotonic() - started_at < 20
        # What was sent may still take effect; what was not sent does not.
        assert outcomes(result) == {WriteState.DONE: 2 * EACH, WriteState.TIMEOUT: 10, WriteState.IOC_OPEN: EACH - 10}
        result = await machine.write(values)
        assert outcomes(result) == {WriteState.DONE: 2 * EACH, WriteState.IOC_OPEN: EACH}
        iocs[1].resume()
        await until(lambda: status_of(machine, iocs[1]) is IocStatus.OK, 30)
        assert outcomes(await machine.write(values)) == {WriteState.DONE: 3 * EACH}


async def test_killed_while_it_is_written(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, put_timeout_s=20, max_in_flight_per_ioc=10) as (machine, channels):
        values = await machine.read(channels)
        iocs[1].pause()
        done: list[int] = []
        writing = asyncio.create_task(machine.write(values, progress=lambda n, _: done.append(n)))
        await until(lambda: 2 * EACH in done, 30)
        iocs[1].kill()
        async with asyncio.timeout(30):
            result = await writing
        # What had been sent when it died may have taken effect.
        assert outcomes(result) == {
            WriteState.DONE: 2 * EACH,
            WriteState.DROPPED: 10,
            WriteState.DISCONNECTED: EACH - 10,
        }


async def test_a_read_that_nobody_waits_for_any_more(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=20) as (machine, channels):
        iocs[0].pause()
        reading = await start_read(machine, channels)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        iocs[0].resume()
        await until(lambda: [i.status for i in machine.iocs()] == [IocStatus.OK] * 3, 30)
        assert states(await machine.read(channels)) == {State.VALUE: 3 * EACH}


async def test_one_that_is_slow(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=20) as (machine, channels):
        iocs[1].pause()
        started_at = time.monotonic()
        reading = await start_read(machine, channels)
        await until(lambda: time.monotonic() - started_at > 1.2, 30)
        iocs[1].resume()
        assert states(await reading) == {State.VALUE: 3 * EACH}
        assert [status_of(machine, ioc) for ioc in iocs] == [IocStatus.OK, IocStatus.SLOW, IocStatus.OK]
        await machine.read(channels)
        assert status_of(machine, iocs[1]) is IocStatus.OK


async def test_an_aborted_read_does_not_wait(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=60) as (machine, channels):
        iocs[0].pause()
        done: list[int] = []
        started_at = time.monotonic()
        frame = await machine.read(
            channels, progress=lambda n, _: done.append(n), abort=lambda: time.monotonic() - started_at > 0.3
        )
        assert time.monotonic() - started_at < 30
        assert states(frame) == {State.VALUE: 2 * EACH, State.NOT_READ: EACH}
        assert 2 * EACH in done


async def test_sync_groups_come_back(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=0.2, max_in_flight_per_ioc=20) as (machine, channels):
        for _ in range(3):
            iocs[1].pause()
            await machine.read(channels)
            iocs[1].resume()
            await until(lambda: status_of(machine, iocs[1]) is IocStatus.OK, 30)
            await machine.read(channels)
        iocs[1].kill()
        # Some of these find their channels gone only when they are issued.
        for _ in range(20):
            await machine.read(channels)
        assert machine._engine.groups.under_way == 0
        assert all(ioc.in_flight == 0 for ioc in machine._engine.iocs.all)


async def test_stop_with_one_that_hangs_and_a_read_under_way(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs, timeout_s=60) as (machine, channels):
        iocs[0].pause()
        reading = await start_read(machine, channels)
        started_at = time.monotonic()
        await machine.stop()
        assert time.monotonic() - started_at < 30
        with pytest.raises(ChannelAccessError, match="stopping"):
            await reading


async def test_an_ioc_is_told_with_its_channels(iocs: list[IocProcess]) -> None:
    async with machine_with(iocs) as (machine, channels):
        live = machine.live(channels)
        ports = [int(live.iocs[i].rsplit(":", 1)[1]) for i in live.ioc]
        assert ports == [ioc.port for ioc in iocs] * EACH
        assert sorted(state.channels for state in machine.iocs()) == [EACH] * 3
        await machine.read(channels)
        assert all(0 < state.sweep_s < 20 for state in machine.iocs())


@pytest.mark.parametrize("window", [1, 2, 3, 50])
async def test_any_window(iocs: list[IocProcess], window: int) -> None:
    async with machine_with(iocs, max_in_flight_per_ioc=window) as (machine, channels):
        values = await machine.read(channels)
        assert states(values) == {State.VALUE: 3 * EACH}
        assert outcomes(await machine.write(values)) == {WriteState.DONE: 3 * EACH}
        some = channels.take(np.arange(0, 3 * EACH, 11))
        assert (await machine.read(some)).number.tolist() == values.number[::11].tolist()
