"""Prove that the kernel's text has no instruction that is illegal inside an enclave (SDM volume 3D, 37.6.1).

    python3 tools/scan_kernel.py src/mystikos/_runtime/libmystkernel

disassembles every executable section from its first byte to its last. Anything that does not decode is an
error too: an instruction that cannot be read cannot be judged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.elffile import ELFFile
from iced_x86 import Decoder, Formatter, FormatterSyntax, Instruction

from mystikos.instructions import ILLEGAL_IN_KERNEL


def offences(code: bytes, address: int) -> Iterator[str]:
    """Each illegal or unreadable instruction, with its address."""
    formatter = Formatter(FormatterSyntax.INTEL)
    for instruction in Decoder(64, code, ip=address):
        why = _offence(instruction)
        if why:
            yield f"{instruction.ip:#x}: {formatter.format(instruction)}: {why}"


def _offence(instruction: Instruction) -> str | None:
    if instruction.is_invalid:
        return "does not decode"
    return "is illegal inside an enclave" if instruction.code in ILLEGAL_IN_KERNEL else None


def scan(kernel: Path) -> list[str]:
    """All offences of a kernel file."""
    found: list[str] = []
    with kernel.open("rb") as stream:
        for section in ELFFile(stream).iter_sections():
            if section["sh_flags"] & 0x4 and section["sh_type"] == "SHT_PROGBITS":
                found += offences(section.data(), section["sh_addr"])
    return found


def main() -> int:
    """Print the offences; exit status 1 when there are any."""
    found = scan(Path(sys.argv[1]))
    print("\n".join(found) or "no illegal instruction")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
