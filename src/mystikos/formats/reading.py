"""Leaf: opening what people name, whatever it turns out to be.

>>> import tempfile
>>> home = Path(tempfile.mkdtemp())
>>> _ = (home / "request").write_bytes(b"all of it")
>>> read_start(home / "request", 3)
b'all'
>>> open_regular(Path("/dev/null"))
Traceback (most recent call last):
...
OSError: [Errno 22] not a regular file: '/dev/null'
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["open_regular", "read_start"]


def read_start(path: Path, size: int) -> bytes:
    """At most the first *size* bytes, of a pipe (``<(command)``), too; an OSError always names the file."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        if error.filename is None:  # read(2) knows none
            error.filename = str(path)
        raise


def open_regular(path: Path) -> int:
    """A descriptor to read ``path``; OSError for anything but a regular file: a FIFO would wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))
