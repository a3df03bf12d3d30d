"""What a setting may be: each kind reads a JSON node, checks a value, and describes itself.

The same object drives the parser, the JSON Schema and the reference page, so that the three cannot
tell different things.

>>> Size(4096, 2**40).read(jsonc.parse(b'"64m"').root, "MemorySize", print)
67108864
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mystikos.errors import clip
from mystikos.formats import jsonc

PAGE_SIZE = 4096

# say(node, subject, found, expected, hint): how a kind tells a mistake
Say = Callable[[jsonc.Node | jsonc.Member, str, str, str | None, str | None], object]


class _Invalid:
    """Stands for a value that could not be read; the mistake has been told."""


INVALID: Final = _Invalid()


class Kind(ABC):
    """One kind of setting."""

    @abstractmethod
    def expected(self) -> str:
        """The end of an error message: what would have been right."""

    @abstractmethod
    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        """The value that ``node`` gives, or INVALID after telling the mistake through ``say``."""

    @abstractmethod
    def admits(self, value: object) -> bool:
        """Whether ``value``, as a Config holds it, is one of this kind."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the forms that ``read`` takes."""

    def plain(self, value: Any) -> Any:
        """``value`` for the canonical record."""
        return value

    def restore(self, plain: Any) -> Any:
        """The inverse of ``plain``; INVALID when it is of another shape."""
        return plain if self.admits(plain) else INVALID

    def _refuse(self, node: jsonc.Node, subject: str, say: Say) -> _Invalid:
        say(node, subject, f"got {shown(node)}", self.expected(), None)
        return INVALID


@dataclass(frozen=True)
class Flag(Kind):
    """true or false; the original also takes 1 and 0."""

    def expected(self) -> str:
        return "true or false (or 1 or 0)"

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        if isinstance(node, jsonc.Scalar) and isinstance(node.value, int) and node.value in (0, 1):
            return bool(node.value)
        return self._refuse(node, subject, say)

    def admits(self, value: object) -> bool:
        return isinstance(value, bool)

    def schema(self) -> dict[str, Any]:
        return {"enum": [True, False, 1, 0]}


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number in a range, and a multiple of ``step``."""

    minimum: int
    maximum: int
    step: int = 1

    def expected(self) -> str:
        what = "a whole number" if self.step == 1 else f"a multiple of {self.step}"
        return f"{what} from {self.minimum} to {self.maximum}"

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        if isinstance(node, jsonc.Scalar) and self.admits(node.value):
            return node.value
        return self._refuse(node, subject, say)

    def admits(self, value: object) -> bool:
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.minimum <= value <= self.maximum
            and value % self.step == 0
        )

    def schema(self) -> dict[str, Any]:
        step = {"multipleOf": self.step} if self.step > 1 else {}
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum, **step}


_SIZE = re.compile(r"([0-9]{1,20})([kKmMgG]?)", re.ASCII)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_size(text: str) -> int | None:
    """Bytes in "65536", "64k", "64m" or "1g"; None when ``text`` is no size."""
    match = _SIZE.fullmatch(text)
    return int(match[1]) * _UNITS[match[2].lower()] if match else None


def format_size(size: int) -> str:
    """The shortest exact form: 67108864 is "64m"."""
    for unit in ("g", "m", "k"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


@dataclass(frozen=True)
class Size(Kind):
    """Bytes, or a string with suffix k, m or g (powers of 1024)."""

    minimum: int
    maximum: int
    zero: str | None = None  # what 0 means, where it is allowed

    def expected(self) -> str:
        zero = f" (or 0: {self.zero})" if self.zero else ""
        limits = f"{format_size(self.minimum)} to {format_size(self.maximum)}"
        return f"bytes or a number with suffix k, m or g, {limits}{zero}"

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        value = node.value if isinstance(node, jsonc.Scalar) else None
        size = parse_size(value) if isinstance(value, str) else value
        return size if self.admits(size) else self._refuse(node, subject, say)

    def admits(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.minimum <= value <= self.maximum or (value == 0 and self.zero is not None)

    def schema(self) -> dict[str, Any]:
        lowest = 0 if self.zero else self.minimum
        return {
            "oneOf": [
                {"type": "integer", "minimum": lowest, "maximum": self.maximum},
                {"type": "string", "pattern": "^[0-9]{1,20}[kKmMgG]?$"},
            ]
        }


@dataclass(frozen=True)
class Text(Kind):
    """A string that matches ``pattern`` as a whole (a subset of what ECMA regular expressions have too)."""

    what: str  # what an error message says was expected
    pattern: str = r"[^\x00]*"
    maximum: int = 4096  # bytes
    binary: bool = True  # held as bytes (what the application sees) rather than as str
    nullable: bool = False
    hint: str | None = None

    def expected(self) -> str:
        return self.what

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        value = node.value if isinstance(node, jsonc.Scalar) else INVALID
        if isinstance(value, str) and self.binary and self.admits(value.encode()):
            return value.encode()
        if not (isinstance(value, str) and self.binary) and self.admits(value):
            return value
        if isinstance(value, str) and len(value.encode()) > self.maximum:
            say(node, subject, f"{len(value.encode())} bytes", f"at most {self.maximum}", None)
            return INVALID
        what = self.what if isinstance(value, str) else f"a string, {self.what}"
        say(node, subject, f"got {shown(node)}", what, self.hint)
        return INVALID

    def admits(self, value: object) -> bool:
        if value is None:
            return self.nullable
        if not isinstance(value, bytes if self.binary else str):
            return False
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
        if len(data) > self.maximum:
            return False
        try:
            return re.fullmatch(self.pattern, data.decode()) is not None
        except UnicodeDecodeError:  # only bytes that never were in a config file; NUL alone can hurt
            return b"\0" not in data

    def schema(self) -> dict[str, Any]:
        pattern = self.pattern.replace(r"\x00", r"\u0000")
        return {
            "type": ["string", "null"] if self.nullable else "string",
            "pattern": f"^(?:{pattern})$",
            "maxLength": self.maximum,
        }


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    def expected(self) -> str:
        quoted = [f'"{word}"' for word in self.words]
        return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        if isinstance(node, jsonc.Scalar) and self.admits(node.value):
            return node.value
        return self._refuse(node, subject, say)

    def admits(self, value: object) -> bool:
        return isinstance(value, str) and value in self.words

    def schema(self) -> dict[str, Any]:
        return {"const": self.words[0]} if len(self.words) == 1 else {"enum": list(self.words)}


@dataclass(frozen=True)
class Many(Kind):
    """A list of strings; a bare string stands for a list of one."""

    item: Text | Choice

    def expected(self) -> str:
        return f"a list of strings or one string, each {self.item.expected()}"

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        if isinstance(node, jsonc.Scalar) and isinstance(node.value, str):
            value = self.item.read(node, subject, say)
            return INVALID if value is INVALID else (value,)
        if not isinstance(node, jsonc.Array):
            return self._refuse(node, subject, say)
        values = tuple(self.item.read(item, f"{subject}[{i}]", say) for i, item in enumerate(node.items))
        return INVALID if INVALID in values else values

    def admits(self, value: object) -> bool:
        return isinstance(value, tuple) and all(self.item.admits(item) for item in value)

    def schema(self) -> dict[str, Any]:
        item = self.item.schema()
        return {"oneOf": [item, {"type": "array", "items": item}]}

    def plain(self, value: Any) -> Any:
        return list(value)

    def restore(self, plain: Any) -> Any:
        return super().restore(tuple(plain)) if isinstance(plain, list) else INVALID


@dataclass(frozen=True)
class Records(Kind):
    """A list of objects, each giving a ``record`` (a dataclass with keys); a bare object is a list of one."""

    record: type[Any]

    def expected(self) -> str:
        return f"a list of objects with {', '.join(key.name for key in keys_of(self.record))}"

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        nodes = (node,) if isinstance(node, jsonc.Object) else getattr(node, "items", None)
        if nodes is None:
            return self._refuse(node, subject, say)
        values = tuple(self._read_one(item, f"{subject}[{i}]", say) for i, item in enumerate(nodes))
        return INVALID if INVALID in values else values

    def _read_one(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        if not isinstance(node, jsonc.Object):
            found = f"got {shown(node)}"
            say(node, subject, found, f"an object with {self.expected().split(' with ', 1)[1]}", None)
            return INVALID
        values = read_members(node, keys_of(self.record), f"{subject}.", say)
        return INVALID if INVALID in values.values() else self.record(**values)

    def admits(self, value: object) -> bool:
        return isinstance(value, tuple) and all(
            isinstance(item, self.record)
            and all(key.kind.admits(getattr(item, key.attribute)) for key in keys_of(self.record))
            for item in value
        )

    def schema(self) -> dict[str, Any]:
        item = object_schema(keys_of(self.record))
        return {"oneOf": [item, {"type": "array", "items": item}]}

    def plain(self, value: Any) -> Any:
        keys = keys_of(self.record)
        return [{key.name: key.kind.plain(getattr(item, key.attribute)) for key in keys} for item in value]

    def restore(self, plain: Any) -> Any:
        if not isinstance(plain, list):
            return INVALID
        values = tuple(self._restore_one(item) for item in plain)
        return INVALID if INVALID in values else values

    def _restore_one(self, plain: Any) -> Any:
        keys = keys_of(self.record)
        if not isinstance(plain, dict) or set(plain) != {key.name for key in keys}:
            return INVALID
        values = {key.attribute: key.kind.restore(plain[key.name]) for key in keys}
        return INVALID if INVALID in values.values() else self.record(**values)


# -- keys: the fields of a dataclass, with what the config file calls them


@dataclass(frozen=True)
class Key:
    """One row of the table of keys."""

    name: str
    kind: Kind
    summary: str
    default: Any
    required: bool
    default_text: str | None  # said of the default where its value does not say it
    alias: str | None  # a deprecated other name
    starter: Any  # what `myst init` writes; MISSING: a comment with the default
    attribute: str = ""


def key(
    name: str,
    kind: Kind,
    summary: str,
    *,
    default: Any = dataclasses.MISSING,
    default_text: str | None = None,
    alias: str | None = None,
    starter: Any = dataclasses.MISSING,
) -> Any:
    """A dataclass field that is a key of the config file; without a default it is required."""
    required = default is dataclasses.MISSING
    row = Key(name, kind, summary, None if required else default, required, default_text, alias, starter)
    return dataclasses.field(default=default, metadata={"key": row})


def keys_of(record: type[Any]) -> tuple[Key, ...]:
    """The table of keys that a dataclass is made of."""
    rows = [(field.name, field.metadata.get("key")) for field in dataclasses.fields(record)]
    return tuple(dataclasses.replace(row, attribute=name) for name, row in rows if row is not None)


def read_members(node: jsonc.Object, keys: tuple[Key, ...], prefix: str, say: Say) -> dict[str, Any]:
    """Attribute → value (or INVALID) for every key, defaults applied; mistakes go to ``say``."""
    by_name = {name: key for key in keys for name in (key.name, key.alias) if name}
    values: dict[str, Any] = {key.attribute: key.default for key in keys}
    given: dict[str, str] = {}

    for member in node.members:
        row = by_name.get(member.key)
        if row is None:
            say(member, prefix.rstrip("."), _unknown(member.key, by_name), None, None)
        elif row.name in given:
            say(
                member,
                prefix + member.key,
                f"the same setting as {given[row.name]}, given already",
                None,
                None,
            )
        else:
            given[row.name] = member.key
            values[row.attribute] = row.kind.read(member.value, prefix + member.key, say)

    for row in keys:
        if row.required and row.name not in given:
            say(node, prefix + row.name, "missing", row.kind.expected(), None)
            values[row.attribute] = INVALID
    return values


def _unknown(name: str, known: dict[str, Key]) -> str:
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f'unknown key "{clip(name)}"' + (f', did you mean "{folded[near[0]]}"?' if near else "")


def object_schema(keys: tuple[Key, ...]) -> dict[str, Any]:
    """JSON Schema of an object with these keys and no other."""
    properties: dict[str, Any] = {}
    for row in keys:
        default = {} if row.required else {"default": to_json(row.default)}
        properties[row.name] = {"description": row.summary, **row.kind.schema(), **default}
        if row.alias:
            note = f"Deprecated, use {row.name} instead."
            properties[row.alias] = {"description": note, "deprecated": True, **row.kind.schema()}
    return {
        "type": "object",
        "properties": properties,
        "required": [row.name for row in keys if row.required],
        "additionalProperties": False,
    }


def to_json(value: Any) -> Any:
    """A Config's value as the JSON that gives it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {row.name: to_json(getattr(value, row.attribute)) for row in keys_of(type(value))}
    return value


def shown(node: jsonc.Node) -> str:
    """A wrong value for a message: as it stands in the file, or what it is."""
    if isinstance(node, jsonc.Scalar):
        return clip(node.text)
    return "a list" if isinstance(node, jsonc.Array) else "an object"
