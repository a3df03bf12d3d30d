"""Copies paths of this machine into a new tree, with the symbolic links that lead to them.

>>> import tempfile
>>> copier = Copier(os.fsencode(tempfile.mkdtemp()))
>>> _ = copier.add(b"/etc/hostname", source=b"/proc/self/comm")
>>> os.listdir(copier.root), sorted(copier.files)
([b'etc'], [b'/etc/hostname'])
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mystikos.errors import CollectError
from mystikos.formats import elf
from mystikos.formats.atomic import output_error
from mystikos.progress import Counter
from mystikos.rootfs import printable

__all__ = ["Copied", "Copier", "Keep"]

_LOG = logging.getLogger(__name__)
_MAX_LINKS = 40
_MERGED = frozenset(
    {b"/bin", b"/sbin", b"/lib", b"/lib32", b"/lib64"}
)  # links to /usr/… on merged-/usr systems

Keep = Callable[[bytes], bool]
"""Whether to copy what will be at this path; asked for directories, too."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A regular file of the new tree: where it came from, and whether it begins as an ELF file does."""

    source: bytes
    is_elf: bool
    size: int


class Copier:
    """Fills the directory ``root``; paths given to it are absolute, as seen from inside."""

    def __init__(self, root: bytes, counter: Counter | None = None, *, shown: Path | None = None) -> None:
        self.root = root
        self._shown_root = os.fsencode(shown) if shown else root  # in errors; that may be a temporary name
        self._counter = counter or Counter(None)
        self.files: dict[bytes, Copied] = {}
        self.links: dict[bytes, bytes] = {}
        self.warnings: list[str] = []
        self._directories = {b""}
        self._inodes: dict[tuple[int, int], bytes] = {}
        os.chmod(root, 0o755)

    def add(self, path: bytes, *, source: bytes | None = None) -> bytes:
        """Copy the file *path* of this machine, or the file *source* to *path*; return its real path inside.

        Without *source*, every symbolic link on the way is made as well: ``/lib`` stays a link to
        ``usr/lib``, and what is asked for as ``/lib/x`` is found at both paths.
        """
        real = self._walk(path, mirror=source is None)
        if real in self._directories:
            raise CollectError(printable(path), "is a directory in the new tree", expected="a file name")
        self._copy(source or path, real)
        return real

    def add_tree(self, source: bytes, path: bytes, keep: Keep, *, mirror: bool) -> None:
        """Copy the directory *source* to *path*; with *mirror* they are the same path.

        Links are copied as links, and files that they lead to outside of the directory as well where the
        paths stay the same. Sockets, devices and FIFOs are left out.
        """
        top = self._walk(path, mirror=mirror)
        self._make_directory(top)
        todo = [(source, top)]
        while todo:
            folder, inside = todo.pop()
            for item in _scan(folder):
                there = inside + b"/" + item.name
                if not keep(there):
                    continue
                if item.is_symlink():
                    self._tree_link(item, there, mirror=mirror)
                elif self._is_root(item):
                    continue  # a new tree inside of what it is made of is no part of itself
                elif item.is_dir():
                    self._make_directory(there, stat.S_IMODE(item.stat().st_mode) | 0o700)
                    todo.append((item.path, there))
                elif item.is_file():
                    self._copy(item.path, there)
                else:
                    self.warnings.append(f"{printable(item.path)}: is not a file, and was left out")

    def add_link(self, path: bytes, target: bytes) -> None:
        """Make *path* a symbolic link, unless there is something already."""
        folder, _, name = path.rpartition(b"/")
        here = self._walk(folder, mirror=True)
        self._make_directory(here)
        here += b"/" + name
        if here not in self.links and here not in self.files and here not in self._directories:
            self._make_link(here, target)

    def add_merged_links(self) -> None:
        """Make ``/bin`` and its like links into ``/usr``, as here, where what they link to is there."""
        for path in sorted(_MERGED):
            if os.path.islink(path) and os.path.realpath(path) in self._directories:
                self.add_link(path, os.readlink(path))

    def add_directory(self, path: bytes, mode: int) -> None:
        """Make the directory *path*, and those above it."""
        real = self._walk(path, mirror=True)
        self._make_directory(real)
        os.chmod(self.root + real, mode)

    def add_content(self, path: bytes, content: bytes) -> None:
        """Write a file that is not on this machine; its directory must be there."""
        try:
            with open(self.root + path, "wb") as file:
                file.write(content)
            os.chmod(self.root + path, 0o644)
        except OSError as error:
            raise output_error(self._shown(path), error) from error
        self.files[path] = Copied(b"", False, len(content))

    def inside(self, path: bytes) -> bytes:
        """The real path of *path* in the new tree, as its links have it."""
        return self._walk(path, mirror=False, make=False)

    def _is_root(self, item: os.DirEntry[bytes]) -> bool:
        return item.is_dir() and os.path.samefile(item.path, self.root)

    def _shown(self, path: bytes) -> Path:
        return Path(printable(self._shown_root + path))

    def _walk(self, path: bytes, *, mirror: bool, make: bool = True) -> bytes:
        """The real path inside; directories on the way are made, and with *mirror* this machine's links."""
        todo = path.split(b"/")[::-1]
        here = b""
        followed = 0
        while todo:
            name = todo.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                here = here.rpartition(b"/")[0]
                continue
            step = here + b"/" + name
            known = step in self.links or step in self._directories or step in self.files
            if (mirror or step in _MERGED) and not known and os.path.islink(step):
                self._make_link(step, os.readlink(step))
            if step not in self.links:
                here = step
                if make and todo:
                    self._make_directory(here)
                continue
            followed += 1
            if followed > _MAX_LINKS:
                raise CollectError(printable(path), "goes through more than 40 symbolic links")
            target = self.links[step]
            here = b"" if target.startswith(b"/") else here
            todo += target.split(b"/")[::-1]
        return here

    def _make_directory(self, path: bytes, mode: int = 0o755) -> None:
        if path in self._directories:
            return
        if path in self.files:
            raise CollectError(printable(path), "is a file in the new tree", expected="a directory")
        self._make_directory(path.rpartition(b"/")[0])
        try:
            os.mkdir(self.root + path)
            os.chmod(self.root + path, mode)
        except OSError as error:
            raise output_error(self._shown(path), error) from error
        self._directories.add(path)

    def _make_link(self, path: bytes, target: bytes) -> None:
        self._make_directory(path.rpartition(b"/")[0])
        try:
            os.symlink(target, self.root + path)
        except OSError as error:
            raise output_error(self._shown(path), error) from error
        self.links[path] = target

    def _tree_link(self, item: os.DirEntry[bytes], there: bytes, *, mirror: bool) -> None:
        if there in self.links:
            return
        self._make_link(there, os.readlink(item.path))
        if not mirror:
            return
        if os.path.isfile(item.path):
            self.add(item.path)
        elif os.path.isdir(item.path):
            self.warnings.append(
                f"{printable(item.path)}: the directory it links to is there only if it is included itself"
            )

    def _copy(self, source: bytes, there: bytes) -> None:
        """Copy one file, or link it to the copy of another of its names."""
        if there in self.files:
            return
        self._make_directory(there.rpartition(b"/")[0])
        try:
            status = os.stat(source)
            with open(source, "rb") as file:
                is_elf = file.read(4) == elf.MAGIC
        except OSError as error:
            raise CollectError(printable(source), f"cannot be read ({error.strerror})") from error

        inode = (status.st_dev, status.st_ino)
        target = self.root + there
        try:
            if status.st_nlink > 1 and inode in self._inodes:
                os.link(self._inodes[inode], target)
            else:
                shutil.copyfile(source, target)
                os.chmod(target, stat.S_IMODE(status.st_mode) & 0o777)
                self._inodes[inode] = target
        except OSError as error:
            raise output_error(self._shown(there), error) from error
        self.files[there] = Copied(source, is_elf, status.st_size)
        self._counter.add(status.st_size)
        _LOG.debug("copied: %s", printable(there))


def _scan(folder: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(folder) as items:
            return sorted(items, key=lambda item: item.name)
    except OSError as error:
        raise CollectError(printable(folder), f"cannot be read ({error.strerror})") from error
