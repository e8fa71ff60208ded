"""Pieces of JSON lines, checked: entries of the catalogue, texts, counts; see `jsonl`.

What is wrong is a ValueError, TypeError or KeyError whose message says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats.jsonl.frame import decode_number
from squirrel_ioc.model.catalogue import Entry, Verify

__all__ = ["count_of", "entry_of", "text_of", "texts_of"]


def count_of(content: Mapping[str, Any], key: str, limit: int) -> int:
    """A number from 0 to `limit`."""
    value = content[key]
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError(f"{key}: {value!r} is no number from 0 to {limit}")
    return value


def text_of(value: Any) -> str:
    """A text that can be written again."""
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is no text")
    value.encode()
    return value


def texts_of(values: Any) -> list[str]:
    """A list of texts."""
    if not isinstance(values, list):
        raise TypeError("no list of texts")
    return [text_of(v) for v in values]


def entry_of(content: Any) -> Entry:
    """An entry of a catalogue."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        take = _FIELDS.get(key)
        if take is None:
            raise ValueError(f"{key[:40]!r} is no part of an entry")
        values[key] = take(value)
    if "setpoint" not in values:
        raise ValueError("an entry without a setpoint")
    return Entry(**values)


def _name(value: Any) -> str:
    if (problem := name_problem(text_of(value))) is not None:
        raise ValueError(problem)
    return text_of(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{str(value)[:40]!r} is neither true nor false")
    return value


def _order(value: Any) -> int:
    if type(value) is not int or not -(2**31) <= value < 2**31:
        raise ValueError(f"{str(value)[:40]!r} is no 32-bit number")
    return value


def _tags(value: Any) -> dict[str, tuple[str, ...]]:
    return {text_of(group): tuple(texts_of(tags)) for group, tags in value.items()}


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "setpoint": _name,
    "readback": _name,
    "description": text_of,
    "device": text_of,
    "tags": _tags,
    "atol": decode_number,
    "rtol": decode_number,
    "read_only": _flag,
    "order": _order,
    "max_step": decode_number,
    "step_period": decode_number,
    "completion": decode_number,
    "verify": lambda value: Verify(text_of(value)),
}
