"""Where the files that ship with the program are: in the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path

__all__ = ["config_dir", "docs_dir", "migrations_dir", "views_file"]

_PACKAGE = Path(__file__).resolve().parent


def _folder(in_wheel: str, in_checkout: str) -> Path:
    installed = _PACKAGE / in_wheel
    return installed if installed.is_dir() else _PACKAGE.parent / in_checkout


def migrations_dir() -> Path:
    """The folder of the SQL migrations."""
    return _folder("_db", "db") / "migrations"


def views_file() -> Path:
    """The SQL views."""
    return _folder("_db", "db") / "views.sql"


def config_dir() -> Path:
    """The folder of the example settings and catalogues."""
    return _folder("_config", "config")


def docs_dir() -> Path:
    """The folder of the documentation, a Markdown file a topic."""
    return _PACKAGE / "docs"
