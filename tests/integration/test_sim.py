"""The simulated machine: starts, follows, stops, leaves nothing."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from squirrel_ioc.sim import SimulatedMachine, SimulationError, free_ports

CLIENT = """
import asyncio, json, sys
import aioca

async def main():
    out = []
    for op, *arguments in json.loads(sys.argv[1]):
        if op == "put":
            await aioca.caput(*arguments, wait=True, timeout=30)
        elif op == "get":
            values = await aioca.caget(*arguments, timeout=30)
            out.append([v.tolist() if hasattr(v, "tolist") else v for v in values])
        else:
            values = await aioca.caget(*arguments, timeout=30, format=aioca.FORMAT_CTRL)
            fields = {"units": "", "precision": None, "enums": [], "upper_ctrl_limit": None}
            out.append([{f: getattr(v, f, default) for f, default in fields.items()} for v in values])
    print(json.dumps(out))

asyncio.run(main())
"""


def ca(machine: SimulatedMachine, *operations: tuple[Any, ...]) -> Any:
    """What a CA client in its own process got: ("put", names, values), ("get", names), ("info", names)."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(operations)],
        env=os.environ | {"EPICS_CA_ADDR_LIST": machine.addr_list, "EPICS_CA_AUTO_ADDR_LIST": "NO"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def has_ended(process: psutil.Process) -> bool:
    """Also when nobody has collected its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def prefix() -> str:
    return f"T{secrets.token_hex(4)}:"


def named(machine: SimulatedMachine, text: str) -> str:
    return next(name for name in machine.names if text in name)


def test_readbacks_follow_and_types_are_mixed() -> None:
    with SimulatedMachine(40, prefix()) as machine:
        assert len(machine.names) == 40
        quad, xcor, valve = (named(machine, t) for t in ("QUAD:S00:100:BDES", "XCOR:S00:100:BDES", "VVPG:S00:100:CMD"))
        mode, note, table = (named(machine, t) for t in (":MODE", ":NOTE", ":TABLE"))
        readbacks = [e.readback for e in machine.entries if e.setpoint in (quad, xcor, valve)]
        before, after, info = ca(
            machine,
            ("get", [quad, mode, note, table]),
            ("put", [quad, xcor, valve], [33.25, 1.5, 0]),
            ("get", readbacks),
            ("info", [quad, valve, mode]),
        )
    assert before[0] == 4.0
    assert before[1] == 2
    assert before[2] == "calibrated, cell 0"
    assert before[3] == [0.5 * k for k in range(16)]
    tolerance = next(e.atol for e in machine.entries if e.setpoint == xcor)
    assert tolerance is not None
    assert after[0] == 33.25
    assert after[1] != 1.5
    assert abs(after[1] - 1.5) < tolerance
    assert after[2] == 0
    assert info[0] == {"units": "kG", "precision": 4, "enums": [], "upper_ctrl_limit": 120.0}
    assert info[1]["enums"] == ["CLOSED", "OPEN"]
    assert info[2]["enums"] == ["Off", "Standby", "Accelerate", "Deliver"]


def test_every_channel_of_the_catalogue_is_served() -> None:
    with SimulatedMachine(203, prefix(), iocs=3) as machine:
        (values,) = ca(machine, ("get", list(machine.names)))
        rows = list(csv.DictReader(machine.catalogue_file.read_text().splitlines()))
        assert sorted(n for i in range(3) for n in machine.names_of_ioc(i)) == sorted(machine.names)
    assert len(values) == len(set(machine.names)) == 203
    assert [r["Setpoint"] for r in rows] == [e.setpoint for e in machine.entries]
    assert {r["Readback"] for r in rows} - {""} == set(machine.names[len(rows) :])
    assert any(e.max_step for e in machine.entries)
    assert len({e.order for e in machine.entries}) > 2


def test_without_readbacks_it_is_the_mix_of_the_measurements() -> None:
    with SimulatedMachine(100, prefix(), iocs=4, readbacks=False) as machine:
        (values,) = ca(machine, ("get", list(machine.names)))
        databases = "".join(p.read_text() for p in sorted(machine.directory.glob("*.db")))
        assert [len(machine.names_of_ioc(i)) for i in range(4)] == [25] * 4
    kinds = Counter(line.split("(")[1].split(",")[0] for line in databases.splitlines() if line.startswith("record"))
    assert kinds == {"ao": 70, "longout": 10, "bo": 10, "stringout": 5, "waveform": 5}
    assert all(e.readback is None for e in machine.entries)
    assert [len(v) for v in values if isinstance(v, list)] == [16] * 5


def test_stop_leaves_no_process_and_no_file() -> None:
    machine = SimulatedMachine(20, prefix(), iocs=2)
    with machine:
        pids, directory = machine.processes, machine.directory
        assert len(pids) == 2
        assert all(psutil.pid_exists(pid) for pid in pids)
        # A stopped process must not be left behind either.
        os.kill(pids[0], signal.SIGSTOP)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not directory.exists()
    machine.stop()


def test_given_directory_and_ports_are_used_again(tmp_path: Path) -> None:
    name = prefix()
    with SimulatedMachine(20, name, directory=tmp_path) as machine:
        port = machine.ports[0]
        with pytest.raises(SimulationError, match=rf"port {port}.*in use"):
            SimulatedMachine(20, prefix(), ports=[port]).start()
    with SimulatedMachine(20, name, directory=tmp_path, ports=[port]) as again:
        assert again.ports == (port,)
        assert again.addr_list == f"127.0.0.1:{port}"
    assert again.catalogue_file.exists()


def test_what_ioc_printed_is_in_the_error(tmp_path: Path) -> None:
    class Broken(SimulatedMachine):
        def _write_files(self) -> None:
            super()._write_files()
            (tmp_path / "ioc0.db").write_text('record(nonsense, "X") {}')

    with pytest.raises(SimulationError, match="nonsense"):
        Broken(1, prefix(), directory=tmp_path).start()


@pytest.mark.parametrize(("count", "iocs", "ports"), [(0, 1, None), (1, 0, None), (1, 1, [1, 2])])
def test_impossible_machines_are_refused(count: int, iocs: int, ports: list[int] | None) -> None:
    with pytest.raises(SimulationError):
        SimulatedMachine(count, prefix(), iocs=iocs, ports=ports)


async def test_loop_goes_on_while_it_starts() -> None:
    gaps: list[float] = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    ticking = asyncio.create_task(tick())
    async with SimulatedMachine(20, prefix()) as machine:
        pids = machine.processes
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    assert len(gaps) > 10
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.parametrize("stopped", [False, True])
def test_ioc_ends_when_its_parent_is_killed(stopped: bool, tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from squirrel_ioc.sim import SimulatedMachine
with SimulatedMachine(5, {prefix()!r}, directory=Path({str(tmp_path)!r})) as machine:
    print(*machine.processes, flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        ioc = psutil.Process(pid)
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert wait_until(lambda: has_ended(ioc))


def test_free_ports_differ_and_prefer_what_is_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = free_ports(3, preferred=[port])
    assert len(set(ports)) == 3
    assert port not in ports
    assert free_ports(1, preferred=[ports[2]]) == [ports[2]]
