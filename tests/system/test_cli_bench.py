"""The bench on a small machine: every measurement works, and nothing is left behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import left_over


def bench(*arguments: str | Path, temporary: Path) -> subprocess.Popen[str]:
    """Its files and processes are under `temporary`, which tells them from those of others."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "SQUIRREL_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "squirrel_ioc", "bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | {"TMPDIR": str(temporary), "COLUMNS": "160"},
    )


@pytest.mark.timeout(300)
def test_every_measurement_works(folder: Path) -> None:
    report = folder / "bench.json"
    with bench("--count", "400", "--iterations", "2", "--json", report, temporary=folder) as process:
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 0, out + err
    told = json.loads(report.read_text())
    figures = {f["key"]: f for f in told["figures"]}
    assert [f["failure"] for f in figures.values() if f["failure"]] == []
    assert {"snapshot", "restore", "hung_first", "absent_snapshot", "latency_restore", "memory", "idle"} <= set(figures)
    assert all(f["samples"] for f in figures.values())
    assert "400 PVs" in out
    assert left_over(folder) == []
    assert list(folder.iterdir()) == [report]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    with bench("--count", "100", "--iterations", "1000", temporary=folder) as process:
        try:
            assert process.stderr is not None
            # The service runs by then.
            assert any(line.startswith("Snapshot") for line in iter(process.stderr.readline, ""))
            assert left_over(folder)
            process.send_signal(number)
            assert process.wait(60) != 0
        finally:
            process.kill()
    assert left_over(folder) == []
    assert list(folder.iterdir()) == []
