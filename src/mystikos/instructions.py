"""The instructions that an enclave cannot execute (SDM volume 3D, 37.6.1), and what becomes of them here.

>>> EFFECTS[Code.CPUID]
<Effect.EMULATED: 'done by the kernel, at the cost of an exception'>
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final

from iced_x86 import Code, Mnemonic, OpCodeInfo

__all__ = ["EFFECTS", "ILLEGAL_IN_KERNEL", "Effect"]


class Effect(Enum):
    """What happens when an application in an enclave comes to such an instruction."""

    EMULATED = "done by the kernel, at the cost of an exception"
    SIGNAL = "ends in the signal that Linux gives for it"
    ILLEGAL = "ends in SIGILL, also where Linux lets programs use it"
    SYSCALL = "a system call: bound, or done by the kernel at the cost of an exception"


_BY_MNEMONIC: Final = {
    Effect.SYSCALL: "SYSCALL",
    Effect.EMULATED: "CPUID RDTSC RDTSCP",
    Effect.SIGNAL: "IN INSB INSW INSD OUT OUTSB OUTSW OUTSD RDPMC INT",
    Effect.ILLEGAL: """
        SYSENTER SGDT SIDT SLDT STR SMSW GETSEC VMCALL VMFUNC INTO
        IRET IRETD IRETQ RETF LDS LES LFS LGS LSS
    """,
}
# MOV and POP are illegal with a segment register only; MOV to CS does not exist.
_SEGMENT_LOADS: Final = frozenset(
    {
        *(Code.MOV_SREG_RM16, Code.MOV_SREG_R32M16, Code.MOV_SREG_R64M16),
        *(Code.POPW_FS, Code.POPQ_FS, Code.POPW_GS, Code.POPQ_GS),
    }
)
_FAR: Final = frozenset(
    {
        *(Code.CALL_M1616, Code.CALL_M1632, Code.CALL_M1664),
        *(Code.JMP_M1616, Code.JMP_M1632, Code.JMP_M1664),
    }
)
# Of no use to an application anywhere (#GP, at best), so only the kernel's own text is searched for them.
_PRIVILEGED_NAMES: Final = """
    SYSEXIT SYSRET INT1 LGDT LIDT LLDT LTR LMSW HLT CLI STI RDMSR WRMSR INVD INVLPG WBINVD
    MONITOR MWAIT RSM XSETBV
"""


def _names() -> dict[int, str]:
    """Every instruction that iced knows, in each of its encodings, by the name of its mnemonic."""
    mnemonics = {value: name for name, value in vars(Mnemonic).items() if isinstance(value, int)}
    codes: Iterable[Any] = (code for code in vars(Code).values() if isinstance(code, int))
    return {code: mnemonics[OpCodeInfo(code).mnemonic] for code in codes}


_NAMES: Final = _names()


def _effects() -> Iterator[tuple[int, Effect]]:
    by_name = {name: effect for effect, names in _BY_MNEMONIC.items() for name in names.split()}
    for code, name in _NAMES.items():
        if name in by_name:
            yield code, by_name[name]
        elif code in _SEGMENT_LOADS or code in _FAR:
            yield code, Effect.ILLEGAL


EFFECTS: Final[Mapping[int, Effect]] = MappingProxyType(dict(_effects()))
"""What becomes of an instruction that raises #UD in an enclave, by ``iced_x86.Code``.

RDTSC and RDTSCP raise it on processors without SGX2 only.
"""

ILLEGAL_IN_KERNEL: Final = frozenset(EFFECTS) | {
    code for code, name in _NAMES.items() if name in _PRIVILEGED_NAMES.split()
}
"""What the kernel's text must not hold (``iced_x86.Code``): illegal in an enclave, or privileged."""
