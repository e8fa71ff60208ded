"""Names that two IOCs serve, and what the doctor says of a machine's PVs."""

from __future__ import annotations

from collections.abc import Iterator

import aioca
import pytest
from ca_helpers import hold, random_prefix, started, until
from ioc_process import IocProcess, ca_settings

from squirrel_ioc.doctor._finding import Verdict
from squirrel_ioc.doctor._machine import check_machine
from squirrel_ioc.model.catalogue import Catalogue, Entry
from squirrel_ioc.model.channels import ChannelList

P = random_prefix()
LONG = f"{P}{'N' * 52}.DESC"  # libca tells 63 characters
FIRST = f"""
record(ao, "{P}ONE") {{ field(VAL, "1") field(PINI, "YES") }}
record(ao, "{P}BOTH") {{ field(VAL, "1") field(PINI, "YES") }}
record(ao, "{LONG.removesuffix(".DESC")}") {{ }}
record(int64out, "{P}I64") {{ field(VAL, "9007199254740993") field(PINI, "YES") }}
"""
SECOND = f"""
record(ao, "{P}BOTH") {{ field(VAL, "2") field(PINI, "YES") }}
record(ao, "{LONG.removesuffix(".DESC")}") {{ }}
"""
NAMES = [f"{P}ONE", f"{P}BOTH", LONG, f"{P}I64"]


@pytest.fixture
def iocs() -> Iterator[list[IocProcess]]:
    with IocProcess(FIRST) as first, IocProcess(SECOND) as second:
        yield [first, second]
        aioca.purge_channel_caches()


async def test_both_are_known_until_the_channel_finds_one_only(iocs: list[IocProcess]) -> None:
    async with started() as machine:
        channels = await hold(machine, NAMES)
        await until(lambda: len(machine.live(channels).ignored) == 2, 20)
        live = machine.live(channels)
        assert sorted(live.ignored) == [1, 2]
        ports = {int(host.rpartition(":")[2]) for host in (live.iocs[live.ioc[1]], live.ignored[1])}
        assert ports == {ioc.port for ioc in iocs}
        # Of other lists, by their own rows; and nothing of channels that are let go.
        assert list(machine.live(ChannelList.of([f"{P}BOTH"])).ignored) == [0]
        used = next(ioc for ioc in iocs if live.iocs[live.ioc[1]].endswith(f":{ioc.port}"))
        used.kill()
        await until(lambda: not machine.live(channels).connected[1] or 1 not in machine.live(channels).ignored, 20)
        await until(lambda: bool(machine.live(channels).connected[1]), 30)
        assert 1 not in machine.live(channels).ignored


async def test_the_doctor_names_them_with_their_iocs(iocs: list[IocProcess]) -> None:
    catalogue = Catalogue.of([Entry(name) for name in NAMES])
    findings = await check_machine(ca_settings(connect_timeout_s=20.0), catalogue, catalogue.channels)
    warnings = {finding.items: finding for finding in findings if finding.verdict is Verdict.WARNING}
    assert set(warnings) == {(f"{P}BOTH", LONG), (f"{P}I64",)}
    twice = warnings[f"{P}BOTH", LONG]
    assert twice.message.startswith(f"PVs that two IOCs serve, 2 of them: {P}BOTH (")
    assert all(f":{ioc.port} is" in twice.message for ioc in iocs)
    assert "beyond 2^53" in warnings[(f"{P}I64",)].message
