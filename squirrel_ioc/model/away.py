"""PVs that are known to be away: a broken IOC, an area that is switched off. What they lack is no reason to worry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import State

__all__ = ["AWAY_SETTING", "MAX_AWAY", "Away", "away_from_json", "marked", "with_added", "without_removed"]

AWAY_SETTING: Final = "pvs.away"
"""The key under which the store keeps the list."""

MAX_AWAY: Final = 5_000
"""PVs on the list."""


@dataclass(frozen=True, slots=True)
class Away:
    """Why a PV is away, and who has said so when."""

    reason: str
    user: str
    since: datetime


def away_from_json(kept: Any) -> dict[str, Away]:
    """The list as the store has it, by name in the order of names."""
    entries = {
        str(name): Away(**{**entry, "since": datetime.fromisoformat(entry["since"])})
        for name, entry in (kept or {}).items()
    }
    return dict(sorted(entries.items()))


def with_added(kept: Any, new: Mapping[str, Away]) -> dict[str, Any]:
    """The list, as the store keeps it, with these. Raises RefusedError when it becomes too long."""
    added = {**(kept or {}), **{name: {**asdict(a), "since": a.since.isoformat()} for name, a in new.items()}}
    if len(added) > MAX_AWAY:
        raise RefusedError(f"{len(added)} PVs would be away, at most {MAX_AWAY} can be")
    return added


def without_removed(kept: Any, names: Sequence[str]) -> dict[str, Any]:
    """The list, as the store keeps it, without these. Raises RefusedError for one that is not on it."""
    left = dict(kept or {})
    for name in names:
        if left.pop(name, None) is None:
            raise RefusedError(f"{name} is not on the list of PVs that are away")
    return left


def marked(frame: Frame, away: Iterable[str]) -> Frame:
    """The frame, whose missing values say where their PVs are known to be away."""
    known = frozenset(away)
    missing = np.flatnonzero(~frame.valid) if known else np.zeros(0, np.intp)
    rows = [row for row in missing.tolist() if frame.channels.names[row] in known]
    if not rows:
        return frame
    state = frame.state.copy()
    state[rows] = State.AWAY
    return replace(frame, state=state)
