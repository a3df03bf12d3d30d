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

from mystikos.formats import elf
from mystikos.formats.elf import ET_DYN, ET_EXEC

_DYN: Final = struct.Struct("<qQ")

_PT_DYNAMIC, _PT_GNU_EH_FRAME = 2, 0x6474E550
_DT_TEXTREL, _DT_FLAGS, _DF_TEXTREL = 22, 30, 4
_SHF_EXECINSTR = 4
SHT_SYMTAB, SHT_DYNSYM = 2, 11
_ADDRESSES: Final = 1 << 47
_MAX_SEGMENTS: Final = 128  # Linux before 5.18 took 73 program headers


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
        if not is_candidate(data[: elf.EHDR.size]):
            return None
        try:
            image = elf.read_image_bytes(data)
            sections = _sections(data, image.header)
        except elf.ElfError as exc:
            raise MalformedElf(str(exc)) from exc

        segments = tuple(sorted(_segments(image), key=lambda s: s.address))
        if len(segments) > _MAX_SEGMENTS:
            raise MalformedElf(f"{len(segments)} segments with content, more than {_MAX_SEGMENTS}")
        _check_overlap(segments)
        eh_frame = next((s.vaddr for s in image.segments if s.type == _PT_GNU_EH_FRAME), None)
        return cls(
            data,
            image.header.type,
            image.header.entry,
            segments,
            sections,
            eh_frame,
            _has_text_relocations(image, data),
        )

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

    def code_address(self, offset: int) -> int | None:
        """The address of the byte at an offset of the file, if it is in an executable segment."""
        segment = next((s for s in self.executable if s.offset <= offset < s.offset + s.size), None)
        return None if segment is None else offset - segment.offset + segment.address

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
    if len(head) < elf.EHDR.size or head[:6] != elf.MAGIC + b"\x02\x01":
        return False
    kind, machine = struct.unpack_from("<HH", head, 16)
    return kind in (ET_EXEC, ET_DYN) and machine == elf.EM_X86_64


def _segments(image: elf.Image) -> Iterator[Segment]:
    for segment in image.load_segments:
        if segment.vaddr + segment.memsz > _ADDRESSES:
            raise MalformedElf(f"a segment at address {segment.vaddr:#x} is not in the user's address space")
        if segment.filesz:
            yield Segment(segment.offset, segment.vaddr, segment.filesz, bool(segment.flags & elf.PF_X))


def _check_overlap(segments: tuple[Segment, ...]) -> None:
    for first, second in pairwise(segments):
        if first.end > second.address:
            raise MalformedElf(f"two segments overlap at address {second.address:#x}")

    executable = sorted((s for s in segments if s.executable), key=lambda s: s.offset)
    for first, second in pairwise(executable):
        if first.offset + first.size > second.offset:
            raise MalformedElf(f"two executable segments share the bytes at file offset {second.offset:#x}")


def _sections(data: bytes, header: elf.Header) -> tuple[Section, ...]:
    """The sections that are inside of the file, or none: they are a help, and strip may have taken them."""
    headers = elf.read_sections(lambda offset, size: data[offset : offset + size], header)
    if header.shstrndx >= len(headers):
        return ()
    names = headers[header.shstrndx]
    strings = data[names.offset : names.file_end]
    return tuple(
        Section(
            elf.section_name(strings, one.name),
            one.type,
            one.addr,
            one.offset,
            one.size,
            bool(one.flags & _SHF_EXECINSTR),
        )
        for one in headers
        if one.type not in (elf.SHT_NULL, elf.SHT_NOBITS) and one.file_end <= len(data)
    )


def _has_text_relocations(image: elf.Image, data: bytes) -> bool:
    for segment in image.segments:
        if segment.type != _PT_DYNAMIC:
            continue
        table = data[segment.offset : segment.offset + segment.filesz]
        for tag, value in _DYN.iter_unpack(table[: len(table) - len(table) % _DYN.size]):
            if tag == _DT_TEXTREL or (tag == _DT_FLAGS and value & _DF_TEXTREL):
                return True
            if tag == 0:
                break
    return False
