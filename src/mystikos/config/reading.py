"""Stage 1: read a config file (JSON with ``//`` comments) into a ``Config``.

All mistakes are told at once, each with its line and column. Any bytes give a Config or a ConfigError.

>>> parse(b'{"ApplicationPath": "/bin/hello", "MemorySize": "40m"}', "config.json").memory_size
41943040
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mystikos.config.kinds import INVALID, read_members, shown
from mystikos.config.rules import contradictions
from mystikos.config.settings import KEYS, Config
from mystikos.errors import ConfigError, Problem
from mystikos.formats import jsonc

MAXIMUM_SIZE = 1 << 20  # bytes of a config file
MAXIMUM_PROBLEMS = 100  # told at once

_STAND_IN = b"/unreadable"  # for a required path that is missing, while the other rules are checked


def load(path: str | Path) -> Config:
    """Read a config file; ConfigError tells every mistake in it, OSError that it cannot be read."""
    with Path(path).open("rb") as file:
        return parse(file.read(MAXIMUM_SIZE + 1), str(path))


def parse(data: bytes, name: str) -> Config:
    """The Config that ``data`` gives; ``name`` is the file's in error messages."""
    if len(data) > MAXIMUM_SIZE:
        raise ConfigError(name, [Problem(name, 0, 0, "", "larger than 1 MiB", "a config file")])
    document = jsonc.parse(data)
    reading = _Reading(name, document.mistakes)

    try:
        if isinstance(document.root, jsonc.Object):
            config = reading.config(document.root, data)
        elif document.root is not None:
            reading.say(document.root, "", f"got {shown(document.root)}", 'an object, "{ … }"', None)
    except _EnoughError:
        pass
    if reading.problems:
        raise ConfigError(name, reading.told())
    return config


class _EnoughError(Exception):
    """There are more problems than anybody wants to read, and each takes time to explain."""


class _Reading:
    """Collects the problems of one file."""

    def __init__(self, name: str, mistakes: tuple[jsonc.Mistake, ...]) -> None:
        self._name = name
        self._mistaken = {mistake.place for mistake in mistakes}
        self.problems = [Problem(name, at.place.line, at.place.column, "", at.found) for at in mistakes]

    def config(self, root: jsonc.Object, source: bytes) -> Config:
        """A Config of what could be read, the other settings at their defaults."""
        values = read_members(root, KEYS, "", self.say)
        unreadable = [row.name for row in KEYS if values[row.attribute] is INVALID]
        places = _places(root)
        for row in KEYS:
            if values[row.attribute] is INVALID:
                values[row.attribute] = _STAND_IN if row.required else row.default
            if row.alias in places:
                places.setdefault(row.name, places[row.alias])

        config = Config(**values, source=source, name=self._name, places=places)
        for subject, found, expected, hint in contradictions(config, unreadable):
            self._add(place_of(places, subject, root.place), subject, found, expected, hint)
        return config

    def say(self, at: Any, subject: str, found: str, expected: str | None, hint: str | None) -> None:
        """A mistake in a value; one in how it is written has been told already."""
        if at.place not in self._mistaken:
            self._add(at.place, subject, found, expected, hint)

    def told(self) -> list[Problem]:
        """The problems in the order of the file; of very many, the first."""
        problems = sorted(self.problems, key=lambda problem: (problem.line, problem.column))
        if len(problems) > MAXIMUM_PROBLEMS:
            problems[MAXIMUM_PROBLEMS:] = [
                Problem(self._name, 0, 0, "", "there are more mistakes than these")
            ]
        return problems

    def _add(self, at: jsonc.Place, subject: str, found: str, expected: str | None, hint: str | None) -> None:
        self.problems.append(Problem(self._name, at.line, at.column, subject, found, expected, hint))
        if len(self.problems) > MAXIMUM_PROBLEMS:
            raise _EnoughError


def _places(root: jsonc.Object) -> dict[str, jsonc.Place]:
    """Where every value stands, by subject ("Mount[0].Target")."""
    places: dict[str, jsonc.Place] = {}

    def walk(node: jsonc.Node, subject: str) -> None:
        places[subject] = node.place
        if isinstance(node, jsonc.Array):
            for i, item in enumerate(node.items):
                walk(item, f"{subject}[{i}]")
        elif isinstance(node, jsonc.Object):
            prefix = f"{subject}." if subject else ""
            for member in node.members:
                walk(member.value, prefix + member.key)

    walk(root, "")
    del places[""]
    return places


def place_of(places: Any, subject: str, otherwise: jsonc.Place) -> jsonc.Place:
    """Where ``subject`` stands, or the nearest that encloses it ("Mount" for "Mount[0].Flags")."""
    while subject and subject not in places:
        subject = subject[: max(subject.rfind("."), subject.rfind("["), 0)]
    return places[subject] if subject else otherwise
