"""Values that one read of a channel cannot carry: long texts come and go whole, integers that do not fit are told."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from ca_helpers import hold, random_prefix, started
from ioc_process import LOOPBACK, IocProcess, give_ports, take_ports

from squirrel_ioc.ca import Machine
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta, State, WriteState

P = random_prefix()
CALC = "RNDM*100+12345678901234567890*0+A+B+C+D+E+F"
LINK = f"{P}SOME:RECORD:WITH:A:LONG:NAME:THAT:GOES:ON.VAL CP MS"
JUST = "abcdefghijabcdefghijabcdefghijabcdefghi"

DATABASE = f"""
record(calc, "{P}CALC") {{ field(CALC, "{CALC}") field(INPA, "{LINK}") }}
record(lso, "{P}LSO") {{ field(SIZV, "100") }}
record(stringout, "{P}JUST") {{ field(VAL, "{JUST}") field(PINI, "YES") }}
record(waveform, "{P}STRINGS") {{ field(FTVL, "STRING") field(NELM, "3") }}
record(int64out, "{P}GAP") {{ field(VAL, "9007199254740993") field(PINI, "YES") }}
record(int64out, "{P}NEGATIVE") {{ field(VAL, "-9007199254740993") field(PINI, "YES") }}
record(int64out, "{P}EVEN") {{ field(VAL, "9007199254740994") field(PINI, "YES") }}
record(ai, "{P}FLOAT") {{ field(VAL, "12345678901234567890") field(PINI, "YES") field(PREC, "3") }}
record(ai, "{P}HUGE") {{ field(VAL, "1e300") field(PINI, "YES") }}
record(aai, "{P}INTEGERS") {{ field(FTVL, "INT64") field(NELM, "3") field(INP, [1, 9007199254740993])
    field(PINI, "YES") }}
record(aai, "{P}DOUBLES") {{ field(FTVL, "DOUBLE") field(NELM, "3") field(INP, [1.5, 1e17, 3]) field(PINI, "YES") }}
record(ao, "{P}AO") {{ field(VAL, "1.5") field(PINI, "YES") }}
"""


OTHER_SERVER = """
import sys
from caproto import ChannelString
from caproto.asyncio.server import run
run({sys.argv[1]: ChannelString(value=sys.argv[2])}, interfaces=["127.0.0.1"], log_pv_names=False)
"""


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    with IocProcess(DATABASE) as ioc:
        yield ioc


@pytest.fixture
async def machine(ioc: IocProcess) -> AsyncIterator[Machine]:
    async with started() as machine:
        yield machine


def texts(channels: ChannelList, *values: str) -> Frame:
    builder = FrameBuilder()
    for name, value in zip(channels.names, values, strict=True):
        builder.add(name, value, Meta(Dbf.STRING, 1))
    return builder.build(channels)


async def test_a_long_text_comes_and_goes_whole(machine: Machine) -> None:
    channels = await hold(machine, [f"{P}CALC.CALC", f"{P}AO", f"{P}CALC.INPA", f"{P}LSO", f"{P}JUST"])
    before = await machine.read(channels)
    assert [before.value(row) for row in (0, 1, 2, 4)] == [CALC, 1.5, LINK, JUST]
    fields = channels.take(np.array([0, 2, 3]))
    outcome = await machine.write(texts(fields, "A+B+" + CALC, LINK.replace("LONG", "VERY:LONG"), "x" * 99))
    assert outcome.tolist() == [WriteState.DONE] * 3
    now = await machine.read(channels)
    assert [now.value(row) for row in (0, 2, 3)] == ["A+B+" + CALC, LINK.replace("LONG", "VERY:LONG"), "x" * 99]
    # What is read can be written, and a short text takes the place of a long one.
    assert set((await machine.write(before)).tolist()) == {WriteState.DONE}
    assert (await machine.write(texts(fields, "A", "", "short"))).tolist() == [WriteState.DONE] * 3
    assert [(await machine.read(fields)).value(row) for row in range(3)] == ["A", "", "short"]
    assert (await machine.write(before)).tolist() == [WriteState.DONE] * 5
    assert [(await machine.read(fields)).value(row) for row in range(2)] == [CALC, LINK]


async def test_a_text_that_does_not_fit_is_not_sent(machine: Machine) -> None:
    channels = await hold(machine, [f"{P}JUST", f"{P}LSO"])
    outcome = await machine.write(texts(channels, JUST + "j", "y" * 100))
    assert outcome.tolist() == [WriteState.TOO_LONG] * 2
    assert (await machine.read(channels)).value(0) == JUST


async def test_elements_of_arrays_of_strings_are_never_cut(machine: Machine) -> None:
    channels = await hold(machine, [f"{P}STRINGS"])
    builder = FrameBuilder()
    builder.add(f"{P}STRINGS", [JUST, "b"], Meta(Dbf.STRING, 3))
    assert (await machine.write(builder.build(channels))).tolist() == [WriteState.DONE]
    assert (await machine.read(channels)).value(0) == [JUST, "b"]


async def test_what_the_long_strings_need_is_not_counted_and_goes_with_its_channel(machine: Machine) -> None:
    channels = await hold(machine, [f"{P}CALC.CALC", f"{P}AO"])
    await machine.read(channels)
    (ioc,) = machine.iocs()
    assert (ioc.channels, ioc.connected) == (2, 2)
    channels = await hold(machine, [f"{P}AO"])
    assert (await machine.read(channels)).value(0) == 1.5
    channels = await hold(machine, [f"{P}CALC.CALC"])
    assert (await machine.read(channels)).value(0) == CALC


async def test_a_text_that_cannot_be_had_whole_is_no_value(machine: Machine) -> None:
    """Of a server that knows no long strings."""
    ports = take_ports(1)
    name = f"{P}OTHER"
    with subprocess.Popen(  # noqa: ASYNC220 - back at once
        [sys.executable, "-c", OTHER_SERVER, name, JUST],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"EPICS_CA_SERVER_PORT": str(ports[0]), "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK},
    ) as server:
        try:
            channels = await hold(machine, [name, f"{P}CALC.CALC", f"{P}JUST"])
            for _ in range(2):
                frame = await machine.read(channels)
                assert frame.state.tolist() == [State.CUT, State.VALUE, State.VALUE]
                assert [frame.value(row) for row in range(3)] == [None, CALC, JUST]
            values = texts(channels.take(np.array([0])), JUST + "and more")
            assert (await machine.write(values)).tolist() == [WriteState.TOO_LONG]
        finally:
            server.kill()
            give_ports(ports)


async def test_an_integer_that_no_double_is_equal_to_is_told(machine: Machine) -> None:
    names = ("GAP", "EVEN", "NEGATIVE", "FLOAT", "HUGE", "INTEGERS", "DOUBLES", "AO")
    frame = await machine.read(await hold(machine, [P + name for name in names]))
    assert [State(int(state)) for state in frame.state] == [
        *(State.INEXACT, State.VALUE, State.INEXACT, State.VALUE, State.VALUE, State.INEXACT, State.VALUE, State.VALUE)
    ]
    assert [frame.value(row) for row in (0, 1, 3, 4, 7)] == [None, 9007199254740994, 12345678901234567168, 1e300, 1.5]
    assert np.array_equal(frame.value(6), [1.5, 1e17, 3])
