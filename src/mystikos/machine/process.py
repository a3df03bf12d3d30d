"""What the kernel offers to this process, found by asking: auxiliary vector, vDSO, prctl(2), arch_prctl(2).

Every question leaves things as they are: it asks for what is the case already.

>>> has_syscall_user_dispatch()  # doctest: +SKIP
True
"""

from __future__ import annotations

import ctypes
import io
import struct
from pathlib import Path

AT_HWCAP2, AT_SYSINFO_EHDR = 26, 33

_PR_GET_TSC, _PR_SET_TSC, _PR_TSC_ENABLE = 25, 26, 1
_PR_SET_SYSCALL_USER_DISPATCH, _PR_SYS_DISPATCH_OFF = 59, 0
_NR_ARCH_PRCTL, _ARCH_GET_CPUID, _ARCH_SET_CPUID = 158, 0x1011, 0x1012
_ENCLAVE_ENTRY = "__vdso_sgx_enter_enclave"
_MAX_VDSO = 1 << 20


def auxiliary(proc: Path) -> dict[int, int]:
    """The auxiliary vector of this process (getauxval(3)); empty where it is not to be had."""
    try:
        content = (proc / "self/auxv").read_bytes()
    except OSError:
        return {}
    return dict(struct.iter_unpack("<QQ", content[: len(content) // 16 * 16]))


def vdso(proc: Path) -> bytes | None:
    """The bytes of the vDSO, or None (vdso(7))."""
    try:
        for line in (proc / "self/maps").read_text(errors="replace").splitlines():
            if line.endswith("[vdso]"):
                start, end = (int(address, 16) for address in line.split()[0].split("-"))
                with (proc / "self/mem").open("rb", buffering=0) as memory:
                    memory.seek(start)
                    return memory.read(min(end - start, _MAX_VDSO))
    except (OSError, ValueError):
        pass
    return None


def enters_enclaves(image: bytes) -> bool | None:
    """Whether a vDSO has the function that enters enclaves; None when it is no ELF file that can be read."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    try:
        symbols = ELFFile(io.BytesIO(image)).get_section_by_name(".dynsym")
        if not isinstance(symbols, SymbolTableSection):
            return None
        return bool(symbols.get_symbol_by_name(_ENCLAVE_ENTRY))
    except (ELFError, ValueError, KeyError, struct.error, UnicodeDecodeError):
        return None


def has_syscall_user_dispatch() -> bool:
    return _prctl(_PR_SET_SYSCALL_USER_DISPATCH, _PR_SYS_DISPATCH_OFF) == 0


def can_fault_on_rdtsc() -> bool:
    now = ctypes.c_int()
    if _prctl(_PR_GET_TSC, ctypes.addressof(now)) != 0:
        return False
    return now.value != _PR_TSC_ENABLE or _prctl(_PR_SET_TSC, _PR_TSC_ENABLE) == 0


def cpuid_faults() -> bool:
    """Whether CPUID faults in this process, as under a debugger that records."""
    return _arch_prctl(_ARCH_GET_CPUID, 0) == 0


def can_fault_on_cpuid() -> bool:
    return cpuid_faults() or _arch_prctl(_ARCH_SET_CPUID, 1) == 0


def _prctl(option: int, argument: int) -> int:
    zero = ctypes.c_ulong(0)
    result = ctypes.CDLL(None).prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero)
    return int(result)


def _arch_prctl(option: int, argument: int) -> int:
    """Through syscall(2): musl has no function of that name."""
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    result = call(ctypes.c_long(_NR_ARCH_PRCTL), ctypes.c_long(option), ctypes.c_ulong(argument))
    return int(result)
