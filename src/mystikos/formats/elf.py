"""ELF64 little-endian headers, read from hostile bytes and written back: a leaf without policy.

Only the fixed records of elf(5) live here (file header, program headers, section headers); every offset
and count is checked against the file before it is used, so that arbitrary bytes give :class:`ElfError`
and nothing else.

>>> read_header(b"#!/bin/sh", 9)
Traceback (most recent call last):
...
mystikos.formats.elf.ElfError: not an ELF file (no 7F 45 4C 46 at its start)
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MAGIC = b"\x7fELF"
ET_EXEC = 2
ET_DYN = 3
EM_X86_64 = 62
PT_LOAD = 1
PT_INTERP = 3
PF_X = 1
PF_W = 2
PF_R = 4
SHT_NULL = 0
SHT_PROGBITS = 1
SHT_STRTAB = 3
SHT_NOBITS = 8
SHF_ALLOC = 2

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")

_IDENT = MAGIC + b"\x02\x01\x01"  # ELFCLASS64, ELFDATA2LSB, EV_CURRENT
_MAX_ADDRESS = 1 << 64
_MAX_SECTION_NAME = 255  # bytes: else thousands of headers could each name the whole of a large table

Read = Callable[[int, int], bytes]
"""Read ``size`` bytes at ``offset``; fewer when the file ends before."""


class ElfError(ValueError):
    """The bytes are not a well-formed ELF64 x86-64 file."""


@dataclass(frozen=True)
class Header:
    """The file header (``Elf64_Ehdr``)."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int

    def pack(self) -> bytes:
        """The 64 bytes as they stand in the file."""
        return EHDR.pack(*(getattr(self, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Segment:
    """A program header (``Elf64_Phdr``)."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int

    @property
    def end(self) -> int:
        """The first address after the segment in memory."""
        return self.vaddr + self.memsz


@dataclass(frozen=True)
class SectionHeader:
    """A section header (``Elf64_Shdr``); ``name`` is an offset into the section name table."""

    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    addralign: int
    entsize: int

    @property
    def file_end(self) -> int:
        """The first file offset after the section's bytes (SHT_NOBITS has none in the file)."""
        return self.offset + self.size

    def pack(self) -> bytes:
        """The 64 bytes as they stand in the file."""
        return SHDR.pack(*(getattr(self, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Image:
    """What a loader needs of an ELF file: its header and its program headers."""

    header: Header
    segments: tuple[Segment, ...]

    @property
    def load_segments(self) -> tuple[Segment, ...]:
        """The ``PT_LOAD`` segments that occupy memory, in file order."""
        return tuple(s for s in self.segments if s.type == PT_LOAD and s.memsz)

    @property
    def has_interpreter(self) -> bool:
        """Whether a dynamic loader is asked for."""
        return any(s.type == PT_INTERP for s in self.segments)


def read_header(data: bytes, file_size: int) -> Header:
    """Decode the file header at the start of a file of ``file_size`` bytes."""
    if data[:4] != MAGIC:
        raise ElfError("not an ELF file (no 7F 45 4C 46 at its start)")
    if len(data) < EHDR.size:
        raise ElfError(f"the file ends inside the ELF header ({len(data)} of {EHDR.size} bytes)")

    header = Header(*EHDR.unpack_from(data))
    if not header.ident.startswith(_IDENT):
        raise ElfError("not a 64-bit little-endian ELF file")
    if header.machine != EM_X86_64:
        raise ElfError(f"built for machine {header.machine}, not for x86-64 ({EM_X86_64})")
    if header.phnum:
        _check_table("program", header.phoff, header.phnum, header.phentsize, PHDR.size, file_size)
    if header.shnum:
        _check_table("section", header.shoff, header.shnum, header.shentsize, SHDR.size, file_size)
    return header


def _check_table(what: str, offset: int, count: int, entry: int, expected: int, file_size: int) -> None:
    if entry != expected:
        raise ElfError(f"{what} headers of {entry} bytes, not {expected}")
    if offset + count * entry > file_size:
        raise ElfError(f"{count} {what} headers at {offset:#x} reach beyond the file's end")


def read_image(read: Read, file_size: int) -> Image:
    """Read the header and the program headers, and check every ``PT_LOAD`` against the file."""
    header = read_header(read(0, EHDR.size), file_size)
    table = read(header.phoff, header.phnum * PHDR.size) if header.phnum else b""
    if len(table) != header.phnum * PHDR.size:
        raise ElfError("the file ends inside its program header table")

    segments = []
    for index, fields in enumerate(PHDR.iter_unpack(table)):
        kind, flags, *rest = fields
        segment = Segment(kind, flags, *rest)
        if segment.type == PT_LOAD:
            _check_segment(segment, index, file_size)
        segments.append(segment)
    return Image(header, tuple(segments))


def _check_segment(segment: Segment, index: int, file_size: int) -> None:
    if segment.offset + segment.filesz > file_size:
        raise ElfError(f"segment {index} reaches beyond the file's end")
    if segment.filesz > segment.memsz:
        raise ElfError(f"segment {index} has more bytes in the file than in memory")
    if segment.end > _MAX_ADDRESS:
        raise ElfError(f"segment {index} reaches beyond the address space")


def read_image_bytes(data: bytes) -> Image:
    """:func:`read_image` of a file held in memory."""
    return read_image(lambda offset, size: data[offset : offset + size], len(data))


def read_sections(read: Read, header: Header) -> tuple[SectionHeader, ...]:
    """Read the section headers, unchecked: which of them must lie inside the file is the reader's rule."""
    table = read(header.shoff, header.shnum * SHDR.size) if header.shnum else b""
    if len(table) != header.shnum * SHDR.size:
        raise ElfError("the file ends inside its section header table")
    return tuple(SectionHeader(*fields) for fields in SHDR.iter_unpack(table))


def section_name(strings: bytes, offset: int) -> bytes:
    """The NUL-terminated name at ``offset`` of the section name table."""
    end = strings.find(b"\0", offset, offset + _MAX_SECTION_NAME + 1) if offset < len(strings) else -1
    if end < 0 and offset + _MAX_SECTION_NAME < len(strings):
        raise ElfError(f"section name at {offset:#x} has more than {_MAX_SECTION_NAME} bytes")
    if end < 0:
        raise ElfError(f"section name at {offset:#x} is outside the section name table")
    return strings[offset:end]
