"""Finds the program a person means, and the interpreters that a script needs.

>>> where = find("sh")
>>> where.path.startswith(b"/")
True
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass

from mystikos.closure.search import MAX_SCRIPTS, Script, shebang
from mystikos.errors import CollectError
from mystikos.rootfs import printable

__all__ = ["Program", "find", "interpreters", "source_and_place"]

_SHIMS = (b"pyenv", b"rbenv", b"nodenv", b"asdf", b"mise")


@dataclass(frozen=True, slots=True)
class Program:
    """A program of this machine, and the path it gets inside."""

    path: bytes
    place: bytes


def find(name: str) -> Program:
    """The program called *name*: a name in PATH, a path, or ``PATH=PLACE``.

    A relative path to a file that is not installed anywhere, such as ``./hello``, is placed in ``/bin``;
    everything else keeps its path. Raises ``CollectError``.
    """
    source, place = source_and_place(name)
    path = os.path.abspath(source) if b"/" in source else _in_path(source)
    if not os.path.isfile(path):
        found = "is a directory" if os.path.isdir(path) else "is not on this machine"
        raise CollectError(printable(source), found, expected="a program")
    if not os.access(path, os.X_OK):
        raise CollectError(printable(source), "is not executable", expected="a program", hint="chmod +x it")

    if place is None:
        built_here = b"/" in source and not source.startswith(b"/") and not os.path.islink(path)
        place = b"/bin/" + os.path.basename(path) if built_here else path
    return Program(path, place)


def source_and_place(argument: str) -> tuple[bytes, bytes | None]:
    """Split ``SOURCE=PLACE``, unless a file has that very name."""
    raw = os.fsencode(argument)
    source, equals, place = raw.partition(b"=")
    if not equals or os.path.lexists(raw):
        return raw, None
    if not place.startswith(b"/") or b".." in place.split(b"/"):
        raise CollectError(
            printable(raw), f"the place is {printable(place)!r}", expected="an absolute path without '..'"
        )
    return source, os.path.normpath(b"/" + place.strip(b"/"))


def interpreters(path: bytes) -> list[bytes]:
    """The programs that running *path* takes before an ELF program is reached: those of ``#!`` lines.

    ``#!/usr/bin/env NAME`` brings both. Raises ``CollectError`` when one is not there.
    """
    found: list[bytes] = []
    here = path
    for _ in range(MAX_SCRIPTS):
        script = shebang(_head(here))
        if script is None:
            return found
        named = _interpreters(script)
        for needed in named:
            if not os.path.isfile(needed):
                raise CollectError(
                    printable(here),
                    f"its #! line names {printable(needed)}",
                    expected="a program of this machine",
                )
        found += named
        here = named[-1]
    raise CollectError(printable(path), f"is a script run by a script, {MAX_SCRIPTS} times over")


def _interpreters(script: Script) -> list[bytes]:
    named = [script.interpreter]
    if os.path.basename(script.interpreter) == b"env":
        words = [word for word in script.argument.split() if not word.startswith(b"-") and b"=" not in word]
        named += [_in_path(word) for word in words[:1]]
    return named


def _in_path(name: bytes) -> bytes:
    """The program *name* in PATH. Shims of version managers do not count: they only start the real one."""
    for folder in os.environb.get(b"PATH", os.defpath.encode()).split(b":"):
        found = shutil.which(os.fsdecode(name), path=os.fsdecode(folder)) if folder else None
        if found is not None and not _is_shim(os.fsencode(os.path.abspath(found))):
            return os.fsencode(os.path.abspath(found))
    raise CollectError(printable(name), "is not in PATH", expected="a program", hint="give its path")


def _is_shim(path: bytes) -> bool:
    if b"/shims/" not in path:
        return False
    head = _head(path)
    return head.startswith(b"#!") and any(re.search(rb"\b" + tool + rb"\b", head) for tool in _SHIMS)


def _head(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(1024)
    except OSError as error:
        raise CollectError(printable(path), f"cannot be read ({error.strerror})") from error
