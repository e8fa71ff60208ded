"""JSON lines: everything, bit for bit; and files that are not what they say."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_helpers import problems_of
from frame_strategies import Cell, all_bits, cell_lists, check, frame_of
from hypothesis import given
from hypothesis import strategies as st

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats import CatalogueFile, Limits, SnapshotFile, read_catalogue, read_snapshot, write_snapshot
from squirrel_ioc.formats.compressed import BigFile, new_file
from squirrel_ioc.formats.jsonl.jsonl import Writer, read_stream
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta, State

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def there_and_back(*things: SnapshotFile | list[Entry]) -> list[CatalogueFile | SnapshotFile]:
    """What comes out of a file that these were written to."""
    out = io.StringIO()
    writer = Writer(out.write)
    for thing in things:
        if isinstance(thing, SnapshotFile):
            writer.snapshot(thing)
        else:
            writer.catalogue(thing)
    writer.close()
    return list(read_stream(io.BytesIO(out.getvalue().encode()), "t.jsonl"))


@given(cell_lists(), st.data())
def test_every_bit_of_a_snapshot_comes_back(cells: list[Cell], data: st.DataObject) -> None:
    names = [c.name for c in cells]
    setpoints = data.draw(st.integers(0, len(names)))
    frame = frame_of(cells, ChannelList.of(names, setpoints))
    known = st.sampled_from(names) if names else st.nothing()
    snapshot = SnapshotFile(
        frame,
        title=data.draw(st.text(max_size=5)),
        comment=data.draw(st.text(max_size=20)),
        labels=tuple(data.draw(st.lists(st.text(max_size=5), max_size=3))),
        taken=data.draw(st.none() | st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3.5))]))),
        user=data.draw(st.text(max_size=5)),
        origin="autosave",
        file_name="ä.sav",
        typed=data.draw(st.booleans()),
        readbacks=data.draw(st.dictionaries(known | st.just("ELSE"), st.text(min_size=1, max_size=5), max_size=3)),
        read_only=data.draw(st.frozensets(known | st.just("ELSE"), max_size=3)),
        attributes=data.draw(st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
    )
    (back,) = there_and_back(snapshot)
    assert isinstance(back, SnapshotFile)
    check(back.frame)
    assert all_bits(back.frame) == all_bits(frame)
    assert back.frame.channels.setpoints == setpoints
    assert replace(back, frame=frame) == snapshot


def test_numbers_that_json_does_not_know() -> None:
    numbers = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1.7976931348623157e308, 0.1], np.float64)
    odd = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x7FF0000000000001], np.uint64).view(np.float64)
    builder = FrameBuilder()
    for i, raw in enumerate([*numbers, *odd]):
        builder.add(f"D{i}", raw.tobytes(), Meta(Dbf.DOUBLE, 1, limits=(float("nan"), float("inf"), *[0.0] * 6)))
    builder.add("F", np.array([0x7FC00001], np.uint32).tobytes(), Meta(Dbf.FLOAT, 1))
    builder.add("S", b"\xff\xfe", Meta(Dbf.STRING, 1))
    builder.add("E", b"", Meta(Dbf.STRING, 1))
    builder.add("W", odd.tobytes(), Meta(Dbf.DOUBLE, 3))
    builder.add("Z", b"", Meta(Dbf.LONG, 3))
    builder.add_missing("M", State.TIMEOUT)
    frame = builder.build()
    (back,) = there_and_back(SnapshotFile(frame))
    assert isinstance(back, SnapshotFile)
    assert all_bits(back.frame) == all_bits(frame)


def big(count: int, offset: float = 0.0) -> Frame:
    """A frame of several lines of values."""
    builder = FrameBuilder()
    for i in range(count):
        builder.add(
            f"P{i}", i + offset if i % 7 else f"text {i}", Meta(Dbf.DOUBLE if i % 7 else Dbf.STRING, 1), stamp=i
        )
    return builder.build()


def test_snapshots_share_their_list_and_come_one_by_one() -> None:
    first = big(2500)
    second = replace(big(2500, 0.5), channels=first.channels)
    out: list[str] = []
    writer = Writer(out.append)
    writer.catalogue([Entry("P1", "P2", tags={"A": ("b",)})])
    for frame in (first, second, first):
        writer.snapshot(SnapshotFile(frame, taken=datetime(2026, 1, 2, tzinfo=UTC)))
    writer.close()
    keys = [next(iter(json.loads(line))) for line in out]
    assert keys.count("channels") == 1
    assert keys.count("values") == 9
    reading = read_stream(io.BytesIO("".join(out[:-1]).encode()), "cut.jsonl")
    assert next(reading) == CatalogueFile([Entry("P1", "P2", tags={"A": ("b",)})])
    for frame in (first, second, first):
        record = next(reading)
        assert isinstance(record, SnapshotFile)
        assert all_bits(record.frame) == all_bits(frame)
    with pytest.raises(FormatError, match=r"cut\.jsonl:\d+: has no end: the file is not whole"):
        next(reading)


def test_lists_are_forgotten_so_that_memory_is_bounded() -> None:
    frames = [replace(big(3), channels=ChannelList.of([f"A{i}", "B", "C"])) for i in range(20)]
    back = there_and_back(*(SnapshotFile(f) for f in frames))
    assert [r.frame.channels.names[0] for r in back if isinstance(r, SnapshotFile)] == [f"A{i}" for i in range(20)]


def test_empty_things_come_back() -> None:
    nothing, none = there_and_back([], SnapshotFile(Frame.empty(ChannelList.of([]))))
    assert nothing == CatalogueFile([])
    assert isinstance(none, SnapshotFile)
    assert len(none.frame) == 0


def test_one_file_one_snapshot(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "t.jsonl", SnapshotFile(big(3), title="x"), "jsonl")
    assert read_snapshot(tmp_path / "t.jsonl").title == "x"
    with pytest.raises(FormatError, match="holds no catalogue"):
        read_catalogue(tmp_path / "t.jsonl")


def lines_of(frame: Frame) -> list[Any]:
    """The records of a file with a catalogue and a snapshot."""
    out: list[str] = []
    writer = Writer(out.append)
    writer.catalogue([Entry("A"), Entry("B")])
    writer.snapshot(SnapshotFile(frame))
    writer.close()
    return [json.loads(line) for line in out]


def change(key: str, **changes: Any) -> Callable[[list[Any]], object]:
    """Change the first record of a kind."""

    def apply(records: list[Any]) -> object:
        record = next(r for r in records if key in r)
        return record[key].update(changes)

    return apply


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r[0].update(version=2), ":1: version 2 of the format is not known, only 1"),
        (lambda r: r[0].update(types=[]), ":1: the types or states of its header are others"),
        (lambda r: r.pop(0), ":1: the file does not begin with a header"),
        (lambda r: r.insert(2, {"what": 1}), ":3: 'what' is nothing that is known"),
        (lambda r: r.insert(2, [1]), ":3: a line is an object with a single key"),
        (lambda r: r.append({"meta": {}}), "something follows the end"),
        (lambda r: r.pop(), "has no end: the file is not whole"),
        (lambda r: r.pop(-2), "the snapshot before has 0 of its rows only"),
        (lambda r: r.pop(2), "2 entries were announced, 1 have come"),
        (change("entry", setpoint="B"), "B is there twice"),
        (change("entry", nonsense=1), "'nonsense' is no part of an entry"),
        (change("entry", atol="x"), "'x' is no number"),
        (change("entry", setpoint="A B"), "'A B' is no name of a PV"),
        (change("end", lines=3), "3 lines were written"),
        (change("channels", rows=10**9), "rows: 1000000000 is no number from 0 to"),
        (change("names", names=["A", "A", "C"]), "a channel is there twice"),
        (change("names", names=["A"]), "its list of channels is not complete"),
        (change("names", names=["A"] * 4), "more than the 3 names announced"),
        (change("snapshot", list=7), "7 is missing"),
        (change("snapshot", taken="yesterday"), "Invalid isoformat"),
        (change("snapshot", taken="2026-01-01T00:00:00"), "taken has no offset"),
        (change("meta", id=0), "id 0; the next one is 1"),
        (change("meta", type="QUAD"), "'QUAD' is missing"),
        (change("meta", limits=[1]), "limits are eight numbers"),
        (change("values", first=1), "first: 1; the next row is 0"),
        (change("values", rows=4), "rows: 4 is not possible here"),
        (change("values", state=[0, 0]), "state: not 3 whole numbers"),
        (change("values", state=99), "a state, type or meta that is not known"),
        (change("values", meta=-1), "a state, type or meta that is not known"),
        (change("values", count=2), "bytes do not fit its type and count"),
        (change("values", stamp=2**70), "stamp: a number that does not fit"),
        (change("values", number=[1.0, None, 2.0]), "a value without its number"),
        (change("values", number=[1.0, "nan:0000000000000001", 2.0]), "is no number"),
        (change("values", type=[6, 1, 0], number=[1.0, 1.5, None]), "a number that does not fit SHORT"),
        (change("values", text=[]), "a value without its number, or a text or an array without its bytes"),
        (change("values", text=[[5, "x"]]), "text: no row and text"),
        (change("values", bytes=[[0, "?"]]), "t.jsonl:10: "),
        (change("values", text=[[2, "x" * 32768]]), "P2: 32768 bytes do not fit its type and count"),
        (change("values", extra=1), "'extra' is no column"),
    ],
)
def test_a_spoilt_file_is_refused(tmp_path: Path, spoil: Callable[[list[Any]], object], reason: str) -> None:
    builder = FrameBuilder()
    builder.add("P0", 1.0, Meta(Dbf.DOUBLE, 1))
    builder.add("P1", 2.0, Meta(Dbf.DOUBLE, 1))
    builder.add("P2", "text", Meta(Dbf.STRING, 1))
    records = lines_of(builder.build())
    spoil(records)
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    found = problems_of(path, form="jsonl")
    assert reason in found[0]
    assert all(p.startswith("t.jsonl") for p in found)


def test_several_mistakes_in_values_and_entries_are_all_reported(tmp_path: Path) -> None:
    records = lines_of(big(3000))
    for record in records:
        if "entry" in record:
            record["entry"]["order"] = "first"
        if "values" in record:
            record["values"]["count"] = -1
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    assert len(problems_of(path, "catalogue")) == 2
    entries = [i for i, r in enumerate(records) if "entry" in r]
    for i in entries:
        del records[i]["entry"]["order"]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    assert len(problems_of(path)) == 3


def test_more_rows_than_allowed_are_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "t.jsonl", SnapshotFile(big(30)), "jsonl")
    (problem,) = problems_of(tmp_path / "t.jsonl", limits=Limits(rows=29))
    assert "rows: 30 is no number from 0 to 29" in problem


def arrays(count: int) -> SnapshotFile:
    """A snapshot with so many arrays of 100 numbers."""
    builder = FrameBuilder()
    for i in range(count):
        builder.add(f"W:{i}", np.arange(100.0), Meta(Dbf.DOUBLE, 100))
    return SnapshotFile(builder.build(), title="waves")


def test_what_is_in_memory_is_bounded(tmp_path: Path) -> None:
    """Of one snapshot, not of the file."""
    out = io.StringIO()
    writer = Writer(out.write)
    for count in (18, 18, 18, 40):
        writer.snapshot(arrays(count))
    writer.close()
    read = read_stream(io.BytesIO(out.getvalue().encode()), "t.jsonl", Limits(value_bytes=30_000))
    assert [len(r.frame) for r in (next(read), next(read), next(read)) if isinstance(r, SnapshotFile)] == [18, 18, 18]
    with pytest.raises(FormatError, match=r"^t\.jsonl:\d+: more than 30000 bytes of it would be in memory$"):
        next(read)


@pytest.mark.parametrize("kind", ["meta", "names", "entry"])
def test_what_is_in_memory_is_bounded_whatever_it_is(kind: str) -> None:
    meta = {"type": "LONG", "count": 1, "precision": 0, "limits": [0] * 8, "labels": []}
    lines: list[dict[str, Any]] = {
        "meta": [{"meta": {**meta, "id": i, "units": f"{i}"}} for i in range(1, 1000)],
        "names": [
            {"channels": {"list": 0, "setpoints": 0, "rows": 1000}},
            *({"names": {"list": 0, "names": [f"T:{i:080}"]}} for i in range(1000)),
        ],
        "entry": [
            {"catalogue": {"entries": 1000}},
            *({"entry": {"setpoint": f"T:{i:080}"}} for i in range(1000)),
        ],
    }[kind]
    out = io.StringIO()
    Writer(out.write)
    text = io.BytesIO("\n".join([out.getvalue().strip(), *map(json.dumps, lines)]).encode())
    with pytest.raises(FormatError, match="more than 50000 bytes of it would be in memory"):
        list(read_stream(text, "t.jsonl", Limits(value_bytes=50_000)))


def test_nothing_is_written_that_would_not_be_read_again() -> None:
    for limits, reason in (
        (Limits(line_bytes=1000), r"waves, W:0: a line of \d+ bytes, more than the 1000 that are read"),
        (Limits(value_bytes=20_000), "the snapshot has more than the 20000 bytes that are held in memory"),
    ):
        with pytest.raises(FormatError, match=reason):
            Writer(lambda _: None, limits).snapshot(arrays(20))
    out = io.StringIO()
    writer = Writer(out.write, limits := Limits(line_bytes=30_000, value_bytes=30_000))
    for _ in range(5):
        writer.snapshot(arrays(20))
    writer.close()
    assert len(list(read_stream(io.BytesIO(out.getvalue().encode()), "t.jsonl", limits))) == 5


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_small_file_that_unpacks_to_a_large_line(tmp_path: Path, suffix: str) -> None:
    """It is refused before it is unpacked: nearly nothing of it is in memory."""
    path = tmp_path / f"t.jsonl{suffix}"
    with new_file(path, replace=False) as sink:
        for _ in range(32):
            sink("x" * (1 << 20))
    assert path.stat().st_size < 1 << 18
    file = BigFile(path, Limits())
    tracemalloc.start()
    try:
        with file.text() as text, pytest.raises(FormatError) as caught:
            list(read_stream(text, path.name, Limits(line_bytes=1 << 20)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        file.close()
    assert caught.value.problems == (f"{path.name}:1: the line is longer than 1048576 bytes",)
    assert peak < 8 << 20


def test_a_file_of_an_earlier_version_knew_fewer_states() -> None:
    out = io.StringIO()
    writer = Writer(out.write)
    builder = FrameBuilder()
    builder.add("A", 1.0, Meta(Dbf.DOUBLE, 1))
    writer.snapshot(SnapshotFile(builder.build()))
    writer.close()
    first, rest = out.getvalue().split("\n", 1)
    header = json.loads(first)
    states = [s.name for s in State]
    assert states in [*header.values(), *(v.get("states") for v in header.values() if isinstance(v, dict))]
    for known, good in ((states[:8], True), ([*states, "NEWER"], False), (["OTHER"], False)):
        text = first.replace(json.dumps(states), json.dumps(known)).replace(
            json.dumps(states, separators=(",", ":")), json.dumps(known, separators=(",", ":"))
        )
        assert text != first
        data = io.BytesIO(f"{text}\n{rest}".encode())
        if good:
            assert len(list(read_stream(data, "t.jsonl"))) == 1
        else:
            with pytest.raises(FormatError, match="states"):
                list(read_stream(data, "t.jsonl"))


def test_names_of_earlier_versions_become_those_of_today() -> None:
    builder = FrameBuilder()
    for name in ("A.VAL", "B", "B.VAL", "ca://C"):
        builder.add(name, 1.0, Meta(Dbf.DOUBLE, 1))
    snapshot = SnapshotFile(builder.build(), readbacks={"A.VAL": "A:RB.VAL"}, read_only=frozenset(["ca://C"]))
    catalogue, back = there_and_back([Entry("A.VAL", "A:RB.VAL"), Entry("B"), Entry("B.VAL")], snapshot)
    assert isinstance(catalogue, CatalogueFile)
    assert isinstance(back, SnapshotFile)
    assert catalogue.entries == [Entry("A", "A:RB"), Entry("B"), Entry("B.VAL")]
    # Where an old database had both, both stay: each has values of its own.
    assert back.frame.channels.names == ("A", "B", "B.VAL", "C")
    assert back.readbacks == {"A": "A:RB"}
    assert back.read_only == {"C"}
