"""What the exit codes mean."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from squirrel_ioc.errors import CatalogueError, DatabaseDownError, SettingsError, SquirrelError, UnknownPvError

__all__ = ["ExitCode", "EXIT_CODES", "NotFoundError", "exit_code"]


class ExitCode(IntEnum):
    """Exit codes of the commands."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    DATABASE = 4
    NOT_FOUND = 5
    DIFFERENT = 6
    INTERRUPTED = 130


EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 settings or catalogue wrong, 4 the database does not answer, "
    "5 no such snapshot or PV, 6 compared and not the same, 130 interrupted."
)


class NotFoundError(SquirrelError):
    """What was asked for does not exist."""


_CODES: Final[tuple[tuple[type[SquirrelError], ExitCode], ...]] = (
    (SettingsError, ExitCode.CONFIGURATION),
    (CatalogueError, ExitCode.CONFIGURATION),
    (DatabaseDownError, ExitCode.DATABASE),
    (NotFoundError, ExitCode.NOT_FOUND),
    (UnknownPvError, ExitCode.NOT_FOUND),
)


def exit_code(error: SquirrelError) -> ExitCode:
    """The exit code that says what kind of error it was."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)
