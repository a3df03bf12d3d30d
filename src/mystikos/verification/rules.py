"""What a policy forbids a config to say, a line each: ``KEY=PATTERN``, ``KEY``, or the name of a lint.

>>> rule = Rule.parse("HostEnvironmentVariables=LD_*")
>>> rule.broken_by(Config(application_path=b"/bin/app", host_environment_variables=(b"LD_PRELOAD",)))
'HostEnvironmentVariables has "LD_PRELOAD"'
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mystikos.config import KEYS, LINTS, Config, format_size
from mystikos.config.kinds import INVALID, Key, Records, Say, Size, Text, keys_of, shown
from mystikos.errors import clip
from mystikos.formats import jsonc

__all__ = ["Rule", "RuleError", "RuleText"]

_KEYS = {row.name: row for row in KEYS}
_LINTS = {lint.name: lint for lint in LINTS}


class RuleError(ValueError):
    """The text is no rule; the message tells what was expected."""


@dataclass(frozen=True)
class Rule:
    """One thing that a config may not say."""

    text: str
    _find: Callable[[Config], str | None]

    def broken_by(self, config: Config) -> str | None:
        """What in the config breaks the rule; None when nothing does."""
        return self._find(config)

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read a rule; raises RuleError."""
        name, equals, pattern = text.partition("=")
        if not equals and name in _LINTS:
            return cls(text, lambda config: _lint(name, config))
        key, dot, member = name.partition(".")
        row = _KEYS.get(key)
        if row is None:
            raise RuleError(f"a key of the config{'' if equals else ' or a lint'}{_nearest(key)}")
        inner = _member(row, member) if dot else None
        if not equals:
            if inner is not None:
                raise RuleError(f"{name}=PATTERN")
            return cls(text, lambda config: _changed(row, config))
        return cls(text, lambda config: _matching(row, inner, pattern, config))


class RuleText(Text):
    """The kind of a rule in a policy file."""

    def __init__(self) -> None:
        super().__init__("KEY=PATTERN, KEY or the name of a lint", binary=False)

    def read(self, node: jsonc.Node, subject: str, say: Say) -> Any:
        if isinstance(node, jsonc.Scalar) and isinstance(node.value, str):
            try:
                Rule.parse(node.value)
            except RuleError as error:
                say(node, subject, f"got {shown(node)}", str(error), None)
                return INVALID
        return super().read(node, subject, say)

    def admits(self, value: object) -> bool:
        if not super().admits(value):
            return False
        try:
            Rule.parse(str(value))
        except RuleError:
            return False
        return True


def _nearest(name: str) -> str:
    folded = {known.casefold(): known for known in [*_KEYS, *_LINTS]}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f", did you mean {folded[near[0]]}?" if near else ""


def _member(row: Key, name: str) -> Key:
    """The key ``name`` of the objects that are in the list ``row``."""
    members = {key.name: key for key in keys_of(row.kind.record)} if isinstance(row.kind, Records) else {}
    if name not in members:
        known = ", ".join(members)
        raise RuleError(f"{row.name}.MEMBER with one of {known}" if known else f"{row.name} without a member")
    return members[name]


def _lint(name: str, config: Config) -> str | None:
    found = next(_LINTS[name].find(config), None)
    return None if found is None else f"{found[0]}: {found[1]}"


def _changed(row: Key, config: Config) -> str | None:
    value = getattr(config, row.attribute)
    if not row.required and value == row.default:
        return None
    return (
        f"{row.name} is set"
        if not isinstance(value, bool | int)
        else f"{row.name} is {_texts(row, value)[0]}"
    )


def _matching(row: Key, inner: Key | None, pattern: str, config: Config) -> str | None:
    values = getattr(config, row.attribute)
    for value in values if isinstance(values, tuple) else (values,):
        key, item = (row, value) if inner is None else (inner, getattr(value, inner.attribute))
        for text in _flat(key, item):
            if fnmatchcase(text, pattern):
                name = row.name if inner is None else f"{row.name}.{inner.name}"
                verb = "has" if isinstance(values, tuple) else "is"
                return f'{name} {verb} "{clip(text)}"'
    return None


def _flat(row: Key, value: object) -> Iterator[str]:
    """The texts of a value, or of each item where it is a list."""
    for item in value if isinstance(value, tuple) else (value,):
        yield from _texts(row, item)


def _texts(row: Key, value: object) -> list[str]:
    """How a value may be written in a rule."""
    if isinstance(value, bool):
        return ["true" if value else "false", str(int(value))]
    if isinstance(value, bytes):
        return [value.decode("utf-8", "backslashreplace")]
    if isinstance(value, int) and isinstance(row.kind, Size):
        return [str(value), format_size(value)]
    return ["null" if value is None else str(value)]
