"""Files: the service's own catalogue files, and the catalogues and snapshots of other tools.

One module a format, all behind the protocol of `_protocol.Format`; `registry` knows them all:

| name      | catalogues             | snapshots | of a snapshot it holds                                             |
|-----------|------------------------|-----------|--------------------------------------------------------------------|
| autosave  | .req                   | .sav      | values as text, when taken                                         |
| burt      | .req (read-only)       | .snap     | values as shown, read-only, comment, labels, user, when taken      |
| psi       | .req                   | .snap     | numbers and texts, units, precisions, comment, labels, when taken  |
| phoebus   | .csv (and readbacks)   | .csv      | types, states, time stamps, alarm severities, readbacks, title, ...|
| squirrel  | .csv (tags, readbacks) |           |                                                                    |
| jsonl     | everything             | .jsonl    | everything, bit for bit                                            |
| catalogue | everything             |           |                                                                    |

What a format cannot hold is told when a file is written; a value that would come back as another one is left out. How
values without a type are kept, and how they get one, is in `retype`.
"""

from squirrel_ioc.formats._macros import MacroError, parse_macros
from squirrel_ioc.formats._protocol import CatalogueFile, Format, Kind, Limits, ReadOptions, SnapshotFile
from squirrel_ioc.formats._thread_pauses import LINES_A_LOOK
from squirrel_ioc.formats.registry import (
    FORMATS,
    detect,
    format_by_name_of,
    format_named,
    read_catalogue,
    read_snapshot,
    write_catalogue,
    write_snapshot,
)
from squirrel_ioc.formats.retype import Retyped, retype

__all__ = [
    "FORMATS",
    "LINES_A_LOOK",
    "CatalogueFile",
    "Format",
    "Kind",
    "Limits",
    "MacroError",
    "ReadOptions",
    "Retyped",
    "SnapshotFile",
    "detect",
    "format_by_name_of",
    "format_named",
    "parse_macros",
    "read_catalogue",
    "read_snapshot",
    "retype",
    "write_catalogue",
    "write_snapshot",
]
