"""What the engine runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Operation"]


class Operation:
    """Work of the engine thread, done in slices of a few milliseconds."""

    def step(self, now: float) -> bool | None:
        """Do a slice. True when something has moved, False when not, None when the operation has ended."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Withdraw everything: the engine stops, or nobody waits any more. One more `step` may follow."""
        raise NotImplementedError

    def exception(self, chid: int, status: int, op: int) -> None:
        """A request has failed, perhaps one of this operation: channel, ECA status, CA_OP."""

    def value(self, index: int, status: int, count: int, raw: bytes) -> None:
        """A value asked for with this operation's tag has come: ECA status, elements, DBR bytes."""

    def puts_ended(self, indexes: NDArray[np.int64], statuses: NDArray[np.int64]) -> None:
        """Puts with this operation's tag have ended: int64[n], ECA status int64[n]."""
