"""Packages that are malformed in one way each: the change, and what the reader says of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from mystikos import _abi
from mystikos.formats import elf
from mystikos.formats.descriptor import Section
from tests.support.packages import PackageForge

PAGE = 4096

# Each changes one thing in a valid package.
Change = Callable[[PackageForge], object]


def header_field(section: Section, field: int, layout: str, value: int) -> Change:
    """Change a field of a section's header."""
    return lambda forge: forge.put_at(forge.section_header(section) + field, struct.pack(layout, value))


def descriptor(offset: int, layout: str, value: int) -> Change:
    """Change a field of the descriptor, and its own digest along with it."""
    return lambda forge: forge.put(Section.ENCLAVE, offset, struct.pack(layout, value)).fix_descriptor()


def region(kind: int, offset: int, layout: str, value: int) -> Change:
    """Change a field of the first region record of a kind."""

    def change(forge: PackageForge) -> object:
        index = next(i for i, r in enumerate(forge.package.enclave.regions) if r.kind == kind)
        return descriptor(128 + 128 * index + offset, layout, value)(forge)

    return change


def add_many_pages(forge: PackageForge) -> None:
    """A huge enclave of user memory, well-formed but for its size."""
    region(_abi.KIND_USER, 8, "<Q", 1 << 31)(forge)
    descriptor(24, "<Q", 1 << 44)(forge)


def load_twice(forge: PackageForge) -> None:
    """A page of the kernel in the place of the CRT image: a file could be measured a thousand times."""
    for offset, layout, value in ((36, "<I", 0), (40, "<Q", 0), (48, "<Q", 1)):
        region(_abi.KIND_CRT, offset, layout, value)(forge)
    region(_abi.KIND_CRT, 8, "<Q", 1)(forge)


def many_sections(count: int, name: bytes) -> Change:
    """So many more section headers, each with a name that begins one byte later in the same text."""

    def change(forge: PackageForge) -> None:
        data = bytes(forge.data)
        header = elf.read_header(data[: elf.EHDR.size], len(data))
        *sections, table = elf.read_sections(lambda offset, size: data[offset : offset + size], header)
        strings = data[table.offset : table.file_end] + name + b"\0"
        first = len(strings) - len(name) - 1
        sections += [elf.SectionHeader(first + number, *[0] * 9) for number in range(count)]
        headers = [*sections, replace(table, size=len(strings))]
        strings += bytes(-(table.offset + len(strings)) % 8)
        ends = replace(
            header, shoff=table.offset + len(strings), shnum=len(headers), shstrndx=len(headers) - 1
        )
        forge.data[table.offset :] = strings + b"".join(one.pack() for one in headers)
        forge.put_at(0, ends.pack())

    return change


HUGE = (1 << 64) - PAGE
BAD_PACKAGES: dict[str, tuple[Change, str]] = {
    "cut in the ELF header": (lambda f: f.truncate(40), "ends inside the ELF header"),
    "cut after the launcher": (lambda f: f.truncate(PAGE), "beyond the file's end"),
    "cut by one byte": (lambda f: f.truncate(len(f.data) - 1), "beyond the file's end"),
    "a byte more at the end": (lambda f: f.data.append(0), "not the file's last bytes"),
    "no ELF magic": (lambda f: f.put_at(0, b"MZ"), "not an ELF file"),
    "32-bit": (lambda f: f.put_at(4, b"\1"), "not a 64-bit"),
    "another machine": (lambda f: f.put_at(18, b"\xb7\0"), "machine 183"),
    "no program headers": (lambda f: f.put_at(56, b"\0\0"), "no program headers"),
    "no section headers": (lambda f: f.put_at(60, b"\0\0"), "0 section headers"),
    "too many section headers": (lambda f: f.put_at(60, b"\xff\xff"), "beyond the file's end"),
    "section headers at an absurd offset": (lambda f: f.put_at(40, struct.pack("<Q", HUGE)), "beyond"),
    "section headers of another size": (lambda f: f.put_at(58, b"\x41\0"), "65 bytes"),
    "more section headers than the launcher reads": (many_sections(300, b"x" * 300), "section headers"),
    "section names that are each most of a large table": (
        many_sections(100, b"x" * 100_000),
        "has more than 255 bytes",
    ),
    "a section of the launcher that is not there": (
        lambda f: many_sections(1, b"x")(f) or f.put_at(len(f.data) - 128 + 32, struct.pack("<Q", HUGE)),
        "a section of the launcher reaches beyond",
    ),
    "name table index out of range": (lambda f: f.put_at(62, b"\xff\0"), "name table"),
    "rootfs section missing": (header_field(Section.ROOTFS, 0, "<I", 0), "no section .mystrootfs"),
    "config section twice": (
        lambda f: f.put_at(
            f.section_header(Section.BINDINGS),
            f.data[f.section_header(Section.CONFIG) : f.section_header(Section.CONFIG) + 4],
        ),
        "two sections .mystconfig",
    ),
    "section name outside of the table": (header_field(Section.CRT, 0, "<I", 1 << 31), "section name at"),
    "allocated section": (header_field(Section.CRT, 8, "<Q", elf.SHF_ALLOC), "not plain"),
    "section with an address": (header_field(Section.CRT, 16, "<Q", PAGE), "not plain"),
    "section without bytes": (header_field(Section.CRT, 4, "<I", 8), "not plain"),
    "section at an absurd offset": (header_field(Section.ROOTFS, 24, "<Q", HUGE), "bytes between"),
    "section of absurd size": (header_field(Section.ROOTFS, 32, "<Q", HUGE), "beyond the file's end"),
    "section off its page": (header_field(Section.CRT, 24, "<Q", 0x7008), "not where it belongs"),
    "section over the one before": (header_field(Section.CRT, 24, "<Q", PAGE), "not where it belongs"),
    "section over the launcher": (header_field(Section.KERNEL, 24, "<Q", 0), "not where it belongs"),
    "section shorter than its bytes": (header_field(Section.CONFIG, 32, "<Q", 5), "bytes between"),
    "bytes in the gap before a section": (
        lambda f: f.put_at(f.offset(Section.CONFIG) - 1, b"x"),
        "bytes between",
    ),
    "descriptor without magic": (descriptor(0, "<B", 0), "magic"),
    "descriptor of another version": (descriptor(8, "<I", 2), "version 2"),
    "descriptor with unknown flags": (descriptor(12, "<I", 0x80), "reserved header bits"),
    "descriptor with a reserved byte set": (descriptor(88, "<B", 1), "reserved header bits"),
    "descriptor of another size": (descriptor(16, "<Q", 5), "do not fill"),
    "descriptor with its digest wrong": (lambda f: f.flip(Section.ENCLAVE, 24), "own digest"),
    "enclave of odd size": (descriptor(24, "<Q", 0x2000001), "not a power of two"),
    "enclave of absurd size": (descriptor(24, "<Q", 1 << 63), "not a power of two"),
    "more pages than there is memory anywhere": (add_many_pages, "more than 536870912 pages"),
    "enclave smaller than its regions": (descriptor(24, "<Q", 2 << 20), "beyond the enclave's size"),
    "other SSA frame size": (descriptor(32, "<I", 2), "SSAFRAMESIZE"),
    "absurd number of regions": (descriptor(64, "<I", 0xFFFFFFFF), "region records"),
    "no regions": (descriptor(64, "<I", 0), "do not fill"),
    "absurd region offset": (descriptor(56, "<Q", HUGE), "do not fill"),
    "absurd SIGSTRUCT offset": (descriptor(72, "<Q", HUGE), "do not fill"),
    "region off its page": (region(_abi.KIND_ROOTFS, 0, "<Q", 0x100001), "page boundary"),
    "region over the one before": (region(_abi.KIND_ROOTFS, 0, "<Q", 0), "where the region before it ends"),
    "region beyond the address space": (region(_abi.KIND_USER, 0, "<Q", HUGE), "beyond the enclave's size"),
    "region of no pages": (region(_abi.KIND_USER, 8, "<Q", 0), "0 pages"),
    "region of absurdly many pages": (region(_abi.KIND_USER, 8, "<Q", 1 << 60), "pages"),
    "region with unknown SECINFO": (region(_abi.KIND_USER, 16, "<Q", 0x1207), "SECINFO"),
    "region writable but not readable": (region(_abi.KIND_USER, 16, "<Q", 0x202), "SECINFO"),
    "region of unknown kind": (region(_abi.KIND_USER, 24, "<I", 99), "99"),
    "region with unknown flags": (region(_abi.KIND_USER, 28, "<I", 2), "flags"),
    "region with unknown source": (region(_abi.KIND_USER, 32, "<I", 3), "source 3"),
    "region of an unknown section": (region(_abi.KIND_ROOTFS, 36, "<I", 77), "77"),
    "region of the descriptor itself": (region(_abi.KIND_ROOTFS, 36, "<I", 7), "descriptor itself"),
    "region of bytes beyond its section": (region(_abi.KIND_ROOTFS, 40, "<Q", 1 << 40), "takes bytes beyond"),
    "region with more bytes than pages": (region(_abi.KIND_ROOTFS, 48, "<Q", 1 << 40), "pages for"),
    "content that is not measured": (region(_abi.KIND_ROOTFS, 28, "<I", 0), "not measured"),
    "zero pages that are measured": (region(_abi.KIND_USER, 28, "<I", 1), "never measured"),
    "zero pages with a TCS field": (region(_abi.KIND_USER, 56, "<Q", 1), "must be zero"),
    "TCS that is not measured": (region(_abi.KIND_TCS, 28, "<I", 0), "one measured page"),
    "TCS of two pages": (region(_abi.KIND_TCS, 8, "<Q", 2), "one measured page|ends"),
    "bytes that are loaded twice": (load_twice, "libmystkernel has bytes from 0x0 on that are loaded twice"),
    "TCS rights on another page": (region(_abi.KIND_USER, 16, "<Q", 0x100), "TCS"),
    "kernel bytes that no region takes": (lambda f: f.put(Section.KERNEL, 300, b"x"), "not measured"),
    "CRT bytes that no region takes": (region(_abi.KIND_CRT, 48, "<Q", PAGE + 399), "not measured"),
    "parameter page without magic": (lambda f: f.flip(Section.CONFIG, 0), "magic"),
    "parameter page of another version": (lambda f: f.put(Section.CONFIG, 8, b"\7"), "version 7"),
    "parameter page with unknown flags": (lambda f: f.put(Section.CONFIG, 12, b"\x80"), "reserved bits"),
    "parameter page not zero to its end": (lambda f: f.put(Section.CONFIG, 4095, b"\1"), "reserved bits"),
    "record at an absurd offset": (
        lambda f: f.put(Section.CONFIG, 16, struct.pack("<Q", HUGE)),
        "record and JSON",
    ),
    "JSON of absurd size": (
        lambda f: f.put(Section.CONFIG, 40, struct.pack("<Q", HUGE)),
        "record and JSON",
    ),
}
