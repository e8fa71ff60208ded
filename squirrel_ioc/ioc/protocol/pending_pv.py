"""PVs that are found before it is known what they look like."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Waiting"]


class Waiting:
    """Something is being fetched; here is who waits for it."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[bool], None]] = []

    def then(self, callback: Callable[[bool], None]) -> None:
        """Call back when it is there, or with False when it is not to be had."""
        self._callbacks.append(callback)

    def end(self, good: bool) -> None:
        """It is there, or not to be had."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(good)
