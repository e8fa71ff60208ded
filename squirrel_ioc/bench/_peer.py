"""A client of the bench in its own process: one operation a line of JSON on standard input, one answer a line.

    python -m squirrel_ioc.bench._peer KIND

KIND is `client` (plain aioca: what any Channel Access client sees) or `bulk` (the engine of the service by itself).
It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading

__all__: list[str] = []


def _operations(kind: str) -> object:
    """What a kind of peer can do: one coroutine an operation, its name the operation's."""
    if kind == "client":
        from squirrel_ioc.bench._client import Client

        return Client()
    from squirrel_ioc.bench._bulk import Bulk

    return Bulk()


async def _answer(operations: object, line: str) -> str:
    request = json.loads(line)
    operation, timeout_s = request.pop("op"), request.pop("timeout_s")
    answer = {"number": request.pop("number")}
    try:
        result = await asyncio.wait_for(getattr(operations, operation)(**request), timeout_s)
    except TimeoutError:
        return json.dumps(answer | {"error": f"not done after {timeout_s:g} s"})
    except Exception as e:  # the boundary of an operation: the bench reports it in place of a figure
        return json.dumps(answer | {"error": f"{type(e).__name__}: {e}"})
    return json.dumps(answer | {"result": result})


async def _serve(kind: str) -> None:
    operations = _operations(kind)
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        # The bench is gone, or wants this process to be: whatever runs is of no use to anybody.
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        answer = await _answer(operations, await lines.get())
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    # The terminal's Ctrl-C is for the bench, which ends its peers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_serve(sys.argv[1]))
