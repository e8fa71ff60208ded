"""Fixtures for tests that run the program as users do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import SECRET, left_over, logs_with_the_secret

# Of every program that the tests start; `running.environment` lets it through.
os.environ["SOMEBODYS_PASSWORD"] = SECRET


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """No log of any test has a secret of the environment in it, whatever happened. Before its folders are removed."""
    folders = Path(tempfile.gettempdir()).glob("squirrel-test-*")
    if isinstance(item, pytest.Function) and "tmp_path" in item.funcargs:
        folders = iter([*folders, item.funcargs["tmp_path"]])
    assert logs_with_the_secret(*folders) == []


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
