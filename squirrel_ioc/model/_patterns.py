"""Patterns on text: globs as in `fnmatch` (case sensitive) and regular expressions, all on RE2.

RE2's time is linear in the text, but a step may cost as much as the compiled pattern is long, and patterns come from
the network: their size is limited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import re2

__all__ = ["MAX_PROGRAM", "CharacterClass", "Glob", "GlobToken", "Pattern", "PatternError", "Regex", "Wild"]

MAX_PROGRAM = 1500
"""RE2 instructions of a pattern. The worst of this size takes about a second on 80,000 names."""

_MAX_MEMORY = 4 << 20

Matcher = Callable[[bytes], Any]


class PatternError(ValueError):
    """A pattern that cannot be used. The message is the reason."""


@dataclass(frozen=True)
class Pattern:
    """A pattern as an RE2 expression that is found anywhere in a text.

    Every match begins with `prefix` and ends with `suffix`, one behind the other; when it is `exact`, that is all
    that is asked. When there is a `literal`, the text must be just that.
    """

    expression: str
    prefix: bytes = b""
    suffix: bytes = b""
    exact: bool = False
    literal: bytes | None = None

    def __post_init__(self) -> None:
        self.matcher()

    def matcher(self) -> Matcher:
        """A function of UTF-8 bytes whose result is true where the pattern matches.

        Raises:
            PatternError: RE2 does not take the expression, or it is too complex.
        """
        return _matcher(self.expression)

    def matches(self, text: str) -> bool:
        """Whether the text is meant."""
        return bool(self.matcher()(text.encode()))


class Regex(Pattern):
    """A regular expression."""


class Wild(Enum):
    """The wild cards of a glob."""

    ONE = "?"
    MANY = "*"


@dataclass(frozen=True)
class CharacterClass:
    """[a-c] or [!a-c] of a glob: single characters and ranges (first, last)."""

    negated: bool
    ranges: tuple[tuple[str, str], ...]

    @property
    def expression(self) -> str:
        """The same in RE2's words."""
        inside = "".join(f"{_escaped(a)}-{_escaped(b)}" for a, b in self.ranges)
        return f"[{'^' if self.negated else ''}{inside}]"


GlobToken = str | Wild | CharacterClass
"""Literal text, a wild card, or a class."""


class Glob(Pattern):
    """A glob, which a text must match as a whole."""

    @classmethod
    def of(cls, tokens: Sequence[GlobToken]) -> Glob:
        """The glob of these tokens."""
        tokens = _simplified(tokens)
        body = "".join(_EXPRESSION[t] if isinstance(t, Wild) else _expression(t) for t in tokens)
        expression = rf"(?s)\A{body}\z"
        first, last = (tokens[0], tokens[-1]) if tokens else ("", "")
        if len(tokens) < 2 and isinstance(first, str):
            return cls(expression, literal=first.encode())
        return cls(
            expression,
            prefix=first.encode() if isinstance(first, str) else b"",
            suffix=last.encode() if isinstance(last, str) else b"",
            exact=[t for t in tokens if not isinstance(t, str)] == [Wild.MANY],
        )


_EXPRESSION = {Wild.ONE: ".", Wild.MANY: ".*"}


def _expression(token: str | CharacterClass) -> str:
    return "".join(map(_escaped, token)) if isinstance(token, str) else token.expression


def _escaped(char: str) -> str:
    return char if char.isalnum() else rf"\x{{{ord(char):x}}}"


def _simplified(tokens: Sequence[GlobToken]) -> list[GlobToken]:
    """Neighbouring literals joined, ** made *."""
    joined: list[GlobToken] = []
    for t in tokens:
        last = joined[-1] if joined else None
        if isinstance(t, str) and isinstance(last, str):
            joined[-1] = last + t
        elif t and not (t is Wild.MANY and last is Wild.MANY):
            joined.append(t)
    return joined


@lru_cache(maxsize=32)
def _matcher(expression: str) -> Matcher:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY
    try:
        # A set of one: the only way through the Python binding that does not cost a match object for each name.
        compiled = re2.compile(expression, options)
        if compiled.programsize > MAX_PROGRAM:
            raise PatternError(f"too complex: {compiled.programsize} steps, at most {MAX_PROGRAM}")
        single = re2.Set.SearchSet(options)
        single.Add(expression)
        single.Compile()
    except re2.error as exc:
        raise PatternError(_reason(exc)) from exc
    match: Matcher = single.Match
    return match


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "not a regular expression"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
