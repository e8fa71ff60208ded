"""PVs with many values: texts, names, numbers. What is sent has as many elements as are valid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final

import numpy as np
from caproto import ChannelType
from numpy.typing import NDArray

from squirrel_ioc.errors import RefusedError
from squirrel_ioc.ioc.kinds.parse import parse_text
from squirrel_ioc.ioc.kinds.pv import Pv
from squirrel_ioc.ioc.kinds.scalars import String
from squirrel_ioc.ioc.kinds.wire import ConversionError, Elements, cut_utf8, encode_numbers, encode_strings, encode_text
from squirrel_ioc.model.values import STRING_SIZE

__all__ = ["Doubles", "Integers", "LongText", "Mirror", "Shorts", "Strings", "Text", "MAX_LONG_TEXT", "MAX_NAMES"]

MAX_NAMES: Final = 50_000
"""Rows of a name array."""

MAX_LONG_TEXT: Final = 8 * 1024 * 1024
"""Bytes of a `:LONG` twin: MAX_NAMES names of the longest kind, or reasons of 160 bytes."""


class Text(Pv):
    """CHAR[n]: UTF-8 text of at most `max_length` bytes, with a DBR_STRING mirror `<name>:S`.

    `lines`: line ends may be written.
    """

    data_type = ChannelType.CHAR
    default_value = ""
    records: ClassVar[tuple[str, str]] = ("waveform", "waveform")
    backlog: ClassVar[int] = 8
    ftvl: ClassVar[str] = "CHAR"

    def __init__(self, *, lines: bool = False, **kwargs: Any) -> None:
        self.lines = lines
        super().__init__(**kwargs)

    def parse(self, data: Any, native: Any) -> str:
        """UTF-8 that fits. A DBR_STRING that is full is refused: its client may have cut it without a word."""
        text = parse_text(data, native, self.max_length, lines=self.lines)
        if native == ChannelType.STRING and self.max_length >= STRING_SIZE:
            refuse_full(text)
        return text

    def elements(self, native: Any, long_string: bool) -> Elements:
        """Characters; asked for as DBR_STRING, one string of what fits."""
        if native == ChannelType.STRING:
            return encode_strings([self.value])
        characters = encode_text(self.value, self.max_length)
        if native == ChannelType.CHAR:
            return characters
        return encode_numbers(np.frombuffer(characters.data, np.uint8), native)

    def fitted(self, value: Any) -> str:
        """Cut at the end, no character broken."""
        text = str(value)
        if len(text) <= self.max_length // 4:  # whatever the characters are
            return text
        return cut_utf8(text.encode(), self.max_length).decode()

    @property
    def nord(self) -> int:
        """Valid elements."""
        return encode_text(self.value, self.max_length).count

    def make_twins(self) -> Iterable[Pv]:
        """The mirror."""
        yield Mirror.of(self)


def refuse_full(text: str) -> None:
    """Raise RefusedError for a text that fills a DBR_STRING: nobody knows whether that is all of it."""
    if len(text.encode()) >= STRING_SIZE - 1:
        raise RefusedError(
            f"a string of {STRING_SIZE - 1} bytes may have been cut: write it as a long string (caput -S)"
        )


class Mirror(String):
    """`<name>:S`: the first 39 bytes of a text. Writing it writes the text."""

    def parse(self, data: Any, native: Any) -> str:
        """Text that fits, and does not fill the string."""
        text = super().parse(data, native)
        refuse_full(text)
        return text

    @classmethod
    def of(cls, text: Text) -> Mirror:
        """The mirror of a text."""
        mirror = cls(
            pvname=f"{text.pvname}:S", group=text.group, pvspec=text.pvspec, value=text.value, writable=text.writable
        )
        mirror.stands_for = text
        return mirror

    async def put(self, value: Any) -> None:
        """Write the text. Raises what that raises."""
        await self.stands_for.put(value)


class LongText(Text):
    """`<name>:LONG`: the rows of an array, newline separated, never cut."""

    backlog: ClassVar[int] = 2

    def fitted(self, value: Any) -> str:
        """Rows as lines."""
        return super().fitted(value if isinstance(value, str) else "\n".join(value))

    def make_twins(self) -> Iterable[Pv]:
        """None."""
        return ()


class _Array(Pv):
    """Rows. `max_length` is how many there can be; what is beyond is not shown."""

    default_value = ()
    records: ClassVar[tuple[str, str]] = ("waveform", "waveform")
    backlog: ClassVar[int] = 2
    ftvl: ClassVar[str]

    def parse(self, data: Any, native: Any) -> Any:
        """Arrays are not written."""
        raise RefusedError("an array cannot be written")

    def fitted(self, value: Any) -> Any:
        """As many as there is room for."""
        return tuple(value)[: self.max_length]

    @property
    def nord(self) -> int:
        """Valid elements."""
        return len(self.value)


class Strings(_Array):
    """STRING[], cut at 39 bytes each; with `long`, a twin `<name>:LONG` that is not cut."""

    data_type = ChannelType.STRING
    ftvl: ClassVar[str] = "STRING"
    long_string_max_length = STRING_SIZE

    def __init__(self, *, long: bool = False, **kwargs: Any) -> None:
        self.long = long
        super().__init__(**kwargs)

    def elements(self, native: Any, long_string: bool) -> Elements:
        """The strings."""
        if long_string:
            return encode_text("\n".join(self.value), STRING_SIZE)
        if native != ChannelType.STRING:
            raise ConversionError(f"{self.label} has strings, no numbers")
        return encode_strings(self.value)

    def make_twins(self) -> Iterable[Pv]:
        """The `:LONG` twin."""
        if self.long:
            spec = self.pvspec._replace(doc=f"{self.desc}, in full")
            yield LongText(pvname=f"{self.pvname}:LONG", group=self.group, pvspec=spec, max_length=MAX_LONG_TEXT)


class _Numbers(_Array):
    """Numbers, kept as a numpy array: 40,000 of them are compared and sent at once. NaN is as NaN."""

    dtype: ClassVar[Any]

    @classmethod
    def initial(cls, value: Any) -> Any:
        """None, from none declared."""
        return np.array(() if value is None else value, cls.dtype)

    def elements(self, native: Any, long_string: bool) -> Elements:
        """The numbers."""
        return encode_numbers(self.value, native, self.prec)

    def fitted(self, value: Any) -> NDArray[Any]:
        """As many as there is room for."""
        return np.array(value, self.dtype)[: self.max_length]

    def same(self, old: Any, new: Any) -> bool:
        """Element by element."""
        return len(old) == len(new) and np.array_equal(old, new, equal_nan=True)


class Integers(_Numbers):
    """LONG[]"""

    data_type = ChannelType.LONG
    ftvl: ClassVar[str] = "LONG"
    dtype: ClassVar[Any] = np.int64


class Shorts(_Numbers):
    """SHORT[]"""

    data_type = ChannelType.INT
    ftvl: ClassVar[str] = "SHORT"
    dtype: ClassVar[Any] = np.int64


class Doubles(_Numbers):
    """DOUBLE[]"""

    data_type = ChannelType.DOUBLE
    ftvl: ClassVar[str] = "DOUBLE"
    dtype: ClassVar[Any] = np.float64
