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


def measured(folder: Path, *arguments: str) -> set[str]:
    """Run it to its end: nothing fails, and nothing is left. The keys of its figures."""
    report = folder / "bench.json"
    with bench(*arguments, "--json", report, temporary=folder) as process:
        try:
            out, err = process.communicate(timeout=500)
        finally:
            process.kill()
    assert process.returncode == 0, out + err
    told = json.loads(report.read_text())
    figures = {f["key"]: f for f in told["figures"]}
    assert [f["failure"] for f in figures.values() if f["failure"]] == []
    assert all(f["samples"] for f in figures.values())
    assert f"{told['count']} PVs" in out
    assert left_over(folder) == []
    assert list(folder.iterdir()) == [report]
    return set(figures)


@pytest.mark.timeout(600)
def test_every_measurement_works(folder: Path) -> None:
    keys = measured(folder, "--count", "400", "--iterations", "2")
    assert {"snapshot", "restore", "hung_first", "absent_snapshot", "latency_restore", "memory", "idle"} <= keys


@pytest.mark.timeout(600)
def test_what_faults_cost_is_measured(folder: Path) -> None:
    """Every wrong count, lost or doubled snapshot, and two services that answer at once are failures of a row."""
    assert {
        *("snapshot", "restore", "ratio_absent1_snapshot", "ratio_absent10_restore"),
        *("hung_first", "hung_second", "hung_restore_second", "hung_back", "ratio_hung", "latency_hung"),
        *("died_read", "died_held", "died_write", "died_back"),
        *("db_embedded", "db_stored", "db_tries", "db_connected", "db_next", "killed_answers", "killed_connected"),
        *("takeover_killed", "takeover_stopped", "takeover_ended"),
    } <= measured(folder, "--faults", "--count", "400", "--iterations", "1")


@pytest.mark.timeout(600)
def test_what_workers_bring_is_measured(folder: Path) -> None:
    keys = measured(folder, "--workers", "2", "--count", "200", "--iterations", "1")
    assert {"snapshot0", "snapshot1", "restore2", "latency_restore2"} <= keys
    assert {"lost_first", "lost_again", "speed_snapshot0", "speed_restore1"} <= keys


@pytest.mark.parametrize(("at", "number"), [("First start", signal.SIGINT), ("Snapshot", signal.SIGTERM)])
def test_interrupted_it_leaves_nothing(folder: Path, at: str, number: signal.Signals) -> None:
    interrupt("--count", "100", "--iterations", "1", folder=folder, at=at, number=number)


def test_interrupted_while_an_ioc_hangs_it_leaves_nothing(folder: Path) -> None:
    arguments = ("--faults", "--count", "100", "--iterations", "1")
    interrupt(*arguments, folder=folder, at="Snapshot, 1 of 4 IOCs hung", number=signal.SIGINT)


def interrupt(*arguments: str, folder: Path, at: str, number: signal.Signals) -> None:
    with bench(*arguments, temporary=folder) as process:
        try:
            assert process.stderr is not None
            assert any(line.startswith(at) for line in iter(process.stderr.readline, ""))
            assert left_over(folder)
            process.send_signal(number)
            assert process.wait(60) != 0
        finally:
            process.kill()
    assert left_over(folder) == []
    assert list(folder.iterdir()) == []
