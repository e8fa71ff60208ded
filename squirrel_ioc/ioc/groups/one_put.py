"""Commands with all their parameters in one write: `42 filter="QUAD:*" mode=changed verify=yes`.

Nobody else's parameters get in between, as they can between two writes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from squirrel_ioc.errors import RefusedError, SelectionError
from squirrel_ioc.model.selection import parse

__all__ = ["Options", "not_empty", "not_negative", "one_of", "read_command", "selection", "whole", "yes_or_no"]

Options = Mapping[str, Callable[[str], Any]]
"""How the value of each option is read; it raises RefusedError."""

_OPTION: Final = re.compile(r"[A-Za-z_][\w.:-]*=")
_YES, _NO = ("yes", "1", "true", "on"), ("no", "0", "false", "off")


def read_command(text: str, words: int, options: Options) -> tuple[list[str], dict[str, Any]]:
    """Up to so many words, and options `name=value`, each once; values with blanks are quoted, as in a shell.

    Raises RefusedError, which names what is wrong.
    """
    try:
        parts = shlex.split(text)
    except ValueError:
        raise RefusedError(f"a quote is not closed: {text[:80]}") from None
    found: list[str] = []
    values: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if equals and name in options:
            if name in values:
                raise RefusedError(f"{name} is given twice")
            try:
                values[name] = options[name](value)
            except RefusedError as error:
                raise RefusedError(f"{name}: {error}") from None
        elif _OPTION.match(part):
            raise RefusedError(f"{name} is no option, there are {', '.join(options)}")
        else:
            found.append(part)
    if len(found) > words:
        raise RefusedError(f"{found[words]!r} is one word too many: quote what has blanks")
    return found, values


def yes_or_no(text: str) -> bool:
    """An option's value."""
    if text.lower() not in (*_YES, *_NO):
        raise RefusedError(f"{text!r} is neither yes nor no")
    return text.lower() in _YES


def one_of(labels: Sequence[str]) -> Callable[[str], int]:
    """An option that is one of these labels, in any case: its index."""

    def index(text: str) -> int:
        known = [label.lower() for label in labels]
        if text.lower() not in known:
            raise RefusedError(f"{text!r} is none of {', '.join(known)}")
        return known.index(text.lower())

    return index


def not_empty(text: str) -> str:
    """An option that needs a value: an empty variable of a script is no wish for everything."""
    if not text.strip():
        raise RefusedError("it has no value")
    return text


def selection(text: str) -> str:
    """A selection that parses."""
    not_empty(text)
    try:
        parse(text)
    except SelectionError as error:
        raise RefusedError(str(error)) from None
    return text


def not_negative(text: str) -> float:
    """A tolerance."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise RefusedError(f"{text!r} is no tolerance")
    return value


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise RefusedError(f"{text!r} is no whole number") from None
