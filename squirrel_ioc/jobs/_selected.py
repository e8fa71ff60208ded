"""Which rows of a channel list a selection takes."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.jobs._ports import Targets
from squirrel_ioc.model.catalogue import Catalogue
from squirrel_ioc.model.frame import ChannelList
from squirrel_ioc.model.selection import LiveFlags, Selection

__all__ = ["selected_rows"]


async def selected_rows(
    selection: Selection, channels: ChannelList, catalogue: Catalogue, targets: Targets
) -> NDArray[np.intp]:
    """Ascending rows of `channels` that `selection` takes, seen with the catalogue and the machine of now.

    Matched in a thread: an unkind expression over many names takes a second.
    """
    live = targets.live(channels)
    flags = LiveFlags(live.connected, live.writable)
    return np.flatnonzero(await asyncio.to_thread(selection.match_channels, channels, catalogue, flags))
