"""Leaf: CPIO archives of the newc format (``070701``), as the Linux kernel and GNU cpio know it.

An entry is a 110-byte header (six characters of magic, thirteen numbers of eight hexadecimal digits), the
name with its NUL, and the data; name and data are each padded to four bytes. ``TRAILER!!!`` ends it.

>>> archive = Header(b"hello", mode=0o100644, size=2, ino=1).encode() + b"hi" + padding(2) + trailer()
>>> [(member.header.path, member.data_offset) for member in decode(BytesReader(archive), "hello.cpio")]
[(b'hello', 116)]
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mystikos.errors import RootFsError

__all__ = [
    "HEADER_SIZE",
    "MAX_FILE_SIZE",
    "MAX_PATH",
    "TRAILER_NAME",
    "BytesReader",
    "Header",
    "Member",
    "Reader",
    "decode",
    "end_padding",
    "header_size",
    "padding",
    "trailer",
]

HEADER_SIZE = 110
MAX_FILE_SIZE = 0xFFFF_FFFF  # c_filesize has eight hexadecimal digits
MAX_PATH = 4095  # PATH_MAX less its NUL
TRAILER_NAME = b"TRAILER!!!"

_BLOCK = 512  # what GNU cpio pads an archive to
_WINDOW = 4096  # one read takes a header and nearly always its name
_HEADER = re.compile(rb"070701([0-9A-Fa-f]{104})")

_OTHER_FORMATS = (
    (b"070702", "a cpio archive of the crc format (070702)", "make it with: cpio -o -H newc"),
    (b"070707", "a cpio archive of the old portable format (070707)", "make it with: cpio -o -H newc"),
    (b"\xc7\x71", "a cpio archive of the old binary format", "make it with: cpio -o -H newc"),
    (b"\x71\xc7", "a cpio archive of the old binary format", "make it with: cpio -o -H newc"),
    (b"\x1f\x8b", "compressed with gzip", "decompress it first, with gunzip"),
    (b"\xfd7zXZ", "compressed with xz", "decompress it first, with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it first, with unzstd"),
    (b"BZh", "compressed with bzip2", "decompress it first, with bunzip2"),
    (b"\x7fELF", "an ELF file", None),
)


@dataclass(frozen=True, slots=True)
class Header:
    """What an entry says about itself. ``device`` is that of the inode number, for telling hard links."""

    path: bytes
    mode: int
    size: int
    ino: int
    nlink: int = 1
    device: tuple[int, int] = (0, 0)

    def encode(self) -> bytes:
        """Header and padded name. Owner, times and device numbers are zero: they would tell the machine."""
        fields = (self.ino, self.mode, 0, 0, self.nlink, 0, self.size, 0, 0, 0, 0, len(self.path) + 1, 0)
        digits = struct.pack(">13I", *fields).hex().upper().encode()
        name = self.path + b"\0"
        return b"070701" + digits + name + padding(HEADER_SIZE + len(name))


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive: its header, and where in the archive its data begins."""

    header: Header
    data_offset: int


class Reader(Protocol):
    """Random access to an archive: ``read`` gives fewer bytes only at its end."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class BytesReader:
    """An archive that is in memory, or mapped."""

    data: bytes | memoryview

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])


def padding(size: int) -> bytes:
    """What follows *size* bytes of header and name, or of data."""
    return bytes(-size % 4)


def header_size(path: bytes) -> int:
    """The bytes before the data of an entry called *path*."""
    size = HEADER_SIZE + len(path) + 1
    return size + -size % 4


def trailer() -> bytes:
    """The entry that ends an archive, before its ``end_padding``."""
    return Header(TRAILER_NAME, mode=0, size=0, ino=0).encode()


def end_padding(size: int) -> bytes:
    """What follows an archive of *size* bytes, trailer included."""
    return bytes(-size % _BLOCK)


def decode(reader: Reader, name: str) -> Iterator[Member]:
    """The entries of an archive, in its order, up to the trailer.

    Everything is checked against the archive's size before it is used, so a hostile archive costs no
    more than an honest one of its length. What paths mean is the caller's to judge. *name* is what errors
    call the archive. Raises ``RootFsError``.
    """
    offset = 0
    while True:
        member = _member(reader, offset, name)
        end = member.data_offset + member.header.size
        offset = end + -end % 4
        if member.header.path == TRAILER_NAME:
            _check_tail(reader, offset, name)
            return
        yield member


def _member(reader: Reader, offset: int, name: str) -> Member:
    where = f"{name}: offset {offset}"
    window = reader.read(offset, _WINDOW)
    header = _HEADER.match(window)
    if header is None:
        raise _bad_header(window, offset, name)
    ino, mode, _, _, nlink, _, size, major, minor, _, _, name_size, _ = struct.unpack(
        ">13I", bytes.fromhex(header[1].decode())
    )

    if not 2 <= name_size <= MAX_PATH + 1:
        raise RootFsError(where, f"a name of {name_size} bytes", expected=f"2 to {MAX_PATH + 1}")
    raw = window[HEADER_SIZE : HEADER_SIZE + name_size]
    if len(raw) < name_size:
        raw = reader.read(offset + HEADER_SIZE, name_size)
    if len(raw) < name_size:
        raise _truncated(reader, name)
    path = raw[:-1]
    if raw[-1:] != b"\0" or b"\0" in path:
        raise RootFsError(where, f"the name {path!r}", expected="a name with one NUL, at its end")

    data_offset = offset + header_size(path)
    if data_offset + size > reader.size:
        raise _truncated(reader, f"{name}: {path.decode('utf-8', 'backslashreplace')}", size)
    return Member(
        Header(path, stat.S_IFMT(mode) | stat.S_IMODE(mode), size, ino, nlink, (major, minor)), data_offset
    )


def _bad_header(window: bytes, offset: int, name: str) -> RootFsError:
    if offset and not window:
        return RootFsError(
            name, "ends without a trailer", expected="TRAILER!!!", hint="the archive is cut off"
        )
    if offset and len(window) < HEADER_SIZE and b"070701".startswith(window[:6]):
        return RootFsError(
            name, f"is cut off in the header at offset {offset}", expected="TRAILER!!! at the end"
        )
    for magic, what, hint in _OTHER_FORMATS if offset == 0 else ():
        if window.startswith(magic):
            return RootFsError(name, f"is {what}", expected="a cpio archive of the newc format", hint=hint)
    found = f"found {window[:14]!r}" if window else "is empty"
    return RootFsError(
        f"{name}: offset {offset}" if window else name,
        found,
        expected="the header of a cpio archive of the newc format (070701 and 104 hexadecimal digits)",
    )


def _truncated(reader: Reader, where: str, size: int | None = None) -> RootFsError:
    wanted = "" if size is None else f" in data of {size} bytes"
    return RootFsError(where, f"the archive ends at {reader.size}{wanted}", hint="the archive is cut off")


def _check_tail(reader: Reader, offset: int, name: str) -> None:
    """Only padding may follow the trailer: nothing may hide in a measured image."""
    while tail := reader.read(offset, 1 << 20):
        if tail.strip(b"\0"):
            raise RootFsError(
                name, f"data after the trailer, from offset {offset}", expected="zero padding only"
            )
        offset += len(tail)
