"""The native runtime that every package carries: launcher, kernel and CRT image, built from ``runtime/``::

runtime = Runtime.load()
len(runtime.launcher), len(runtime.kernel), len(runtime.crt)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from mystikos.errors import RuntimeMissingError

__all__ = ["UNKNOWN", "Runtime", "Target", "execute"]

Target = Literal["sgx", "sim", "linux"]
"""How a package runs: MYST_TARGET."""

UNKNOWN = "unknown"
"""The version of a tool that nobody wrote down."""

_DIRECTORY = Path(__file__).with_name("_runtime")


@dataclass(frozen=True)
class Runtime:
    """The three files' bytes, and the compiler that made them."""

    launcher: bytes
    kernel: bytes
    crt: bytes
    rustc: str = UNKNOWN

    @classmethod
    def load(cls, directory: Path = _DIRECTORY) -> Runtime:
        """Read them from the installed package, or from another build's directory."""
        return cls(
            launcher=_read(directory / "myst-launcher"),
            kernel=_read(directory / "libmystkernel"),
            crt=_read(directory / "libmystcrt.so"),
            rustc=_rustc_version(directory / "rustc-version"),
        )


def execute(package: int, arguments: Sequence[str | bytes], *, target: Target) -> NoReturn:
    """Become the package that ``package`` is an open descriptor of; ``arguments`` begin with its argv[0]."""
    try:
        os.execve(package, tuple(arguments), {**os.environ, "MYST_TARGET": target})
    except OSError as exc:
        raise RuntimeMissingError(
            "package", f"cannot be started ({exc.strerror})", hint="is this an x86-64 Linux machine?"
        ) from exc


def _rustc_version(path: Path) -> str:
    """What the build wrote down; images that others built may come without."""
    try:
        return path.read_text(encoding="ascii").strip() or UNKNOWN
    except (FileNotFoundError, UnicodeDecodeError):
        return UNKNOWN


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise RuntimeMissingError(
            str(path),
            exc.strerror or str(exc),
            expected="a part of the native runtime",
            hint="build it (make build), or install mystikos from a wheel",
        ) from exc
