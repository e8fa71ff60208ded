"""The demo as a newcomer meets it: start it, type what it says, stop it, start it again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from base_tools import tool
from processes import left_over

from squirrel_ioc.resources import docs_dir

START_S = 60.0
STOP_S = 30.0


@contextmanager
def demo(state: Path, count: int = 60) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo and its guide."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_", "SQUIRREL_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "squirrel_ioc", "demo", "--count", str(count), "--state", state],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process, guide_of(process)
        finally:
            process.kill()


def guide_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    lines = []
    deadline = time.monotonic() + START_S
    for line in iter(process.stdout.readline, ""):
        lines.append(line)
        if line.startswith("Ctrl-C") or time.monotonic() > deadline:
            break
    guide = "".join(lines)
    assert "Ctrl-C" in guide, guide
    return guide


def stop(process: subprocess.Popen[str], number: signal.Signals) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(STOP_S) == 0
    assert not [p for p in children if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def commands(guide: str, tool: str) -> list[str]:
    return [line.strip() for line in guide.splitlines() if re.match(rf"\s+{tool}(put|get) ", line)]


def shell(guide: str, lines: list[str]) -> list[str]:
    """What each command of the guide prints, typed into one shell of its own."""
    export = next(line.strip() for line in guide.splitlines() if line.strip().startswith("export "))
    script = "\n".join([export, *(f"{line}\necho ----" for line in lines)])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EPICS_")}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True, env=environment
    )
    assert done.stderr == ""
    return [part.strip() for part in done.stdout.split("----\n")]


def check_session(guide: str, tool: str, before: float, changed: float) -> None:
    """Snapshot, look, change, restore, look, take back, look: the magnet was at `before` when it began."""
    lines = commands(guide, tool)
    magnet = lines[-1].split()[-1]
    _, status, put_magnet, _, result, _, last, *_ = shell(guide, lines)
    assert "OK" in status
    assert re.search(r"COUNT\s+\[?60\b", status)
    assert f"{changed:g}" in put_magnet
    assert "OK" in result
    assert re.search(r"WRITTEN\s+\[?1\b", result)
    assert re.search(rf"{magnet}\s+\[?{before:g}\]?$", result)
    assert re.search(rf"{magnet}\s+\[?{changed:g}\]?$", last)


def test_guide_works_as_it_stands_and_second_start_finds_the_data(folder: Path) -> None:
    with demo(folder) as (process, guide):
        check_session(guide, "caproto-", before=4, changed=5.5)
        if shutil.which("caput") and shutil.which("caget"):
            check_session(guide, "ca", before=5.5, changed=6.5)
        stop(process, signal.SIGINT)
    assert left_over(folder) == []

    with demo(folder) as (process, _):
        listed = subprocess.run(
            [sys.executable, "-m", "squirrel_ioc", "snapshots", "list", "-c", folder / "settings.yaml", "--json"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        titles = [s["title"] for s in json.loads(listed.stdout)["snapshots"]]
        assert "Before the test" in titles
        stop(process, signal.SIGTERM)
    assert left_over(folder) == []


def test_the_operators_page_works_as_it_stands(folder: Path) -> None:
    """Every block of it that is marked, in one shell, with the tools of EPICS base."""
    blocks = re.findall(
        r"<!-- run -->\n\n```bash\n(.*?)```", (docs_dir() / "operator.md").read_text("utf-8"), re.DOTALL
    )
    assert len(blocks) == 5
    tools = folder / "tools"
    tools.mkdir()
    for name in ("caget", "caput"):
        (tools / name).symlink_to(tool(name))  # alone: with caRepeater beside them it would outlive the test
    with demo(folder / "state") as (process, guide):
        export = next(line.strip() for line in guide.splitlines() if line.strip().startswith("export "))
        magnet = commands(guide, "ca")[-1].split()[-1]
        script = [export, *blocks[:2], f"caput -w 300 -c {magnet} 7.5", *blocks[2:]]
        path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {k: v for k, v in os.environ.items() if not k.startswith("EPICS_")}
        done = subprocess.run(
            ["bash", "-euc", "\n".join([*script, f"caget -t {magnet}"])],
            cwd=folder / "state",
            env=environment | {"PATH": path, "COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        stop(process, signal.SIGTERM)
    said = done.stdout
    assert re.search(r"SNAP:STATUS\s+OK\n", said)
    assert re.search(r"1 .* Before the test .* 60 ", said), "the list of snapshots"
    assert re.search(r"DIFF:COUNT\s+2\n", said), "the magnet and its readback"
    assert re.search(r"RESTORE:PLAN:COUNT\s+1\n", said)
    assert len(re.findall(r"RESTORE:STATUS\s+OK\n", said)) == 2
    assert said.endswith("\n7.5\n"), "taken back"
    assert left_over(folder / "state") == []
