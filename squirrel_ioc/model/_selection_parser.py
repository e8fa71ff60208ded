"""From text to the terms of a selection, with the position of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from squirrel_ioc.errors import SelectionError
from squirrel_ioc.model._patterns import CharacterClass, Glob, GlobToken, PatternError, Regex, Wild
from squirrel_ioc.model._selection_terms import Flag, FlagTerm, NameTerm, RegexTerm, Tag, TagTerm, Term

__all__ = ["MAX_SELECTION", "MAX_TERMS", "parse_terms"]

MAX_SELECTION = 1024
"""Characters of a selection."""

MAX_TERMS = 64

_SIGILS: Final = "~@%!"
_WILD: Final = {"*": Wild.MANY, "?": Wild.ONE}

P = TypeVar("P", Regex, Glob)


def parse_terms(text: str) -> tuple[Term, ...]:
    """The terms of a selection.

    Raises:
        SelectionError: reason and position.
    """
    if len(text) > MAX_SELECTION:
        raise SelectionError(f"too long: {len(text)} characters, at most {MAX_SELECTION}", MAX_SELECTION)
    for i, c in enumerate(text):
        if not c.isprintable() and not c.isspace():
            raise SelectionError(f"{c!r} is not text", i)
    return tuple(_Parser(text).terms())


class _Parser:
    """Recursive descent over `text`; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def terms(self) -> Iterator[Term]:
        """Every term."""
        count = 0
        while True:
            while self._more() and self._char().isspace():
                self.at += 1
            if not self._more():
                return
            count += 1
            if count > MAX_TERMS:
                raise SelectionError(f"too many terms, at most {MAX_TERMS}", self.at)
            yield self._term()

    def _term(self) -> Term:
        start = self.at
        negated = self._char() == "!"
        if negated:
            self.at += 1
            if self._ended() or self._char() == "!":
                raise SelectionError("'!' needs a term behind it", start)
        make = {"~": self._regex, "@": self._tags, "%": self._flags}.get(self._char(), self._names)
        return make(start, negated)

    def _regex(self, start: int, negated: bool) -> Term:
        self.at += 1
        begin = self.at
        while not self._ended():
            self.at += 1
        if begin == self.at:
            raise SelectionError("empty regular expression", begin)
        regex = self._compiled(lambda: Regex(self.text[begin : self.at]), begin)
        return RegexTerm(self.text[start : self.at], start, negated, regex)

    def _names(self, start: int, negated: bool) -> Term:
        globs = tuple(self._glob(",", "alternative", quotes=False) for _ in self._alternatives())
        return NameTerm(self.text[start : self.at], start, negated, globs)

    def _tags(self, start: int, negated: bool) -> Term:
        self.at += 1
        tags = []
        group = None
        for _ in self._alternatives():
            tag = self._glob(",=", "tag", quotes=True)
            if not self._ended() and self._char() == "=":
                self.at += 1
                group, tag = tag, self._glob(",", "tag", quotes=True)
            tags.append(Tag(group, tag))
        return TagTerm(self.text[start : self.at], start, negated, tuple(tags))

    def _flags(self, start: int, negated: bool) -> Term:
        self.at += 1
        flags = []
        for _ in self._alternatives():
            begin = self.at
            while not self._ended() and self._char() != ",":
                self.at += 1
            word = self.text[begin : self.at]
            if word not in set(Flag):
                raise SelectionError(f"unknown state '%{word}', known are {', '.join(f'%{f}' for f in Flag)}", begin)
            flags.append(Flag(word))
        return FlagTerm(self.text[start : self.at], start, negated, tuple(flags))

    def _alternatives(self) -> Iterator[None]:
        """Stands at the beginning of each alternative of a term, until the term has ended."""
        yield
        while not self._ended():
            self.at += 1  # the comma
            if not self._ended() and self._char() in _SIGILS:
                raise SelectionError(f"{self._char()!r} stands only at the beginning of a term", self.at)
            yield

    def _glob(self, stops: str, what: str, *, quotes: bool) -> Glob:
        """A glob up to one of `stops` or the end of the term."""
        begin = self.at
        tokens: list[GlobToken] = []
        while not self._ended() and (c := self._char()) not in stops:
            if c == "[":
                tokens.append(self._class())
            elif c == '"' and quotes:
                tokens.append(self._quoted())
            else:
                tokens.append(_WILD.get(c, c))
                self.at += 1
        if not any(tokens):
            raise SelectionError(f"empty {what}", begin)
        return self._compiled(lambda: Glob.of(tokens), begin)

    def _quoted(self) -> str:
        end = self.text.find('"', self.at + 1)
        if end < 0:
            raise SelectionError("'\"' is not closed", self.at)
        quoted = self.text[self.at + 1 : end]
        self.at = end + 1
        return quoted

    def _class(self) -> CharacterClass:
        """[abc], [a-z], [!a-z]; a ] that comes first is one of the characters."""
        begin = self.at
        negated = self.text.startswith("!", begin + 1)
        first = begin + 1 + negated
        end = self.text.find("]", first + 1)
        if end < 0 or any(c.isspace() for c in self.text[first:end]):
            raise SelectionError("'[' is not closed", begin)
        self.at = first
        ranges = []
        while self.at < end:
            low = high = self._char()
            if self.at + 2 < end and self.text[self.at + 1] == "-":
                high = self.text[self.at + 2]
                if high < low:
                    raise SelectionError(f"the range {low}-{high} is empty", self.at)
                self.at += 2
            ranges.append((low, high))
            self.at += 1
        self.at = end + 1
        return CharacterClass(negated, tuple(ranges))

    def _compiled(self, make: Callable[[], P], position: int) -> P:
        try:
            return make()
        except PatternError as exc:
            raise SelectionError(str(exc), position) from exc

    def _more(self) -> bool:
        return self.at < len(self.text)

    def _ended(self) -> bool:
        """Whether the term has."""
        return not self._more() or self._char().isspace()

    def _char(self) -> str:
        return self.text[self.at]
