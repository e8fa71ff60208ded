"""Fixtures for tests that run the program as users do."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import left_over


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an embedded server may be in, whoever runs it; no process of it may be left at the end.

    Not pytest's: that is closed to other users, and PostgreSQL does not run as root.
    """
    made = Path(tempfile.mkdtemp(prefix="squirrel-test-"))
    yield made
    remaining = left_over(made)
    shutil.rmtree(made)
    assert remaining == []
