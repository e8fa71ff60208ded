"""Values over Channel Access: every type, scalar and array, comes and goes bit for bit."""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from ioc_process import IocProcess, ca_settings

from squirrel_ioc.ca import Machine
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder, Value
from squirrel_ioc.model.values import ELEMENT_DTYPE, Dbf, Meta, State, WriteState

FTVL = {
    Dbf.STRING: "STRING",
    Dbf.SHORT: "SHORT",
    Dbf.FLOAT: "FLOAT",
    Dbf.ENUM: "ENUM",
    Dbf.CHAR: "UCHAR",
    Dbf.LONG: "LONG",
    Dbf.DOUBLE: "DOUBLE",
}

P = f"T{secrets.token_hex(3)}:"

DATABASE = (
    "".join(
        f'record(waveform, "{P}{dbf.name}{elements}") {{ field(FTVL, "{ftvl}") field(NELM, "{elements}") }}\n'
        for dbf, ftvl in FTVL.items()
        for elements in (1, 7)
    )
    + f"""
record(ao, "{P}AO") {{
    field(EGU, "mm") field(PREC, "3") field(HOPR, "50") field(LOPR, "-50") field(DRVH, "40") field(DRVL, "-40")
    field(HIHI, "10") field(HIGH, "5") field(LOW, "-5") field(LOLO, "-10")
    field(HHSV, "MAJOR") field(HSV, "MINOR") field(LSV, "MINOR") field(LLSV, "MAJOR")
}}
record(longout, "{P}LONGOUT") {{ field(EGU, "ticks") field(HOPR, "7") field(DRVL, "-3") }}
record(mbbo, "{P}MBBO") {{ field(ZRST, "Off") field(ONST, "Standby") field(TWST, "") field(THST, "On") }}
record(bo, "{P}BO") {{ field(ZNAM, "CLOSED") field(ONAM, "OPEN") }}
record(stringout, "{P}STRINGOUT") {{ field(VAL, "hello") field(PINI, "YES") }}
record(ao, "{P}NEVER") {{ }}
"""
)


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    with IocProcess(DATABASE) as ioc:
        yield ioc


@pytest.fixture
async def machine(ioc: IocProcess) -> AsyncIterator[Machine]:
    machine = Machine(ca_settings())
    await machine.start()
    yield machine
    await machine.stop()
    assert "squirrel-ca" not in [thread.name for thread in threading.enumerate()]


async def hold(machine: Machine, *names: str) -> ChannelList:
    channels = ChannelList.of(P + name for name in names)
    await machine.watch(channels)
    assert await machine.settled(30)
    return channels


def frame_of(channels: ChannelList, *rows: tuple[Dbf, int, Value | bytes]) -> Frame:
    builder = FrameBuilder()
    for name, (dbf, elements, value) in zip(channels.names, rows, strict=True):
        builder.add(name, value, Meta(dbf, elements))
    return builder.build(channels)


async def round_trip(machine: Machine, values: Frame) -> Frame:
    outcome = await machine.write(values)
    assert [WriteState(o) for o in outcome] == [WriteState.DONE] * len(values)
    back = await machine.read(values.channels)
    assert [State(s) for s in back.state] == [State.VALUE] * len(values)
    return back


def extremes(dbf: Dbf) -> list[float]:
    dtype = ELEMENT_DTYPE[dbf]
    if dtype.kind == "f":
        info = np.finfo(dtype)
        return [0.0, -0.0, float(info.max), float(info.min), float(info.smallest_subnormal), np.inf, -np.inf]
    bounds = np.iinfo(dtype)
    return [0, 1, int(bounds.min), int(bounds.max)]


NUMERIC = [dbf for dbf in FTVL if dbf is not Dbf.STRING]


@pytest.mark.parametrize("dbf", NUMERIC, ids=lambda dbf: dbf.name)
async def test_numeric_scalars(machine: Machine, dbf: Dbf) -> None:
    channels = await hold(machine, f"{dbf.name}1")
    for number in extremes(dbf):
        back = await round_trip(machine, frame_of(channels, (dbf, 1, number)))
        assert struct.pack("d", back.number[0]) == struct.pack("d", number)
        assert (back.dbf[0], back.count[0], len(back.side_row)) == (dbf, 1, 0)


@pytest.mark.parametrize("dbf", NUMERIC, ids=lambda dbf: dbf.name)
async def test_numeric_arrays(machine: Machine, dbf: Dbf) -> None:
    channels = await hold(machine, f"{dbf.name}7")
    elements = np.array(extremes(dbf), ELEMENT_DTYPE[dbf])
    for length in (len(elements), 1, 0, 3):
        back = await round_trip(machine, frame_of(channels, (dbf, 7, elements[:length].tobytes())))
        assert (back.dbf[0], back.count[0]) == (dbf, length)
        assert back.raw(0) == elements[:length].tobytes()
        assert back.is_array(0)


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0xFFF8000000000001, 0x7FFC0DE000000123])
async def test_every_nan_of_a_double(machine: Machine, bits: int) -> None:
    channels = await hold(machine, "DOUBLE1", "DOUBLE7")
    raw = struct.pack("<Q", bits)
    values = frame_of(channels, (Dbf.DOUBLE, 1, struct.unpack("<d", raw)[0]), (Dbf.DOUBLE, 7, raw * 2))
    back = await round_trip(machine, values)
    assert struct.pack("<d", back.number[0]) == raw
    assert back.raw(1) == raw * 2


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00001, 0x7F800001, 0x7FEFDEAD])
async def test_every_nan_of_a_float(machine: Machine, bits: int) -> None:
    channels = await hold(machine, "FLOAT1", "FLOAT7")
    raw = struct.pack("<I", bits)
    back = await round_trip(machine, frame_of(channels, (Dbf.FLOAT, 1, raw), (Dbf.FLOAT, 7, raw * 3)))
    kept = back.raw(0)
    assert raw == (struct.pack("<f", back.number[0]) if kept is None else kept)
    assert np.isnan(back.number[0])
    assert back.raw(1) == raw * 3


@pytest.mark.parametrize("text", ["", " ", "x", "Ünïcode µm", "\\n\\t'\"", "y" * 39], ids=repr)
async def test_string_scalars(machine: Machine, text: str) -> None:
    channels = await hold(machine, "STRING1", "STRINGOUT")
    back = await round_trip(machine, frame_of(channels, (Dbf.STRING, 1, text), (Dbf.STRING, 1, text)))
    assert [back.raw(0), back.raw(1)] == [text.encode()] * 2
    assert [back.value(0), back.value(1)] == [text] * 2


@pytest.mark.parametrize("texts", [["a", "", "z" * 39, "é"], [], [""], ["only"], ["x"] * 7], ids=repr)
async def test_string_arrays(machine: Machine, texts: list[str]) -> None:
    channels = await hold(machine, "STRING7")
    back = await round_trip(machine, frame_of(channels, (Dbf.STRING, 7, texts)))
    assert back.count[0] == len(texts)
    assert back.value(0) == texts


async def test_nuls_in_a_char_array(machine: Machine) -> None:
    channels = await hold(machine, "CHAR7")
    back = await round_trip(machine, frame_of(channels, (Dbf.CHAR, 7, b"a\0b\0\0")))
    assert (back.raw(0), back.count[0]) == (b"a\0b\0\0", 5)


async def test_a_string_too_long_is_refused(machine: Machine) -> None:
    channels = await hold(machine, "STRING1", "STRING7", "DOUBLE1")
    rows = (Dbf.STRING, 1, b"x" * 40), (Dbf.STRING, 7, b"y" * 40), (Dbf.DOUBLE, 1, 1.5)
    outcome = await machine.write(frame_of(channels, *rows))
    assert outcome.tolist() == [WriteState.TOO_LONG, WriteState.REFUSED, WriteState.DONE]


async def test_more_elements_than_the_channel_has_are_refused(machine: Machine) -> None:
    channels = await hold(machine, "LONG7", "LONG1")
    outcome = await machine.write(frame_of(channels, (Dbf.LONG, 8, bytes(4 * 8)), (Dbf.LONG, 8, bytes(4 * 2))))
    assert outcome.tolist() == [WriteState.REFUSED, WriteState.REFUSED]


async def test_a_value_of_another_type_is_converted_by_the_ioc(machine: Machine) -> None:
    channels = await hold(machine, "AO", "MBBO", "STRINGOUT")
    rows = (Dbf.STRING, 1, "2.5"), (Dbf.STRING, 1, "On"), (Dbf.LONG, 1, 12)
    assert (await machine.write(frame_of(channels, *rows))).tolist() == [WriteState.DONE] * 3
    back = await machine.read(channels)
    assert [back.value(row) for row in range(3)] == [2.5, 3, "12"]


async def test_all_types_at_once(machine: Machine) -> None:
    names = [f"{dbf.name}{n}" for n in (7, 1) for dbf in FTVL]
    channels = await hold(machine, *names)
    rows: list[tuple[Dbf, int, Value | bytes]] = [
        (dbf, 7, ["p", "q"] if dbf is Dbf.STRING else np.arange(3)) for dbf in FTVL
    ]
    rows += [(dbf, 1, "one" if dbf is Dbf.STRING else 1) for dbf in FTVL]
    values = frame_of(channels, *rows)
    back = await round_trip(machine, values)
    assert back.side_row.tolist() == values.side_row.tolist()
    assert back.side == values.side
    np.testing.assert_array_equal(back.number, values.number)
    np.testing.assert_array_equal(back.count, values.count)


async def test_alarms_and_time_stamps(machine: Machine) -> None:
    import time

    channels = await hold(machine, "AO", "NEVER")
    for number, severity, status in [(0.0, 0, 0), (6.0, 1, 4), (20.0, 2, 3), (-7.0, 1, 6), (-11.0, 2, 5)]:
        before = time.time_ns()
        await machine.write(frame_of(channels, (Dbf.DOUBLE, 1, number), (Dbf.DOUBLE, 1, 0)).take(np.array([0])))
        back = await machine.read(channels)
        assert (back.severity[0], back.status[0]) == (severity, status)
        assert before - 1_000_000 <= back.stamp[0] <= time.time_ns()
    # Never processed: invalid with UDF, and the origin of EPICS time.
    assert (back.severity[1], back.status[1], back.stamp[1]) == (3, 17, 631152000 * 10**9)


async def test_meta_data(machine: Machine) -> None:
    channels = await hold(machine, "AO", "LONGOUT", "MBBO", "BO", "STRINGOUT", "DOUBLE7")
    frame = await machine.read(channels)
    metas = [frame.metas[i] for i in frame.meta]
    assert metas[0] == Meta(Dbf.DOUBLE, 1, "mm", 3, (50.0, -50.0, 10.0, 5.0, -5.0, -10.0, 40.0, -40.0))
    assert (metas[1].dbf, metas[1].units, metas[1].limits[0], metas[1].limits[7]) == (Dbf.LONG, "ticks", 7.0, -3.0)
    assert metas[2] == Meta(Dbf.ENUM, 1, labels=("Off", "Standby", "", "On"))
    assert metas[3] == Meta(Dbf.ENUM, 1, labels=("CLOSED", "OPEN"))
    assert metas[4] == Meta(Dbf.STRING, 1)
    assert (metas[5].dbf, metas[5].count) == (Dbf.DOUBLE, 7)
    live = machine.live(channels)
    assert [live.metas[i] for i in live.meta] == metas
    assert live.count.tolist() == [1, 1, 1, 1, 1, 7]
    assert live.connected.all()
    assert live.readable.all()
    assert live.writable.all()
