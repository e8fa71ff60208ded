"""The error tree. A message names the thing and the reason, in words an operator understands."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "SquirrelError",
    "SettingsError",
    "CatalogueError",
    "SelectionError",
    "RefusedError",
    "UnknownPvError",
    "StoreError",
    "DatabaseDownError",
    "NotActiveError",
    "ChannelAccessError",
    "ControlPvError",
    "FormatError",
]


class SquirrelError(Exception):
    """Anything squirrel-ioc reports on purpose."""


class SettingsError(SquirrelError):
    """A settings file is wrong: file, key and reason."""


class CatalogueError(SquirrelError):
    """Catalogue files are wrong. `problems` holds one line each: file, line, reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class SelectionError(SquirrelError):
    """A selection does not parse. `position` is the 0-based character where."""

    def __init__(self, reason: str, position: int) -> None:
        self.reason = reason
        self.position = position
        super().__init__(f"{reason} (at position {position})")


class RefusedError(SquirrelError):
    """A request was refused before anything was started or changed."""


class UnknownPvError(RefusedError):
    """A PV is named that is not in the catalogue."""


class StoreError(SquirrelError):
    """The store cannot do what was asked."""


class DatabaseDownError(StoreError):
    """The database does not answer."""


class NotActiveError(StoreError):
    """This service does not hold the lease, or not any more: another one does the work."""


class ChannelAccessError(SquirrelError):
    """Channel Access as a whole failed; a single PV never raises this."""


class ControlPvError(SquirrelError):
    """The control PVs cannot be served: which port or address, and why."""


class FormatError(SquirrelError):
    """A file of another tool is wrong. `problems` holds one line each: file, line, reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
