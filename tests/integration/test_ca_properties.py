"""Labels, units and limits that change while connected: the next read has them; nothing is asked again without need."""

from __future__ import annotations

from collections.abc import Iterator

import aioca
import pytest
from ca_helpers import hold, put_property, random_prefix, started
from ioc_process import IocProcess

from squirrel_ioc.ca import _connect
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Meta

P = random_prefix()
DATABASE = f"""
record(ao, "{P}AO") {{ field(VAL, "1.5") field(PINI, "YES") field(EGU, "A") }}
record(longout, "{P}LONG") {{ field(VAL, "1") field(PINI, "YES") field(EGU, "ticks") }}
record(mbbo, "{P}MBBO") {{ field(ZRST, "Off") field(ONST, "On") field(PINI, "YES") }}
record(waveform, "{P}WAVE") {{ field(FTVL, "DOUBLE") field(NELM, "3") field(EGU, "mm") field(INP, [1, 2])
    field(PINI, "YES") }}
record(stringout, "{P}TEXT") {{ field(VAL, "x") field(PINI, "YES") }}
"""
NAMES = [P + name for name in ("AO", "LONG", "MBBO", "WAVE", "TEXT")]


@pytest.fixture(scope="module")
def ioc() -> Iterator[IocProcess]:
    with IocProcess(DATABASE) as ioc:
        yield ioc


def meta(frame: Frame, row: int) -> Meta:
    return frame.metas[int(frame.meta[row])]


async def test_the_next_read_has_them_also_in_another_connection(ioc: IocProcess) -> None:
    async with started() as machine:
        channels = await hold(machine, NAMES)
        for unit, label, restarted in (("mA", "Run", False), ("kA", "Trip", True)):
            if restarted:
                ioc.restart()
                aioca.purge_channel_caches()
                assert await machine.settled(30)
            before = await machine.read(channels)
            await put_property(f"{P}AO", "EGU", unit)
            await put_property(f"{P}AO", "DRVH", len(unit) + len(label))
            await put_property(f"{P}WAVE", "EGU", unit)
            await put_property(f"{P}MBBO", "TWST", label)
            now = await machine.read(channels)
            assert [meta(now, row).units for row in (0, 1, 3)] == [unit, "ticks", unit]
            assert meta(now, 0).limits[6] == len(unit) + len(label)
            assert meta(now, 2).labels == ("Off", "On", label)
            assert meta(before, 0).units != unit


async def test_nothing_is_read_again_while_nothing_has_changed(
    ioc: IocProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Counted(_connect.MetaOperation):
        def __init__(self, engine: object, slots: list[int], *more: object) -> None:
            asked.append(len(slots))
            super().__init__(engine, slots, *more)  # type: ignore[arg-type]

    async with started() as machine:
        channels = await hold(machine, NAMES)
        monkeypatch.setattr(_connect, "MetaOperation", Counted)
        for value in range(3):
            await aioca.caput(f"{P}AO", value, wait=True, timeout=20)
            assert (await machine.read(channels)).value(0) == value
        assert asked == []
        await put_property(f"{P}LONG", "EGU", "steps")
        await put_property(f"{P}LONG", "EGU", "turns")
        assert meta(await machine.read(channels), 1).units == "turns"
        assert asked == [1]
        await machine.read(channels)
        assert asked == [1]
