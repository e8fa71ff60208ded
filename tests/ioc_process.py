"""Real EPICS IOCs for tests: EPICS base in a process of its own, on loopback.

A process has one Channel Access context, and where it searches is settled when that is made. So this module, on
import, sets a few ports aside for the test process and puts all of them into EPICS_CA_ADDR_LIST; every IOC of the
process gets one of them. That makes `Machine`, aioca and a service in a subprocess all see the same IOCs:

    from ioc_process import IocProcess, ca_settings

    with IocProcess(DATABASE) as ioc:                  # serves when this returns
        machine = Machine(ca_settings(timeout_s=1.0))  # in this process
        subprocess.run([...])                          # or elsewhere: the environment is inherited
        ioc.kill(); ioc.restart()                      # on the same port
        ioc.pause(); ioc.resume()                      # SIGSTOP, SIGCONT

Import it at the top of the test module, before anything does Channel Access. A `SimulatedMachine` in the same process
takes its ports from here: `SimulatedMachine(..., ports=take_ports(2))`, then `give_ports`.

    python ioc_process.py DATABASE PORT PARENT [ACCESS_FILE]

is the IOC itself: the line `ready` on standard output tells that it serves; it ends with its standard input, and with
its parent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOOPBACK = "127.0.0.1"

PORTS_A_PROCESS = 8

# Below those of the kernel's clients and of `squirrel_ioc.sim.free_ports`.
_RANGE = range(12_000, 19_000)

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0

_locks: list[int] = []


def _claim(port: int) -> bool:
    """Take a port for this process, against other test processes, as long as it lives."""
    folder = Path(tempfile.gettempdir()) / f"squirrel-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    if _is_free(port):
        _locks.append(lock)
        return True
    os.close(lock)
    return False


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as s:
            if kind == socket.SOCK_STREAM:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((LOOPBACK, port))
            except OSError:
                return False
    return True


def _claim_ports() -> tuple[int, ...]:
    ports = []
    for port in random.sample(_RANGE, len(_RANGE)):
        if _claim(port):
            ports.append(port)
            if len(ports) == PORTS_A_PROCESS:
                return tuple(ports)
    raise OSError("no free ports for IOCs")


PORTS = () if __name__ == "__main__" else _claim_ports()
"""Where this process's IOCs may be; the IOC itself has been told where it is, and where it is to search."""

ADDR_LIST = tuple(f"{LOOPBACK}:{port}" for port in PORTS)
"""For `ca.addr_list`."""

_free = list(PORTS)

if PORTS:
    os.environ["EPICS_CA_ADDR_LIST"] = " ".join(ADDR_LIST)
    os.environ["EPICS_CA_AUTO_ADDR_LIST"] = "NO"


def ca_settings(**changes: Any) -> Any:
    """`CaSettings` that search where this process's IOCs are."""
    from squirrel_ioc.config import CaSettings

    return CaSettings(addr_list=ADDR_LIST, auto_addr_list=False, **changes)


def take_ports(count: int) -> list[int]:
    """Ports for other servers of this process, until `give_ports`."""
    if count > len(_free):
        raise OSError(f"{count} ports wanted, {len(_free)} of {PORTS_A_PROCESS} left: is something not closed?")
    return [_free.pop(0) for _ in range(count)]


def give_ports(ports: Sequence[int]) -> None:
    """Their servers have ended."""
    _free.extend(ports)


class IocProcess:
    """An IOC with one database, given as text. A context manager; what it printed is in its errors.

    `access` is the text of an access security file (asSetFilename). Its own links find records of its own, and what
    is at the addresses `finds`, host:port.
    """

    def __init__(self, database: str, access: str | None = None, finds: Sequence[str] = ()) -> None:
        self.database = database
        self.access = access
        self.finds = finds
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        (self.port,) = take_ports(1)
        self._folder = tempfile.TemporaryDirectory(prefix="squirrel-test-ioc-")
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def address(self) -> str:
        """host:port"""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    def start(self) -> None:
        """Start the process and wait until it serves."""
        folder = self._path()
        (folder / "ioc.db").write_text(self.database)
        # The kernel would end it with the thread that started it.
        parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
        arguments = [str(folder / "ioc.db"), str(self.port), str(parent)]
        if self.access is not None:
            (folder / "ioc.acf").write_text(self.access)
            arguments.append(str(folder / "ioc.acf"))
        environment = _environment(self.port)
        environment["EPICS_CA_ADDR_LIST"] = " ".join([environment["EPICS_CA_ADDR_LIST"], *self.finds])
        with self._log().open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        self._await_ready()

    def _await_ready(self) -> None:
        out = self._running().stdout
        assert out is not None
        readable, _, _ = select.select([out], [], [], START_TIMEOUT_S)
        answer = out.readline().decode().strip() if readable else "no answer"
        if answer != "ready":
            raise RuntimeError(f"the IOC did not start: {answer}\n{self.output()}")

    def output(self) -> str:
        """What it printed."""
        return self._log().read_text(errors="replace")

    def pause(self) -> None:
        """Make it hang: when this returns, none of its threads does anything any more."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while not all(_is_stopped(task) for task in Path(f"/proc/{process.pid}/task").iterdir()):
            assert time.monotonic() < deadline, "the IOC does not stop"

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it the hard way."""
        self._end(hard=True)

    def restart(self, database: str | None = None) -> None:
        """Start it again on the same port, perhaps with another database."""
        self._end(hard=True)
        self.database = self.database if database is None else database
        self.start()

    def close(self) -> None:
        """End it, and give its port back."""
        self._end(hard=False)
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
            give_ports([self.port])

    def _end(self, *, hard: bool) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if hard:
            process.kill()
        with contextlib.suppress(BrokenPipeError):
            if process.stdin:
                process.stdin.close()
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the IOC does not run")
        return self._process

    def _path(self) -> Path:
        if self._folder is None:
            raise RuntimeError("use it as a context manager")
        return Path(self._folder.name)

    def _log(self) -> Path:
        return self._path() / "ioc.log"


def _is_stopped(task: Path) -> bool:
    """proc(5): the state follows the name, which is in parentheses."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0] in "Tt"


def _environment(port: int) -> dict[str, str]:
    """Loopback only, whatever the caller's own EPICS settings are."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("EPICS_CA_", "EPICS_CAS_"))}
    return ours | {
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": LOOPBACK,
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CAS_BEACON_ADDR_LIST": LOOPBACK,
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
        "EPICS_CA_ADDR_LIST": f"{LOOPBACK}:{port}",
    }


# ---- the IOC itself


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent, even while it is stopped (`linux/prctl.h`)."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _start_ioc(database: str, access: str | None) -> None:
    from epicscorelibs import ioc

    ioc.iocshRegisterCommon()
    if ioc.dbLoadDatabase(b"base.dbd", ioc.DEFAULT_DBD_PATH.encode(), None):
        raise RuntimeError("base.dbd not loaded")
    if ioc.registerRecordDeviceDriver(ioc.pdbbase):
        raise RuntimeError("record support not registered")
    if access is not None and ioc.ioc(f'asSetFilename("{access}")'):
        raise RuntimeError("access security file refused")
    if ioc.dbLoadRecords(database.encode(), b""):
        raise RuntimeError("database not loaded")
    if ioc.iocInit():
        raise RuntimeError("iocInit failed")


def _serves(port: int) -> bool:
    """Whether this process listens there: base takes another port, with a warning, when it is in use."""
    import psutil

    return any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in psutil.Process().net_connections("tcp"))


def _main(database: str, port: int, parent: int, access: str | None = None) -> None:
    if parent:
        _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Base prints to standard output; that one is for the answer.
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        _start_ioc(database, access)
    except RuntimeError as e:
        answer.write(f"failed: {e}\n")
    else:
        answer.write("ready\n" if _serves(port) else f"failed: port {port} is in use\n")
    answer.close()
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
