"""`squirrel-ioc doctor`: a service that is well, and each thing that is not."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ioc_process import ADDR_LIST, LOOPBACK, IocProcess, give_ports, take_ports
from running import environment, running

from squirrel_ioc.areas import AreaReport
from squirrel_ioc.areas._service_sql import Asked
from squirrel_ioc.config import DatabaseSettings, Settings
from squirrel_ioc.doctor._areas import check_areas
from squirrel_ioc.doctor._environment import check_disk, check_environment
from squirrel_ioc.model.catalogue import Entry
from squirrel_ioc.store import Store

RECORDS = """
record(ao, "{r}A") {{ field(VAL, "1") field(PINI, "YES") }}
record(ao, "{r}B") {{ field(VAL, "2") field(PINI, "YES") }}
record(ao, "{r}LOCKED") {{ field(ASG, "LOCKED") }}
"""
ACCESS = """
ASG(DEFAULT) { RULE(1, WRITE) }
ASG(LOCKED) { RULE(1, READ) }
"""


async def doctor(settings: Path, *options: str, **variables: str) -> tuple[int, str]:
    """Exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "squirrel_ioc", "doctor", "--config", str(settings), *options),
        stdout=asyncio.subprocess.PIPE,
        env=environment() | variables,
    )
    async with asyncio.timeout(40):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def checks(settings: Path, *options: str, **variables: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Exit code, and what each check found: (verdict, message) each."""
    code, out = await doctor(settings, "--json", *options, **variables)
    report = json.loads(out)
    assert report["ok"] == (code == 0)
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in report["checks"]:
        assert (finding["verdict"] == "ok") == (not finding["advice"]), finding
        found.setdefault(finding["check"], []).append((finding["verdict"], finding["message"]))
    return code, found


def settings_file(folder: Path, **keys: Any) -> Path:
    (folder / "pvs.csv").write_text("Setpoint\nNOT:THERE\n")
    file = folder / "settings.yaml"
    settings = {
        "prefix": f"D{secrets.token_hex(3)}:",
        "interfaces": [LOOPBACK],
        "state_dir": "state",
        "catalogue": {"files": ["pvs.csv"]},
        "ca": {"addr_list": list(ADDR_LIST), "connect_timeout_s": 0.5},
    }
    file.write_text(yaml.safe_dump(settings | keys))
    return file


async def test_a_service_that_runs(database: DatabaseSettings, tmp_path: Path) -> None:
    r = f"R{secrets.token_hex(3)}:"
    with IocProcess(RECORDS.format(r=r), ACCESS):
        catalogue = f"Setpoint\n{r}A\n{r}B\n{r}LOCKED\n{r}GONE\n"
        async with running(tmp_path, database, catalogue, 3, views=["OP1"]) as service:
            settings = yaml.safe_load(service.settings.read_text())
            settings["ca"]["connect_timeout_s"] = 2
            file = tmp_path / "doctor.yaml"
            file.write_text(yaml.safe_dump(settings))
            code, found = await checks(file)
            assert code == 0
            ((verdict, message),) = found["port"]
            assert verdict == "ok"
            assert "answers on" in message
            assert found["services"][0][1].startswith(f"active: squirrel-ioc {service.process.pid} on")
            assert [verdict for verdict, _ in found["database"]] == ["ok"]
            assert ("ok", "in force: 4 setpoints, version 1") in found["catalogue"]
            missing, locked = found["pvs"]
            assert missing == (
                "warning",
                f"1 of 4 PVs do not connect within 2 s (ca.connect_timeout_s): {r}GONE",
            )
            assert locked == ("warning", f"setpoints that may not be written from here, 1 of them: {r}LOCKED")
            ((verdict, message),) = found["iocs"]
            assert verdict == "ok"
            assert message.endswith(": 3 PVs, ok")

            code, out = await doctor(file)
            assert code == 0
            assert out.endswith("The service can run; 2 things to look at.\n")
            assert "or take them out of the catalogue\nwarning pvs         setpoints that may not" in out


async def test_what_must_be_put_right(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        file = settings_file(
            tmp_path,
            port=taken.getsockname()[1],
            exchange_dir="nowhere",
            database={"dsn": f"postgresql://me:secret@{LOOPBACK}:1/there", "connect_timeout_s": 1},
        )
        code, found = await checks(file)
    assert code == 4
    ((verdict, message),) = found["port"]
    assert verdict == "bad"
    assert "is taken by" in message
    assert [verdict for verdict, _ in found["disk"]] == ["bad"]
    ((verdict, message),) = found["database"]
    assert verdict == "bad"
    assert "database there on 127.0.0.1:1 does not answer" in message
    assert "secret" not in message
    ((verdict, message),) = found["pvs"]
    assert (verdict, message) == ("bad", "none of 1 PVs connect within 0.5 s (ca.connect_timeout_s)")


async def test_settings_and_catalogue_that_do_not_load(tmp_path: Path) -> None:
    (port,) = take_ports(1)
    file = settings_file(tmp_path, port=port)
    (tmp_path / "pvs.csv").write_text("Setpoint\nA\nA\n")
    code, found = await checks(file)
    assert code == 3
    assert [verdict for verdict, _ in found["catalogue"]] == ["bad"]
    file.write_text("prefix: 'D:'\nprot: 5\nport: 0\n")
    code, found = await checks(file)
    assert code == 3
    assert [verdict for verdict, _ in found["settings"]] == ["bad", "bad"]
    assert set(found) == {"settings"}
    give_ports([port])


async def test_a_schema_of_an_older_program(database: DatabaseSettings, tmp_path: Path) -> None:
    assert database.dsn is not None
    store = await Store.open(database, tmp_path)
    async with store.transaction() as connection:
        last = "SELECT max(number) FROM schema_migration"
        await connection.execute(f"DELETE FROM schema_migration WHERE number = ({last})")
    await store.close()
    (port,) = take_ports(1)
    file = settings_file(tmp_path, port=port, database={"dsn": database.dsn.get_secret_value()})
    code, found = await checks(file)
    give_ports([port])
    assert code == 1  # the PVs
    assert [verdict for verdict, _ in found["database"]] == ["ok", "warning"]
    assert "its schema is older than this program" in found["database"][1][1]
    assert found["services"] == [("ok", "no service runs on this database")]


@pytest.mark.parametrize(
    ("settings", "variables", "words"),
    [
        ({}, {}, "by broadcast on every local network"),
        ({}, {"EPICS_CA_AUTO_ADDR_LIST": "NO"}, "PVs are searched nowhere"),
        ({"addr_list": "10.0.0.1"}, {"EPICS_CA_ADDR_LIST": "10.0.0.2"}, "the settings say '10.0.0.1'"),
        ({}, {"EPICS_CA_SERVER_PORT": "5070"}, "EPICS_CA_SERVER_PORT is 5070"),
        ({}, {"EPICS_CAS_INTF_ADDR_LIST": "10.0.0.1"}, "the service does not look at these"),
        ({}, {"EPICS_CA_MAX_ARRAY_BYTES": "16384", "EPICS_CA_AUTO_ARRAY_BYTES": "NO"}, "larger arrays are not read"),
    ],
)
def test_variables_that_surprise(
    settings: dict[str, str], variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list(check_environment(Settings.model_validate({"ca": settings}).ca, variables))
    told = [finding for finding in found if words in finding.message]
    assert len(told) == 1
    assert all(bool(finding.advice) == (finding.verdict != "ok") for finding in found)


def test_a_folder_that_will_be_made(tmp_path: Path) -> None:
    (finding,) = check_disk(Settings(state_dir=tmp_path / "a" / "b"))
    assert finding.verdict == "ok"
    assert finding.message.startswith(f"state_dir {tmp_path}/a/b: ")


def test_a_worker_that_has_less_than_another() -> None:
    found = list(check_areas(["ring"], [AreaReport("ring", 6, 6, ("one", "two"), (6, 0))]))
    assert [str(finding.verdict) for finding in found] == ["ok", "warning"]
    assert found[1].message == "ring: two has only 0 PVs, another worker 6"


def test_names_that_two_iocs_of_an_area_serve() -> None:
    found = list(check_areas(["ring"], [AreaReport("ring", 6, 6, ("one",), (6,), ("X (a is used, b is not)",))]))
    assert [str(finding.verdict) for finding in found] == ["ok", "warning"]
    assert found[1].message == "ring: PVs that two IOCs serve: X (a is used, b is not)"


async def test_the_settings_of_a_worker(database: DatabaseSettings, tmp_path: Path) -> None:
    assert database.dsn is not None
    r = f"R{secrets.token_hex(3)}:"
    store = await Store.open(database, tmp_path)
    try:
        await store.save_catalogue([Entry(f"{r}A"), Entry(f"{r}LOCKED"), Entry(f"{r}GONE")])
        await Asked(store).publish({"linac": (f"{r}A", f"{r}LOCKED"), "ring": ()})
    finally:
        await store.close()
    file = settings_file(tmp_path, database={"dsn": database.dsn.get_secret_value()})
    with IocProcess(RECORDS.format(r=r), ACCESS):
        code, found = await checks(file, "--area=linac", "--area=ring")
    assert code == 0
    assert found["areas"] == [("ok", "linac: 2 PVs"), ("ok", "ring: 0 PVs")]
    assert ("ok", "all 2 PVs connect") in found["pvs"]
    assert found.keys() == {"settings", "environment", "database", "services", "areas", "pvs", "iocs"}
    code, found = await checks(file, "--area=rnig")
    assert code == 1
    assert found["areas"] == [("bad", "the service has no area rnig; it has: linac, ring")]


async def test_a_worker_without_a_database(tmp_path: Path) -> None:
    code, found = await checks(settings_file(tmp_path), "--area=ring")
    assert code == 4
    ((verdict, message),) = found["database"]
    assert verdict == "bad"
    assert message.startswith("there is no database.dsn")
