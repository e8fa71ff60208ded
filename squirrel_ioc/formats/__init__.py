"""Files: the service's own catalogue files, and the catalogues and snapshots of other tools.

One module a format, all behind the protocol of `_protocol.Format`; `registry` knows them all. How values without a type
are kept and get one is in `retype`.
"""

from squirrel_ioc.formats._macros import MacroError, parse_macros
from squirrel_ioc.formats._protocol import CatalogueFile, Format, Kind, Limits, ReadOptions, SnapshotFile
from squirrel_ioc.formats.registry import (
    FORMATS,
    detect,
    format_named,
    read_catalogue,
    read_snapshot,
    write_catalogue,
    write_snapshot,
)
from squirrel_ioc.formats.retype import Retyped, retype

__all__ = [
    "FORMATS",
    "CatalogueFile",
    "Format",
    "Kind",
    "Limits",
    "MacroError",
    "ReadOptions",
    "Retyped",
    "SnapshotFile",
    "detect",
    "format_named",
    "parse_macros",
    "read_catalogue",
    "read_snapshot",
    "retype",
    "write_catalogue",
    "write_snapshot",
]
