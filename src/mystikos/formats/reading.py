"""Leaf: reading small files that people name, whatever these turn out to be.

>>> import tempfile
>>> home = Path(tempfile.mkdtemp())
>>> _ = (home / "request").write_bytes(b"all of it")
>>> read_start(home / "request", 3)
b'all'
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_start"]


def read_start(path: Path, size: int) -> bytes:
    """At most the first *size* bytes, of a pipe (``<(command)``), too; an OSError always names the file."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        if error.filename is None:  # read(2) knows none
            error.filename = str(path)
        raise
