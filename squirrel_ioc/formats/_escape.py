"""C escapes as EPICS base writes and reads them (epicsString: epicsStrPrintEscaped, epicsStrnRawFromEscaped)."""

from __future__ import annotations

import re

__all__ = ["escape", "unescape"]

_LETTERS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|(.)|$)", re.DOTALL)
_ESCAPED = {code: f"\\{letter}" for letter, code in _LETTERS.items()} | {ord(c): f"\\{c}" for c in "\\'\""}
_TABLE = [_ESCAPED.get(c, chr(c) if 32 <= c < 127 else f"\\x{c:02x}") for c in range(256)]


def escape(raw: bytes) -> str:
    """Printable ASCII for any bytes."""
    return "".join([_TABLE[c] for c in raw])


def unescape(text: str, encoding: str) -> bytes:
    """The bytes an escaped text stands for."""
    raw = text.encode(encoding)
    return _ESCAPE.sub(_byte, raw) if b"\\" in raw else raw


def _byte(match: re.Match[bytes]) -> bytes:
    hexadecimal, octal, letter = match.groups()
    if hexadecimal is not None:
        return bytes([int(hexadecimal, 16)])
    if octal is not None:
        return bytes([int(octal, 8) & 0xFF])
    if letter is None:
        return b""
    return bytes([_LETTERS[chr(letter[0])]]) if chr(letter[0]) in _LETTERS else letter
