"""An IOC that hangs for so long that libca itself gives it up.

libca does that after EPICS_CA_CONN_TMO, 30 s, and 5 s more for its echo. The context of this process cannot be told
to be quicker, so this runs in one of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ca_helpers import random_prefix
from ioc_process import IocProcess

P = random_prefix()
COUNT = 50

OBSERVER = """
import asyncio, json, sys
from squirrel_ioc.ca import Machine
from squirrel_ioc.config import CaSettings
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.values import State

async def main():
    channels = ChannelList.of(sys.argv[1:])
    machine = Machine(CaSettings(timeout_s=0.5))
    await machine.start()
    await machine.watch(channels)
    assert await machine.settled(30)
    last = None
    print("ready", flush=True)
    while True:
        frame = await machine.read(channels)
        now = sorted({f"{State(s).name} {i.status.name}" for s in frame.state.tolist() for i in machine.iocs()})
        if now != last:
            print(json.dumps(now), flush=True)
            last = now
        await asyncio.sleep(0.05)

asyncio.run(main())
"""


def test_a_circuit_libca_calls_unresponsive(tmp_path: Path) -> None:
    database = "".join(f'record(ao, "{P}{i}") {{ field(PINI, "YES") }}\n' for i in range(COUNT))
    script = tmp_path / "observer.py"
    script.write_text(OBSERVER)
    seen: list[list[str]] = []
    with IocProcess(database) as ioc:
        observer = subprocess.Popen(
            [sys.executable, str(script), *(f"{P}{i}" for i in range(COUNT))],
            env=os.environ | {"EPICS_CA_CONN_TMO": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        output = observer.stdout
        assert output is not None

        def wait_for(state: str) -> None:
            while not seen or seen[-1] != [state]:
                seen.append(json.loads(output.readline()))

        try:
            assert output.readline() == "ready\n"
            wait_for("VALUE OK")
            ioc.pause()
            wait_for("DISCONNECTED DOWN")
            ioc.resume()
            wait_for("VALUE OK")
        finally:
            observer.kill()
            observer.wait()
            output.close()
    assert ["IOC_OPEN OPEN"] in seen
