"""The variables of Channel Access that surprise people, and the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from squirrel_ioc.config import CaSettings, Settings
from squirrel_ioc.doctor._finding import Finding, Verdict

__all__ = ["check_disk", "check_environment"]

_CHECK: Final = "environment"
_LITTLE_BYTES: Final = 1 << 30
_TOO_LITTLE_BYTES: Final = 100 << 20


def check_environment(settings: CaSettings, variables: Mapping[str, str]) -> Iterator[Finding]:
    """How the settings and the environment together decide where PVs are searched."""
    found = {k: v for k, v in variables.items() if k.startswith(("EPICS_CA_", "EPICS_CAS_"))}
    ours = settings.environment()
    after = found | ours
    for name in sorted(ours.keys() & found.keys()):
        if ours[name].split() != found[name].split():
            yield Finding(
                _CHECK,
                Verdict.WARNING,
                f"{name} is {found[name]!r} here, but the settings say {ours[name]!r}, and that is what counts",
                "expect caget and the service to find different PVs, or give both the same",
            )
    auto = after.get("EPICS_CA_AUTO_ADDR_LIST", "YES").upper() != "NO"
    servers = after.get("EPICS_CA_NAME_SERVERS", "")
    addresses = after.get("EPICS_CA_ADDR_LIST", "").split()
    if not auto and not addresses and not servers:
        yield Finding(
            _CHECK,
            Verdict.BAD,
            "PVs are searched nowhere: there is no address list, and no searching by broadcast",
            "set ca.addr_list",
        )
    else:
        where = ["by broadcast on every local network"] if auto else []
        where += [f"at {' '.join(addresses)}"] if addresses else []
        where += [f"at the name servers {servers}"] if servers else []
        yield Finding(_CHECK, Verdict.OK, f"PVs are searched {', '.join(where)}")
    yield from _surprises(found)


def _surprises(found: Mapping[str, str]) -> Iterator[Finding]:
    port = found.get("EPICS_CA_SERVER_PORT", "5064")
    if port != "5064":
        yield Finding(
            _CHECK,
            Verdict.WARNING,
            f"EPICS_CA_SERVER_PORT is {port}: addresses without a port are searched there, not on 5064",
            "write host:port in ca.addr_list, or unset it; the service's own port is `port` in the settings",
        )
    limit = found.get("EPICS_CA_MAX_ARRAY_BYTES")
    if limit is not None and found.get("EPICS_CA_AUTO_ARRAY_BYTES", "YES").upper() == "NO":
        yield Finding(
            _CHECK,
            Verdict.WARNING,
            f"EPICS_CA_MAX_ARRAY_BYTES is {limit}, and EPICS_CA_AUTO_ARRAY_BYTES is NO: larger arrays are not read",
            "unset EPICS_CA_AUTO_ARRAY_BYTES",
        )
    cas = sorted(name for name in found if name.startswith("EPICS_CAS_"))
    if cas:
        yield Finding(
            _CHECK,
            Verdict.WARNING,
            f"{', '.join(cas)}: the service does not look at these",
            "`port` and `interfaces` in the settings say where the control PVs are",
        )


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Room and rights where the service writes."""
    if settings.database.dsn is None:
        yield _disk("state_dir", settings.state_dir)
    if settings.exchange_dir is not None:
        folder = settings.exchange_dir
        if not folder.is_dir():
            yield Finding("disk", Verdict.BAD, f"exchange_dir {folder} is no folder", f"mkdir -p {folder}")
        else:
            yield _disk("exchange_dir", folder)


def _disk(key: str, folder: Path) -> Finding:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        user = os.environ.get("USER") or str(os.getuid())
        return Finding(
            "disk", Verdict.BAD, f"{key} {folder}: user {user} may not write in {there}", "run as the service's user?"
        )
    free = shutil.disk_usage(there).free
    text = f"{key} {folder}: {free / (1 << 30):.1f} GB free"
    if free >= _LITTLE_BYTES:
        return Finding("disk", Verdict.OK, text)
    verdict = Verdict.BAD if free < _TOO_LITTLE_BYTES else Verdict.WARNING
    return Finding("disk", verdict, text, "make room: a snapshot of 40,000 PVs takes about 1 MB, the database its own")
