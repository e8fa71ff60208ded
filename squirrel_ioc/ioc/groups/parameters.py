"""Parameters of a command: they apply once, and who has set them is remembered."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.protocol.client import Client, current_client

__all__ = ["Parameters"]

_RECENT_S: Final = 10.0
"""A parameter that somebody else has set less long ago is told to whoever uses it."""


class Parameters:
    """These PVs, with the values they have now as their defaults."""

    def __init__(self, pvs: Iterable[Pv]) -> None:
        self._defaults = {pv: pv.value for pv in pvs}
        self._set: dict[Pv, tuple[Client, float]] = {}
        for pv in self._defaults:
            self._follow(pv)

    def _follow(self, pv: Pv) -> None:
        on_put = pv.on_put

        async def put(value: Any) -> None:
            if on_put is None:
                pv.post(value)
            else:
                await on_put(value)
            self._set[pv] = current_client(), time.monotonic()

        pv.on_put = put

    def used(self, sticky: bool) -> list[tuple[Pv, Any]]:
        """What is to be posted when a command has taken them: unless they are sticky, their defaults."""
        return [] if sticky else list(self._defaults.items())

    def set_by_others(self) -> str:
        """Which of them somebody else has set just now, in words: "" when none."""
        now, client = time.monotonic(), current_client()
        others = [
            f"{pv.label} was set by {who} {now - when:.0f} s ago"
            for pv, (who, when) in self._set.items()
            if who != client and now - when < _RECENT_S and pv.value != self._defaults[pv]
        ]
        return "; ".join(others)
