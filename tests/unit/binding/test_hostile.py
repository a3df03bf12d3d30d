"""Programs made to keep the binder busy: they are left unbound, before any of it is done."""

from __future__ import annotations

import struct

import pytest
from tests.support import machine_code

from mystikos.binding import bind_file
from mystikos.binding import elf as binding_elf
from mystikos.binding.elf import Image, MalformedElf
from mystikos.binding.functions import find_functions
from mystikos.binding.illegal import search_illegal
from mystikos.formats import elf

CALL = b"\xb8\x01\0\0\0\x0f\x05\xc3"  # mov eax, 1; syscall; ret


def with_sections(data: bytes, sections: list[elf.SectionHeader], strings: bytes) -> bytes:
    """The file with these section headers behind its own, and a name table of its own making."""
    header = elf.read_header(data, len(data))
    old = elf.read_sections(lambda offset, size: data[offset : offset + size], header)
    names = elf.SectionHeader(0, elf.SHT_STRTAB, 0, 0, len(data), len(strings), 0, 0, 1, 0)
    headers = [*old[:3], names, *sections]
    body = bytearray(data + strings)
    struct.pack_into("<Q", body, 40, len(body))
    struct.pack_into("<HH", body, 60, len(headers), 3)
    return bytes(body) + b"".join(one.pack() for one in headers)


def nested() -> bytes:
    """Each function from its own start to the end of all."""
    text = CALL * 4000
    return machine_code.elf(text, [(start, len(text) - start) for start in range(0, len(text), 8)])


def names() -> bytes:
    text = b"\0.text\0" + b"x" * 100_000 + b"\0"
    section = elf.SectionHeader(7, 1, 0, 0, 0, 1, 0, 0, 1, 0)
    return with_sections(machine_code.elf(CALL), [section] * 500, text)


def segments() -> bytes:
    count = 200
    header = machine_code.elf(CALL)[: elf.EHDR.size]
    table = b"".join(
        elf.PHDR.pack(1, 5, 0x10000 + 8 * number, 0x10000 + 8 * number, 0, 8, 8, 1) for number in range(count)
    )
    body = bytearray(header + table).ljust(0x10000, b"\0") + CALL * count
    struct.pack_into("<H", body, 56, count)
    struct.pack_into("<QQ", body, 32, 64, 0)
    struct.pack_into("<HH", body, 60, 0, 0)
    return bytes(body)


def calls() -> bytes:
    return machine_code.elf(b"\x0f\x05" * 70_000)


def tables() -> bytes:
    """Everywhere the address of something that reads as a jump table to the code itself, without end."""
    text = b"".join(
        b"\x48\x8d\x05" + struct.pack("<i", 5000 + number % 3000) + b"\x90" for number in range(5000)
    )
    tight = b"\x48\x89\xdf\x44\x89\xc0\x0f\x05\xc3"  # mov rdi, rbx; mov eax, r8d; syscall; ret
    return machine_code.elf(text + tight + bytes(40_000), [(0, len(text + tight))])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (nested, "its functions overlap"),
        (names, "more than 255 bytes"),
        (segments, "200 segments with content"),
        (calls, "more than 65536 places that look like system calls"),
    ],
)
def test_a_program_that_would_take_for_ever_is_malformed(make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(MalformedElf, match=told):
        bind_file(make())


def test_jump_tables_without_end_are_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mystikos.binding.reach._MOST_ENTRIES", 1 << 16)
    with pytest.raises(MalformedElf, match="more jump tables"):
        bind_file(tables())


def test_illegal_instructions_are_not_searched_in_it_either() -> None:
    image = Image.parse(nested())
    assert image is not None
    with pytest.raises(MalformedElf, match="its functions overlap"):
        search_illegal(image)


def test_of_many_symbol_tables_the_first_of_each_kind_counts() -> None:
    """A file has one of each; thousands of headers may all name the same bytes."""
    data = machine_code.elf(CALL)
    header = elf.read_header(data, len(data))
    table = elf.read_sections(lambda offset, size: data[offset : offset + size], header)[2]
    assert table.type == binding_elf.SHT_SYMTAB
    many = with_sections(data, [table] * 1000, b"\0.text\0.symtab\0.shstrtab\0")
    image = Image.parse(many)
    assert image is not None
    assert len([one for one in image.sections if one.type == binding_elf.SHT_SYMTAB]) == 1001
    assert len(find_functions(image).starts) == 1
    assert bind_file(many) == bind_file(data) != ((), ())
