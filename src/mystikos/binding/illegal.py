r"""Stage 2b, for auditors: what else than ``syscall`` an image has that an enclave cannot execute.

All of its code is decoded, function by function and gap by gap. What lies between listed functions may be
data that only look like instructions, and so may whatever cannot be decoded at all.

>>> from mystikos.binding.elf import Section, Segment
>>> text = bytes.fromhex("31c0 0fa2 c3")  # xor eax, eax; cpuid; ret
>>> section = Section(b".text", 1, 0x1000, 0, 5, executable=True)
>>> search_illegal(Image(text, 3, 0x1000, (Segment(0, 0x1000, 5, True),), (section,), None, False)).found
(Illegal(offset=2, name='cpuid', code=b'\x0f\xa2', effect=<Effect.EMULATED: ...>, listed=False),)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from iced_x86 import Code, Decoder, Formatter, FormatterSyntax, Instruction, Mnemonic

from mystikos.binding.elf import Image
from mystikos.binding.functions import Block, find_functions
from mystikos.instructions import EFFECTS, Effect

__all__ = ["MOST_TOLD", "NOTHING", "Illegal", "IllegalCode", "search_illegal"]

MOST_TOLD: Final = 10_000
"""Of how many instructions of one file the places are told."""

_FORMATTER: Final = Formatter(FormatterSyntax.INTEL)
_TOLD: Final = frozenset({Code.INVALID, *EFFECTS} - {Code.SYSCALL})


@dataclass(frozen=True, slots=True)
class Illegal:
    """One instruction: its file offset, mnemonic and bytes, and what becomes of it."""

    offset: int
    name: str
    code: bytes
    effect: Effect
    listed: bool  # in a listed function; elsewhere the bytes may be data


@dataclass(frozen=True, slots=True)
class IllegalCode:
    """The illegal instructions of one image: how many of each, the first of them, ascending, and how many
    bytes of its code are no instructions.
    """

    counts: Mapping[str, int]
    found: tuple[Illegal, ...]
    unreadable: int


NOTHING: Final = IllegalCode({}, (), 0)


def search_illegal(image: Image) -> IllegalCode:
    """Decode all executable sections, or segments where a file has no sections."""
    functions = find_functions(image)
    areas = functions.areas or tuple((s.address, s.end) for s in image.executable)
    counts: Counter[str] = Counter()
    found: list[Illegal] = []
    unreadable = 0
    for block in functions.blocks(areas):
        inside = _search_block(image, block)
        if inside is None:
            unreadable += block.end - block.start
            continue
        counts.update(map(_name, inside))
        found += (_illegal(image, one, block.named) for one in inside[: MOST_TOLD - len(found)])
    return IllegalCode(dict(sorted(counts.items())), tuple(found), unreadable)


def _search_block(image: Image, block: Block) -> list[Instruction] | None:
    """The illegal instructions of a block; None when not all of it is instructions."""
    content = image.read(block.start, block.end - block.start)
    found: list[Instruction] = []
    for instruction in Decoder(64, content, ip=block.start):
        code = instruction.code
        if code in _TOLD:
            if code == Code.INVALID:
                return None
            found.append(instruction)
    return found


def _illegal(image: Image, instruction: Instruction, listed: bool) -> Illegal:
    code = image.read(instruction.ip, instruction.len)
    effect = EFFECTS[instruction.code]
    return Illegal(image.file_offset(instruction.ip), _name(instruction), code, effect, listed)


def _name(instruction: Instruction) -> str:
    name = _FORMATTER.format_mnemonic(instruction)
    return f"{name} sreg" if instruction.mnemonic in (Mnemonic.MOV, Mnemonic.POP) else name
