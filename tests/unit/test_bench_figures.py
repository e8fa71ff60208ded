"""What the bench makes of its samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from squirrel_ioc.bench._bulk import changed, differences
from squirrel_ioc.bench._figures import JUDGED_COUNT, Figure, Target, machine_description
from squirrel_ioc.bench._report import print_report, write_json
from squirrel_ioc.model.frame import FrameBuilder
from squirrel_ioc.model.values import Dbf, Meta


@pytest.mark.parametrize(
    ("target", "samples", "verdict"),
    [
        (Target(0.25), [0.2, 0.24, 0.9], "pass"),
        (Target(0.25), [0.2, 0.26, 0.9], "MISS"),
        (Target(0.05, worst=True), [0.01, 0.02, 0.06], "MISS"),
        (Target(30, ">="), [31.0], "pass"),
        (Target(30, ">="), [29.0], "MISS"),
        (None, [1.0], ""),
    ],
)
def test_verdict(target: Target | None, samples: list[float], verdict: str) -> None:
    figure = Figure("k", "t", "s", target, samples)
    assert figure.verdict(judged=True) == verdict
    assert figure.verdict(judged=False) == ""


def test_failure_is_no_figure_whatever_is_judged() -> None:
    figure = Figure("k", "t", "s", Target(1), failure="it broke")
    assert figure.verdict(judged=False) == "FAILED"
    assert "median" not in figure.as_json(judged=True)


def test_report_shows_figures_verdicts_and_failures(tmp_path: Path) -> None:
    figures = [
        Figure("a", "Good", "s", Target(1), [0.5]),
        Figure("b", "Bad", "s", Target(1), [1.5]),
        Figure("c", "Broken", failure="no [answer]"),
    ]
    console = Console(width=120, record=True, quiet=False, file=(tmp_path / "out").open("w"))
    print_report(console, figures, machine_description(), JUDGED_COUNT)
    console.file.close()
    text = console.export_text()
    for part in ("Good", "0.500", "pass", "MISS", "FAILED Broken: no [answer]", "python"):
        assert part in text
    write_json(tmp_path / "bench.json", figures, {"cpu": "x"}, JUDGED_COUNT)
    told = json.loads((tmp_path / "bench.json").read_text())
    assert [f["verdict"] for f in told["figures"]] == ["pass", "MISS", "FAILED"]
    assert told["figures"][0]["median"] == 0.5


def test_changed_frame_has_another_value_in_every_row() -> None:
    builder = FrameBuilder()
    builder.add("d", 1.5, Meta(Dbf.DOUBLE, 1))
    builder.add("s", "text", Meta(Dbf.STRING, 1))
    builder.add("l", 7, Meta(Dbf.LONG, 1))
    builder.add("w", [1.0, np.nan, 3.0], Meta(Dbf.DOUBLE, 16))
    builder.add("e", 1, Meta(Dbf.ENUM, 1))
    frame = builder.build()
    other = changed(frame)
    assert differences(frame, frame) == 0
    assert differences(frame, other) == 5
    assert [other.value(i) for i in (0, 1, 2, 4)] == [2.5, "Text", 8, 0]
    np.testing.assert_array_equal(other.value(3), [2.0, np.nan, 4.0])
