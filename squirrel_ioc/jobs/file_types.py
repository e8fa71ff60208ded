"""Types for values from files that know none, or another one than the PV has; see `formats.retype`.

A value gets the type of its PV when its file is imported, as far as that is known then, and otherwise when it is
compared or restored. Values that were read from the machine are left alone: a PV that has another type now is news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.errors import FormatError
from squirrel_ioc.formats import Retyped, retype
from squirrel_ioc.jobs._ports import Targets
from squirrel_ioc.model.channels import ChannelList
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.snapshot import SnapshotFilter
from squirrel_ioc.model.values import Dbf, Meta
from squirrel_ioc.store import Store

__all__ = ["UNTYPED", "alike", "check_texts", "fitted", "live_types", "stored_types"]

UNTYPED: Final = frozenset(["autosave", "burt", "psi"])
"""Formats whose files do not say what type a PV has."""

_LAST: Final = 20
_AS_SHOWN: Final = frozenset(["burt"])
"""Formats whose files hold what a PV shows: a label rather than an index."""


def live_types(targets: Targets, channels: ChannelList) -> dict[str, Meta]:
    """What is known of channels that are, or were, connected."""
    live = targets.live(channels)
    known = np.array([meta.dbf is not Dbf.NONE for meta in live.metas], bool)[live.meta]
    rows = np.flatnonzero(known)
    return dict(zip(channels.array[rows].tolist(), map(live.metas.__getitem__, live.meta[rows].tolist()), strict=True))


async def stored_types(store: Store) -> dict[str, Meta]:
    """What PVs said of themselves in the largest of the last snapshots that were read from the machine."""
    snapshots, _ = await store.snapshots(SnapshotFilter(size=_LAST))
    read = max((s for s in snapshots if not s.file_format), key=lambda s: s.count, default=None)
    if read is None:
        return {}
    frame = await store.load_frame(read.id)
    metas = map(frame.metas.__getitem__, frame.meta.tolist())
    return {name: meta for name, meta in zip(frame.channels.names, metas, strict=True) if meta.dbf is not Dbf.NONE}


def check_texts(where: str, frame: Frame, *texts: str) -> None:
    """Raise FormatError when one of these, or of the frame's units and labels, has a NUL: PostgreSQL knows none."""
    of_metas = (text for meta in frame.metas for text in (meta.units, *meta.labels))
    if any("\0" in text for text in (*texts, *of_metas)):
        raise FormatError([f"{where}: a text with a NUL cannot be stored"])


def fitted(frame: Frame, other: Frame, file_format: str) -> Retyped:
    """An imported frame with the types that `other` has, which is of the same PVs; matched by name.

    Values of the same type are left as they are, and so are those that do not fit: `problems` say why, by row.
    """
    return _retyped(frame, _wanted(frame, other), file_format)


def alike(a: Frame, b: Frame, format_a: str, format_b: str) -> tuple[Frame, Frame]:
    """Two frames that are to be compared, with the same types where one of them came from a file.

    The formats are those of the files, empty for a frame that was read from the machine. Of two from files, texts are
    brought to the types of the other one.
    """
    if format_a:
        a = _retyped(a, _wanted(a, b, texts_only=bool(format_b)), format_a).frame
    if format_b:
        b = _retyped(b, _wanted(b, a, texts_only=bool(format_a)), format_b).frame
    return a, b


def _wanted(frame: Frame, other: Frame, *, texts_only: bool = False) -> dict[str, Meta]:
    """The types of `other` where `frame` has a value of another one."""
    place = other.channels.find(frame.channels)
    rows = np.flatnonzero(frame.valid & (place >= 0))
    rows = rows[other.valid[place[rows]]]
    there = place[rows]
    differ = (frame.dbf[rows] != other.dbf[there]) | (_arrays(frame)[rows] != _arrays(other)[there])
    if texts_only:
        differ &= frame.dbf[rows] == Dbf.STRING
    names, metas = frame.channels.names, other.metas
    return {names[r]: metas[int(other.meta[t])] for r, t in zip(rows[differ], there[differ], strict=True)}


def _arrays(frame: Frame) -> NDArray[np.bool_]:
    """bool[N]: the channel is an array."""
    many: NDArray[np.bool_] = np.array([meta.count > 1 for meta in frame.metas], bool)[frame.meta]
    many |= frame.count != 1
    return many


def _retyped(frame: Frame, wanted: Mapping[str, Meta], file_format: str) -> Retyped:
    if not wanted:
        return Retyped(frame, {})
    made, problems = retype(frame, wanted, as_shown=file_format in _AS_SHOWN)
    # The very list of channels, by which store and machine know it.
    return Retyped(replace(made, channels=frame.channels), problems)
