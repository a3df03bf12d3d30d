"""Leaf: what an ELF file asks of the dynamic loader (``PT_INTERP`` and ``PT_DYNAMIC``, elf(5)).

>>> import sys
>>> with open(sys.executable, "rb") as file:
...     wanted = read(file)
>>> wanted.interpreter
b'/lib64/ld-linux-x86-64.so.2'
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mystikos.formats import elf

__all__ = ["Dynamic", "read"]

_PT_DYNAMIC = 2
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME = 0, 1, 5, 10, 14
_DT_RPATH, _DT_RUNPATH, _DT_FLAGS_1 = 15, 29, 0x6FFF_FFFB
_DF_1_NODEFLIB = 0x800
_ENTRY = struct.Struct("<qQ")
_MAX_STRINGS = 64 << 20


@dataclass(frozen=True, slots=True)
class Dynamic:
    """The loader's view of an ELF file. ``rpath`` is empty where ``runpath`` replaces it."""

    interpreter: bytes | None = None
    needed: tuple[bytes, ...] = ()
    soname: bytes | None = None
    rpath: tuple[bytes, ...] = ()
    runpath: tuple[bytes, ...] = ()
    no_default_libraries: bool = False


def read(file: BinaryIO) -> Dynamic | None:
    """What the seekable *file* asks for; None when it is no ELF file at all.

    Raises ``ElfError`` for an ELF file that is damaged, or not for x86-64. Nothing larger than the file
    is ever allocated.
    """

    def read_at(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    if read_at(0, 4) != elf.MAGIC:
        return None
    size = file.seek(0, os.SEEK_END)
    image = elf.read_image(read_at, size)
    interpreter = None
    entries: list[tuple[int, int]] = []
    for segment in image.segments:
        if segment.type not in (elf.PT_INTERP, _PT_DYNAMIC):
            continue
        if segment.offset + segment.filesz > size:
            raise elf.ElfError("its interpreter or dynamic segment reaches beyond the file's end")
        content = read_at(segment.offset, segment.filesz)
        if segment.type == elf.PT_INTERP:
            interpreter = content.partition(b"\0")[0]
        else:
            entries = list(_entries(content))

    strings = _strings(image, dict(entries), read_at) if entries else b""
    return _dynamic(interpreter, entries, strings)


def _entries(content: bytes) -> Iterator[tuple[int, int]]:
    for tag, value in _ENTRY.iter_unpack(content[: len(content) - len(content) % _ENTRY.size]):
        if tag == _DT_NULL:
            return
        yield tag, value


def _strings(image: elf.Image, values: dict[int, int], read_at: elf.Read) -> bytes:
    address, size = values.get(_DT_STRTAB, 0), values.get(_DT_STRSZ, 0)
    for segment in image.load_segments:
        if segment.vaddr <= address and address + size <= segment.vaddr + segment.filesz:
            if size > _MAX_STRINGS:
                break
            return read_at(segment.offset + address - segment.vaddr, size)
    raise elf.ElfError(f"its dynamic string table ({size} bytes at {address:#x}) is not in the file")


def _dynamic(interpreter: bytes | None, entries: list[tuple[int, int]], strings: bytes) -> Dynamic:
    def names(wanted: int) -> tuple[bytes, ...]:
        return tuple(_string(strings, value) for tag, value in entries if tag == wanted)

    def paths(wanted: int) -> tuple[bytes, ...]:
        return tuple(path for name in names(wanted) for path in name.split(b":") if path)

    runpath = paths(_DT_RUNPATH)
    flags = dict(entries).get(_DT_FLAGS_1, 0)
    return Dynamic(
        interpreter=interpreter,
        needed=names(_DT_NEEDED),
        soname=next(iter(names(_DT_SONAME)), None),
        rpath=() if runpath else paths(_DT_RPATH),
        runpath=runpath,
        no_default_libraries=bool(flags & _DF_1_NODEFLIB),
    )


def _string(strings: bytes, offset: int) -> bytes:
    end = strings.find(b"\0", offset)
    if not 0 <= offset < len(strings) or end < 0:
        raise elf.ElfError(f"a name at {offset} is outside of its dynamic string table")
    return strings[offset:end]
