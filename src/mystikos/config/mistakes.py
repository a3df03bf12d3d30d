"""Stage 1: read a JSON document (with ``//`` comments); all its mistakes are told at once, each in its place.

What the document means is for the caller: a config (``config.reading``), a policy (``verification``).

>>> read_document(b'{"a": 1}', "x.json", "a file", lambda reading, root: [m.key for m in root.members])
['a']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mystikos.config.kinds import shown
from mystikos.errors import ConfigError, Problem
from mystikos.formats import jsonc

__all__ = ["MAXIMUM_SIZE", "Reading", "place_of", "places_in", "read_document"]

MAXIMUM_SIZE = 1 << 20  # bytes of a file
MAXIMUM_PROBLEMS = 100  # told at once

_Result = TypeVar("_Result")


class _EnoughError(Exception):
    """There are more problems than anybody wants to read, and each takes time to explain."""


class Reading:
    """Collects the problems of one file."""

    def __init__(self, name: str, mistakes: tuple[jsonc.Mistake, ...]) -> None:
        self.name = name
        self._mistaken = {mistake.place for mistake in mistakes}
        self.problems = [Problem(name, at.place.line, at.place.column, "", at.found) for at in mistakes]

    def say(self, at: Any, subject: str, found: str, expected: str | None, hint: str | None) -> None:
        """A mistake in a value; one in how it is written has been told already."""
        if at.place not in self._mistaken:
            self.add(at.place, subject, found, expected, hint)

    def add(self, at: jsonc.Place, subject: str, found: str, expected: str | None, hint: str | None) -> None:
        """A mistake of any kind."""
        self.problems.append(Problem(self.name, at.line, at.column, subject, found, expected, hint))
        if len(self.problems) > MAXIMUM_PROBLEMS:
            raise _EnoughError

    def told(self) -> list[Problem]:
        """The problems in the order of the file; of very many, the first."""
        problems = sorted(self.problems, key=lambda problem: (problem.line, problem.column))
        if len(problems) > MAXIMUM_PROBLEMS:
            problems[MAXIMUM_PROBLEMS:] = [Problem(self.name, 0, 0, "", "there are more mistakes than these")]
        return problems


def read_document(
    data: bytes, name: str, what: str, build: Callable[[Reading, jsonc.Object], _Result]
) -> _Result:
    """What ``build`` makes of the object in ``data``; ConfigError with every mistake that was told meanwhile.

    ``name`` is the file's in error messages, ``what`` it should be ("a config file").
    """
    if len(data) > MAXIMUM_SIZE:
        raise ConfigError(name, [Problem(name, 0, 0, "", "larger than 1 MiB", what)])
    document = jsonc.parse(data)
    reading = Reading(name, document.mistakes)

    try:
        if isinstance(document.root, jsonc.Object):
            result = build(reading, document.root)
        elif document.root is not None:
            reading.say(document.root, "", f"got {shown(document.root)}", 'an object, "{ … }"', None)
    except _EnoughError:
        pass
    if reading.problems:
        raise ConfigError(name, reading.told())
    return result


def places_in(root: jsonc.Object) -> dict[str, jsonc.Place]:
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


def place_of(places: Mapping[str, jsonc.Place], subject: str, otherwise: jsonc.Place) -> jsonc.Place:
    """Where ``subject`` stands, or the nearest that encloses it ("Mount" for "Mount[0].Flags")."""
    while subject and subject not in places:
        subject = subject[: max(subject.rfind("."), subject.rfind("["), 0)]
    return places[subject] if subject else otherwise
