"""Where a search for libraries looks: this machine, or a root file system."""

from __future__ import annotations

import fnmatch
import glob
import os
from typing import BinaryIO, Protocol

from mystikos.errors import CollectError
from mystikos.rootfs import RootFs, printable

__all__ = ["Machine", "Packed", "Tree"]


class Tree(Protocol):
    """A tree of files with symbolic links; all paths are absolute."""

    def real(self, path: bytes) -> bytes | None:
        """The path, free of symbolic links, of the regular file that *path* names; None without one."""
        ...

    def open(self, path: bytes) -> BinaryIO:
        """A seekable stream of the file whose real path is *path*."""
        ...

    def glob(self, pattern: bytes) -> list[bytes]:
        """The paths that match *pattern*, sorted."""
        ...


class Machine:
    """The files of this machine."""

    def real(self, path: bytes) -> bytes | None:
        return os.path.realpath(path) if os.path.isfile(path) else None

    def open(self, path: bytes) -> BinaryIO:
        try:
            return open(path, "rb")
        except OSError as error:
            raise CollectError(printable(path), f"cannot be read ({error.strerror})") from error

    def glob(self, pattern: bytes) -> list[bytes]:
        return sorted(glob.glob(pattern))


class Packed:
    """The files of a root file system."""

    def __init__(self, rootfs: RootFs) -> None:
        self._rootfs = rootfs

    def real(self, path: bytes) -> bytes | None:
        entry = self._rootfs.lookup(path)
        return b"/" + entry.path if entry is not None and entry.is_file else None

    def open(self, path: bytes) -> BinaryIO:
        entry = self._rootfs.lookup(path)
        assert entry is not None
        return entry.open()

    def glob(self, pattern: bytes) -> list[bytes]:
        folder, _, names = pattern.rpartition(b"/")
        found = []
        for entry in self._rootfs.entries:
            above, _, name = (b"/" + entry.path).rpartition(b"/")
            if above == folder and fnmatch.fnmatchcase(name, names):
                found.append(b"/" + entry.path)
        return found
