"""Stage 6, as a directory: the package in ``bin/``, ready to run, and its parts as files beside it.

::

    app.signed/
        bin/app          the package: the same bytes as `myst package-sgx` writes
        lib/             libmystkernel, libmystcrt.so
        rootfs           the root file system, a CPIO archive
        config.json      the config, as its author wrote it
        pubkeys          trusted disk public keys
        roothashes       trusted disk root hashes

What runs is the package, which holds everything; the parts are for people and tools. Why so:
docs/design/decisions/0016-signed-directory.md.

>>> is_signed_directory(Path("/usr"))
False
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from mystikos.errors import PackageError
from mystikos.formats.atomic import output_error
from mystikos.formats.descriptor import Section
from mystikos.package import Package, is_damaged, unpack

__all__ = ["BIN", "ROOTFS", "differing_part", "executable", "is_signed_directory", "why_not", "write_parts"]

BIN = "bin"
"""Where in a signed directory the package is."""
ROOTFS = "rootfs"
"""Its root file system, an archive."""

_KERNEL, _CRT, _CONFIG = "lib/libmystkernel", "lib/libmystcrt.so", "config.json"
_SECTIONS = {
    _KERNEL: Section.KERNEL,
    _CRT: Section.CRT,
    ROOTFS: Section.ROOTFS,
    "pubkeys": Section.PUBKEYS,
    "roothashes": Section.ROOTHASHES,
}
_PARTS = (*_SECTIONS, _CONFIG)
_FILE_MODE = 0o666
_PIECE = 1 << 20
_CANNOT_COPY = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL})  # copy_file_range(2)


def write_parts(package: Package, directory: Path, shown: Path) -> None:
    """Write the parts beside the package ``directory/bin/…``; errors call the directory ``shown``.

    On a file system that can share blocks between files, they take no room of their own.
    """
    with package.path.open("rb") as source:
        for name in _PARTS:
            target = directory / name
            try:
                target.parent.mkdir(exist_ok=True)
                descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
                try:
                    _copy(source.fileno(), descriptor, *_place(package, name))
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise output_error(shown / name, error) from error


def _place(package: Package, name: str) -> tuple[int, int]:
    """Where in the package's file a part is, and its size."""
    if name == _CONFIG:
        json = package.parameters.json
        return package.sections[Section.CONFIG].offset + json.offset, json.size
    place = package.sections[_SECTIONS[name]]
    return place.offset, place.size


def _copy(source: int, target: int, offset: int, size: int) -> None:
    while size:
        try:
            done = os.copy_file_range(source, target, size, offset_src=offset)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
            done = os.write(target, os.pread(source, min(size, _PIECE), offset))
        if not done:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        offset, size = offset + done, size - done


def is_signed_directory(path: Path) -> bool:
    """Whether a path is a directory with a package and its parts, and nothing else."""
    return path.is_dir() and why_not(path) is None


def why_not(directory: Path) -> str | None:
    """Why a directory is none that ``myst sign-sgx`` wrote; None when it is one."""
    expected = {name.split("/")[0] for name in _PARTS} | {BIN}
    found = {entry.name: entry for entry in os.scandir(directory)}
    if set(found) != expected:
        odd = sorted(set(found) ^ expected)[0]
        return f"is no signed directory: {odd} {'is missing' if odd in expected else 'is not part of one'}"
    libraries = {entry.name for entry in os.scandir(found["lib"])} if _is_directory(found["lib"]) else set()
    if libraries != {Path(name).name for name in (_KERNEL, _CRT)}:
        return "is no signed directory: lib holds something else than kernel and CRT image"
    if not all(_is_file(directory / name) for name in _PARTS):
        return "is no signed directory: a part is not a regular file"
    programs = list(os.scandir(found[BIN])) if _is_directory(found[BIN]) else []
    if len(programs) != 1 or not _is_package(Path(programs[0].path)):
        return "is no signed directory: bin does not hold one package and nothing else"
    return None


def _is_directory(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _is_package(path: Path) -> bool:
    """A damaged one, too: it is still ours to replace, and `verify` tells what is wrong with it."""
    if not _is_file(path):
        return False
    try:
        unpack(path)
    except PackageError:
        return is_damaged(path)
    return True


def executable(path: Path) -> Path:
    """The package that a path means: itself, or the one in a signed directory.

    Raises PackageError for any other directory.
    """
    if not path.is_dir():
        return path
    try:
        reason = why_not(path)
    except OSError as error:
        raise PackageError(str(path), error.strerror or str(error), expected="a readable package") from error
    if reason is not None:
        raise PackageError(str(path), reason, expected="a package, or a directory that myst sign-sgx wrote")
    return next((path / BIN).iterdir())


def differing_part(package: Package, directory: Path) -> str | None:
    """The first part in a signed directory that is not what its package holds; None when all are."""
    for name in _PARTS:
        offset, size = _place(package, name)
        part = directory / name
        if part.stat().st_size != size or not _equals(part, package.file[offset : offset + size]):
            return name
    return None


def _equals(part: Path, content: memoryview) -> bool:
    position = 0
    with part.open("rb") as file:
        while piece := file.read(_PIECE):
            if piece != bytes(content[position : position + len(piece)]):
                return False
            position += len(piece)
    return position == len(content)
