"""What is wrong with a file that is read, and what is lost in a file that is written."""

from __future__ import annotations

from typing import NoReturn

from squirrel_ioc.errors import FormatError

__all__ = ["Problems", "Losses"]

_EXAMPLES = 3


class Problems:
    """Collects the problems of a file, up to a bound; all of them are reported at once."""

    def __init__(self, limit: int) -> None:
        self._lines: list[str] = []
        self._limit = limit

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, file: str, line: int | None, reason: str) -> None:
        """Note a problem. Raises FormatError when there are as many as are worth reading."""
        if len(self._lines) == self._limit:
            self._lines.append(f"{file}: and more; the first {self._limit} problems are shown")
            self.check()
        self._lines.append(f"{file}: {reason}" if line is None else f"{file}:{line}: {reason}")

    def fatal(self, file: str, line: int | None, reason: str) -> NoReturn:
        """Note a problem after which reading on makes no sense. Raises FormatError."""
        self.add(file, line, reason)
        raise FormatError(self._lines)

    def check(self) -> None:
        """Raises FormatError if there was any problem."""
        if self._lines:
            raise FormatError(self._lines)


class Losses:
    """Collects what a format cannot hold: one line a kind, with how many PVs and the first few of them."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._count: dict[str, int] = {}
        self._plain: list[str] = []

    def note(self, what: str) -> None:
        """Something about the file as a whole."""
        self._plain.append(what)

    def add(self, what: str, name: str) -> None:
        """Something about one PV."""
        self._count[what] = self._count.get(what, 0) + 1
        names = self._names.setdefault(what, [])
        if len(names) < _EXAMPLES:
            names.append(name)

    def left_out(self, why: str, name: str) -> None:
        """A PV that is not in the file."""
        self.add(f"left out: {why}", name)

    def lines(self) -> list[str]:
        """A line for each kind of loss."""
        return self._plain + [
            f"{what} ({count} PV{'s' * (count != 1)}: {', '.join(self._names[what])}{', ...' * (count > _EXAMPLES)})"
            for what, count in self._count.items()
        ]
