"""One name for a PV: `X.VAL` and `ca://X` are the channel `X`."""

from __future__ import annotations

from typing import Final

__all__ = ["canonical"]

_SCHEME: Final = "ca://"
_VALUE_FIELD: Final = ".VAL"


def canonical(name: str) -> str:
    """The shortest name of the same channel. What is no name stays as it is."""
    if name.startswith(_SCHEME):
        name = name[len(_SCHEME) :]
    if name.endswith(_VALUE_FIELD) and len(name) > len(_VALUE_FIELD):
        name = name[: -len(_VALUE_FIELD)]
    return name
