"""The service that the bench measures: a process of its own, with its settings, its log and a client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from squirrel_ioc.bench._interruption import held_back
from squirrel_ioc.bench._peer_process import MeasurementError, PeerProcess
from squirrel_ioc.sim import LOOPBACK

__all__ = ["CONTROL", "Service"]

CONTROL: Final = "SQRL:"
STOP_S: Final = 30.0
LOGGED_S: Final = 60.0
_POLL_S: Final = 0.02


class Service:
    """A service and a client of it. Can be killed and started again."""

    def __init__(self, settings: Path, port: int, log: Path, new_client: Callable[[str], PeerProcess]) -> None:
        self.settings = settings
        self.port = port
        self.addr_list = f"{LOOPBACK}:{port}"
        """Where its control PVs are."""
        self.started = 0.0
        """`time.perf_counter()` of its start."""
        self._log = log
        self._new_client = new_client

    def start(self) -> None:
        """Start it, and a client."""
        self.started = time.perf_counter()
        with held_back(), self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc", "run", "--config", self.settings],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The terminal's Ctrl-C is for the bench, which stops the service.
                process_group=0,
                env={k: v for k, v in os.environ.items() if not k.startswith(("EPICS_CA", "SQUIRREL_"))},
            )
            self.client = self._new_client(self.addr_list)

    def renew_client(self) -> None:
        """A client that has not searched for anything yet: one that has lost its channels waits for long."""
        self.client.stop()
        self.client = self._new_client(self.addr_list)

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.kill()
        self.process.wait(STOP_S)
        self.client.stop()

    def stop(self) -> bool:
        """Have it stop, also when it stands still; False when it had to be killed, or had ended badly."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        return self.process.returncode == 0

    def check_runs(self) -> None:
        """Raise MeasurementError with the end of its log when it does not."""
        if self.process.poll() is not None:
            tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
            raise MeasurementError(f"the service ended with exit code {self.process.returncode}: {tail}")

    def logged(self, text: str) -> int:
        """How often it has logged this."""
        return self._log.read_text(errors="replace").count(text)

    def wait_logged(self, text: str, times: int = 1) -> None:
        """Wait until it has logged this so often."""
        deadline = time.monotonic() + LOGGED_S
        while self.logged(text) < times:
            self.check_runs()
            if time.monotonic() > deadline:
                raise MeasurementError(f"the service has not logged {text!r} after {LOGGED_S:g} s")
            time.sleep(_POLL_S)

    def put(self, name: str, value: float | str, *, timeout_s: float = 60.0, text: bool = False) -> float:
        """Put-callback to a control PV: seconds until it is done."""
        return float(self.begin_put(name, value, timeout_s=timeout_s, text=text)())

    def begin_put(
        self, name: str, value: float | str, *, timeout_s: float = 60.0, text: bool = False
    ) -> Callable[[], float]:
        """Begin a put-callback; what is returned waits for its end, as `put` does."""
        return self.client.begin("put", timeout_s=timeout_s, name=CONTROL + name, value=value, text=text)

    def get(self, *names: str) -> list[Any]:
        """Values of control PVs; enums as labels."""
        return list(self.client.ask("get", names=[CONTROL + n for n in names]))

    def one(self, name: str) -> Any:
        """Value of one control PV."""
        return self.get(name)[0]

    def wait_for(self, name: str, value: float, *, timeout_s: float = 60.0) -> None:
        """Wait until a control PV has this value."""
        self.client.ask("wait_for", timeout_s=timeout_s, name=CONTROL + name, value=value)

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the service's process."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def cpu_percent(self, seconds: float) -> float:
        """CPU the service uses over this time, percent of one core."""
        process = psutil.Process(self.process.pid)
        process.cpu_percent()
        return float(process.cpu_percent(seconds))
