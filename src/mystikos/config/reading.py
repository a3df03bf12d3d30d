"""Stage 1: read a config file (JSON with ``//`` comments) into a ``Config``.

All mistakes are told at once, each with its line and column. Any bytes give a Config or a ConfigError.

>>> parse(b'{"ApplicationPath": "/bin/hello", "MemorySize": "40m"}', "config.json").memory_size
41943040
"""

from __future__ import annotations

from pathlib import Path

from mystikos.config.kinds import INVALID, read_members
from mystikos.config.mistakes import MAXIMUM_SIZE, Reading, place_of, places_in, read_document
from mystikos.config.rules import contradictions
from mystikos.config.settings import KEYS, Config
from mystikos.formats import jsonc
from mystikos.formats.reading import read_start

_STAND_IN = b"/unreadable"  # for a required path that is missing, while the other rules are checked


def load(path: str | Path) -> Config:
    """Read a config file; ConfigError tells every mistake in it, OSError that it cannot be read."""
    return parse(read_start(Path(path), MAXIMUM_SIZE + 1), str(path))


def parse(data: bytes, name: str) -> Config:
    """The Config that ``data`` gives; ``name`` is the file's in error messages."""
    return read_document(data, name, "a config file", lambda reading, root: _config(reading, root, data))


def _config(reading: Reading, root: jsonc.Object, source: bytes) -> Config:
    """A Config of what could be read, the other settings at their defaults."""
    values = read_members(root, KEYS, "", reading.say)
    unreadable = [row.name for row in KEYS if values[row.attribute] is INVALID]
    places = places_in(root)
    for row in KEYS:
        if values[row.attribute] is INVALID:
            values[row.attribute] = _STAND_IN if row.required else row.default
        if row.alias in places:
            places.setdefault(row.name, places[row.alias])

    config = Config(**values, source=source, name=reading.name, places=places)
    for subject, found, expected, hint in contradictions(config, unreadable):
        reading.add(place_of(places, subject, root.place), subject, found, expected, hint)
    return config
