"""Writing: each put has its own, exact outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import numpy as np
import pytest
from ca_helpers import hold, outcomes, random_prefix, started, states, until
from ioc_process import IocProcess

from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta, State, WriteState

P = random_prefix()
COUNT = 500

DATABASE = (
    "".join(f'record(ao, "{P}{i}") {{ }}\n' for i in range(COUNT))
    + f"""
record(ao, "{P}DISABLED") {{ field(DISP, "1") field(PINI, "YES") }}
record(ao, "{P}READONLY") {{ field(ASG, "READONLY") field(PINI, "YES") }}
record(ao, "{P}SECRET") {{ field(ASG, "SECRET") field(PINI, "YES") }}
record(ao, "{P}GUARDED") {{ field(ASG, "GUARDED") field(PINI, "YES") }}
record(bo, "{P}PERMIT") {{ field(PINI, "YES") field(VAL, "1") }}
record(ao, "{P}SLOW") {{ field(FLNK, "{P}SLOW:WAIT") }}
record(seq, "{P}SLOW:WAIT") {{ field(DLY1, "2") field(DOL1, "1") field(LNK1, "{P}SLOW:DONE PP") }}
record(longout, "{P}SLOW:DONE") {{ }}
record(waveform, "{P}BIG") {{ field(FTVL, "DOUBLE") field(NELM, "200000") }}
record(waveform, "{P}BIG2") {{ field(FTVL, "DOUBLE") field(NELM, "200000") }}
"""
)

ACCESS = f"""
ASG(DEFAULT) {{ RULE(1, READ) RULE(1, WRITE) }}
ASG(READONLY) {{ RULE(1, READ) }}
ASG(SECRET)
ASG(GUARDED) {{ INPA("{P}PERMIT") RULE(1, READ) RULE(1, WRITE) {{ CALC("A=1") }} }}
"""


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    with IocProcess(DATABASE, ACCESS) as ioc:
        yield ioc


def numbers(channels: ChannelList, value: float) -> Frame:
    builder = FrameBuilder()
    for name in channels.names:
        builder.add(name, value, Meta(Dbf.DOUBLE, 1))
    return builder.build(channels)


@pytest.mark.usefixtures("ioc")
async def test_what_is_refused_and_why() -> None:
    async with started() as machine:
        channels = await hold(machine, [f"{P}{x}" for x in ("0", "DISABLED", "1", "READONLY", "SECRET", "2")])
        result = await machine.write(numbers(channels, 7.5))
        assert result.tolist() == [
            WriteState.DONE,
            WriteState.REFUSED,
            WriteState.DONE,
            WriteState.NO_WRITE_ACCESS,
            WriteState.NO_WRITE_ACCESS,
            WriteState.DONE,
        ]
        frame = await machine.read(channels)
        assert frame.number[:4].tolist() == [7.5, 0.0, 7.5, 0.0]
        assert frame.state.tolist() == [*[State.VALUE] * 4, State.NO_READ_ACCESS, State.VALUE]
        # Type and count are known even of what may not be read.
        assert frame.metas[frame.meta[4]] == Meta(Dbf.DOUBLE, 1)


@pytest.mark.usefixtures("ioc")
async def test_access_that_changes() -> None:
    async with started() as machine:
        channels = await hold(machine, [f"{P}GUARDED"])
        permit = await hold(machine, [f"{P}GUARDED", f"{P}PERMIT"])
        for value, expected in ((0, WriteState.NO_WRITE_ACCESS), (1, WriteState.DONE)):
            switch = FrameBuilder()
            switch.add_missing(f"{P}GUARDED")
            switch.add(f"{P}PERMIT", value, Meta(Dbf.ENUM, 1))
            result = await machine.write(switch.build(permit))
            assert result.tolist() == [WriteState.NOT_ISSUED, WriteState.DONE]
            await until(lambda v=value: bool(machine.live(channels).writable[0]) == bool(v), 30)
            assert (await machine.write(numbers(channels, 3.0))).tolist() == [expected]


@pytest.mark.usefixtures("ioc")
async def test_rows_without_a_value_are_not_written() -> None:
    async with started() as machine:
        channels = await hold(machine, [f"{P}{i}" for i in range(4)])
        await machine.write(numbers(channels, 1.0))
        builder = FrameBuilder()
        builder.add(channels.names[0], 2.0, Meta(Dbf.DOUBLE, 1))
        builder.add_missing(channels.names[1], State.TIMEOUT)
        builder.add(channels.names[2], 2.0, Meta(Dbf.DOUBLE, 1))
        builder.add_missing(channels.names[3], State.NOT_READ)
        result = await machine.write(builder.build(channels))
        assert result.tolist() == [WriteState.DONE, WriteState.NOT_ISSUED] * 2
        assert (await machine.read(channels)).number.tolist() == [2.0, 1.0, 2.0, 1.0]


@pytest.mark.usefixtures("ioc")
async def test_completion_is_waited_for() -> None:
    async with started(put_timeout_s=60) as machine:
        channels = await hold(machine, [f"{P}SLOW", f"{P}0", f"{P}SLOW:DONE"])
        started_at = time.monotonic()
        result = await machine.write(numbers(channels, 1.0).take(np.array([0, 1])))
        assert result.tolist() == [WriteState.DONE] * 2
        assert 1.9 < time.monotonic() - started_at < 50


@pytest.mark.usefixtures("ioc")
async def test_a_put_that_does_not_complete_stops_nothing_else() -> None:
    async with started(put_timeout_s=0.5) as machine:
        channels = await hold(machine, [f"{P}SLOW", f"{P}0", f"{P}1"])
        result = await machine.write(numbers(channels, 1.0))
        assert result.tolist() == [WriteState.TIMEOUT, WriteState.DONE, WriteState.DONE]
        # A second put to the same record would block the IOC's server for us: it is not sent.
        result = await machine.write(numbers(channels, 2.0))
        assert result.tolist() == [WriteState.BUSY, WriteState.DONE, WriteState.DONE]
        assert states(await machine.read(channels)) == {State.VALUE: 3}
        # It waits for the first to complete, as long as it may.
        result = await machine.write(numbers(channels, 3.0), timeout_s=10)
        assert result.tolist() == [WriteState.DONE] * 3
        assert (await machine.read(channels)).number.tolist() == [3.0] * 3


@pytest.mark.usefixtures("ioc")
async def test_abort() -> None:
    async with started(max_in_flight_per_ioc=50) as machine:
        channels = await hold(machine, [f"{P}{i}" for i in range(COUNT)])
        await machine.write(numbers(channels, 0.0))
        asked = 0

        def abort() -> bool:
            nonlocal asked
            asked += 1
            return asked > 3

        result = await machine.write(numbers(channels, 1.0), abort=abort)
        counts = outcomes(result)
        assert set(counts) == {WriteState.DONE, WriteState.NOT_ISSUED}
        assert 0 < counts[WriteState.DONE] <= 150
        # Exactly what is told to be written is written, the first ones first.
        written = (await machine.read(channels)).number == 1.0
        np.testing.assert_array_equal(written, result == WriteState.DONE)
        assert written[: counts[WriteState.DONE]].all()

        assert outcomes(await machine.write(numbers(channels, 2.0), abort=lambda: True)) == {
            WriteState.NOT_ISSUED: COUNT
        }
        assert states(await machine.read(channels, abort=lambda: True)) == {State.NOT_READ: COUNT}


@pytest.mark.usefixtures("ioc")
async def test_progress() -> None:
    async with started() as machine:
        channels = await hold(machine, [f"{P}SLOW", *(f"{P}{i}" for i in range(COUNT))])
        told: list[tuple[int, int]] = []
        await machine.write(numbers(channels, 1.0), progress=lambda done, total: told.append((done, total)))
        assert 5 < len(told) < 40
        assert told == sorted(told)
        assert (told[0], told[-1]) == ((COUNT, COUNT + 1), (COUNT + 1, COUNT + 1))
        told.clear()
        await machine.read(channels, progress=lambda done, total: told.append((done, total)))
        assert told[-1] == (COUNT + 1, COUNT + 1)


@pytest.mark.usefixtures("ioc")
async def test_values_larger_than_what_may_be_under_way() -> None:
    async with started() as machine:
        channels = await hold(machine, [f"{P}BIG", f"{P}0", f"{P}BIG2"])
        elements = np.random.default_rng(1).standard_normal(200_000)
        builder = FrameBuilder()
        builder.add(channels.names[0], elements, Meta(Dbf.DOUBLE, 200_000))
        builder.add(channels.names[1], 4.0, Meta(Dbf.DOUBLE, 1))
        builder.add(channels.names[2], elements[::-1], Meta(Dbf.DOUBLE, 200_000))
        values = builder.build(channels)
        assert (await machine.write(values)).tolist() == [WriteState.DONE] * 3
        back = await machine.read(channels)
        assert back.side == values.side
        assert back.count.tolist() == [200_000, 1, 200_000]


@pytest.mark.usefixtures("ioc")
async def test_reading_goes_on_beside_writing() -> None:
    async with started() as machine:
        channels = await hold(machine, [f"{P}SLOW", *(f"{P}{i}" for i in range(COUNT))])
        writing = asyncio.create_task(machine.write(numbers(channels, 9.0)))
        frames = [await machine.read(channels) for _ in range(20)]
        assert not writing.done()
        assert [states(f) for f in frames] == [{State.VALUE: COUNT + 1}] * 20
        assert outcomes(await writing) == {WriteState.DONE: COUNT + 1}
