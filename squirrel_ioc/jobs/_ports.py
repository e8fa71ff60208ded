"""What a job needs of the machine: the one seam behind which Channel Access, and later PVAccess, stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca import Live
from squirrel_ioc.model.frame import ChannelList, Frame

__all__ = ["AbortCheck", "Progress", "Targets", "Waiting"]

Progress = Callable[[int, int], None]
AbortCheck = Callable[[], bool]
Waiting = Callable[[str, int], None]


class Targets(Protocol):
    """Bulk access to PVs. Nothing here raises for a single PV."""

    def live(self, channels: ChannelList) -> Live:
        """What is known of each channel without asking the machine."""
        ...

    async def refresh(self, channels: ChannelList, *, abort: AbortCheck | None = None) -> None:
        """Ask channels again what they say of themselves: the labels of states may have changed."""
        ...

    async def read(
        self,
        channels: ChannelList,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        abort: AbortCheck | None = None,
    ) -> Frame:
        """The values of all channels; what had none says why in `state`."""
        ...

    async def write(
        self,
        values: Frame,
        *,
        timeout_s: float | None = None,
        progress: Progress | None = None,
        abort: AbortCheck | None = None,
        retry: bool = True,
        waiting: Waiting | None = None,
    ) -> NDArray[np.uint8]:
        """Put with completion; a WriteState a row. Rows without a value are not written (NOT_ISSUED).

        With `retry`, what could not be sent in passing is sent once more; what was sent never is.
        `waiting(name, others)` names a PV whose write takes longer than a second, and says how many more do.
        """
        ...
