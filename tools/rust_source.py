"""What a Rust source file of ``runtime/abi`` says: constants, ``repr(C)`` structures, their comments.

Enough Rust for those files, which hold nothing else; what is not understood is an error. Offsets are those of
C (System V ABI): each field at the next multiple of its alignment.

>>> source = parse("/// Bytes of a page.\\npub const PAGE: u64 = 4 * 1024;\\n")
>>> [(one.name, one.value, one.doc) for one in source.constants]
[('PAGE', 4096, 'Bytes of a page.')]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i32": 4, "i64": 8, "usize": 8}
_CONST = re.compile(r"pub const (\w+): ([^=]+?) = (.*);$", re.DOTALL)
_FIELD = re.compile(r"pub (\w+): (.+),$")
_ARRAY = re.compile(r"\[(\w+); (\d+)\]")
_LINK = re.compile(r"\[`(?:[\w]+::)*(\w+)`\]")


@dataclass(frozen=True)
class Constant:
    """A ``pub const``; ``module`` is the ``pub mod`` around it, or empty. ``value`` is None where it is not
    made of literals and constants before it."""

    module: str
    name: str
    type: str
    value: Any
    doc: str


@dataclass(frozen=True)
class Field:
    """A field of a structure; offset and size in bytes."""

    name: str
    type: str
    offset: int
    size: int
    doc: str


@dataclass(frozen=True)
class Struct:
    """A ``repr(C)`` structure."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    size: int
    alignment: int


@dataclass
class Source:
    """A file's items in their order; ``doc`` is what the file says of itself."""

    doc: str = ""
    constants: list[Constant] = field(default_factory=list)
    structs: dict[str, Struct] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)

    def of(self, module: str) -> list[Constant]:
        """The constants of a module."""
        return [one for one in self.constants if one.module == module]

    def constant(self, name: str, module: str = "") -> Any:
        """A constant's value."""
        (value,) = (one.value for one in self.of(module) if one.name == name)
        return value


def parse(text: str, **known: Any) -> Source:
    """Read a source file; ``known`` are constants that it imports."""
    source = Source(known=known, doc=_prose(line[3:] for line in text.splitlines() if line.startswith("//!")))
    lines = iter(text.splitlines())
    module, docs = "", list[str]()
    for raw in lines:
        line = raw.strip()
        if line.startswith("///"):
            docs.append(line[3:])
            continue
        if line.startswith("#["):
            _skip_attribute(line, lines)
            continue
        if line.startswith("pub const "):
            source.constants.append(_constant(module, _statement(line, lines), docs, source))
        elif match := re.match(r"pub mod (\w+) \{$", line):
            module = match[1]
            source.modules[module] = _prose(docs)
        elif match := re.match(r"pub struct (\w+) \{$", line):
            source.structs[match[1]] = _struct(match[1], _prose(docs), lines, source)
        elif raw == "}":
            module = ""
        docs = []
    return source


def _skip_attribute(line: str, lines: Any) -> None:
    while not line.endswith("]"):
        line = next(lines).strip()


def _statement(line: str, lines: Any) -> str:
    while not line.endswith(";"):
        line += " " + next(lines).strip()
    return line


def _constant(module: str, statement: str, docs: list[str], source: Source) -> Constant:
    match = _CONST.match(statement)
    assert match is not None, statement
    name, kind, value = match.groups()
    return Constant(module, name, kind, _value(value, source), _prose(docs))


def _value(text: str, source: Source) -> Any:
    """A constant expression's value: literals, and names of constants before it."""
    known = {**source.known, **{one.name: one.value for one in source.constants if not one.module}}
    plain = re.sub(r" as \w+", "", text.removeprefix("*"))
    try:
        return eval(plain, {"__builtins__": {}}, known)
    except (NameError, SyntaxError, TypeError):
        return None


def _struct(name: str, doc: str, lines: Any, source: Source) -> Struct:
    fields: list[Field] = []
    docs: list[str] = []
    end, alignment = 0, 1
    for raw in lines:
        line = raw.strip()
        if line == "}":
            break
        if line.startswith("///"):
            docs.append(line[3:])
            continue
        match = _FIELD.match(line)
        assert match is not None, f"{name}: {line}"
        size, aligned = _size(match[2], source)
        offset = -(-end // aligned) * aligned
        fields.append(Field(match[1], match[2], offset, size, _prose(docs)))
        end, alignment = offset + size, max(alignment, aligned)
        docs = []
    return Struct(name, doc, tuple(fields), -(-end // alignment) * alignment, alignment)


def _size(kind: str, source: Source) -> tuple[int, int]:
    """Size and alignment of a type."""
    if match := _ARRAY.fullmatch(kind):
        size, alignment = _size(match[1], source)
        return size * int(match[2]), alignment
    if kind in source.structs:
        return source.structs[kind].size, source.structs[kind].alignment
    return _SIZES[kind], _SIZES[kind]


def _prose(lines: Any) -> str:
    """Comment lines as Markdown; links to other items become their names, paragraphs stay apart."""
    paragraphs = "\n".join(line.strip() for line in lines).split("\n\n")
    return "\n\n".join(_LINK.sub(r"`\1`", part.replace("\n", " ")) for part in paragraphs).strip()
