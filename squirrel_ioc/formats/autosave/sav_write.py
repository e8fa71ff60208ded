"""Save files of autosave (.sav), written; see `autosave.sav`."""

from __future__ import annotations

from squirrel_ioc.formats._escape import escape
from squirrel_ioc.formats._frame_rows import Row, number_text, plain_nan, rows, texts
from squirrel_ioc.formats._losses import chars_loss, frame_losses, now_if_none
from squirrel_ioc.formats._name_rules import name_problem
from squirrel_ioc.formats._problems import Losses
from squirrel_ioc.formats._protocol import Sink, SnapshotFile
from squirrel_ioc.formats.autosave.sav import ARRAY
from squirrel_ioc.model.values import Dbf, State

__all__ = ["write"]

_LONG_STRING = 199
_NAME_LENGTH = 79


def write(sink: Sink, snapshot: SnapshotFile) -> list[str]:
    """A save file; returns what it cannot hold."""
    losses = Losses()
    frame_losses(losses, snapshot)
    taken = now_if_none(snapshot.taken).astimezone()
    lines: list[str] = []
    missing = 0
    for row in rows(snapshot.frame):
        if not row.setpoint:
            losses.left_out("a readback, and autosave writes all it has", row.name)
        elif row.name in snapshot.read_only:
            losses.left_out("read-only, and autosave writes all it has", row.name)
        elif (problem := name_problem(row.name)) is not None:
            losses.left_out(problem, row.name)
        elif row.state is not State.VALUE:
            missing += 1
            lines.append(f"#{row.name} Not Connected\n")
        else:
            try:
                lines.append(f"{row.name} {_text(row, losses)}\n")
            except ValueError as e:
                losses.left_out(str(e), row.name)
        if len(row.name) > _NAME_LENGTH:
            losses.add(f"autosave cuts names at {_NAME_LENGTH} characters", row.name)
    sink(f"# autosave R5.3\tAutomatically generated - DO NOT MODIFY - {taken:%y%m%d-%H%M%S}\n")
    if missing:
        sink(f"! {missing} channel(s) not connected - or not all gets were successful\n")
    for line in lines:
        sink(line)
    sink("<END>\n")
    return losses.lines()


def _text(row: Row, losses: Losses) -> str:
    if row.name.endswith("$") and row.dbf is Dbf.CHAR and row.array and row.raw is not None:
        return _long_string(row, losses, *row.raw.split(b"\0", 1))
    if row.dbf is Dbf.STRING:
        if row.array:
            return _braces([_quoted(row, e, losses) for e in texts(row)])
        text = escape(texts(row)[0])
        if text.startswith(ARRAY):
            raise ValueError("its text looks like an array")
        return text
    if row.name.endswith("$"):
        raise ValueError("no text, though its name is that of a long string")
    for element in row.elements:
        if element != element and not plain_nan(element):
            losses.add("a NaN with a payload becomes an ordinary one", row.name)
            break
    chars_loss(losses, row)
    numbers = [number_text(row.dbf, e) for e in row.elements]
    return _braces([f'"{t}" ' for t in numbers]) if row.array else numbers[0]


def _long_string(row: Row, losses: Losses, text: bytes, rest: bytes = b"") -> str:
    if len(text) > _LONG_STRING:
        losses.add(f"autosave reads the first {_LONG_STRING} characters of a long string", row.name)
    if rest.strip(b"\0"):
        raise ValueError("text after its NUL")
    return escape(text)


def _braces(elements: list[str]) -> str:
    return f"{ARRAY} {{ {''.join(elements)}}}"


def _quoted(row: Row, element: bytes, losses: Losses) -> str:
    try:
        text = element.decode()
    except UnicodeDecodeError:
        raise ValueError("an element that is no UTF-8 text") from None
    if "\\" in text:
        losses.add("autosave itself does not read a backslash in an array of strings as it writes it", row.name)
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    if any(ord(c) < 32 or ord(c) == 127 for c in text.replace("\t", "")):
        raise ValueError("a control character in an array of strings")
    return f'"{text}" '
