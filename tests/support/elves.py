"""Small ELF files made from scratch: a kernel, a launcher, a CRT image and applications for tests.

Nothing in them runs; they have the shape that the packager looks at.
"""

from __future__ import annotations

import struct

from mystikos.formats import elf

PAGE = 4096
R, RX, RW = elf.PF_R, elf.PF_R | elf.PF_X, elf.PF_R | elf.PF_W


def make_elf(
    kind: int,
    segments: list[tuple[int, int, bytes | None, int]],
    entry: int = 0,
    interpreter: bool = False,
) -> bytes:
    """An ELF file of PT_LOAD segments (flags, vaddr, content, memory size), each on file pages of its own.

    A segment without content holds the ELF header and the program headers.
    """
    extra = [elf.PHDR.pack(elf.PT_INTERP, R, 0, 0, 0, 0, 0, 1)] if interpreter else []
    headers, body, offset = [], b"", PAGE
    table_end = elf.EHDR.size + len(extra + segments) * elf.PHDR.size
    for flags, vaddr, content, memsz in segments:
        if content is None:
            headers.append(elf.PHDR.pack(elf.PT_LOAD, flags, 0, vaddr, vaddr, table_end, memsz, PAGE))
            continue
        offset += vaddr % PAGE
        body += bytes(vaddr % PAGE) + content
        headers.append(elf.PHDR.pack(elf.PT_LOAD, flags, offset, vaddr, vaddr, len(content), memsz, PAGE))
        padding = -len(body) % PAGE
        body += bytes(padding)
        offset = PAGE + len(body)
    table = b"".join(extra + headers)
    header = elf.EHDR.pack(
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0"), kind, elf.EM_X86_64, 1, entry, elf.EHDR.size, 0, 0,
        elf.EHDR.size, elf.PHDR.size, len(extra + headers), elf.SHDR.size, 0, 0,
    )  # fmt: skip
    return (header + table).ljust(PAGE, b"\0") + body


def kernel() -> bytes:
    """A static-PIE file with text, constants, data and .bss."""
    return make_elf(
        elf.ET_DYN,
        [
            (R, 0, None, 300),
            (RX, 0x1000, b"\x90" * 5000, 5000),
            (RW, 0x3000, b"data" * 300, 9000),
        ],
        entry=0x1040,
    )[: 0x3000 + 1200]


def launcher() -> bytes:
    """A static executable of a size that is no multiple of a page."""
    return make_elf(elf.ET_EXEC, [(RX, 0x400000, b"\xf4" * 700, 700)], entry=0x400000)[: PAGE + 700]


def crt() -> bytes:
    """A shared object."""
    return make_elf(elf.ET_DYN, [(RX, 0, b"vdso" * 100, 400)])[: PAGE + 400]


def application(*, at: int | None = None) -> bytes:
    """A program, position independent or linked to the address ``at``."""
    code = struct.pack("<H", 0x050F) + b"\x90" * 30
    if at is None:
        return make_elf(elf.ET_DYN, [(RX, 0, code, len(code))])
    return make_elf(elf.ET_EXEC, [(RX, at, code, len(code)), (RW, at + 0x1000, b"data", 0x2345)], entry=at)
