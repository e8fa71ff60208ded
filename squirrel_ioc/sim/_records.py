"""What the simulated machine is made of: records of mixed types, and their catalogue entries.

Record types and fields: EPICS base's Record Reference Manual.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count as count_up
from pathlib import Path
from typing import Any, Final

from squirrel_ioc.model.catalogue import Entry

__all__ = ["Point", "Record", "accelerator", "setpoints_only", "write_catalogue", "write_database"]

FieldValue = str | int | float | Sequence[float] | Sequence[str]
"""A sequence becomes a JSON link: a constant array."""

CELLS_IN_AREA: Final = 10
AREAS_IN_REGION: Final = 10
REGIONS: Final = ("INJECTOR", "LINAC", "TRANSFER", "RING")
COLUMNS: Final = (
    "Setpoint",
    "Readback",
    "Description",
    "Device",
    "Atol",
    "Rtol",
    "Read_only",
    "Order",
    "Max_step",
    "Step_period",
)
TAG_GROUPS: Final = ("Region", "Area", "Subsystem")


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its type, name and fields."""

    rtype: str
    name: str
    fields: Mapping[str, FieldValue]

    def text(self) -> str:
        """As it stands in a `.db` file."""
        lines = [f'record({self.rtype}, "{self.name}") {{']
        for field, value in self.fields.items():
            shown = f'"{value}"' if isinstance(value, (str, int, float)) else json.dumps(list(value))
            lines.append(f"  field({field}, {shown})")
        return "\n".join([*lines, "}\n"])


@dataclass(frozen=True, slots=True)
class Point:
    """A catalogue entry and its records: the setpoint, and the readback if the entry has one."""

    entry: Entry
    records: tuple[Record, ...]

    def without_readback(self) -> Point:
        """The setpoint alone."""
        setpoint = self.records[0]
        fields = {k: v for k, v in setpoint.fields.items() if k != "FLNK"}
        return Point(replace(self.entry, readback=None), (replace(setpoint, fields=fields),))


def accelerator(prefix: str, count: int) -> list[Point]:
    """Cells of magnets, RF, vacuum and the like, cut where they have `count` records in all."""
    points: list[Point] = []
    left = count
    for cell in count_up():
        for point in _cell(prefix, cell):
            if left == 0:
                return points
            chosen = point if len(point.records) <= left else point.without_readback()
            points.append(chosen)
            left -= len(chosen.records)
    raise AssertionError("cells never end")


def setpoints_only(prefix: str, count: int) -> list[Point]:
    """The mix of the design measurements: of 20 records 14 ao, 2 longout, 2 bo, 1 stringout, 1 waveform[16]."""
    return [_bench_point(prefix, i) for i in range(count)]


def _bench_point(prefix: str, i: int) -> Point:
    place = i % 20
    fields: dict[str, FieldValue]
    if place < 14:
        subsystem, rtype = "Magnet", "ao"
        fields = {"EGU": "A", "PREC": 4, "DRVL": -1e9, "DRVH": 1e9, "LOPR": -100, "HOPR": 100, "VAL": 0.001 * i}
    elif place < 16:
        subsystem, rtype, fields = "Timing", "longout", {"EGU": "ticks", "VAL": i}
    elif place < 18:
        subsystem, rtype, fields = "Vacuum", "bo", {"ZNAM": "CLOSED", "ONAM": "OPEN", "VAL": i % 2}
    elif place < 19:
        subsystem, rtype, fields = "Control", "stringout", {"VAL": f"text {i}"}
    else:
        wave = [round(0.1 * k + i, 3) for k in range(16)]
        subsystem, rtype, fields = "RF", "waveform", {"FTVL": "DOUBLE", "NELM": 16, "INP": wave}
    name = f"{prefix}{i:06d}"
    area = f"A{i // 1000:03d}"
    tags = {"Region": (REGIONS[i // 10_000 % len(REGIONS)],), "Area": (area,), "Subsystem": (subsystem,)}
    return Point(Entry(name, device=area, tags=tags), (Record(rtype, name, {"PINI": "YES", **fields}),))


class _Cell:
    """Makes the points of one cell, all with its tags."""

    def __init__(self, prefix: str, number: int) -> None:
        self.prefix = prefix
        self.number = number
        area = number // CELLS_IN_AREA
        self.area = f"S{area:02d}"
        self.region = REGIONS[area // AREAS_IN_REGION % len(REGIONS)]
        self.first = number % CELLS_IN_AREA == 0
        self.unit = 100 + number % CELLS_IN_AREA

    def point(
        self,
        kind: str,
        subsystem: str,
        setpoint: tuple[str, str, Mapping[str, FieldValue]],
        readback: tuple[str, str, Mapping[str, FieldValue]] | None = None,
        **treatment: Any,
    ) -> Point:
        """A point of device `kind`: (record type, suffix, fields) of the setpoint and of its readback.

        `treatment` are the entry's other fields: tolerances, order, ramp.
        """
        device = f"{kind}:{self.area}:{self.unit}"
        rtype, suffix, fields = setpoint
        name = f"{self.prefix}{device}:{suffix}"
        tags = {"Region": (self.region,), "Area": (self.area,), "Subsystem": (subsystem,)}
        entry = Entry(name, description=str(fields.get("DESC", "")), device=device, tags=tags, **treatment)
        if readback is None:
            return Point(entry, (Record(rtype, name, {"PINI": "YES", **fields}),))
        rb_rtype, rb_suffix, rb_fields = readback
        rb_name = f"{self.prefix}{device}:{rb_suffix}"
        link = "INPA" if rb_rtype == "calc" else "INP"
        return Point(
            replace(entry, readback=rb_name),
            (
                Record(rtype, name, {"PINI": "YES", "FLNK": rb_name, **fields}),
                Record(rb_rtype, rb_name, {link: name, **rb_fields}),
            ),
        )


def _cell(prefix: str, number: int) -> Iterator[Point]:
    """The points of one cell: 20 records' worth and more, every type of record in it."""
    cell = _Cell(prefix, number)
    yield from _magnets(cell)
    yield from _rf(cell)
    yield from _vacuum(cell)
    yield from _others(cell)


def _magnets(cell: _Cell) -> Iterator[Point]:
    n = cell.number
    field: dict[str, FieldValue] = {"EGU": "kG", "PREC": 4}
    for kind, value, limit in (("QUAD", 4.0 + 0.01 * n, 120.0), ("BEND", 1.25 + 0.001 * n, 20.0)):
        # One bend an area is too heavy to be moved at once.
        ramp = {"max_step": 0.5, "step_period": 0.1} if kind == "BEND" and cell.first else {}
        yield cell.point(
            kind,
            "Magnet",
            ("ao", "BDES", {"DESC": f"{kind} field", **field, **_range(limit), "VAL": round(value, 6)}),
            ("ai", "BACT", {"DESC": f"{kind} field, read", **field, "HIHI": limit, "HHSV": "MAJOR"}),
            atol=0.005,
            rtol=1e-4,
            order=10,
            **ramp,
        )
    for kind in ("XCOR", "YCOR"):
        # The power supply is a little off, within the tolerance: a readback that is not equal is the normal case.
        yield cell.point(
            kind,
            "Magnet",
            ("ao", "BDES", {"DESC": f"{kind} field", **field, **_range(6.0), "VAL": round(0.02 * (n % 7 - 3), 6)}),
            ("calc", "BACT", {"DESC": f"{kind} field, read", **field, "CALC": "A+0.0005*SIN(A)"}),
            atol=0.002,
            order=20,
        )


def _rf(cell: _Cell) -> Iterator[Point]:
    n = cell.number
    for suffix, unit, value, limit, atol in (("P", "deg", n % 360 - 180.0, 180.0, 0.1), ("A", "MV", 20.0, 60.0, 0.05)):
        yield cell.point(
            "KLYS",
            "RF",
            ("ao", f"{suffix}DES", {"DESC": "Klystron", "EGU": unit, "PREC": 2, **_range(limit), "VAL": value}),
            ("ai", f"{suffix}ACT", {"DESC": "Klystron, read", "EGU": unit, "PREC": 2}),
            atol=atol,
            order=30,
        )
    states: dict[str, FieldValue] = {"ZRST": "Off", "ONST": "Standby", "TWST": "Accelerate", "THST": "Deliver"}
    yield cell.point("KLYS", "RF", ("mbbo", "MODE", {"DESC": "Klystron mode", **states, "VAL": 2}))


def _vacuum(cell: _Cell) -> Iterator[Point]:
    states: dict[str, FieldValue] = {"ZNAM": "CLOSED", "ONAM": "OPEN"}
    yield cell.point(
        "VVPG",
        "Vacuum",
        ("bo", "CMD", {"DESC": "Gate valve", **states, "VAL": 1}),
        ("bi", "STS", {"DESC": "Gate valve, read", **states}),
        order=5,
    )


def _others(cell: _Cell) -> Iterator[Point]:
    n = cell.number
    yield cell.point("TRIG", "Timing", ("longout", "TDES", {"DESC": "Delay", "EGU": "ns", "VAL": 1000 + n}))
    yield cell.point("BPMS", "Diagnostics", ("stringout", "NOTE", {"DESC": "Note", "VAL": f"calibrated, cell {n}"}))
    wave = [round(0.5 * k + 0.01 * n, 4) for k in range(16)]
    yield cell.point("LLRF", "RF", ("waveform", "TABLE", _array("Feed-forward", "DOUBLE", 16, wave)))
    text = list(f"Cell {n}: set up by the simulation".encode())
    yield cell.point("CELL", "Control", ("waveform", "TEXT", _array("Log line", "CHAR", 256, text)))
    ftvl = ("FLOAT", "LONG", "SHORT", "STRING", "ENUM")[n % 5]
    values: Sequence[float] | Sequence[str] = [f"row {k}" for k in range(4)] if ftvl == "STRING" else [0, 1, 2, 3]
    yield cell.point("BPMS", "Diagnostics", ("waveform", "CAL", _array("Calibration", ftvl, 8, values)))


def _range(limit: float) -> dict[str, float]:
    return {"DRVL": -limit, "DRVH": limit, "LOPR": -limit, "HOPR": limit}


def _array(desc: str, ftvl: str, elements: int, values: Sequence[float] | Sequence[str]) -> dict[str, FieldValue]:
    return {"DESC": desc, "FTVL": ftvl, "NELM": elements, "INP": values}


def write_database(path: Path, points: Iterable[Point]) -> None:
    """The records as a `.db` file."""
    with path.open("w", encoding="utf-8") as file:
        for point in points:
            file.writelines(record.text() for record in point.records)


def write_catalogue(path: Path, entries: Iterable[Entry]) -> None:
    """The entries as a CSV catalogue with every column."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS + TAG_GROUPS)
        for e in entries:
            writer.writerow(
                [
                    e.setpoint,
                    e.readback or "",
                    e.description,
                    e.device,
                    "" if e.atol is None else e.atol,
                    "" if e.rtol is None else e.rtol,
                    "true" if e.read_only else "",
                    e.order or "",
                    "" if e.max_step is None else e.max_step,
                    "" if e.max_step is None else e.step_period,
                    *(",".join(e.tags.get(group, ())) for group in TAG_GROUPS),
                ]
            )
