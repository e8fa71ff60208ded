"""What a client has written, as Python sees it. Whatever does not fit is refused with the reason."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from caproto import ChannelType

from squirrel_ioc.errors import RefusedError

__all__ = ["parse_index", "parse_number", "parse_text", "parse_whole", "split_labels"]

_MULTILINE_CONTROLS = "\t\n\r"


def parse_whole(data: Any, native: Any, low: int, high: int) -> int:
    """A whole number within `low` and `high`, both included."""
    value = _one(data, native)
    number = _number_of(value) if isinstance(value, str) else value
    if not math.isfinite(number) or number != math.floor(number):
        raise RefusedError(f"{value} is no whole number")
    if not low <= number <= high:
        raise RefusedError(f"{int(number)} is not between {low} and {high}")
    return int(number)


def parse_number(data: Any, native: Any, low: float, high: float) -> float:
    """A finite number within `low` and `high`, both included."""
    value = _one(data, native)
    number = _number_of(value) if isinstance(value, str) else float(value)
    if not math.isfinite(number):
        raise RefusedError(f"{value} is no number")
    if not low <= number <= high:
        raise RefusedError(f"{number:g} is not between {low:g} and {high:g}")
    return number


def parse_index(data: Any, native: Any, labels: Sequence[str]) -> int:
    """The index of a state, given by its label or by its number."""
    value = _one(data, native)
    if isinstance(value, str):
        if value in labels:
            return labels.index(value)
        if not (value.isascii() and value.isdigit()):
            raise RefusedError(f"{value!r} is none of {', '.join(labels)}")
    return parse_whole(data, native, 0, len(labels) - 1)


def parse_text(data: Any, native: Any, limit: int, *, lines: bool = False) -> str:
    """Text of at most `limit` bytes of UTF-8: a DBR_STRING, or characters up to the first NUL."""
    if native == ChannelType.STRING:
        raw = bytes(data[0]) if len(data) else b""
    elif native == ChannelType.CHAR:
        raw = bytes(data)
    else:
        raw = _characters([float(v) for v in data])
    raw = raw.split(b"\0", 1)[0]
    if len(raw) > limit:
        raise RefusedError(f"the text has {len(raw)} bytes, at most {limit} are possible")
    text = _decoded(raw)
    allowed = _MULTILINE_CONTROLS if lines else "\t"
    for position, character in enumerate(text):
        if (character < " " or character == "\x7f") and character not in allowed:
            raise RefusedError(f"the text has a control character ({character!r}) at position {position}")
    return text


def split_labels(text: str) -> tuple[str, ...]:
    """Labels, comma separated: each once, in the order they are written."""
    labels = dict.fromkeys(label.strip() for label in text.split(","))
    return tuple(label for label in labels if label)


def _one(data: Any, native: Any) -> Any:
    if len(data) != 1:
        raise RefusedError(f"{len(data)} values are written where one is expected")
    if native == ChannelType.STRING:
        return _decoded(bytes(data[0]).split(b"\0", 1)[0]).strip()
    return data[0].item()


def _decoded(raw: bytes) -> str:
    """UTF-8 where it is, else Latin-1, which pyepics sends."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _characters(values: list[float]) -> bytes:
    """Numbers that stand for text: bytes of UTF-8, or the UTF-16 units that Java programs (Phoebus) send."""
    if not all(v.is_integer() and 0 <= v < 0x10000 for v in values):
        raise RefusedError("these numbers are no characters")
    units = [int(v) for v in values]
    with suppress(ValueError, UnicodeDecodeError):
        raw = bytes(units)
        raw.split(b"\0", 1)[0].decode()
        return raw
    try:
        return struct.pack(f"<{len(units)}H", *units).decode("utf-16-le").encode()
    except UnicodeError:
        raise RefusedError("these numbers are no characters") from None


def _number_of(text: str) -> float:
    for kind in (int, float):
        with suppress(ValueError):
            if "_" not in text:  # 1_000 is Python's
                return kind(text)
    raise RefusedError(f"{text!r} is no number")
