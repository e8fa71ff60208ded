"""What a restore does when a connection has been lost since it looked: ramps end, what has changed is not written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import Live
from squirrel_ioc.ca._meta import MetaStore
from squirrel_ioc.ca._second_round import same_kind
from squirrel_ioc.jobs.restore.ramp import Steps, ramp
from squirrel_ioc.jobs.restore.still_valid import back_as_something_else
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta, WriteState

OFF_ON = Meta(Dbf.ENUM, 1, labels=("Off", "On"))
ON_OFF = Meta(Dbf.ENUM, 1, labels=("On", "Off"))
NUMBER = Meta(Dbf.DOUBLE, 1)
METAS = {"SAME": NUMBER, "UNITS": NUMBER, "TYPE": NUMBER, "SIZE": NUMBER, "LABELS": OFF_ON, "AWAY": NUMBER}
LATER = {
    "SAME": NUMBER,
    "UNITS": Meta(Dbf.DOUBLE, 1, units="A"),
    "TYPE": Meta(Dbf.STRING, 1),
    "SIZE": Meta(Dbf.DOUBLE, 8),
    "LABELS": ON_OFF,
    "AWAY": Meta(Dbf.STRING, 1),
}


def frame(metas: dict[str, Meta], value: float = 1) -> Frame:
    builder = FrameBuilder()
    for name, meta in metas.items():
        builder.add(name, value, meta)
    return builder.build(ChannelList.of(metas))


def live(metas: dict[str, Meta], away: tuple[str, ...] = (), connection: list[int] | None = None) -> Live:
    n = len(metas)
    connected = np.array([name not in away for name in metas])
    dbf = np.array([meta.dbf for meta in metas.values()], np.uint8)
    count = np.array([meta.count for meta in metas.values()], np.int32)
    zeros = np.zeros(n, np.int32)
    return Live(
        connected=connected,
        readable=connected,
        writable=connected,
        dbf=dbf,
        count=count,
        meta=np.arange(n, dtype=np.int32),
        metas=tuple(metas.values()),
        ioc=zeros,
        iocs=("ioc:1",),
        connection=np.array(connection if connection is not None else zeros, np.int32),
    )


@dataclass
class Machine:
    """Notes what is written; `loses_after` of these writes, row 0 has lost its connection, and has it again.

    A PV shows the value that was written to it `lag` reads later; `moves` says what somebody else writes before the
    n-th read.
    """

    loses_after: int = 99
    lag: int = 0
    moves: dict[int, dict[str, float]] = field(default_factory=dict)
    reads: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)
    written: list[tuple[tuple[str, ...], list[float]]] = field(default_factory=list)
    now: dict[str, Meta] = field(default_factory=lambda: METAS)
    away: tuple[str, ...] = ()

    def live(self, channels: ChannelList) -> Live:
        lost = len(self.written) >= self.loses_after
        metas = {name: self.now[name] for name in channels.names}
        return live(metas, self.away, [7 + 2 * (lost and row == 0) for row in range(len(channels))])

    async def read(self, channels: ChannelList, **_: Any) -> Frame:
        self.reads += 1
        for name, value in self.moves.get(self.reads, {}).items():
            self.values[name] = [value]
        builder = FrameBuilder()
        for name in channels.names:
            shown = self.values.setdefault(name, [0.0])
            builder.add(name, shown[0], NUMBER)
            if len(shown) > 1:
                shown.pop(0)
        return builder.build(channels)

    async def write(self, values: Frame, **kwargs: Any) -> NDArray[np.uint8]:
        assert kwargs["retry"] is False
        for name, value in zip(values.channels.names, values.number.tolist(), strict=True):
            now = self.values[name][-1]
            self.values[name] = [now] * self.lag + [value]
        self.written.append((values.channels.names, values.number.tolist()))
        return np.full(len(values), WriteState.DONE, np.uint8)


async def walk(machine: Machine, to: float, atol: float = 0.0) -> tuple[list[int], list[float | None], list[str]]:
    metas = {"SAME": NUMBER, "UNITS": NUMBER}
    walked = await ramp(
        machine,  # type: ignore[arg-type]
        frame(metas, to),
        Steps(np.ones(2), np.zeros(2), np.full(2, atol), np.zeros(2)),
        np.full(2, 7, np.int32),
        abort=lambda: False,
        moved=lambda _arrived, _part, _row: None,
    )
    reached = [None if np.isnan(x) else x for x in walked.reached.tolist()]
    return walked.outcome.tolist(), reached, list(walked.problems.values())


async def test_a_ramp_walks_in_one_connection() -> None:
    machine = Machine()
    assert await walk(machine, 3) == ([WriteState.DONE] * 2, [3, 3], [])
    assert [values for _, values in machine.written] == [[1, 1], [2, 2], [3, 3]]


async def test_a_ramp_ends_with_its_connection_also_when_that_is_back() -> None:
    machine = Machine(loses_after=2)
    assert await walk(machine, 4) == ([WriteState.DISCONNECTED, WriteState.DONE], [2, 4], [])
    assert machine.written[2:] == [(("UNITS",), [3]), (("UNITS",), [4])]


async def test_a_ramp_does_not_begin_when_its_connection_was_lost_since_it_was_read() -> None:
    machine = Machine(loses_after=0)
    assert await walk(machine, 2) == ([WriteState.DISCONNECTED, WriteState.DONE], [None, 2], [])
    assert all(names == ("UNITS",) for names, _ in machine.written)


async def test_a_ramp_begins_at_the_value_of_that_moment() -> None:
    machine = Machine(moves={1: {"SAME": 2.5}})
    await walk(machine, 4)
    assert [dict(zip(*written, strict=True)).get("SAME") for written in machine.written] == [3.5, 4, None, None]


async def test_a_ramp_ends_where_somebody_else_moves_its_pv() -> None:
    machine = Machine(moves={3: {"SAME": 80.0}})
    state, reached, problems = await walk(machine, 4)
    assert (state, reached) == ([WriteState.NOT_ISSUED, WriteState.DONE], [2, 4])
    assert problems == ["moved by somebody else: it has 80, the ramp had written 2"]
    assert machine.values["SAME"] == [80.0]


async def test_a_ramp_waits_for_a_record_that_shows_its_step_late() -> None:
    machine = Machine(lag=3)
    assert await walk(machine, 3) == ([WriteState.DONE] * 2, [3, 3], [])


async def test_a_ramp_takes_no_larger_step_from_a_place_within_the_tolerance() -> None:
    machine = Machine(moves={2: {"SAME": 0.75}})
    await walk(machine, 3, atol=0.5)
    assert [dict(zip(*written, strict=True)).get("SAME") for written in machine.written] == [1, 1.75, 2.75, 3]


def test_what_came_back_as_something_else() -> None:
    looked = frame(METAS)
    assert not back_as_something_else(Machine(), looked).any()  # type: ignore[arg-type]
    machine = Machine(now=LATER, away=("AWAY",))
    other = back_as_something_else(machine, looked)  # type: ignore[arg-type]
    assert dict(zip(METAS, other.tolist(), strict=True)) == {
        "SAME": False,
        "UNITS": False,
        "TYPE": True,
        "SIZE": True,
        "LABELS": True,
        "AWAY": False,
    }


def test_kinds_by_index_of_meta_data() -> None:
    metas = MetaStore()
    before = np.array([metas._add(meta) for meta in METAS.values()], np.int32)
    now = np.array([metas._add(meta) for meta in LATER.values()], np.int32)
    assert same_kind(metas, before, before).all()
    assert same_kind(metas, before, now).tolist() == [True, True, False, False, False, False]


def test_labels_of_an_earlier_connection_are_not_those_of_this_one() -> None:
    metas = MetaStore()
    states, number = metas._add(OFF_ON), metas._add(Meta(Dbf.DOUBLE, 1, units="A"))
    assert metas.fitting(number, Dbf.DOUBLE, 1) == number
    assert metas.fitting(number, Dbf.DOUBLE, 2) == metas.bare(Dbf.DOUBLE, 2)
    assert metas.fitting(states, Dbf.ENUM, 1) == metas.bare(Dbf.ENUM, 1)
