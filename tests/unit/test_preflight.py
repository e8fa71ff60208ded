import numpy as np
import pytest

from squirrel_ioc.jobs.restore.ledger import Ledger, Verdict
from squirrel_ioc.jobs.restore.preflight import catalogue_rows, check_types
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.frame import ChannelList, Frame, FrameBuilder, Value
from squirrel_ioc.model.values import Dbf, Meta, State


def frame(value: Value, meta: Meta) -> Frame:
    builder = FrameBuilder()
    builder.add("PV", value, meta)
    return builder.build()


def check(saved: Frame, now: Frame) -> str | None:
    ledger = Ledger(1)
    check_types(ledger, saved, now, np.array([0]))
    bad, reasons = ledger.bad()
    return reasons[0] if len(bad) else None


NO_FIT = "its type was DOUBLE, it is LONG now, and the saved value does not fit"
DOUBLE, LONG, STRING = Meta(Dbf.DOUBLE, 1), Meta(Dbf.LONG, 1), Meta(Dbf.STRING, 1)


@pytest.mark.parametrize(
    ("saved", "now", "reason"),
    [
        (frame(1.5, DOUBLE), frame(2.5, DOUBLE), None),
        (frame(3.0, DOUBLE), frame(1, LONG), None),
        (frame(1.5, DOUBLE), frame(1, LONG), NO_FIT),
        (frame(5e9, DOUBLE), frame(1, LONG), NO_FIT),
        (frame(float("nan"), DOUBLE), frame(1, LONG), NO_FIT),
        (frame(2**31 - 1, LONG), frame(1.0, DOUBLE), None),
        (frame("on", STRING), frame(1.0, DOUBLE), "its type was STRING, it is DOUBLE now"),
        (frame([1, 2, 3], Meta(Dbf.LONG, 5)), frame([1], Meta(Dbf.LONG, 2)), "3 elements saved, it holds 2 now"),
        (frame([1, 2], Meta(Dbf.LONG, 5)), frame([1], Meta(Dbf.LONG, 2)), None),
    ],
)  # fmt: skip
def test_type_changes(saved: Frame, now: Frame, reason: str | None) -> None:
    assert check(saved, now) == reason


def test_an_enum_whose_label_changed_is_not_written() -> None:
    saved = frame(1, Meta(Dbf.ENUM, 1, labels=("Closed", "Open")))
    assert check(saved, frame(0, Meta(Dbf.ENUM, 1, labels=("Closed", "Open", "Fault")))) is None
    assert check(saved, frame(0, Meta(Dbf.ENUM, 1, labels=("Closed", "Opening")))) == (
        "state 1 was 'Open', it is 'Opening' now"
    )
    assert check(saved, frame(0, Meta(Dbf.ENUM, 1, labels=("Closed",)))) == "state 1 was 'Open', it is None now"


def test_a_pv_whose_present_value_cannot_be_read_is_not_written() -> None:
    now = Frame.empty(ChannelList.of(["PV"]), State.TIMEOUT)
    assert check(frame(1.0, DOUBLE), now) == ("its present value could not be read for the backup: no answer in time")


def test_catalogue_rows_find_setpoints_only() -> None:
    catalogue = Catalogue.of([Entry("A:SET", "A:GET"), Entry("B:SET")])
    channels = ChannelList.of(["B:SET", "A:GET", "GONE", "A:SET"])
    assert catalogue_rows(channels, catalogue).tolist() == [1, -1, -1, 0]
    assert catalogue_rows(catalogue.channels.setpoint_list, catalogue).tolist() == [0, 1]
    assert catalogue_rows(catalogue.channels, catalogue).tolist() == [0, 1, -1]


def test_verdicts_are_disjoint() -> None:
    assert len({int(v) for v in Verdict}) == len(Verdict)
