"""The bench on a small machine: every measurement works, and nothing is left behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest


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


def left_over(folder: Path) -> list[str]:
    found = []
    for p in psutil.process_iter(["cwd", "cmdline", "status"]):
        place = " ".join([p.info["cwd"] or "", *(p.info["cmdline"] or [])])
        if str(folder) in place and p.info["status"] != psutil.STATUS_ZOMBIE and p.pid != os.getpid():
            found.append(place)
    return found


@pytest.mark.timeout(300)
def test_every_measurement_works(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    with bench("--count", "400", "--iterations", "2", "--json", report, temporary=tmp_path) as process:
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
    assert left_over(tmp_path) == []
    assert list(tmp_path.iterdir()) == [report]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with bench("--count", "100", "--iterations", "1000", temporary=tmp_path) as process:
        try:
            assert process.stderr is not None
            # The service runs by then.
            assert any(line.startswith("Snapshot") for line in iter(process.stderr.readline, ""))
            assert left_over(tmp_path)
            process.send_signal(number)
            assert process.wait(60) != 0
        finally:
            process.kill()
    assert left_over(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
