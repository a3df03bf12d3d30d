r"""Stage 2b, reading: what the binder needs to know of one ELF file: its memory image.

Everything comes from the program headers; section headers only help to find symbols and gaps, and a file
without them is read all the same. Any contradiction is a ``MalformedElf``: the file is left unbound.

>>> text = Segment(offset=2, address=0x1000, size=8, executable=True)
>>> image = Image(b"..\x90\x90\xb8\x01\0\0\0\xc3", ET_DYN, 0x1000, (text,), (), None, False)
>>> [hex(address) for address in image.find(b"\xb8")]
['0x1002']
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

_EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = struct.Struct("<IIQQQQQQ")
_SHDR: Final = struct.Struct("<IIQQQQIIQQ")
_DYN: Final = struct.Struct("<qQ")

ET_EXEC, ET_DYN = 2, 3
_EM_X86_64 = 62
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_EH_FRAME = 1, 2, 0x6474E550
_PF_X = 1
_DT_TEXTREL, _DT_FLAGS, _DF_TEXTREL = 22, 30, 4
_SHT_NOBITS = 8
_SHF_EXECINSTR = 4
SHT_SYMTAB, SHT_DYNSYM = 2, 11


class MalformedElf(Exception):  # noqa: N818 - a finding about a file, not an error of the run
    """The file contradicts itself, so nothing in it is bound."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The file-backed part of one PT_LOAD."""

    offset: int
    address: int
    size: int
    executable: bool

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Section:
    """One section header; ``data`` is read on demand from the file."""

    name: bytes
    type: int
    address: int
    offset: int
    size: int
    executable: bool


@dataclass(frozen=True)
class Image:
    """An ET_EXEC or ET_DYN file for x86-64: its bytes and how they lie in memory."""

    data: bytes
    type: int
    entry: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    eh_frame_header: int | None
    text_relocations: bool

    @classmethod
    def parse(cls, data: bytes) -> Image | None:
        """Read an image; None when the file is something else (not ELF, another machine, an object file)."""
        if not is_candidate(data[: _EHDR.size]):
            return None

        _, kind, _, _, entry, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx = (
            _EHDR.unpack_from(data)
        )
        if phentsize != _PHDR.size or phoff + phnum * _PHDR.size > len(data):
            raise MalformedElf("the program headers are not inside the file")
        headers = [_PHDR.unpack_from(data, phoff + i * _PHDR.size) for i in range(phnum)]

        segments = tuple(sorted(_segments(headers, len(data)), key=lambda s: s.address))
        _check_overlap(segments)
        sections = _sections(data, shoff, shentsize, shnum, shstrndx)
        eh_frame = next((h[3] for h in headers if h[0] == _PT_GNU_EH_FRAME), None)
        return cls(data, kind, entry, segments, sections, eh_frame, _has_text_relocations(headers, data))

    @cached_property
    def executable(self) -> tuple[Segment, ...]:
        return tuple(s for s in self.segments if s.executable)

    def segment_at(self, address: int) -> Segment | None:
        return next((s for s in self.segments if s.address <= address < s.end), None)

    def read(self, address: int, size: int) -> bytes:
        """The bytes at a memory address: fewer than asked for where the segment's file content ends."""
        segment = self.segment_at(address)
        if segment is None:
            return b""
        offset = segment.offset + address - segment.address
        return self.data[offset : offset + min(size, segment.end - address)]

    def file_offset(self, address: int) -> int:
        """Where the file holds the byte at an address, which must be inside of a segment."""
        segment = self.segment_at(address)
        if segment is None:
            raise ValueError(f"no segment holds address {address:#x}")
        return segment.offset + address - segment.address

    def find(self, pattern: bytes) -> Iterator[int]:
        """The addresses of a byte pattern in the executable segments, wherever instructions start."""
        for segment in self.executable:
            end = segment.offset + segment.size
            position = self.data.find(pattern, segment.offset, end)
            while position >= 0:
                yield position - segment.offset + segment.address
                position = self.data.find(pattern, position + 1, end)

    def section(self, name: bytes) -> Section | None:
        return next((s for s in self.sections if s.name == name), None)

    def section_data(self, section: Section) -> bytes:
        return self.data[section.offset : section.offset + section.size]


def is_candidate(head: bytes) -> bool:
    """Whether a file that starts so is an ELF64 little-endian x86-64 executable or shared object."""
    if len(head) < _EHDR.size or head[:6] != b"\x7fELF\x02\x01":
        return False
    kind, machine = struct.unpack_from("<HH", head, 16)
    return kind in (ET_EXEC, ET_DYN) and machine == _EM_X86_64


def _segments(headers: list[tuple[int, ...]], file_size: int) -> list[Segment]:
    segments = []
    for kind, flags, offset, address, _, size, memory_size, _ in headers:
        if kind != _PT_LOAD or size == 0:
            continue
        if offset + size > file_size or size > memory_size or address + size >= 1 << 47:
            raise MalformedElf(
                f"a segment at file offset {offset:#x} reaches outside of the file or of memory"
            )
        segments.append(Segment(offset, address, size, bool(flags & _PF_X)))
    return segments


def _check_overlap(segments: tuple[Segment, ...]) -> None:
    for first, second in pairwise(segments):
        if first.end > second.address:
            raise MalformedElf(f"two segments overlap at address {second.address:#x}")

    executable = sorted((s for s in segments if s.executable), key=lambda s: s.offset)
    for first, second in pairwise(executable):
        if first.offset + first.size > second.offset:
            raise MalformedElf(f"two executable segments share the bytes at file offset {second.offset:#x}")


def _sections(data: bytes, shoff: int, entry_size: int, count: int, names: int) -> tuple[Section, ...]:
    """The section headers, or none: they are a help, not a promise, and strip may have taken them."""
    if not count or entry_size != _SHDR.size or shoff + count * _SHDR.size > len(data) or names >= count:
        return ()
    headers = [_SHDR.unpack_from(data, shoff + i * _SHDR.size) for i in range(count)]
    table = data[headers[names][4] : headers[names][4] + headers[names][5]]

    sections = []
    for name, kind, flags, address, offset, size, *_ in headers:
        if kind == _SHT_NOBITS or offset + size > len(data):
            continue
        text = table[name : table.find(b"\0", name)] if name < len(table) else b""
        sections.append(Section(text, kind, address, offset, size, bool(flags & _SHF_EXECINSTR)))
    return tuple(sections)


def _has_text_relocations(headers: list[tuple[int, ...]], data: bytes) -> bool:
    for kind, _, offset, _, _, size, _, _ in headers:
        if kind != _PT_DYNAMIC:
            continue
        table = data[offset : offset + size - size % _DYN.size]
        for tag, value in _DYN.iter_unpack(table[: len(table) - len(table) % _DYN.size]):
            if tag == _DT_TEXTREL or (tag == _DT_FLAGS and value & _DF_TEXTREL):
                return True
            if tag == 0:
                break
    return False
