"""Hostile packages at random: each mutation knows the format, so that the damage lies deep.

A mutation changes a valid package's bytes. With ``sign_again`` the result is measured and signed by another
key afterwards, as somebody would who makes packages of his own.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from mystikos.formats import elf
from mystikos.formats.descriptor import Section
from tests.support.packages import PackageForge

INTERESTING = [
    *(0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x1000, 0xFFFF),
    *((1 << bits) - less for bits in (31, 32, 40, 47, 63, 64) for less in (0, 1)),
]
NAMES = [
    b"..",
    b"../x",
    b"/etc/passwd",
    b"a/../b",
    b"TRAILER!!!",
    b"",
    b"x" * 300,
    b"bin/app/x",
    b"\0",
    b"\xff",
]
_HEADER, _RECORD, _PAGE = 128, 128, 4096

Mutation = Callable[[PackageForge, random.Random], object]


def number(source: random.Random) -> int:
    """One that programs like to get wrong, or any."""
    return source.choice(INTERESTING) if source.random() < 0.6 else source.getrandbits(64)


def field(forge: PackageForge, source: random.Random, at: int) -> None:
    """Put a number into the aligned field at an offset of the file."""
    size = source.choice([1, 2, 4, 8])
    at -= at % size
    forge.put_at(at, (number(source) % (1 << 8 * size)).to_bytes(size, "little"))


def flip_bits(forge: PackageForge, source: random.Random) -> None:
    for _ in range(source.randint(1, 3)):
        forge.data[source.randrange(len(forge.data))] ^= 1 << source.randrange(8)


def cut_or_grow(forge: PackageForge, source: random.Random) -> None:
    places = [forge.offset(section) for section in Section] + [_PAGE, 64, len(forge.data) - 1]
    if source.random() < 0.2:
        forge.data += source.randbytes(source.randint(1, 5000))
    else:
        near = source.choice([*places, source.randrange(len(forge.data))]) + source.randint(-9, 9)
        forge.truncate(max(0, near))


def elf_header(forge: PackageForge, source: random.Random) -> None:
    field(forge, source, source.randrange(elf.EHDR.size + 2 * elf.PHDR.size))


def section_headers(forge: PackageForge, source: random.Random) -> None:
    """Fields at random; or one header in another's place, so that sections overlap, are missing or twice."""
    one, other = (forge.section_header(source.choice(list(Section))) for _ in range(2))
    if source.random() < 0.5:
        field(forge, source, one + source.randrange(elf.SHDR.size))
        return
    start, end = source.choice([(0, elf.SHDR.size), (24, 32), (32, 40), (0, 4)])  # all, offset, size, name
    forge.put_at(one + start, bytes(forge.data[other + start : other + end]))


def descriptor_header(forge: PackageForge, source: random.Random) -> None:
    field(forge, source, forge.offset(Section.ENCLAVE, source.randrange(_HEADER)))


def regions(forge: PackageForge, source: random.Random) -> None:
    """Fields at random, records exchanged, repeated or left out."""
    count = len(forge.package.enclave.regions)
    one, other = (_HEADER + _RECORD * source.randrange(count) for _ in range(2))
    at = forge.offset(Section.ENCLAVE)
    first, second = (bytes(forge.data[at + start : at + start + _RECORD]) for start in (one, other))
    match source.randrange(4):
        case 0:
            forge.put(Section.ENCLAVE, one, second).put(Section.ENCLAVE, other, first)
        case 1:
            forge.put(Section.ENCLAVE, one, second)
        case 2:
            forge.put(Section.ENCLAVE, 64, (count - 1).to_bytes(4, "little"))
        case _:
            field(forge, source, at + one + source.randrange(_RECORD))


def parameters(forge: PackageForge, source: random.Random) -> None:
    field(forge, source, forge.offset(Section.CONFIG, source.randrange(300)))


def config(forge: PackageForge, source: random.Random) -> None:
    """The record, which is CBOR, or the JSON."""
    place = source.choice([forge.package.parameters.record, forge.package.parameters.json])
    at = forge.offset(Section.CONFIG, place.offset + source.randrange(place.size))
    forge.put_at(at, source.choice([source.randbytes(1), b'"', b"{", b"[", b"\xff", b"\x9b", b"\x5f"]))


def archive(forge: PackageForge, source: random.Random) -> None:
    """Digits of CPIO headers, names, and bytes anywhere."""
    place = forge.package.sections[Section.ROOTFS]
    image = bytes(forge.data[place.offset : place.end])
    headers = [at for at in range(0, len(image), 4) if image.startswith(b"070701", at)]
    at = source.choice(headers)
    match source.randrange(3):
        case 0:
            forge.put(Section.ROOTFS, at + source.randrange(6, 110), source.choice([b"F", b"0", b"7", b"g"]))
        case 1:
            forge.put(Section.ROOTFS, at + 110, source.choice(NAMES)[: place.size - at - 110])
        case _:
            forge.flip(Section.ROOTFS, source.randrange(place.size), source.randrange(8))


def bindings(forge: PackageForge, source: random.Random) -> None:
    place = forge.package.sections[Section.BINDINGS]
    field(forge, source, place.offset + source.randrange(place.size - 8))


def native_code(forge: PackageForge, source: random.Random) -> None:
    """The ELF headers of kernel and CRT image, more than their text."""
    section = source.choice([Section.KERNEL, Section.CRT])
    size = forge.package.sections[section].size
    field(forge, source, forge.offset(section, source.randrange(source.choice([300, size - 8]))))


def sigstruct(forge: PackageForge, source: random.Random) -> None:
    place = forge.package.sections[Section.ENCLAVE]
    field(forge, source, place.end - 1808 + source.randrange(1808 - 8))


def build_record(forge: PackageForge, source: random.Random) -> None:
    place = forge.package.sections[Section.BUILD]
    at = place.offset + source.randrange(place.size)
    forge.put_at(at, source.choice([source.randbytes(1), b'"', b"{", b"\xff", b"0", b"[" * 50]))


def splice(forge: PackageForge, source: random.Random) -> None:
    """A piece of the package over another place in it."""
    size = source.choice([1, 8, 64, 1000, _PAGE])
    start, target = (source.randrange(len(forge.data) - size) for _ in range(2))
    forge.put_at(target, bytes(forge.data[start : start + size]))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    cut_or_grow,
    elf_header,
    section_headers,
    descriptor_header,
    regions,
    parameters,
    config,
    archive,
    bindings,
    native_code,
    sigstruct,
    build_record,
    splice,
)
