"""Names of PVs as they may stand in a file of any format."""

from __future__ import annotations

import re

from squirrel_ioc.model.catalogue import MAX_PV_NAME

__all__ = ["name_problem"]

_NAME = re.compile(r"[!$%&()*+\-./0-9:;<=>?@A-Z\[\]^_`a-z{|}~][!#$%&()*+\-./0-9:;<=>?@A-Z\[\]^_`a-z{|}~]*")


def name_problem(name: str) -> str | None:
    """Why this is no PV name; None when it is one.

    Printable ASCII without blanks, quotes, commas and backslashes: EPICS base itself warns of anything else
    (dbStaticLib, dbRecordNameValidate), and no format here could hold it.
    """
    if not name:
        return "the name of the PV is empty"
    if len(name) > MAX_PV_NAME:
        return f"{name[:MAX_PV_NAME]}... is longer than {MAX_PV_NAME} characters"
    if "://" in name:
        return f"{name}: only Channel Access is spoken, give the plain name of the PV"
    if "*" in name or "?" in name:
        return f"{name}: wildcards are for filters; list the PVs by their names, and select them by tags"
    if "$(" in name or "${" in name:
        return f"{name}: a macro that nobody has defined"
    if not _NAME.fullmatch(name):
        return f"{name!r} is no name of a PV"
    return None
