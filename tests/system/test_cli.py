"""The commands as a shell sees them: what they print, how they exit, what they leave behind."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from squirrel_ioc.sim import free_ports


def cli(*arguments: str | Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "squirrel_ioc", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=environment(),
    )


def environment() -> dict[str, str]:
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "SQUIRREL_"))}
    return ours | {"COLUMNS": "200"}


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command that runs until it is told to stop; killed at the end if it is still there."""
    with subprocess.Popen(
        [sys.executable, "-m", "squirrel_ioc", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def settings_file(
    folder: Path, catalogue: str | None = "Setpoint,Readback,Area\nA,A:RB,L1\nB,,L2\n", **keys: object
) -> Path:
    """A settings file with its catalogue; `keys` replace or add."""
    if catalogue is not None:
        (folder / "pvs.csv").write_text(catalogue)
    settings = {
        "prefix": f"T{secrets.token_hex(3)}:",
        "port": free_ports(1)[0],
        "interfaces": ["127.0.0.1"],
        "state_dir": "state",
        "catalogue": {"files": ["pvs.csv"]},
        "ca": {"addr_list": f"127.0.0.1:{free_ports(1)[0]}"},
    }
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings | keys))
    return file


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_help_names_the_commands_and_the_exit_codes() -> None:
    done = cli("--help")
    assert done.returncode == 0
    for command in ("run", "demo", "sim", "check", "migrate", "snapshots", "bench", "Exit codes"):
        assert command in done.stdout


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "aioca", "asyncpg", "caproto", "pydantic", "epicscorelibs", "psutil")
    script = f"import sys, squirrel_ioc.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_version() -> None:
    done = cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("squirrel-ioc ")


@pytest.mark.parametrize("arguments", [("nonsense",), ("check",), ("sim", "--count", "0"), ("run",)])
def test_wrong_usage(arguments: Sequence[str]) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_check_sums_up(folder: Path) -> None:
    file = settings_file(folder, prefix="MY:")
    done = cli("check", file)
    assert done.returncode == 0, done.stderr
    assert "MY:" in done.stdout
    assert "valid" in done.stdout
    assert not (folder / "state").exists()
    told = json.loads(cli("check", file, "--json").stdout)
    assert told["ok"] is True
    assert (told["prefix"], told["pvs"], told["setpoints"], told["readbacks"]) == ("MY:", 3, 2, 1)
    assert told["tags"] == {"Area": 2}


def test_check_says_what_ramps_can_take(folder: Path) -> None:
    file = settings_file(folder, "setpoint,max_step,step_period\nA,0.5,10\nB,1,1\nC,,\n")
    told = json.loads(cli("check", file, "--json").stdout)
    assert told["slowest_ramp"] == "A, 0.05 per second: 180 in restore.max_ramp_s (3600 s)"


def test_check_never_shows_the_password(folder: Path) -> None:
    file = settings_file(folder, database={"dsn": "postgresql://me:s3cret@db.example:5433/sq"})
    done = cli("check", file, "--json")
    assert done.returncode == 0
    assert "s3cret" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["database"] == "postgresql://db.example:5433/sq"


def test_check_names_file_and_key_of_wrong_settings(folder: Path) -> None:
    file = settings_file(folder, port=70000, prefx="X:")
    done = cli("check", file)
    assert done.returncode == 3
    assert str(file) in done.stderr
    assert "port" in done.stderr
    assert "prefx" in done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(cli("check", file, "--json").stdout)
    assert told["ok"] is False
    assert len(told["problems"]) == 2


def test_check_reports_every_problem_of_a_catalogue(folder: Path) -> None:
    file = settings_file(folder, "Setpoint,Readback,Atol\nA,,x\nB,,\nB,,1\n")
    done = cli("check", file)
    assert done.returncode == 3
    assert "pvs.csv:2" in done.stderr
    assert "pvs.csv:4" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("check",), ("run", "--config"), ("migrate", "--config")])
def test_missing_file(command: Sequence[str], folder: Path) -> None:
    done = cli(*command, folder / "none.yaml")
    assert done.returncode == 3
    assert "none.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_run_without_a_database_says_so(folder: Path) -> None:
    file = settings_file(folder, database={"dsn": f"postgresql://nobody@127.0.0.1:{closed_port()}/none"})
    done = cli("run", "--config", file)
    assert done.returncode == 4
    assert "database" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_run_waits_for_the_database_until_it_is_told_to_stop(folder: Path) -> None:
    dsn = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    file = settings_file(folder, database={"dsn": dsn}, log={"level": "INFO"})
    with running("run", "--config", file, "--wait-db") as process:
        assert process.stderr is not None
        # It says that it waits.
        assert any("database" in line for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_migrate_and_read_an_empty_database(folder: Path) -> None:
    file = settings_file(folder)
    early = cli("snapshots", "list", "--config", file)
    assert early.returncode == 4
    assert "no database" in early.stderr
    assert not (folder / "state").exists()
    for _ in range(2):
        done = cli("migrate", "--config", file)
        assert done.returncode == 0, done.stderr
    listed = cli("snapshots", "list", "--config", file, "--json")
    assert json.loads(listed.stdout) == {"total": 0, "snapshots": []}
    shown = cli("snapshots", "show", "17", "--config", file)
    assert shown.returncode == 5
    assert "no snapshot 17" in shown.stderr


def test_service_runs_alone_on_its_data_and_can_be_looked_at(folder: Path) -> None:
    file = settings_file(folder, log={"format": "json"})
    settings = yaml.safe_load(file.read_text())
    with running("run", "--config", file) as process:
        assert process.stderr is not None
        records = map(json.loads, iter(process.stderr.readline, ""))
        assert any(r["level"] == "INFO" and r["message"].startswith("control PVs") for r in records)

        listed = cli("snapshots", "list", "--config", file, "--json")
        assert listed.returncode == 0, listed.stderr

        other = folder / "other.yaml"
        other.write_text(yaml.safe_dump(settings | {"port": free_ports(1)[0]}))
        second = cli("run", "--config", other)
        assert second.returncode == 1
        assert "another" in second.stderr
        assert "Traceback" not in second.stderr

        other.write_text(yaml.safe_dump(settings | {"state_dir": "elsewhere"}))
        taken = cli("run", "--config", other)
        assert taken.returncode == 1
        assert str(settings["port"]) in taken.stderr
        assert "Traceback" not in taken.stderr

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_sim_serves_until_it_is_told_to_stop(folder: Path) -> None:
    with running("sim", "--count", "30", "--iocs", "2", "--prefix", "X:", "--directory", folder, "--json") as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["count"] == 30
        assert len(told["addr_list"].split()) == 2
        assert Path(told["catalogue"]).read_text().count("X:")
        assert all(psutil.pid_exists(pid) for pid in told["pids"])
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert not any(psutil.pid_exists(pid) for pid in told["pids"])


def test_sim_on_a_taken_port_says_so(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as taken:
        port = taken.getsockname()[1]
        done = cli("sim", "--count", "3", "--port", str(port), "--directory", folder)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr
