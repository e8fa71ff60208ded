import numpy as np

from squirrel_ioc.jobs.restore.ledger import Ledger, Touched, Verdict
from squirrel_ioc.model.job import Outcome


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.intp)


def test_every_row_is_open_until_settled() -> None:
    ledger = Ledger(3)
    assert ledger.open.tolist() == [0, 1, 2]
    ledger.settle(rows(1), Verdict.SKIPPED, "read-only")
    assert ledger.open.tolist() == [0, 2]


def test_the_first_verdict_stays() -> None:
    ledger = Ledger(3)
    ledger.settle(rows(0), Verdict.SKIPPED, "no value saved")
    ledger.settle(rows(0, 1), Verdict.FAILED, ["disconnected", "no answer"])
    assert ledger.count(Verdict.SKIPPED) == 1
    bad, reasons = ledger.bad()
    assert bad.tolist() == [1]
    assert reasons == ("no answer",)


def test_a_written_pv_that_reads_back_wrong_is_a_mismatch() -> None:
    ledger = Ledger(2)
    ledger.settle(rows(0, 1), Verdict.WRITTEN)
    ledger.retract(rows(1), ["wrote 1.0, reads back 0.5"])
    assert ledger.count(Verdict.WRITTEN) == 1
    assert ledger.bad()[1] == ("wrote 1.0, reads back 0.5",)


def test_skipped_on_purpose_is_no_reason_for_partial() -> None:
    ledger = Ledger(3)
    ledger.settle(rows(0), Verdict.SKIPPED, "read-only in the catalogue", expected=True)
    ledger.settle(rows(1), Verdict.UNCHANGED)
    ledger.settle(rows(2), Verdict.WRITTEN)
    assert ledger.outcome() is Outcome.OK


def test_anything_else_left_alone_is_partial_and_comes_first() -> None:
    ledger = Ledger(3)
    ledger.settle(rows(0), Verdict.SKIPPED, "read-only in the catalogue", expected=True)
    ledger.settle(rows(1), Verdict.SKIPPED, "no value saved: disconnected")
    ledger.settle(rows(2), Verdict.UNCHANGED)
    assert ledger.outcome() is Outcome.PARTIAL
    skipped, reasons = ledger.skipped()
    assert skipped.tolist() == [1, 0]
    assert reasons == ("no value saved: disconnected", "read-only in the catalogue")


def test_nothing_written_and_nothing_unchanged_is_never_ok() -> None:
    ledger = Ledger(1)
    ledger.settle(rows(0), Verdict.SKIPPED, "read-only in the catalogue", expected=True)
    assert ledger.outcome() is Outcome.FAILED


def test_a_mismatch_may_have_any_value() -> None:
    ledger = Ledger(2)
    ledger.settle(rows(0, 1), Verdict.WRITTEN)
    ledger.touched[:] = Touched.YES
    ledger.retract(rows(1), ["wrote 1.0, reads back 0.5"])
    assert ledger.touched.tolist() == [Touched.YES, Touched.MAYBE]
