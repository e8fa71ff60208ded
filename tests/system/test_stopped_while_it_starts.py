"""A signal at any moment of a start ends the program and all that it has started, and leaves nothing.

The moments: before and in the imports, in the making of the database, in the start of it and of the simulated IOCs, in
the connecting, and when it serves. Which delay hits what depends on the machine; together they hit all of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from ioc_process import LOOPBACK, give_ports, take_ports
from processes import left_over
from running import environment

END_S = 30.0
SERVES_S = 30.0

SIGNALS = (signal.SIGINT, signal.SIGTERM)
DEMO_S = (0.05, 0.3, 0.8, 1.2, 1.7, 2.4, 3.2)
RUN_S = (1.0, 1.5, 2.0)
OTHERS_S = (0.3, 1.5)


def alternating(delays_s: tuple[float, ...]) -> list[tuple[float, signal.Signals]]:
    """Each delay with one of the two signals."""
    return [(delay_s, SIGNALS[i % 2]) for i, delay_s in enumerate(delays_s)]


@pytest.fixture
def settings(folder: Path) -> Iterator[Path]:
    (port,) = take_ports(1)
    (folder / "pvs.csv").write_text("setpoint\nNOT:THERE\n")
    file = folder / "settings.yaml"
    keys = {
        "prefix": "STOPPED:",
        "port": port,
        "interfaces": [LOOPBACK],
        "state_dir": str(folder / "state"),
        "catalogue": {"files": ["pvs.csv"]},
        "areas": {"ALL": "*"},
        "ca": {"addr_list": [f"{LOOPBACK}:1"], "auto_addr_list": False},
    }
    file.write_text(yaml.safe_dump(keys))
    yield file
    give_ports([port])


@contextmanager
def starting(folder: Path, *arguments: str | Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A program that starts, and its log. What is temporary is in `folder`, too."""
    temporary, log = folder / "tmp", folder / "log"
    temporary.mkdir(exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "squirrel_ioc", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment() | {"TMPDIR": str(temporary)},
            start_new_session=True,
        )
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()


def check_ends(folder: Path, process: subprocess.Popen[bytes], log: Path, number: signal.Signals) -> None:
    """It is told to stop as a terminal does it (Ctrl-C goes to all of its group), or as systemd does."""
    begin = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code = process.wait(END_S)
    said = log.read_text()
    print(f"{number.name}: {code} after {time.monotonic() - begin:.2f} s")
    # What comes before the first line of the program is Python's.
    if "KeyboardInterrupt" in said:
        assert "squirrel_ioc/cli" not in said
    else:
        assert code in (0, 130, -number), said
        assert "Traceback" not in said, said
    assert left_over(folder) == []
    ending = _session(process.pid)
    psutil.wait_procs(ending, timeout=END_S)
    assert _session(process.pid) == [], ending
    assert list((folder / "tmp").iterdir()) == []


def _session(leader: int) -> list[psutil.Process]:
    """The processes of its session that have not ended."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize(("delay_s", "number"), alternating(DEMO_S))
def test_demo(folder: Path, delay_s: float, number: signal.Signals) -> None:
    state = folder / "state"
    with starting(folder, "demo", "--count", "20", "--state", state) as (process, log):
        time.sleep(delay_s)
        check_ends(folder, process, log, number)


def test_demo_when_it_says_that_it_starts(folder: Path) -> None:
    with starting(folder, "demo", "--count", "20", "--state", folder / "state") as (process, log):
        until_it_says(process, log, "Starting")
        check_ends(folder, process, log, signal.SIGINT)


@pytest.mark.parametrize(("delay_s", "number"), alternating(RUN_S))
def test_run_and_a_worker_after_it(folder: Path, settings: Path, delay_s: float, number: signal.Signals) -> None:
    with starting(folder, "run", "--config", settings) as (process, log):
        time.sleep(delay_s)
        check_ends(folder, process, log, number)
    if delay_s == RUN_S[-1]:
        check_a_worker(folder, settings)


def check_a_worker(folder: Path, settings: Path) -> None:
    """It needs a database that is whole: what was stopped in its making is made anew."""
    with starting(folder, "migrate", "--config", settings) as (process, log):
        assert process.wait(SERVES_S) == 0, log.read_text()
    with starting(folder, "worker", "--area", "ALL", "--config", settings) as (process, log):
        until_it_says(process, log, "starting the embedded database")
        check_ends(folder, process, log, signal.SIGTERM)


@pytest.mark.parametrize("command", [("sim", "--count", "20"), ("bench", "--count", "20", "--iterations", "1")])
@pytest.mark.parametrize(("delay_s", "number"), alternating(OTHERS_S))
def test_sim_and_bench(folder: Path, command: tuple[str, ...], delay_s: float, number: signal.Signals) -> None:
    with starting(folder, *command) as (process, log):
        time.sleep(delay_s)
        check_ends(folder, process, log, number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_that_makes_the_database(folder: Path, settings: Path, number: signal.Signals) -> None:
    with starting(folder, "migrate", "--config", settings) as (process, log):
        while not (folder / "state" / "postgres").exists():
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        check_ends(folder, process, log, number)


def until_it_says(process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    """Wait for a line of it."""
    deadline = time.monotonic() + SERVES_S
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
