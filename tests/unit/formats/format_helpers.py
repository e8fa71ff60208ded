"""What the tests of formats share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats import ReadOptions, SnapshotFile, format_named, read_catalogue, read_snapshot
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Dbf

FILES = Path(__file__).parent / "files"


def values(frame: Frame) -> dict[str, Any]:
    """Every value by name; arrays as lists."""
    found = {}
    for row, name in enumerate(frame.channels.names):
        value = frame.value(row)
        found[name] = value.tolist() if isinstance(value, np.ndarray) else value
    return found


def types(frame: Frame) -> dict[str, Dbf]:
    """The type of every value by name."""
    return {name: Dbf(int(dbf)) for name, dbf in zip(frame.channels.names, frame.dbf, strict=True)}


def written(format_name: str, snapshot: SnapshotFile) -> str:
    """The text of a snapshot in a format."""
    lines: list[str] = []
    format_named(format_name).write_snapshot(lines.append, snapshot)
    return "".join(lines)


def problems_of(path: Path, what: str = "snapshot", form: str | None = None, **options: Any) -> list[str]:
    """The problems of a file that must not be readable."""
    read = read_snapshot if what == "snapshot" else read_catalogue
    with pytest.raises(FormatError) as caught:
        read(path, form, ReadOptions(**options))
    return list(caught.value.problems)
