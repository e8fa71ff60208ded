"""EPICS macros: $(NAME), ${NAME}, $(NAME=default), $(NAME,A=1), nested ones.

The rules are those of macLib ("macLib: Macro Substitution Library" in the EPICS Application Developer's Guide). It is
written anew because nothing on PyPI fits: `macrolib` there is a keyboard robot, and `epicsmacrolib` (macLib itself
in Cython) has binary wheels for some Python versions only, cuts results at a buffer's length and accepts an
unfinished reference, and does not say which macro is not defined, where a message with file and line needs just that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["MacroError", "Macros", "parse_macros"]

_MAX_DEPTH = 32
_MAX_LENGTH = 65536
_MAX_STEPS = 10_000
_CLOSING = {"(": ")", "{": "}"}
_SPECIAL = re.compile(r"[\\$']")
_NAME = re.compile(r"[^\s$(){}=,\"'\\]+")


class MacroError(ValueError):
    """A macro is not defined, or a reference is not complete. The message says which."""


class Macros:
    """A set of definitions. Values may refer to other macros; they are expanded when they are used."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)

    def expand(self, text: str) -> str:
        """`text` with every reference replaced; between single quotes, and after a backslash, none is.

        Raises MacroError, naming all that are not defined.
        """
        if "$" not in text:
            return text
        run = _Run()
        result = run.expand(text, self.values, 0)
        if run.undefined:
            names = ", ".join(dict.fromkeys(run.undefined))
            raise MacroError(f"macro {names} is not defined")
        return result


class _Run:
    """One expansion: what it has found undefined, and how much work it has done."""

    def __init__(self) -> None:
        self.undefined: list[str] = []
        self.steps = 0

    def expand(self, text: str, values: Mapping[str, str], depth: int) -> str:
        if depth > _MAX_DEPTH:
            raise MacroError("macros refer to each other without end")
        out: list[str] = []
        size = position = 0
        quoted = False
        while (special := _SPECIAL.search(text, position)) is not None:
            start = special.start()
            out.append(text[position:start])
            position = start + 1
            if text[start] == "$" and not quoted and text[position : position + 1] in ("(", "{"):
                position = _end(text, position)
                out.append(self._reference(text[start + 2 : position - 1], values, depth))
            else:
                quoted ^= text[start] == "'"
                position += text[start] == "\\"
                out.append(text[start:position])
            size += len(out[-1])
            if size > _MAX_LENGTH:
                raise MacroError(f"the text grows beyond {_MAX_LENGTH} characters")
        out.append(text[position:])
        return "".join(out)

    def _reference(self, inside: str, values: Mapping[str, str], depth: int) -> str:
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise MacroError(f"more than {_MAX_STEPS} macros in one line")
        head, *scoped = _split(inside)
        name, equals, default = _partition(head)
        name = self.expand(name, values, depth + 1).strip()
        if scoped:
            own = dict(values)
            for definition in scoped:
                key, _, value = _partition(definition)
                own[self.expand(key, values, depth + 1).strip()] = value
            values = own
        if name in values:
            return self.expand(values[name], values, depth + 1)
        if equals:
            return self.expand(default, values, depth + 1)
        self.undefined.append(name or "''")
        return ""


def _end(text: str, opening: int) -> int:
    """The position after the bracket that closes the one at `opening`."""
    closing = [_CLOSING[text[opening]]]
    position = opening + 1
    while position < len(text):
        char = text[position]
        if char == closing[-1]:
            closing.pop()
            if not closing:
                return position + 1
        elif char in _CLOSING and text[position - 1] == "$":
            closing.append(_CLOSING[char])
        position += 1
    raise MacroError(f"${text[opening]} without its {_CLOSING[text[opening]]}")


def _split(text: str, at: str = ",") -> list[str]:
    """Split outside of nested references and of quotes."""
    parts, start, position, quote = [], 0, 0, ""
    while position < len(text):
        char = text[position]
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _CLOSING and position and text[position - 1] == "$":
            position = _end(text, position)
            continue
        elif char == at:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _partition(text: str) -> tuple[str, bool, str]:
    name, *rest = _split(text, "=")
    return name, bool(rest), "=".join(rest)


def parse_macros(text: str) -> dict[str, str]:
    """Definitions as they are written on a command line: A=1,B=two,C="with, comma".

    Raises MacroError when an item is no NAME=VALUE.
    """
    values = {}
    for item in _split(text):
        if not item.strip():
            continue
        name, equals, value = _partition(item)
        name, value = name.strip(), value.strip()
        if not equals or not _NAME.fullmatch(name):
            raise MacroError(f"{item.strip()!r} is no NAME=VALUE")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[name] = value
    return values
