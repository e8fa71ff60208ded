"""The bench's side of a peer: start it, ask it, end it. Every wait is bounded."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from squirrel_ioc.errors import SquirrelError

__all__ = ["MeasurementError", "PeerProcess"]

STOP_S: Final = 5.0
MARGIN_S: Final = 5.0
"""Above an operation's own timeout: the peer answers by then, or it hangs."""


class MeasurementError(SquirrelError):
    """A measurement failed: there is no figure."""


class PeerProcess:
    """A peer of the bench in its own process."""

    def __init__(self, kind: str, environment: Mapping[str, str], log: Path) -> None:
        self._kind = kind
        self._log = log
        self._asked = 0
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "squirrel_ioc.bench._peer", kind],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=os.environ | environment,
            )

    def ask(self, op: str, *, timeout_s: float = 60.0, **arguments: Any) -> Any:
        """The answer to an operation, cut off after `timeout_s`.

        Raises MeasurementError when the operation failed, when the peer died, or when it does not answer.
        """
        return self.begin(op, timeout_s=timeout_s, **arguments)()

    def begin(self, op: str, *, timeout_s: float = 60.0, **arguments: Any) -> Callable[[], Any]:
        """Have an operation begun. What is returned waits for its answer, once, as `ask` does."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("started with pipes")
        fd, deadline = stdout.fileno(), time.monotonic() + timeout_s + MARGIN_S
        self._asked += 1
        number = self._asked
        request = {"op": op, "number": number, "timeout_s": timeout_s, **arguments}
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError as e:
            raise self._failure(op, "it has ended") from e

        def end() -> Any:
            answer = json.loads(self._line(fd, deadline, op))
            while answer["number"] != number:  # of an operation whose answer nobody waited for
                answer = json.loads(self._line(fd, deadline, op))
            if "error" in answer:
                raise MeasurementError(f"{op}: {answer['error']}")
            return answer["result"]

        return end

    def stop(self) -> None:
        """End the process; bounded."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _line(self, fd: int, deadline: float, op: str) -> bytes:
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            while not data.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._failure(op, "no answer")
                part = os.read(fd, 1 << 16)
                if not part:
                    raise self._failure(op, "it has ended")
                data += part
        return data

    def _failure(self, op: str, reason: str) -> MeasurementError:
        tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
        return MeasurementError(f"{self._kind} process, {op}: {reason}\n{tail}".strip())
