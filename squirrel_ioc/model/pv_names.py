"""One name for a PV: `X.VAL` and `ca://X` are the channel `X`.

`X.VAL$`, a value as a long string, stays: an IOC has no channel `X$`, as the `$` belongs to the name of a field.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

__all__ = ["canonical", "known_as", "renamed"]

_SCHEME: Final = "ca://"
_VALUE_FIELD: Final = ".VAL"


def canonical(name: str) -> str:
    """The shortest name of the same channel. What is no name stays as it is."""
    name = name.removeprefix(_SCHEME)
    return name.removesuffix(_VALUE_FIELD) or name


def known_as(name: str, known: Container[str]) -> str:
    """The name itself, where it is known; else its canonical form. An old database may have both."""
    return name if name in known else canonical(name)


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Those of the names that are not canonical, and what they become: nothing that stands among them already."""
    there = set(names)
    changed: dict[str, str] = {}
    for name in names:
        short = canonical(name)
        if short not in there:
            changed[name] = short
            there.add(short)
    return changed
