"""How the values of a channel are printed, worked out once for each meta data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from squirrel_ioc.model.frame import Frame
from squirrel_ioc.model.values import ELEMENT_DTYPE, STRING_SIZE, Dbf, Meta, decode

__all__ = ["Formats", "array_text", "char_text", "printable", "shorten"]

_SHOWN: Final = 8  # elements of an array
_HUGE: Final = 1e15  # from here on digits after the point mean nothing in a double
_MOST_PRECISION: Final = 15


@dataclass(frozen=True, slots=True)
class _Format:
    """%-formats of a number without units. `general` is for what is not 0 and below `smallest`, or huge."""

    fixed: str
    general: str
    smallest: float

    @classmethod
    def of(cls, dbf: Dbf, precision: int, sign: str) -> _Format:
        """For a type and its precision, 0 where it is not known."""
        if precision <= 0 or dbf not in (Dbf.FLOAT, Dbf.DOUBLE):
            general = f"%{sign}.{7 if dbf is Dbf.FLOAT else 10}g"
            return cls(general, general, 0.0)
        precision = min(precision, _MOST_PRECISION)
        return cls(f"%{sign}.{precision}f", f"%{sign}.{precision + 1}g", 0.5 * 10.0**-precision)

    def text(self, number: float) -> str:
        """One number."""
        special = 0.0 < abs(number) < self.smallest or abs(number) >= _HUGE
        return (self.general if special else self.fixed) % number


class Formats:
    """The formats of a frame's meta data, for as many rows as one likes."""

    def __init__(self, frame: Frame, rows: NDArray[np.intp], sign: str = "") -> None:
        """For these rows of the frame. `sign` is "+" where numbers shall always have one."""
        n = len(frame.metas)
        self._metas = frame.metas
        self._sign = sign
        self._fixed, self._general, self._labels = (np.full(n, "", object) for _ in range(3))
        self._smallest = np.zeros(n)
        self._known: dict[tuple[Dbf, int], _Format] = {}
        used = np.zeros(n, bool)
        used[frame.meta[rows]] = True
        for i in np.flatnonzero(used).tolist():
            meta = frame.metas[i]
            if meta.dbf is Dbf.ENUM:
                self._labels[i] = tuple(map(printable, meta.labels))
            else:
                form, units = self._format(meta), _units(meta).replace("%", "%%")
                self._fixed[i], self._general[i] = form.fixed + units, form.general + units
                self._smallest[i] = form.smallest

    def numbers(self, meta: NDArray[np.int32], number: NDArray[np.float64]) -> list[str]:
        """Numbers with their units."""
        magnitude = np.abs(number)
        special = ((magnitude != 0.0) & (magnitude < self._smallest[meta])) | (magnitude >= _HUGE)
        forms = np.where(special, self._general[meta], self._fixed[meta])
        return [form % value for form, value in zip(forms.tolist(), number.tolist(), strict=True)]

    def labels(self, meta: NDArray[np.int32], number: NDArray[np.float64]) -> list[str]:
        """The labels of enums; the index where it has none."""
        indices = number.astype(np.int64).tolist()
        return [_label(labels, i) for labels, i in zip(self._labels[meta].tolist(), indices, strict=True)]

    def elements(self, index: int, dbf: Dbf, raw: bytes) -> list[str]:
        """The first elements of an array whose meta data is number `index`, without units."""
        dtype = ELEMENT_DTYPE[dbf]
        raw = raw[: _SHOWN * dtype.itemsize]
        if dbf is Dbf.STRING:
            return [f'"{printable(decode(raw[i : i + STRING_SIZE]))}"' for i in range(0, len(raw), STRING_SIZE)]
        numbers = np.frombuffer(raw, dtype).tolist()
        if dbf is Dbf.ENUM:
            return [_label(self._labels[index], i) for i in numbers]
        form = self._format(self._metas[index])
        return [form.text(x) for x in numbers]

    def units(self, index: int) -> str:
        """The units of a meta data, with a space before them."""
        return _units(self._metas[index])

    def _format(self, meta: Meta) -> _Format:
        key = meta.dbf, meta.precision
        form = self._known.get(key)
        if form is None:
            form = self._known[key] = _Format.of(meta.dbf, meta.precision, self._sign)
        return form


def array_text(elements: list[str], units: str, count: int, limit: int | None) -> str:
    """ "[1.0, 2.0, ...] mm (16)": as many of the elements as the limit allows, and how many there are."""
    tail = f"]{units} ({count})"
    for shown in range(len(elements), -1, -1):
        parts = elements[:shown] if shown == count else [*elements[:shown], "..."]
        line = f"[{', '.join(parts)}{tail}"
        if limit is None or len(line.encode()) <= limit:
            break
    return line


def char_text(raw: bytes) -> str | None:
    """The text in an array of chars: UTF-8 that can be read, then nothing but NULs; None if it is no text."""
    body = raw.rstrip(b"\0")
    try:
        content = body.decode()
    except UnicodeDecodeError:
        return None
    readable = content.isprintable() or all(c.isprintable() or c in "\t\r\n" for c in content)
    return printable(content) if content and readable else None


def printable(content: str) -> str:
    """The text with everything that would upset a line of text written as Python does: a tab is \\t."""
    if content.isprintable():
        return content
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in content)


def shorten(content: str, limit: int) -> str:
    """The text in at most `limit` bytes of UTF-8, never cut within a character; "..." stands for what is lost."""
    if len(content) * 4 <= limit or len(raw := content.encode("utf-8", "replace")) <= limit:
        return content
    return raw[: max(limit - 3, 0)].decode("utf-8", "ignore") + "..."[:limit]


def _label(labels: tuple[str, ...], index: int) -> str:
    return (labels[index] if index < len(labels) else "") or str(index)


def _units(meta: Meta) -> str:
    units = printable(meta.units.strip())
    return f" {units}" if units else ""
