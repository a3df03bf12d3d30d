"""The errors every stage raises: one root, one subclass per stage.

An error tells where, what was found, what was expected, and what to do about it. Nothing in the library
prints or exits: the command line renders the error and picks the exit code (2, bad usage or bad input).

>>> str(LayoutError("image window", "got 3 GiB", expected="less than 2 GiB", hint="link it elsewhere"))
'image window: got 3 GiB, expected less than 2 GiB'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "AttachError",
    "BindingError",
    "CollectError",
    "ConfigError",
    "DiffError",
    "KeyFileError",
    "LayoutError",
    "MystError",
    "OutputError",
    "PackageError",
    "Problem",
    "RequestError",
    "RootFsError",
    "RuntimeMissingError",
    "SignatureError",
    "SignerError",
]


class MystError(Exception):
    """Bad input, told as ``where: found, expected what``; ``hint`` is what to do about it."""

    def __init__(
        self, where: str, found: str, *, expected: str | None = None, hint: str | None = None
    ) -> None:
        where = one_line(where)
        self.where = where
        self.found = found
        self.expected = expected
        self.hint = hint
        tail = f", expected {expected}" if expected else ""
        super().__init__(f"{where}: {found}{tail}")


@dataclass(frozen=True)
class Problem:
    """One mistake, or one doubtful setting, and its place in a file (line and column from 1; 0: none).

    >>> str(Problem("config.json", 7, 19, "MemorySize", 'got "40q"', "a size"))
    'config.json:7:19: MemorySize: got "40q", expected a size'
    """

    file: str
    line: int
    column: int
    subject: str
    found: str
    expected: str | None = None
    hint: str | None = None
    lint: str | None = None  # the lint's name when this is not a mistake

    @property
    def where(self) -> str:
        """The file, with line and column if they are known, and what in it is meant."""
        file = one_line(self.file)
        place = f"{file}:{self.line}:{self.column}" if self.line else file
        return f"{place}: {self.subject}" if self.subject else place

    def __str__(self) -> str:
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.where}: {self.found}{expected}"


class ConfigError(MystError):
    """A config file has mistakes; ``problems`` holds every one of them, in order of appearance."""

    def __init__(self, where: str, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__(where, "\n".join(map(str, problems)), hint=hint)

    def __str__(self) -> str:
        return self.found


class KeyFileError(MystError):
    """A signing key is unreadable, of the wrong kind, or not kept safely."""


class RootFsError(MystError):
    """An application directory or archive cannot become a root file system."""


class SignerError(MystError):
    """A token, command or plugin cannot sign, or does not do it as asked."""


class RequestError(MystError):
    """A signing request or the signature that came back for it cannot be read."""


class AttachError(MystError):
    """A signature does not belong to what it is to be attached to."""


class CollectError(MystError):
    """A program and what it needs cannot be collected."""


class BindingError(MystError):
    """The syscall binding table cannot be made or read."""


class LayoutError(MystError):
    """The enclave cannot be laid out."""


class SignatureError(MystError):
    """A SIGSTRUCT is malformed or does not verify."""


class PackageError(MystError):
    """A package is malformed, or cannot be written."""


class DiffError(MystError):
    """Two inputs cannot be compared."""


class OutputError(MystError):
    """A file or directory cannot be written where it was asked for."""


class RuntimeMissingError(MystError):
    """The native runtime (launcher, kernel, CRT image) is not there or does not start."""


def one_line(name: str) -> str:
    """A file's name in a message, where a line break would begin a message that is not ours.

    >>> one_line("a\\nmyst: fine")
    'a\\\\nmyst: fine'
    """
    return "".join(c.encode("unicode_escape").decode() if c in _LINE_BREAKS else c for c in name)


_LINE_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")  # of str.splitlines()


def clip(text: str, limit: int = 60) -> str:
    """What a message repeats of a text that is not its own: no more than it can bear, on one line.

    >>> clip("two\\nlines")
    'two\\\\nlines'
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: limit + 1])
    return text if len(text) <= limit else text[:limit] + "…"
