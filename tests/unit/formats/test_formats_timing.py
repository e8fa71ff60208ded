"""40,000 values in and out of every format: at most 1.5 s. Of CPU time, as other tests run beside these."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from squirrel_ioc.formats import (
    FORMATS,
    Kind,
    ReadOptions,
    SnapshotFile,
    read_catalogue,
    read_snapshot,
    write_catalogue,
    write_snapshot,
)
from squirrel_ioc.formats._columns import Columns, number_cell, numbers_cell, text_cell
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Dbf, Meta

COUNT = 40_000
LIMIT_S = 1.5
METAS = [
    Meta(Dbf.DOUBLE, 1, units="kG", precision=3, limits=(1.0,) * 8),
    Meta(Dbf.LONG, 1),
    Meta(Dbf.ENUM, 1, labels=("Off", "On")),
    Meta(Dbf.STRING, 1),
    Meta(Dbf.DOUBLE, 16),
]


@pytest.fixture(scope="module")
def machine() -> Frame:
    """The mixture of engine.md: of 20 records 14 numbers, 2 integers, 2 binaries, a text, 16 doubles."""
    random = np.random.default_rng(1)
    columns = Columns()
    for i in range(COUNT):
        kind, name, stamp = i % 20, f"SYS:AREA{i % 37}:DEV{i}:SETPOINT", 1_700_000_000_000_000_000 + i
        if kind < 14:
            cell = number_cell(Dbf.DOUBLE, float(random.normal()), METAS[0])
        elif kind < 18:
            cell = number_cell(*((Dbf.LONG, i, METAS[1]) if kind < 16 else (Dbf.ENUM, i % 2, METAS[2])))
        else:
            cell = (
                text_cell(b"text %d" % i, METAS[3])
                if kind < 19
                else numbers_cell(Dbf.DOUBLE, random.normal(size=16).tolist(), METAS[4])
            )
        columns.add(name, cell, stamp=stamp)
    return columns.frame()


def fastest(work: Callable[[], object]) -> float:
    """The better of two times."""
    times = []
    for _ in range(2):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("name", [f.name for f in FORMATS if Kind.SNAPSHOT in f.writes])
def test_values(tmp_path: Path, machine: Frame, name: str) -> None:
    path = tmp_path / f"t{'.sav' if name == 'autosave' else '.snap'}"
    snapshot = SnapshotFile(machine, "title", "comment", ("label",), datetime.now(UTC))
    names, metas = machine.channels.names, machine.metas
    options = ReadOptions(live={n: metas[m] for n, m in zip(names, machine.meta.tolist(), strict=True)})
    assert fastest(lambda: write_snapshot(path, snapshot, name)) < LIMIT_S
    assert fastest(lambda: read_snapshot(path, name)) < LIMIT_S
    assert fastest(lambda: read_snapshot(path, name, options)) < LIMIT_S
    assert len(read_snapshot(path, name, options).frame) == COUNT


@pytest.mark.parametrize("name", [f.name for f in FORMATS if Kind.CATALOGUE in f.writes])
def test_names(tmp_path: Path, machine: Frame, name: str) -> None:
    path = tmp_path / ("t.req" if name in ("autosave", "burt", "psi") else "t.csv")
    entries = [
        Entry(n, f"{n}:RB", tags={"Area": (f"A{i % 7}",)}, atol=0.1) for i, n in enumerate(machine.channels.names)
    ]
    assert fastest(lambda: write_catalogue(path, entries, name)) < LIMIT_S
    assert fastest(lambda: read_catalogue(path, name)) < LIMIT_S
    assert len(read_catalogue(path, name).entries) == COUNT


def test_a_request_file_of_many_includes(tmp_path: Path) -> None:
    (tmp_path / "motor.req").write_text("".join(f"$(P)m$(M).$(F{i}=FIELD{i})\n" for i in range(20)))
    (tmp_path / "top.req").write_text("".join(f"file motor.req P=SYS:,M={i}\n" for i in range(COUNT // 20)))
    assert fastest(lambda: read_catalogue(tmp_path / "top.req")) < LIMIT_S
    assert len(read_catalogue(tmp_path / "top.req").entries) == COUNT
