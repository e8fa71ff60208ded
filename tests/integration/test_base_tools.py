"""The tools of EPICS base that tests use tell what they saw, and with what code they ended."""

from __future__ import annotations

import asyncio
import secrets

from base_tools import SoftIoc, following, run_tool
from ioc_process import LOOPBACK

NAME = f"T{secrets.token_hex(4)}:A"
DATABASE = f'record(ao, "{NAME}") {{ field(VAL, "1") field(PINI, "YES") }}'


async def test_they_read_write_and_follow_a_record() -> None:
    with SoftIoc(DATABASE) as ioc:
        there = [ioc.address]
        async with following("camonitor", NAME, at=there) as updates:
            assert (await updates.until(NAME)).split()[-1] == "1"
            assert (await run_tool("caput", "-c", NAME, "2.5", at=there)).code == 0
            assert (await updates.until(NAME)).split()[-1] == "2.5"
        read = await run_tool("caget", "-t", NAME, at=there)
        assert (read.code, read.out) == (0, "2.5\n")
        assert "Native data type: DBF_DOUBLE" in (await run_tool("cainfo", NAME, at=there)).out


async def test_their_exit_code_is_that_of_the_program() -> None:
    (missing, bad, good) = await asyncio.gather(
        run_tool("caget", "-w", "0.1", "NOT:THERE", at=[f"{LOOPBACK}:1"]),
        run_tool("ascheck", stdin="ASG(DEFAULT) { RULE(1, READ"),
        run_tool("ascheck", stdin="ASG(DEFAULT) { RULE(1, READ) }"),
    )
    assert missing.code != 0
    assert bad.code != 0
    assert "syntax error" in bad.out + bad.err
    assert good.code == 0
