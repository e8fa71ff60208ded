"""Saved files of PSI snapshot (.snap).

Source: as in `psi`.

A first line `#{"comment": ..., "labels": [...], "save_time": seconds, "macros": {...}, ...}`, then a PV a line:
`PV,{"val": value, "EGU": "mm", "PREC": 3}`, in older files `PV,value`, for a PV without a value `PV`. Values are JSON,
with NaN and Infinity; arrays are lists; enums are indices. Names may have the macros of the header in them.

JSON knows whole numbers (here LONG), numbers (DOUBLE) and texts (STRING; a longer one an array of CHAR), no more: see
`retype`. Values have no times and no alarms.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from squirrel_ioc.formats._frame_columns import Cell, chars_cell, number_cell, numbers_cell, text_cell, texts_cell
from squirrel_ioc.formats._frame_rows import Row, plain_nan, rows, texts
from squirrel_ioc.formats._lines import open_regular, read_lines
from squirrel_ioc.formats._losses import chars_loss, frame_losses, now_if_none
from squirrel_ioc.formats._macros import MacroError, Macros
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses, Problems
from squirrel_ioc.formats._protocol import ReadOptions, Sink, SnapshotFile
from squirrel_ioc.formats._untyped import ValueRows
from squirrel_ioc.model.pv_names import canonical
from squirrel_ioc.model.values import STRING_SIZE, Dbf, Meta, State

__all__ = ["read", "write"]

_OWN = ("comment", "labels", "keywords", "save_time", "macros")


def read(path: Path, options: ReadOptions, origin: str) -> SnapshotFile:
    """The values of a saved file. Raises FormatError."""
    problems = Problems(options.limits.problems)
    with open_regular(path, path.name, options.limits) as file:
        reader = _Reader(path.name, problems, options)
        reader.read(read_lines(file, path.name, problems, options.limits, options.encoding))
    frame = reader.rows.frame()
    header = reader.header
    return SnapshotFile(
        frame,
        title=path.stem,
        comment=str(header.get("comment") or ""),
        labels=_labels(header),
        taken=_taken(header, reader.rows.warnings),
        origin=origin,
        file_name=path.name,
        typed=False,
        attributes={k: v for k, v in header.items() if k not in _OWN},
        warnings=reader.rows.warnings.lines(),
    )


def _labels(header: Mapping[str, Any]) -> tuple[str, ...]:
    labels = header.get("labels")
    if not isinstance(labels, list):
        labels = str(header.get("keywords") or "").split(",")
    return tuple(filter(None, (str(label).strip() for label in labels)))


def _taken(header: Mapping[str, Any], warnings: Losses) -> datetime | None:
    seconds = header.get("save_time")
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        warnings.note(f"save_time {seconds!r} is no time")
        return None


class _Reader:
    def __init__(self, name: str, problems: Problems, options: ReadOptions) -> None:
        self.rows = ValueRows(name, problems, options)
        self.header: Mapping[str, Any] = {}
        self._name = name
        self._problems = problems
        self._macros = Macros(options.macros)
        self._own_macros = options.macros
        self._metas: dict[tuple[Any, ...], Meta] = {}

    def read(self, lines: Iterator[tuple[int, str]]) -> None:
        first = True
        for number, raw in lines:
            text = raw.strip()
            if text.startswith("#"):
                if first:
                    self._header(number, text[1:].strip())
            elif text:
                self._line(number, text)
            first = first and not text

    def _header(self, number: int, text: str) -> None:
        if not text.startswith("{"):
            self.rows.warnings.note("no header with meta data")
            return
        try:
            header = json.loads(text)
        except (ValueError, RecursionError) as e:
            self._problems.add(self._name, number, f"the JSON header: {e}")
            return
        macros = header.get("macros")
        if isinstance(macros, dict) and all(isinstance(v, str) for v in macros.values()):
            self._macros = Macros({**macros, **self._own_macros})
        self.header = header

    def _line(self, number: int, text: str) -> None:
        name, comma, value = text.partition(",")
        try:
            name = canonical(self._macros.expand(name.rstrip()))
        except MacroError as e:
            self._problems.add(self._name, number, str(e))
            return
        value = value.strip()
        if not self.rows.new(name, number, value):
            return
        try:
            cell = self._cell(value) if comma and value else None
        except RecursionError:
            self._problems.add(self._name, number, f"{name}: elements within elements")
        except json.JSONDecodeError as e:
            self._problems.add(self._name, number, f"{name}: no JSON: {e}")
        except ValueError as e:
            self.rows.warnings.note(f"line {number}: {name}: {e}; left without a value")
            self.rows.columns.add_missing(name, State.ERROR)
        else:
            if cell is None:
                self.rows.columns.add_missing(name, State.DISCONNECTED)
            else:
                self.rows.put(name, cell)

    def _cell(self, text: str) -> Cell | None:
        value = json.loads(text)
        if not isinstance(value, dict):
            return None if value is None else _cell(value)
        if "val" not in value:
            raise ValueError('an object without "val"')
        if value["val"] is None:
            return None
        cell = _cell(value["val"])
        units, precision = value.get("EGU"), value.get("PREC")
        if not units and not precision:
            return cell
        key = (cell.meta, str(units or ""), precision if type(precision) is int and 0 <= precision < 100 else 0)
        if key not in self._metas:
            self._metas[key] = Meta(cell.meta.dbf, cell.meta.count, units=key[1], precision=key[2])
        return cell._replace(meta=self._metas[key])


def _cell(value: Any) -> Cell:
    if isinstance(value, list):
        return _array(value)
    if isinstance(value, str):
        raw = value.encode()
        return text_cell(raw) if len(raw) < STRING_SIZE else chars_cell(raw)
    if isinstance(value, float):
        return number_cell(Dbf.DOUBLE, value)
    if isinstance(value, int):
        return number_cell(*_whole(value))
    raise ValueError("neither a number nor a text")


def _whole(value: int) -> tuple[Dbf, float]:
    if -(2**31) <= value < 2**31:
        return Dbf.LONG, int(value)
    if abs(value) > 2**1023 or float(value) != value:
        raise ValueError("a whole number that no type of Channel Access can hold")
    return Dbf.DOUBLE, float(value)


def _array(values: list[Any]) -> Cell:
    kinds = {type(v) for v in values}
    if kinds == {str}:
        return texts_cell([v.encode() for v in values])
    if not kinds <= {int, float, bool}:
        raise ValueError("an array of neither numbers nor texts")
    if kinds and kinds <= {int, bool} and all(-(2**31) <= v < 2**31 for v in values):
        return numbers_cell(Dbf.LONG, values)
    return numbers_cell(Dbf.DOUBLE, [_whole(v)[1] if isinstance(v, int) else v for v in values])


def write(sink: Sink, snapshot: SnapshotFile) -> list[str]:
    """A saved file; returns what it cannot hold."""
    losses = Losses()
    frame_losses(losses, snapshot, comment=True, labels=True, units=True, attributes=True)
    header = {
        **{k: v for k, v in snapshot.attributes.items() if k not in _OWN},
        "comment": snapshot.comment,
        "labels": list(snapshot.labels),
        "save_time": now_if_none(snapshot.taken).timestamp(),
    }
    try:
        sink(f"#{json.dumps(header)}\n")
    except (TypeError, ValueError, RecursionError):
        losses.note("the attributes are left out: they are no JSON")
        sink(f"#{json.dumps({k: v for k, v in header.items() if k in _OWN})}\n")
    for row in rows(snapshot.frame):
        problem = name_problem(row.name)
        if not row.setpoint:
            losses.left_out("a readback, and snapshot restores all it has", row.name)
        elif row.name in snapshot.read_only:
            losses.left_out("read-only, and snapshot restores all it has", row.name)
        elif problem is not None:
            losses.left_out(problem, row.name)
        elif row.state is not State.VALUE:
            sink(f"{row.name}\n")
        else:
            try:
                sink(f"{row.name},{json.dumps(_object(row, losses))}\n")
            except UnicodeDecodeError:
                losses.left_out("a text that is not UTF-8", row.name)
            except ValueError as e:
                losses.left_out(str(e), row.name)
    return losses.lines()


def _object(row: Row, losses: Losses) -> dict[str, Any]:
    if row.dbf is Dbf.STRING:
        values: list[Any] = [e.decode() for e in texts(row)]
    else:
        values = list(row.elements)
        chars_loss(losses, row)
        if any(math.isnan(v) and not plain_nan(v) for v in values if isinstance(v, float)):
            losses.add("a NaN with a payload becomes an ordinary one", row.name)
    result: dict[str, Any] = {"val": values if row.array else values[0]}
    if row.meta.units:
        result["EGU"] = row.meta.units
    if row.meta.precision:
        result["PREC"] = row.meta.precision
    return result
