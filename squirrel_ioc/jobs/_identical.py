"""Whether two frames are the same, to the bit."""

from __future__ import annotations

import numpy as np

from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import Meta

__all__ = ["same_frames"]

_COLUMNS = ("state", "dbf", "count", "severity", "status", "stamp", "number", "side_row", "side_end")


def same_frames(a: Frame, b: Frame) -> bool:
    """Whether both have the same channels in the same order, the same values and the same meta data."""
    if a.channels.setpoints != b.channels.setpoints or not a.channels.same_as(b.channels):
        return False
    # By their bytes: of NaNs and zeros there are several.
    if any(getattr(a, name).tobytes() != getattr(b, name).tobytes() for name in _COLUMNS) or a.side != b.side:
        return False
    known: dict[Meta, int] = {}
    one, other = (np.array([known.setdefault(m, len(known)) for m in f.metas], np.int64)[f.meta] for f in (a, b))
    return np.array_equal(one, other)
