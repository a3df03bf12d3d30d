"""The native runtime that every package carries: launcher, kernel and CRT image, built from ``runtime/``.

runtime = Runtime.load()
len(runtime.launcher), len(runtime.kernel), len(runtime.crt)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mystikos.errors import RuntimeMissingError

__all__ = ["Runtime"]

_DIRECTORY = Path(__file__).with_name("_runtime")


@dataclass(frozen=True)
class Runtime:
    """The three files' bytes."""

    launcher: bytes
    kernel: bytes
    crt: bytes

    @classmethod
    def load(cls, directory: Path = _DIRECTORY) -> Runtime:
        """Read them from the installed package, or from another build's directory."""
        return cls(
            launcher=_read(directory / "myst-launcher"),
            kernel=_read(directory / "libmystkernel"),
            crt=_read(directory / "libmystcrt.so"),
        )


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
