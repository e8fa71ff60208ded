"""The second round: what failed in passing is tried once more, what was sent never is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ca_helpers import hold, outcomes, random_prefix, started, states, until
from ioc_process import IocProcess
from numpy.typing import NDArray

from squirrel_ioc.ca import IocStatus, Machine, _get, _put, _read
from squirrel_ioc.ca._second_round import fit_for_again
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta, State, WriteState

P = random_prefix()
EACH = 20

ECA_GETFAIL = 152
"""caerr.h"""


def numbers(ioc: str) -> str:
    """Records that count how often they are processed."""
    return "".join(
        f'record(ao, "{P}{ioc}:{i}") {{ field(VAL, "{i}") field(FLNK, "{P}{ioc}:N{i}") }}\n'
        f'record(calc, "{P}{ioc}:N{i}") {{ field(CALC, "VAL+1") field(PINI, "NO") }}\n'
        for i in range(EACH)
    )


BEFORE = f"""
record(ao, "{P}B:TYPE") {{ field(VAL, "1.5") }}
record(waveform, "{P}B:SIZE") {{ field(FTVL, "LONG") field(NELM, "4") }}
record(mbbo, "{P}B:LABELS") {{ field(ZRST, "Off") field(ONST, "On") field(VAL, "1") }}
"""

AFTER = f"""
record(stringout, "{P}B:TYPE") {{ field(VAL, "text") field(PINI, "YES") }}
record(waveform, "{P}B:SIZE") {{ field(FTVL, "LONG") field(NELM, "9") }}
record(mbbo, "{P}B:LABELS") {{ field(ZRST, "On") field(ONST, "Off") field(VAL, "1") field(PINI, "YES") }}
"""

CHANGED = ("TYPE", "SIZE", "LABELS")


def names(ioc: str, kind: str = "") -> list[str]:
    return [f"{P}{ioc}:{kind}{i}" for i in range(EACH)]


def frame_of(channels: ChannelList, values: dict[str, Any]) -> Frame:
    """What is to be written; the rest has no value."""
    metas = {"TYPE": Meta(Dbf.DOUBLE, 1), "SIZE": Meta(Dbf.LONG, 4), "LABELS": Meta(Dbf.ENUM, 1)}
    builder = FrameBuilder()
    for name in channels.names:
        if name in values:
            builder.add(name, values[name], metas.get(name.rsplit(":", 1)[1], Meta(Dbf.DOUBLE, 1)))
        else:
            builder.add_missing(name)
    return builder.build(channels)


@contextlib.contextmanager
def running(which: str) -> Iterator[dict[str, IocProcess]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(IocProcess(numbers(name) + (BEFORE if name == "B" else ""))) for name in which}


@pytest.fixture
def two() -> Iterator[dict[str, IocProcess]]:
    with running("AB") as iocs:
        yield iocs


@pytest.fixture
def four() -> Iterator[dict[str, IocProcess]]:
    with running("ABCD") as iocs:
        yield iocs


async def test_iocs_that_restart_while_they_are_read_and_written(four: dict[str, IocProcess]) -> None:
    """A hangs all the while, which keeps the jobs going. B dies before, C in the middle of them; D is well."""
    async with started(timeout_s=60, put_timeout_s=60) as machine:
        targets = [name for ioc in "ABCD" for name in names(ioc)] + [f"{P}B:{x}" for x in CHANGED]
        counters = [name for ioc in "BC" for name in names(ioc, "N")]
        everything = await hold(machine, targets + counters)
        channels = ChannelList.of(targets)
        wanted: dict[str, Any] = {name: 100.0 for ioc in "ABCD" for name in names(ioc)}
        wanted |= {f"{P}B:TYPE": 2.5, f"{P}B:SIZE": [1, 2], f"{P}B:LABELS": 0}
        of_b = ChannelList.of(names("B"))
        four["A"].pause()
        four["B"].kill()
        four["C"].pause()
        await until(lambda: not machine.live(of_b).connected.any(), 30)
        read_done: list[int] = []
        write_done: list[int] = []
        reading = asyncio.create_task(machine.read(channels, progress=lambda n, _: read_done.append(n)))
        writing = asyncio.create_task(
            machine.write(frame_of(channels, wanted), progress=lambda n, _: write_done.append(n))
        )
        # D does not wait for them.
        await until(lambda: max([0, *read_done]) >= 2 * EACH + 3 and max([0, *write_done]) >= 2 * EACH + 3, 30)
        four["C"].restart()
        four["B"].restart(numbers("B") + AFTER)
        # libca begins to search 10 s after it has lost an IOC.
        known = ChannelList.of([*names("B"), *(f"{P}B:{x}" for x in CHANGED), *names("C")])
        await until(lambda: bool(machine.live(known).connected.all()), 50)
        assert not reading.done()
        four["A"].resume()
        async with asyncio.timeout(30):
            frame, result = await asyncio.gather(reading, writing)

        assert states(frame) == {State.VALUE: 4 * EACH + 3}
        by_name = dict(zip(targets, result.tolist(), strict=True))
        told = {ioc: Counter(WriteState(by_name[name]) for name in names(ioc)) for ioc in "ABCD"}
        assert told == {
            "A": {WriteState.DONE: EACH},
            "B": {WriteState.DONE: EACH},  # was not sent before, and B is what it was
            "C": {WriteState.DROPPED: EACH},  # had been sent
            "D": {WriteState.DONE: EACH},
        }
        # What is something else now is read as that, and not written.
        rows = [channels.index[f"{P}B:{x}"] for x in CHANGED]
        assert [Dbf(frame.dbf[r]) for r in rows] == [Dbf.STRING, Dbf.LONG, Dbf.ENUM]
        assert [frame.metas[frame.meta[r]].count for r in rows] == [1, 9, 1]
        assert frame.value(rows[0]) == "text"
        assert frame.metas[frame.meta[rows[2]]].labels == ("On", "Off")
        assert [by_name[f"{P}B:{x}"] for x in CHANGED] == [WriteState.DISCONNECTED] * 3
        # B's records were written once, C's not at all since it is back.
        await until(lambda: bool(machine.live(everything).connected.all()), 30)
        after = await machine.read(everything)
        count = {name: after.number[everything.index[name]] for name in everything.names}
        assert {count[name] for name in names("B", "N")} == {1}
        assert {count[name] for name in names("C", "N")} == {0}
        assert after.value(everything.index[f"{P}B:TYPE"]) == "text"
        assert after.number[everything.index[f"{P}B:LABELS"]] == 1


@pytest.mark.parametrize(("retry_s", "expected"), [(0.5, {State.VALUE: 2 * EACH}), (0, None)])
async def test_what_connects_during_a_read_is_read(
    two: dict[str, IocProcess], retry_s: float, expected: dict[State, int] | None
) -> None:
    two["B"].kill()
    async with started(timeout_s=20, retry_s=retry_s) as machine:
        channels = ChannelList.of([*names("A"), *names("B")])
        await machine.watch(channels)
        of_a, of_b = ChannelList.of(names("A")), ChannelList.of(names("B"))
        await until(lambda: bool(machine.live(of_a).connected.all()), 30)
        two["A"].pause()
        reading = asyncio.create_task(machine.read(channels))
        two["B"].start()
        await until(lambda: bool(machine.live(of_b).connected.all()), 30)
        two["A"].resume()
        # Without a second round it is as it was.
        assert states(await reading) == (expected or {State.VALUE: EACH, State.DISCONNECTED: EACH})


async def test_two_of_four_hang(four: dict[str, IocProcess]) -> None:
    async with started(timeout_s=1.5, put_timeout_s=1.5, max_in_flight_per_ioc=5) as machine:
        channels = await hold(machine, [name for ioc in "ABCD" for name in names(ioc)])
        values = await machine.read(channels)
        for ioc in "AC":
            four[ioc].pause()
        done: list[int] = []
        result = await machine.write(values, progress=lambda n, _: done.append(n))
        assert outcomes(result) == {WriteState.DONE: 2 * EACH, WriteState.TIMEOUT: 10, WriteState.IOC_OPEN: 30}
        assert 2 * EACH in done, "the others have their answers before"
        await until(lambda: Counter(i.status for i in machine.iocs())[IocStatus.OPEN] == 2, 30)
        for _ in range(5):
            assert states(await machine.read(channels)) == {State.VALUE: 2 * EACH, State.IOC_OPEN: 2 * EACH}
            assert outcomes(await machine.write(values)) == {WriteState.DONE: 2 * EACH, WriteState.IOC_OPEN: 2 * EACH}
        for ioc in "AC":
            four[ioc].resume()
        await until(lambda: {i.status for i in machine.iocs()} == {IocStatus.OK}, 30)
        assert states(await machine.read(channels)) == {State.VALUE: 4 * EACH}


async def test_one_that_comes_and_goes(four: dict[str, IocProcess]) -> None:
    async with started(timeout_s=60, put_timeout_s=60) as machine:
        channels = await hold(machine, [name for ioc in "ABCD" for name in names(ioc)])
        well = [channels.index[name] for ioc in "ABD" for name in names(ioc)]
        values = await machine.read(channels)
        flapping = asyncio.create_task(asyncio.to_thread(_flap, four["C"], 4))
        longest, rounds = 0.0, 0
        while not flapping.done():
            started_at = time.monotonic()
            frame = await machine.read(channels)
            result = await machine.write(values)
            longest = max(longest, time.monotonic() - started_at)
            rounds += 1
            assert set(frame.state[well].tolist()) == {State.VALUE}
            assert set(result[well].tolist()) == {WriteState.DONE}
            assert set(states(frame)) <= {State.VALUE, State.DISCONNECTED}
            assert set(outcomes(result)) <= {WriteState.DONE, WriteState.DISCONNECTED, WriteState.DROPPED}
            await asyncio.sleep(0.02)
        await flapping
        assert rounds > 3
        assert longest < 30  # nobody has waited for a timeout
        await _back(machine, channels)


def _flap(ioc: IocProcess, times: int) -> None:
    for _ in range(times):
        ioc.restart()
        time.sleep(0.4)


async def _back(machine: Machine, channels: ChannelList) -> None:
    assert await machine.settled(20)
    assert states(await machine.read(channels)) == {State.VALUE: len(channels)}
    assert {i.status for i in machine.iocs()} == {IocStatus.OK}


REFUSING = f"""
record(ao, "{P}DISABLED") {{ field(DISP, "1") field(PINI, "YES") }}
record(ao, "{P}READONLY") {{ field(ASG, "READONLY") field(PINI, "YES") }}
record(ao, "{P}OPEN") {{ field(FLNK, "{P}OPEN:N") }}
record(calc, "{P}OPEN:N") {{ field(CALC, "VAL+1") }}
record(ao, "{P}SLOW") {{ field(FLNK, "{P}SLOW:N") }}
record(calc, "{P}SLOW:N") {{ field(CALC, "VAL+1") field(FLNK, "{P}SLOW:WAIT") }}
record(seq, "{P}SLOW:WAIT") {{ field(DLY1, "1") field(DOL1, "1") field(LNK1, "{P}SLOW:DONE PP") }}
record(longout, "{P}SLOW:DONE") {{ }}
"""
ACCESS = "ASG(DEFAULT) { RULE(1, READ) RULE(1, WRITE) }\nASG(READONLY) { RULE(1, READ) }\n"


async def test_what_is_refused_or_late_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: Counter[int] = Counter()
    put = _put.ca.array_put_callback

    def counting(kind: int, count: int, chid: int, *rest: Any) -> int:
        sent[chid] += 1
        return int(put(kind, count, chid, *rest))

    monkeypatch.setattr(_put.ca, "array_put_callback", counting)
    with IocProcess(REFUSING, ACCESS):
        async with started(put_timeout_s=0.5) as machine:
            written = [f"{P}{x}" for x in ("DISABLED", "READONLY", "OPEN", "SLOW")]
            channels = await hold(machine, [*written, f"{P}OPEN:N", f"{P}SLOW:N"])
            result = await machine.write(frame_of(channels, dict.fromkeys(written, 5.0)))
            assert result[:4].tolist() == [
                WriteState.REFUSED,
                WriteState.NO_WRITE_ACCESS,
                WriteState.DONE,
                WriteState.TIMEOUT,
            ]
            assert sorted(sent.values()) == [1, 1, 1]
            assert (await machine.read(channels)).number[4:].tolist() == [1, 1]


async def test_thresholds_are_settings(two: dict[str, IocProcess]) -> None:
    async with started(timeout_s=1.0, slow_s=0.2, open_s=0.2) as machine:
        channels = await hold(machine, names("A"))
        two["A"].pause()
        reading = asyncio.create_task(machine.read(channels))
        await asyncio.sleep(0.4)
        two["A"].resume()
        assert states(await reading) == {State.VALUE: EACH}
        assert machine.iocs()[0].status is IocStatus.SLOW
        two["A"].pause()
        assert states(await machine.read(channels)) == {State.TIMEOUT: EACH}
        # Silent for more than open_s at the end of the read: open at once.
        assert machine.iocs()[0].status is IocStatus.OPEN
        assert states(await machine.read(channels)) == {State.IOC_OPEN: EACH}


@pytest.mark.parametrize(("retry_s", "expected"), [(0.5, State.VALUE), (0, State.ERROR)])
async def test_an_error_of_one_get_is_tried_once_more(
    two: dict[str, IocProcess], monkeypatch: pytest.MonkeyPatch, retry_s: float, expected: State
) -> None:
    asked: Counter[int] = Counter()
    get = _get.ca.sg_array_get

    def counting(gid: int, kind: int, count: int, chid: int, pointer: int) -> int:
        asked[chid] += 1
        return int(get(gid, kind, count, chid, pointer))

    async with started(timeout_s=20, retry_s=retry_s) as machine:
        channels = await hold(machine, names("A"))
        engine = machine._engine
        monkeypatch.setattr(_get.ca, "sg_array_get", counting)
        two["A"].pause()
        reading = asyncio.create_task(machine.read(channels))
        await until(lambda: len(asked) == EACH, 30)
        # As libca tells that the IOC has answered one request with an error.
        chid = int(engine.table.chid[machine._slots(channels)[3]])
        engine.answers.on_exception(chid, ECA_GETFAIL, _get.ca.OP_GET)
        await until(lambda: not engine.answers._exceptions, 30)
        two["A"].resume()
        frame = await reading
        assert State(frame.state[3]) is expected
        assert states(frame)[State.VALUE] == EACH - (expected is State.ERROR)
        # Only that one, and only once.
        assert Counter(asked.values()) == ({1: EACH - 1, 2: 1} if retry_s else {1: EACH})


async def test_a_read_before_its_second_round_keeps_its_values(
    two: dict[str, IocProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads of the same list share memory, one after the other."""
    waiting = True

    def soon(engine: Any, slots: NDArray[np.intp], now: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        able, soon = fit_for_again(engine, slots, now)
        return (able & soon, able | soon) if waiting else (able, soon)

    monkeypatch.setattr(_read, "fit_for_again", soon)
    async with started(timeout_s=20, retry_s=20) as machine:
        channels = await hold(machine, names("A"))
        engine = machine._engine
        two["A"].pause()
        reading = asyncio.create_task(machine.read(channels))
        await until(lambda: bool(engine.iocs.all[0].in_flight), 30)
        chid = int(engine.table.chid[machine._slots(channels)[3]])
        engine.answers.on_exception(chid, ECA_GETFAIL, _get.ca.OP_GET)
        await until(lambda: not engine.answers._exceptions, 30)
        two["A"].resume()
        await until(lambda: not engine.iocs.all[0].in_flight, 30)
        assert not reading.done()
        await machine.write(frame_of(channels, dict.fromkeys(names("A"), 77.0)))
        assert (await machine.read(channels)).number.tolist() == [77.0] * EACH
        waiting = False
        assert (await reading).number.tolist() == [0, 1, 2, 77.0, *range(4, EACH)]


async def test_an_ioc_that_goes_on_during_a_write_is_written(two: dict[str, IocProcess]) -> None:
    async with started(timeout_s=0.8, put_timeout_s=15, open_s=0.2) as machine:
        counters = names("A", "N")
        channels = await hold(machine, [*names("A"), *names("B"), *counters])
        two["A"].pause()
        await machine.read(channels)
        of_a = two["A"].port
        await until(lambda: any(i.host.endswith(f":{of_a}") and i.status is IocStatus.OPEN for i in machine.iocs()), 30)
        two["B"].pause()
        done: list[int] = []
        wanted = frame_of(channels, dict.fromkeys([*names("A"), *names("B")], 9.0))
        writing = asyncio.create_task(machine.write(wanted, progress=lambda n, _: done.append(n)))
        # A's are decided, B's are not.
        await until(lambda: EACH + len(counters) in done, 30)
        two["A"].resume()
        await until(lambda: {i.status for i in machine.iocs()} == {IocStatus.OK}, 30)
        two["B"].resume()
        assert outcomes(await writing) == {WriteState.DONE: 2 * EACH, WriteState.NOT_ISSUED: len(counters)}
        frame = await machine.read(channels)
        assert frame.number[: 2 * EACH].tolist() == [9.0] * 2 * EACH
        assert frame.number[2 * EACH :].tolist() == [1.0] * EACH
