"""Stage 2b, codec: the ``.mystbind`` table (docs/reference/package-format.md).

>>> file = FileRecord(0x1000, 4096, (Site(0x80, bytes.fromhex("b801000000"), b""),))
>>> decode(encode([file])) == (file,)
True
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mystikos.binding.finding import DISPLACED_MAX, JUMP_SIZE
from mystikos.errors import BindingError

_MAGIC: Final = b"MYSTBIND"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sIIQQQ24x")
_FILE: Final = struct.Struct("<QQQQ")
_SITE: Final = struct.Struct("<IBBBx24s")


@dataclass(frozen=True, slots=True)
class Site:
    """A bound system call: where the jump goes, and the instructions it displaces."""

    offset: int  # in the file, where the jump is written
    before: bytes
    after: bytes

    def __post_init__(self) -> None:
        size = len(self.before) + len(self.after)
        if size > DISPLACED_MAX or size + 2 < JUMP_SIZE or not 0 <= self.offset < 1 << 32:
            raise BindingError(
                f"site at file offset {self.offset:#x}",
                f"{size} displaced bytes",
                expected=f"{JUMP_SIZE - 2} to {DISPLACED_MAX} at an offset below 4 GiB",
            )

    @property
    def syscall_offset(self) -> int:
        return self.offset + len(self.before)

    @property
    def delta(self) -> int:
        """Execution continues this far behind the jump's first byte."""
        return len(self.before) + 2 + len(self.after)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The bound sites of one file of the root file system image."""

    data_offset: int
    size: int
    sites: tuple[Site, ...]


def encode(files: Sequence[FileRecord]) -> bytes:
    """Write the table; files ascend by data offset, sites by their own."""
    files = sorted(files, key=lambda f: f.data_offset)
    total = sum(len(f.sites) for f in files)
    sites_offset = _HEADER.size + len(files) * _FILE.size
    parts = [_HEADER.pack(_MAGIC, _VERSION, len(files), total, _HEADER.size, sites_offset)]

    first = 0
    for file in files:
        parts.append(_FILE.pack(file.data_offset, file.size, first, len(file.sites)))
        first += len(file.sites)
    for file in files:
        for site in sorted(file.sites, key=lambda s: s.offset):
            displaced = site.before + site.after
            parts.append(_SITE.pack(site.offset, site.delta, len(site.before), len(site.after), displaced))
    return b"".join(parts)


def decode(table: bytes) -> tuple[FileRecord, ...]:
    """Read a table back; anything but a table as ``encode`` writes it is refused."""
    if len(table) < _HEADER.size:
        raise BindingError("binding table", f"{len(table)} bytes", expected=f"at least {_HEADER.size}")
    magic, version, file_count, site_count, files_offset, sites_offset = _HEADER.unpack_from(table)
    if magic != _MAGIC or version != _VERSION:
        raise BindingError(
            "binding table",
            f"magic {magic!r}, version {version}",
            expected=f"{_MAGIC!r}, {_VERSION}",
            hint="the package was made by another version of mystikos, or is damaged",
        )

    files_end = _HEADER.size + file_count * _FILE.size
    size = files_end + site_count * _SITE.size
    if (files_offset, sites_offset, len(table)) != (_HEADER.size, files_end, size):
        raise BindingError(
            "binding table",
            f"{len(table)} bytes, records at {files_offset} and {sites_offset}",
            expected=f"{size} bytes, records at {_HEADER.size} and {files_end}",
        )

    records = [_site(*record) for record in _SITE.iter_unpack(table[sites_offset:])]
    files = []
    taken = 0
    for data_offset, file_size, first, count in _FILE.iter_unpack(table[files_offset:files_end]):
        if first != taken:  # before anything is copied: files could share their sites
            break
        files.append(FileRecord(data_offset, file_size, tuple(records[first : first + count])))
        taken += count
    if encode(files) != table:
        raise BindingError("binding table", "records out of order", expected="the order of encode()")
    return tuple(files)


def _site(offset: int, delta: int, before: int, after: int, displaced: bytes) -> Site:
    if before + after > len(displaced) or delta != before + 2 + after:
        raise BindingError(
            f"site at file offset {offset:#x}",
            f"{before} + {after} displaced bytes, delta {delta}",
            expected=f"at most {len(displaced)} in all and the delta behind them",
        )
    return Site(offset, displaced[:before], displaced[before : before + after])
