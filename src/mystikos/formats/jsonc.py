"""JSON (RFC 8259) with ``//`` comments, read into nodes that know their line and column.

No policy: what the values mean is for the caller. Mistakes that leave no doubt about what follows (a
trailing comma, a duplicate key, a bad escape) are collected and reading goes on, so that one run tells
them all; any other one ends the reading. Any bytes give a ``Document``, never an exception.

>>> document = parse(b'{"Debug": 1, // for now\\n "Debug": 2}')
>>> [str(mistake) for mistake in document.mistakes]
['2:2: duplicate key "Debug", first at 1:2']
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import NoReturn

from mystikos.errors import clip

MAXIMUM_DEPTH = 32
MAXIMUM_DIGITS = 40  # of a number: more than 64 bits ever need


@dataclass(frozen=True, order=True)
class Place:
    """Line and column, both from 1; a column is a character."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True)
class Mistake:
    """What is wrong with the text as JSON, and where."""

    place: Place
    found: str

    def __str__(self) -> str:
        return f"{self.place}: {self.found}"


@dataclass(frozen=True)
class Scalar:
    """A string, number, boolean or null; ``text`` is how it stands in the file."""

    place: Place
    value: str | int | float | bool | None
    text: str


@dataclass(frozen=True)
class Array:
    """A list of nodes."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Member:
    """One ``"key": value`` of an object; ``place`` is the key's."""

    place: Place
    key: str
    value: Node


@dataclass(frozen=True)
class Object:
    """Members in order of appearance; a key stands once (a second one is a mistake and left out)."""

    place: Place
    members: tuple[Member, ...]


Node = Scalar | Array | Object


@dataclass(frozen=True)
class Document:
    """What was read: no ``root`` when the text could not be read to its end."""

    root: Node | None
    mistakes: tuple[Mistake, ...]


def parse(data: bytes) -> Document:
    """Read one JSON value with comments; a byte order mark at the start is skipped."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig")
        found = f"byte 0x{data[error.start]:02x} is not UTF-8"
        return Document(None, (Mistake(_Lines(good).place(len(good)), found),))

    reader = _Reader(text)
    try:
        root = reader.document()
    except _Lost:
        return Document(None, tuple(sorted(reader.mistakes, key=lambda mistake: mistake.place)))
    return Document(root, tuple(sorted(reader.mistakes, key=lambda mistake: mistake.place)))


class _Lost(Exception):  # noqa: N818  # no error: a jump out of the recursion
    """What follows cannot be told any more; the mistake is recorded."""


class _Lines:
    """Offsets in a text as lines and columns."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)


_GAP = re.compile(r"(?:[ \t\r\n]|//[^\n]*)*")
_WORD = re.compile(r"[-+.\w]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_STRING_PART = re.compile(r'[^"\\\x00-\x1f]+')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


class _Reader:
    """Recursive descent; its depth is bounded by MAXIMUM_DEPTH."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._lines = _Lines(text)
        self.mistakes: list[Mistake] = []

    def document(self) -> Node:
        self._skip_gap()
        if self._at == len(self._text):
            self._lose("the file is empty" if not self._text.strip() else "only comments and no value")
        root = self._value()
        self._skip_gap()
        if self._at < len(self._text):
            self._lose(f"{self._peek_shown()} after the end of the value")
        return root

    # -- values

    def _value(self) -> Node:
        match self._peek():
            case "{":
                return self._object()
            case "[":
                return self._array()
            case '"':
                start = self._at
                value = self._string()
                return Scalar(self._lines.place(start), value, self._text[start : self._at])
        return self._word()

    def _object(self) -> Object:
        place = self._open()
        members: dict[str, Member] = {}
        while not self._closes("}", "key"):
            key_place = self._place()
            if self._peek() != '"':
                self._lose(f"{self._peek_shown()} where a key in double quotes belongs")
            key = self._string()
            self._skip_gap()
            if self._peek() != ":":
                self._lose(f"{self._peek_shown()} where the colon after a key belongs")
            self._at += 1
            self._skip_gap()
            member = Member(key_place, key, self._value())
            if key in members:
                self._note(key_place, f'duplicate key "{clip(key)}", first at {members[key].place}')
            else:
                members[key] = member
            self._comma("}")
        self._close()
        return Object(place, tuple(members.values()))

    def _array(self) -> Array:
        place = self._open()
        items: list[Node] = []
        while not self._closes("]", "value"):
            items.append(self._value())
            self._comma("]")
        self._close()
        return Array(place, tuple(items))

    def _word(self) -> Scalar:
        """A number, true, false or null; any other word is a mistake that stands for null."""
        place = self._place()
        match = _WORD.match(self._text, self._at)
        if match is None:
            self._lose(f"{self._peek_shown()} where a value belongs")
        word = match.group()
        self._at = match.end()
        if word in _WORDS:
            return Scalar(place, _WORDS[word], word)
        number = _NUMBER.fullmatch(word)
        if number is None:
            self._note(place, _explain_word(word))
        elif len(word) > MAXIMUM_DIGITS:
            self._note(place, f"a number of {len(word)} digits")
        else:
            is_integer = number.group(1) is None and number.group(2) is None
            return Scalar(place, int(word) if is_integer else float(word), word)
        return Scalar(place, None, word)

    # -- strings

    def _string(self) -> str:
        opening = self._place()
        self._at += 1
        parts: list[str] = []
        while (char := self._peek()) != '"':
            if char == "":
                self._note(opening, "a string that is never closed")
                raise _Lost
            if char == "\n":
                self._note(opening, "a string that is not closed on its line")
                raise _Lost
            if char == "\\":
                parts.append(self._escape())
            elif char < " ":
                self._note(
                    self._place(),
                    f"control character U+{ord(char):04X} in a string; write \\u{ord(char):04x}",
                )
                self._at += 1
            else:
                part = _STRING_PART.match(self._text, self._at)
                assert part is not None  # one character at least: the others are handled above
                parts.append(part.group())
                self._at = part.end()
        self._at += 1
        return "".join(parts)

    def _escape(self) -> str:
        place = self._place()
        letter = self._text[self._at + 1 : self._at + 2]
        if letter in _ESCAPES:
            self._at += 2
            return _ESCAPES[letter]
        if letter != "u":
            self._at += 1
            self._note(place, f"unknown escape \\{letter}" if letter.isprintable() else "unknown escape")
            return ""
        unit = self._code_unit()
        if unit is None:
            self._at += 2
            self._note(place, "\\u without four hexadecimal digits")
            return ""
        if 0xD800 <= unit < 0xDC00:
            low = self._code_unit()
            if low is not None and 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
        if 0xD800 <= unit < 0xE000:
            self._note(place, f"\\u{unit:04x} is half of a surrogate pair, no character")
            return ""
        return chr(unit)

    def _code_unit(self) -> int | None:
        digits = re.compile(r"\\u([0-9a-fA-F]{4})").match(self._text, self._at)
        if digits is None:
            return None
        self._at = digits.end()
        return int(digits.group(1), 16)

    # -- punctuation

    def _open(self) -> Place:
        place = self._place()
        if self._depth == MAXIMUM_DEPTH:
            self._lose(f"nested deeper than {MAXIMUM_DEPTH} levels")
        self._depth += 1
        self._at += 1
        self._skip_gap()
        return place

    def _close(self) -> None:
        self._depth -= 1
        self._at += 1

    def _closes(self, bracket: str, missing: str) -> bool:
        if self._peek() == "":
            self._lose(f'the file ends where a {missing} or "{bracket}" belongs')
        return self._peek() == bracket

    def _comma(self, bracket: str) -> None:
        """Past the comma between two entries; a trailing or a missing one is a mistake, and passed."""
        end = self._at
        self._skip_gap()
        if self._peek() == ",":
            comma = self._place()
            self._at += 1
            self._skip_gap()
            if self._peek() == bracket:
                self._note(comma, f'comma before "{bracket}"')
        elif self._peek() == '"' or (bracket == "]" and _WORD.match(self._text, self._at)):
            self._note(self._lines.place(end), "missing comma")
        elif self._peek() not in (bracket, ""):
            self._lose(f'{self._peek_shown()} where a comma or "{bracket}" belongs')

    def _skip_gap(self) -> None:
        gap = _GAP.match(self._text, self._at)
        assert gap is not None  # it matches the empty string
        self._at = gap.end()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _peek_shown(self) -> str:
        rest = self._text[self._at : self._at + 2]
        if rest == "/*":
            return '"/*" (only // comments are allowed)'
        if rest == "":
            return "the file's end"
        return f'"{rest[0]}"' if rest[0].isprintable() and rest[0] != '"' else ascii(rest[0])

    # -- mistakes

    def _place(self) -> Place:
        return self._lines.place(self._at)

    def _note(self, place: Place, found: str) -> None:
        self.mistakes.append(Mistake(place, found))

    def _lose(self, found: str) -> NoReturn:
        self._note(self._place(), found)
        raise _Lost


def _explain_word(word: str) -> str:
    shown = clip(word)
    lowered = word.lower()
    if lowered in _WORDS or lowered == "none":
        return f"{shown} is not JSON, write {lowered if lowered in _WORDS else 'null'}"
    if re.fullmatch(r"-?0[0-9]+", word):
        return f"{shown} is not JSON: a number has no leading zero"
    if re.fullmatch(r"[0-9]+[kmgKMG]", word):
        return f'{shown} is not JSON, write "{shown}" in double quotes'
    return f"{shown} is not JSON (text needs double quotes)"
