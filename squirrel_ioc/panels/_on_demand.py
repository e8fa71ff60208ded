"""Control PVs that are made when somebody looks for them: what of them there is to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from squirrel_ioc.model.job import MAX_NAMES_IN_ROW

__all__ = ["ON_DEMAND", "OnDemand"]


@dataclass(frozen=True)
class OnDemand:
    """PVs of one kind. In their names, `<id>` and `<pv>` stand for what the client fills in."""

    names: tuple[str, ...]
    type: str
    writable: bool
    desc: str


ON_DEMAND: Final = (
    OnDemand(("SNAP:<id>:TITLE",), "CHAR[256]", True, "Its title; an empty one becomes its time"),
    OnDemand(("SNAP:<id>:COMMENT",), "CHAR[4096]", True, "Its comment"),
    OnDemand(("SNAP:<id>:LABELS",), "CHAR[256]", True, "Its labels, comma separated"),
    OnDemand(("SNAP:<id>:TIME",), "STRING", False, "When it was taken"),
    OnDemand(("SNAP:<id>:EPOCH",), "DOUBLE", False, "When it was taken, UNIX time"),
    OnDemand(("SNAP:<id>:USER", "SNAP:<id>:HOST"), "STRING", False, "Who took it, from where"),
    OnDemand(("SNAP:<id>:COUNT",), "LONG", False, "Values stored"),
    OnDemand(("SNAP:<id>:MISSING",), "LONG", False, "PVs without a value; MINOR above 0"),
    OnDemand(("SNAP:<id>:BYTES",), "DOUBLE", False, "What its values take in the database"),
    OnDemand(("SNAP:<id>:PROTECT",), "ENUM", True, "No, Yes: protected, it cannot be changed or deleted"),
    OnDemand(("SNAP:<id>:KEEP",), "ENUM", True, "No, Yes: kept, it is never evicted"),
    OnDemand(("SNAP:<id>:REFERENCE",), "ENUM", True, "No, Yes: it is the reference, of which there is at most one"),
    OnDemand(("SNAP:<id>:RESTORE",), "ENUM", True, "Command: restore it, as writing RESTORE:ID does"),
    OnDemand(("SNAP:<id>:DELETE",), "ENUM", True, "Command: delete it"),
    OnDemand(
        ("SNAP:<id>:VAL:<pv>",),
        "as stored",
        False,
        "The stored value of a PV: type, units, labels, alarm and time stamp as they were",
    ),
    OnDemand(("REF:<pv>",), "as stored", False, "The same of the reference snapshot; follows when that changes"),
    OnDemand(("JOB:<id>:STATUS", "JOB:<id>:KIND"), "ENUM", False, "How a job stands, what kind it is"),
    OnDemand(("JOB:<id>:PROGRESS",), "DOUBLE", False, "How far it is, in percent"),
    OnDemand(("JOB:<id>:MSG",), "CHAR[512]", False, "What it does, or how it ended"),
    OnDemand(("JOB:<id>:USER",), "STRING", False, "Who asked for it"),
    OnDemand(
        tuple(
            f"JOB:<id>:{name}"
            for name in ("TOTAL", "COUNT", "MISSING", "WRITTEN", "UNCHANGED", "SKIPPED", "FAILED", "MISMATCH")
        ),
        "LONG",
        False,
        "What became of its PVs, as far as its kind has such a number",
    ),
    OnDemand(
        ("JOB:<id>:BAD:NAMES", "JOB:<id>:BAD:REASONS"),
        f"STRING[{MAX_NAMES_IN_ROW}]",
        False,
        "PVs that failed, or had no value, and why; also with `:LONG`",
    ),
    OnDemand(("JOB:<id>:RESULT",), "LONG", False, "The snapshot it made, or the backup of a restore; 0 if none"),
    OnDemand(("HIST:<pv>",), "DOUBLE[1000]", False, "The number of a PV across the newest snapshots, oldest first"),
    OnDemand(("HIST:<pv>:EPOCHS", "HIST:<pv>:IDS"), "DOUBLE[1000]", False, "When they were taken, their ids"),
)
