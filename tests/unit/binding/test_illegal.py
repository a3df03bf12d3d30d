"""The search for instructions that an enclave cannot execute."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.machine_code import TEXT_OFFSET, elf

from mystikos.binding import illegal
from mystikos.binding.elf import Image
from mystikos.binding.functions import Block, Functions
from mystikos.binding.illegal import IllegalCode, search_illegal
from mystikos.instructions import Effect

CPUID, RDTSC, RET, BAD = b"\x0f\xa2", b"\x0f\x31", b"\xc3", b"\x06"


def search(text: bytes, *arguments: object, **options: object) -> IllegalCode:
    image = Image.parse(elf(text, *arguments, **options))  # type: ignore[arg-type]
    assert image is not None
    return search_illegal(image)


INSTRUCTIONS = {
    "cpuid": (b"\x0f\xa2", Effect.EMULATED),
    "rdtsc": (b"\x0f\x31", Effect.EMULATED),
    "rdtscp": (b"\x0f\x01\xf9", Effect.EMULATED),
    "int": (b"\xcd\x80", Effect.SIGNAL),
    "in": (b"\xe4\x60", Effect.SIGNAL),
    "out": (b"\xee", Effect.SIGNAL),
    "insb": (b"\x6c", Effect.SIGNAL),
    "outsd": (b"\x6f", Effect.SIGNAL),
    "rdpmc": (b"\x0f\x33", Effect.SIGNAL),
    "sgdt": (b"\x0f\x01\x00", Effect.ILLEGAL),
    "sidt": (b"\x0f\x01\x08", Effect.ILLEGAL),
    "sldt": (b"\x0f\x00\xc0", Effect.ILLEGAL),
    "str": (b"\x0f\x00\xc8", Effect.ILLEGAL),
    "smsw": (b"\x0f\x01\xe0", Effect.ILLEGAL),
    "sysenter": (b"\x0f\x34", Effect.ILLEGAL),
    "vmcall": (b"\x0f\x01\xc1", Effect.ILLEGAL),
    "iretq": (b"\x48\xcf", Effect.ILLEGAL),
    "ret far": (b"\xcb", Effect.ILLEGAL),
    "mov sreg": (b"\x8e\xd8", Effect.ILLEGAL),  # mov ds, eax
    "pop sreg": (b"\x0f\xa1", Effect.ILLEGAL),  # pop fs
    "lss": (b"\x0f\xb2\x00", Effect.ILLEGAL),
    "jmp far": (b"\xff\x28", Effect.ILLEGAL),
    "call far": (b"\xff\x18", Effect.ILLEGAL),
    "getsec": (b"\x0f\x37", Effect.ILLEGAL),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_each_kind_is_found_with_what_becomes_of_it(name: str) -> None:
    code, effect = INSTRUCTIONS[name]
    (found,) = search(b"\x90" + code + RET).found
    assert (found.offset, found.name, found.code, found.effect) == (TEXT_OFFSET + 1, name, code, effect)


@pytest.mark.parametrize(
    "code",
    [
        b"\x0f\x05",  # syscall: told as bound or trapped
        b"\xcc",  # int3
        b"\x8c\xd8",  # mov eax, ds
        b"\x58",  # pop rax
        b"\xff\x20",  # jmp [rax]
        b"\x0f\x01\xd0",  # xgetbv
        b"\x0f\xc7\xf0",  # rdrand eax
        b"\xf4",  # hlt, which no program may execute anywhere
    ],
)
def test_what_an_enclave_executes_is_not_told(code: bytes) -> None:
    assert search(code + RET).found == ()


def test_bytes_inside_of_another_instruction_are_not_told() -> None:
    assert search(b"\xb8\x0f\xa2\x0f\x31" + RET) == IllegalCode({}, (), 0)  # mov eax, 0x310fa20f


def test_a_function_that_cannot_be_decoded_is_counted_and_not_believed() -> None:
    found = search(CPUID + BAD + RET + RDTSC + RET, [(0, 4), (4, 3)])
    assert (found.counts, found.unreadable) == ({"rdtsc": 1}, 4)


def test_what_lies_between_functions_is_told_as_such() -> None:
    found = search(RET + CPUID + RET + RDTSC + RET, [(0, 1), (4, 3)])
    assert [(one.name, one.listed) for one in found.found] == [("cpuid", False), ("rdtsc", True)]


def test_without_sections_the_executable_segments_are_read() -> None:
    (found,) = search(CPUID + RET, sections=False).found
    assert not found.listed


def test_of_very_many_the_first_are_told_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(illegal, "MOST_TOLD", 3)
    found = search(CPUID * 5 + RET, [(0, 4), (4, 7)])
    assert found.counts == {"cpuid": 5}
    assert [one.offset - TEXT_OFFSET for one in found.found] == [0, 2, 4]


def functions(*ranges: tuple[int, int]) -> Functions:
    starts, ends = (np.array([r[i] for r in ranges], np.int64) for i in (0, 1))
    return Functions(starts, ends, np.zeros(len(ranges), np.bool_), ())


@pytest.mark.parametrize(
    ("ranges", "areas", "pieces"),
    [
        ([(0, 4), (8, 12)], [(0, 16)], [(0, 4), (4, 8), (8, 12), (12, 16)]),
        ([(0, 8), (2, 4)], [(0, 8)], [(0, 8)]),
        ([(0, 4), (0, 8)], [(0, 8)], [(0, 4), (4, 8)]),
        ([(0, 6), (4, 8)], [(0, 8)], [(0, 6), (6, 8)]),
        ([], [(4, 8), (0, 6), (0, 8)], [(0, 6), (6, 8)]),
        ([(6, 20)], [(0, 8), (8, 10)], [(0, 6), (6, 8), (8, 10)]),
    ],
)
def test_every_byte_of_the_areas_is_in_one_block(
    ranges: list[tuple[int, int]], areas: list[tuple[int, int]], pieces: list[tuple[int, int]]
) -> None:
    assert [(block.start, block.end) for block in functions(*ranges).blocks(areas)] == pieces


def test_a_block_knows_whether_it_is_a_function() -> None:
    assert list(functions((4, 8)).blocks([(0, 8)])) == [
        Block(0, 4, False, False),
        Block(4, 8, True, False),
    ]
