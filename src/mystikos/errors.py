"""The errors every stage raises: one root, one subclass per stage.

An error tells where, what was found, what was expected, and what to do about it. Nothing in the library
prints or exits: the command line renders the error and picks the exit code (2, bad usage or bad input).

>>> str(LayoutError("image window", "got 3 GiB", expected="less than 2 GiB", hint="link it elsewhere"))
'image window: got 3 GiB, expected less than 2 GiB'
"""

from __future__ import annotations


class MystError(Exception):
    """Bad input, told as ``where: found, expected what``; ``hint`` is what to do about it."""

    def __init__(
        self, where: str, found: str, *, expected: str | None = None, hint: str | None = None
    ) -> None:
        self.where = where
        self.found = found
        self.expected = expected
        self.hint = hint
        tail = f", expected {expected}" if expected else ""
        super().__init__(f"{where}: {found}{tail}")


class ConfigError(MystError):
    """A config file has mistakes; ``problems`` holds every one of them, in order of appearance."""

    def __init__(self, where: str, problems: list[str], *, hint: str | None = None) -> None:
        self.problems = problems
        super().__init__(where, "\n".join(problems), hint=hint)

    def __str__(self) -> str:
        return self.found


class KeyFileError(MystError):
    """A signing key is unreadable, of the wrong kind, or not kept safely."""


class RootFsError(MystError):
    """An application directory or archive cannot become a root file system."""


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


class OutputError(MystError):
    """A file or directory cannot be written where it was asked for."""


class RuntimeMissingError(MystError):
    """The native runtime (launcher, kernel, CRT image) is not there or does not start."""
