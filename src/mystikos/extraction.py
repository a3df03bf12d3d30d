"""Stage 2, backwards: write a root file system out as a directory, and never outside of it.

The archive was judged as a whole before (``rootfs.from_archive``): no absolute names, no ``..``, no name
through a symbolic link. All the same, every directory is opened from its parent's descriptor without
following links, in a new directory that gets its final name at the end.

>>> import tempfile
>>> from mystikos.rootfs import scan
>>> home = Path(tempfile.mkdtemp())
>>> (home / "appdir").mkdir()
>>> _ = (home / "appdir" / "hello").write_text("hi")
>>> extract(scan(home / "appdir"), home / "copy").entries
2
>>> (home / "copy" / "hello").read_text()
'hi'
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mystikos.formats.atomic import atomic_directory, output_error
from mystikos.progress import Counter, Progress
from mystikos.rootfs import Entry, RootFs, printable

__all__ = ["Extracted", "extract", "fill"]

_LOG = logging.getLogger(__name__)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_ID = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was written: how many entries, their bytes, and the files whose set-id bits were left out."""

    entries: int
    size: int
    without_set_id: tuple[bytes, ...]


def extract(
    rootfs: RootFs, directory: Path, *, keep_set_id: bool = False, progress: Progress | None = None
) -> Extracted:
    """Write *rootfs* into *directory*, which must be absent or empty; at a failure nothing is left.

    Files belong to the caller and have the modes of the archive, whatever the umask; but a program that
    would run as its owner (setuid, setgid) is a gift to everyone on this machine, so these bits of files
    are kept only when asked. Raises ``OutputError`` and ``RootFsError``.
    """
    with atomic_directory(directory) as temporary:
        return fill(rootfs, temporary, shown=directory, keep_set_id=keep_set_id, progress=progress)


def fill(
    rootfs: RootFs,
    directory: Path,
    *,
    shown: Path,
    keep_set_id: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """:func:`extract` into an empty directory that is there already; errors call it ``shown``."""
    dropped = () if keep_set_id else tuple(e.path for e in rootfs.entries if e.is_file and e.mode & _SET_ID)
    size = sum(e.size for e in rootfs.entries if e.has_data)
    root = os.open(directory, _DIRECTORY)
    try:
        _write_tree(rootfs, root, shown, 0 if keep_set_id else _SET_ID, Counter(progress, size))
    finally:
        os.close(root)
    return Extracted(len(rootfs.entries), size, dropped)


def _write_tree(rootfs: RootFs, root: int, shown: Path, left_out: int, counter: Counter) -> None:
    first_link: dict[int, bytes] = {}
    for entry in rootfs.entries:
        if entry.path == b".":
            continue
        with _errors_naming(shown, entry), _parent(root, entry.path) as (parent, name):
            _LOG.debug("written: %s", printable(entry.path))
            if entry.is_directory:
                os.mkdir(name, 0o700, dir_fd=parent)
            elif entry.is_symlink:
                os.symlink(entry.target, name, dir_fd=parent)
            elif entry.ino in first_link:
                with _parent(root, first_link[entry.ino]) as (other, first):
                    os.link(first, name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)
            else:
                _write_file(entry, parent, name, left_out, counter)
                first_link[entry.ino] = entry.path

    # A directory's mode may forbid to write in it, so modes come last, and the root's after all others.
    for entry in reversed(rootfs.entries):
        if entry.is_directory:
            with _errors_naming(shown, entry), _parent(root, entry.path) as (parent, name):
                _set_mode(name, parent, stat.S_IMODE(entry.mode))


def _write_file(entry: Entry, parent: int, name: bytes, left_out: int, counter: Counter) -> None:
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
    try:
        for chunk in entry.chunks():
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            counter.add(len(chunk))
        os.fchmod(descriptor, stat.S_IMODE(entry.mode) & ~left_out)
    finally:
        os.close(descriptor)


@contextmanager
def _parent(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """The descriptor of the directory that holds *path*, reached without following links, and the name."""
    *folders, name = path.split(b"/")
    here = os.dup(root)
    try:
        for folder in folders:
            above, here = here, os.open(folder, _DIRECTORY, dir_fd=here)
            os.close(above)
        yield here, name
    finally:
        os.close(here)


def _set_mode(name: bytes, parent: int, mode: int) -> None:
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


@contextmanager
def _errors_naming(shown: Path, entry: Entry) -> Iterator[None]:
    """Say which entry it was that could not be written."""
    try:
        yield
    except OSError as error:
        raise output_error(shown / printable(entry.path), error) from error
