"""How deep YAML of ours may be nested: far less than any version of libyaml takes, and said in one way."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

__all__ = ["MAX_DEPTH", "NESTED", "is_too_deep", "too_deep_at"]

MAX_DEPTH: Final = 16
NESTED: Final = f"is nested more than {MAX_DEPTH} deep"

# libyaml looks so far ahead of the events it has given, as what it sees could be a key; and it has limits of its own.
_LOOK_AHEAD: Final = 1100
_OPENINGS: Final = re.compile(rf"""(?:[\[{{][^][{{}}'"#\n]*){{{MAX_DEPTH + 1}}}\Z""")


def is_too_deep(text: str, error_at: int) -> bool:
    """Whether an error of the library at this index is about nesting, as far as we are concerned."""
    return _OPENINGS.search(text, max(0, error_at - _LOOK_AHEAD), error_at) is not None


def too_deep_at(text: str) -> int | None:
    """The line where a text is nested too deep; None when it is not, or is no YAML.

    Looks at the events: to make nodes of what is nested without end takes a stack without end.
    """
    depth = 0
    try:
        for event in yaml.parse(text, yaml.CSafeLoader):
            depth += _step(event)
            if depth > MAX_DEPTH:
                return _line(event.start_mark)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _line(mark) if mark and is_too_deep(text, mark.index) else None
    except yaml.YAMLError:
        pass
    return None


def _line(mark: Any) -> int:
    line: int = mark.line
    return line + 1


def _step(event: Any) -> int:
    if isinstance(event, yaml.CollectionStartEvent):
        return 1
    return -1 if isinstance(event, yaml.CollectionEndEvent) else 0
