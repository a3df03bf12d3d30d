"""Stage 2b: find the system calls in a root file system and say how each may be reached without a trap.

Every executable ELF file is searched for ``syscall`` instructions. Where one can safely give way to a
five-byte jump, the place and the displaced instructions are recorded; the file itself stays byte-identical,
and the kernel patches its own private mapping. Whatever is not known to be safe is left alone: such a
system call traps, which is slower and always correct.

>>> import sys
>>> from pathlib import Path
>>> sites, traps = bind_file(Path(sys.executable).read_bytes())
>>> all(site.delta >= 5 for site in sites)
True
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from mystikos.binding import table as _table
from mystikos.binding.elf import Image, MalformedElf, is_candidate
from mystikos.binding.finding import SYSCALL, Reason, Trap
from mystikos.binding.table import FileRecord, Site

if TYPE_CHECKING:
    from mystikos.rootfs import Entry, RootFs

__all__ = [
    "Bindings",
    "FileBinding",
    "Reason",
    "Site",
    "Trap",
    "bind",
    "bind_entry",
    "bind_file",
    "elf_files",
    "unsafe_site",
]

_LOG = logging.getLogger(__name__)
_ELF_HEADER_SIZE = 64
_MOST_CALLS = 1 << 16  # of one file: chance gives one in 64 KiB, programs have some hundred


@dataclass(frozen=True, slots=True)
class FileBinding:
    """What was found in one file; ``problem`` tells why a malformed file was left alone altogether."""

    path: bytes
    data_offset: int
    size: int
    sites: tuple[Site, ...]
    traps: tuple[Trap, ...]
    problem: str | None = None


@dataclass(frozen=True)
class Bindings:
    """The system calls of all ELF files of a root file system."""

    files: tuple[FileBinding, ...]

    @cached_property
    def table(self) -> bytes:
        """The ``.mystbind`` section."""
        return _table.encode([FileRecord(f.data_offset, f.size, f.sites) for f in self.files if f.sites])


def bind(rootfs: RootFs) -> Bindings:
    """Find and choose the sites of every ELF file; hard links of a file share one record."""
    files = tuple(bind_entry(entry) for entry in elf_files(rootfs))
    counts = sum(len(file.sites) for file in files), sum(len(file.traps) for file in files)
    _LOG.info("system calls: %d bound, %d trap, in %d ELF files", *counts, len(files))
    return Bindings(files)


def bind_file(data: bytes) -> tuple[tuple[Site, ...], tuple[Trap, ...]]:
    """The sites and traps of one file's bytes; raises MalformedElf where the file contradicts itself."""
    image = Image.parse(data)
    if image is None:
        return (), ()
    seeming = sum(1 for _ in islice(image.find(SYSCALL), _MOST_CALLS + 1))
    if not seeming:
        return (), ()
    if seeming > _MOST_CALLS:
        raise MalformedElf(f"more than {_MOST_CALLS} places that look like system calls")
    from mystikos.binding.search import search

    return search(image)


def unsafe_site(data: bytes, sites: Sequence[Site]) -> Site | None:
    """The first of the sites of a file, ascending, that could change what it does; None when all are safe.

    Raises MalformedElf where the file contradicts itself.
    """
    if not sites:
        return None
    image = Image.parse(data)
    if image is None:
        return sites[0]
    from mystikos.binding.search import unsafe

    return unsafe(image, sites)


def elf_files(rootfs: RootFs) -> Iterator[Entry]:
    """The entries to be searched; of the hard links of one file, the first."""
    seen: set[int] = set()
    for entry in rootfs.entries:
        if entry.mode & 0o170000 != 0o100000 or entry.size < _ELF_HEADER_SIZE or entry.data_offset in seen:
            continue
        if is_candidate(entry.read(0, _ELF_HEADER_SIZE)):
            seen.add(entry.data_offset)
            yield entry


def bind_entry(entry: Entry) -> FileBinding:
    """What was found in one of ``elf_files``."""
    try:
        sites, traps = bind_file(entry.read(0, entry.size))
    except MalformedElf as finding:
        _LOG.debug("%s: not bound: %s", _shown(entry), finding)
        return FileBinding(entry.path, entry.data_offset, entry.size, (), (), str(finding))
    _LOG.debug("%s: %d system calls bound, %d trap", _shown(entry), len(sites), len(traps))
    return FileBinding(entry.path, entry.data_offset, entry.size, sites, traps)


def _shown(entry: Entry) -> str:
    return entry.path.decode("utf-8", "backslashreplace")
