"""Which rows of a channel list a selection takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs._ports import Targets
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.selection import LiveFlags, Selection

__all__ = ["selected_rows"]


def selected_rows(
    selection: Selection, channels: ChannelList, catalogue: Catalogue, targets: Targets
) -> NDArray[np.intp]:
    """Ascending rows of `channels` that `selection` takes, seen with the catalogue and the machine of now."""
    live = targets.live(channels)
    flags = LiveFlags(live.connected, live.writable)
    return np.flatnonzero(selection.match_channels(channels, catalogue, flags))
