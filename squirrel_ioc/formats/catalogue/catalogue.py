"""The catalogue files of the service itself, YAML and CSV.

CSV: the first line names the columns, in any order and case: setpoint, readback, description, device, tags, atol,
rtol, read_only, order, max_step, step_period. Every other column is a tag group, its cells tags, several separated by
commas; the column `tags` holds `Group=Tag; Group=Tag`. So squirrel-backend's CSV loads as it is
(https://github.com/slaclab/squirrel, docs/source/import_format.rst): there, as here, a row with a readback alone is a
PV that is read and never written. YAML: see `catalogue.yaml_file`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from squirrel_ioc.errors import CatalogueError, FormatError
from squirrel_ioc.formats._lines import open_regular
from squirrel_ioc.formats._protocol import Limits
from squirrel_ioc.formats.catalogue.csv_file import read_csv
from squirrel_ioc.formats.catalogue.entry_rows import FIELDS, Rows, Tags, parse_tags, pv_problem
from squirrel_ioc.formats.catalogue.yaml_file import read_yaml
from squirrel_ioc.model.catalogue import Entry

__all__ = ["load_catalogue", "pv_problem", "read_fields", "read_tags"]

_READERS = {".yaml": read_yaml, ".yml": read_yaml, ".csv": read_csv, ".tsv": read_csv}
_LIMITS = Limits(file_bytes=64 << 20)


def load_catalogue(paths: Sequence[Path]) -> list[Entry]:
    """The entries of all files, in their order.

    A file without any entry is fine (`[]`, or a first line alone), an empty one is not: it is more likely a disk
    that was full than a machine without PVs.

    Raises:
        CatalogueError: everything that is wrong, one line each (file, line, reason), up to a bound.
    """
    rows = Rows()
    for path in paths:
        read = _READERS.get(path.suffix.lower())
        if read is None:
            rows.problem(str(path), None, f"must be one of {', '.join(_READERS)}")
        elif (text := _text(rows, path)) is not None:
            read(rows, str(path), text)
    return rows.done()


def read_fields(texts: Mapping[str, str]) -> dict[str, Any]:
    """Fields of an entry, by their names in a catalogue file, from text as it stands in one.

    Raises:
        CatalogueError: everything that is wrong, one line each (field, reason).
    """
    values, problems = {}, []
    for name, text in texts.items():
        try:
            values[name] = FIELDS[name](text.strip())
        except ValueError as exc:
            problems.append(f"{name}: {exc}")
    if problems:
        raise CatalogueError(problems)
    return values


def read_tags(text: str) -> Tags:
    """Tags, from `Group=Tag; Group=Tag`.

    Raises:
        CatalogueError: they cannot be tags.
    """
    tags: Tags = {}
    try:
        parse_tags(tags, text)
    except ValueError as exc:
        raise CatalogueError([f"tags: {exc}"]) from None
    return tags


def _text(rows: Rows, path: Path) -> str | None:
    """What is in the file; None when it cannot be read, which is noted."""
    try:
        with open_regular(path, str(path), _LIMITS) as file:
            raw = file.read()
        return raw.decode("utf-8-sig")
    except FormatError as exc:
        rows.problem(str(path), None, str(exc).removeprefix(f"{path}: "))
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        rows.problem(str(path), line, f"is not UTF-8 text: byte 0x{raw[exc.start]:02x}")
    return None
