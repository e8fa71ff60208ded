"""Meta data: DBR_CTRL_* made into `Meta`, each different one kept once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.ca._layout import CTRL_DTYPE
from squirrel_ioc.model.values import NO_META, Dbf, Meta

__all__ = ["MetaStore"]


def _text(raw: bytes) -> str:
    """CA strings are bytes: UTF-8 where they are, else Latin-1."""
    raw = raw.split(b"\0", 1)[0]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _decode(dbf: Dbf, count: int, record: np.void) -> Meta:
    if dbf is Dbf.ENUM:
        n = min(max(int(record["labels"]), 0), 16)
        return Meta(dbf, count, labels=tuple(_text(label) for label in record["label"][:n].tolist()))
    fields = record.dtype.names or ()
    limits = tuple(float(x) for x in record["limits"])
    precision = int(record["precision"]) if "precision" in fields else 0
    return Meta(dbf, count, _text(record["units"].item()), precision, limits)  # type: ignore[arg-type]


class MetaStore:
    """Every different `Meta` met so far, by index; 0 is NO_META."""

    def __init__(self) -> None:
        self._metas: list[Meta] = [NO_META]
        self._index: dict[Meta, int] = {NO_META: 0}
        self._raw: dict[tuple[int, int, bytes], int] = {}
        self._bare: dict[tuple[int, int], int] = {}
        self._tuple: tuple[Meta, ...] = (NO_META,)

    @property
    def all(self) -> tuple[Meta, ...]:
        """By index."""
        if len(self._tuple) != len(self._metas):
            self._tuple = tuple(self._metas)
        return self._tuple

    def _add(self, meta: Meta) -> int:
        index = self._index.setdefault(meta, len(self._metas))
        if index == len(self._metas):
            self._metas.append(meta)
        return index

    def bare(self, dbf: int, count: int) -> int:
        """Index for a channel that says no more of itself: a string, or one that may not be read."""
        index = self._bare.get((dbf, count))
        if index is None:
            index = self._bare[dbf, count] = self._add(Meta(Dbf(dbf), count))
        return index

    def fitting(self, index: int, dbf: int, count: int) -> int:
        """`index`, if that can be of a channel of this type and count, else that of a bare one.

        What the states of a channel are called is not known before it has told, in this connection.
        """
        meta = self._metas[index]
        fits = meta.dbf == dbf and meta.count == count and not meta.labels
        return index if fits else self.bare(dbf, count)

    def intern(self, dbf: Dbf, counts: list[int], records: NDArray[Any]) -> list[int]:
        """Indexes for the DBR_CTRL_* `records` (of CTRL_DTYPE) of channels of these maximum counts."""
        clean = records.copy()
        for name in ("status", "severity", "value"):
            clean[name] = np.zeros((), clean.dtype[name])
        raw = clean.view(f"V{CTRL_DTYPE[dbf].itemsize}").tolist()
        indexes = []
        for i, key in enumerate(zip([int(dbf)] * len(raw), counts, raw, strict=True)):
            index = self._raw.get(key)
            if index is None:
                index = self._raw[key] = self._add(_decode(dbf, key[1], records[i]))
            indexes.append(index)
        return indexes
