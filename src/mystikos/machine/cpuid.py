"""CPUID from Python: how it is asked, and what its leaves say (SDM volume 2A, CPUID; volume 3D, 34.7).

No library on PyPI that is still cared for reads CPUID, so the instruction is executed here: 28 bytes of
machine code on a page of their own, never writable and executable at once, called with two numbers and
the address of the 16 bytes that they write. Where a policy forbids such a page, /dev/cpu/0/cpuid (for root,
module ``cpuid``) answers as well.

>>> leaf = {(0, 0): Registers(0, 0x756E6547, 0x6C65746E, 0x49656E69)}
>>> describe(lambda number, sub: leaf.get((number, sub), Registers(0, 0, 0, 0))).vendor
'GenuineIntel'
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mystikos.machine.facts import EpcSection, Processor, SgxFacts

_FEATURES, _EXTENDED_FEATURES, _SGX = 0x1, 0x7, 0x12
_HYPERVISOR, _EXTENDED, _BRAND = 0x4000_0000, 0x8000_0000, 0x8000_0002
_MAX_EPC_SECTIONS = 32  # processors have a few; a hypervisor that goes on for ever does not keep us
_HYPERVISORS = {
    b"KVMKVMKVM": "KVM",
    b"Linux KVM Hv": "KVM",
    b"Microsoft Hv": "Hyper-V",
    b"VMwareVMware": "VMware",
    b"XenVMMXenVMM": "Xen",
    b"TCGTCGTCGTCG": "QEMU",
    b"bhyve bhyve ": "bhyve",
    b"ACRNACRNACRN": "ACRN",
    b" lrpepyh  vr": "Parallels",
    b"VBoxVBoxVBox": "VirtualBox",
}


class Registers(NamedTuple):
    """What CPUID leaves behind."""

    eax: int
    ebx: int
    ecx: int
    edx: int


Ask = Callable[[int, int], Registers]
"""Leaf and subleaf to registers."""

# void cpuid(uint32_t leaf /* edi */, uint32_t subleaf /* esi */, uint32_t out[4] /* rdx */)
_CODE = bytes.fromhex(
    "53"  # push rbx, which is the caller's
    "89f8"  # mov eax, edi
    "89f1"  # mov ecx, esi
    "4989d0"  # mov r8, rdx
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8+4], ebx
    "41894808"  # mov [r8+8], ecx
    "4189500c"  # mov [r8+12], edx
    "5b"  # pop rbx
    "c3"  # ret
)


@contextmanager
def by_instruction() -> Iterator[Ask]:
    """CPUID as this process executes it; OSError where it may not execute code of its own making.

    Only for x86-64, and where CPUID does not fault (``process.cpuid_faults``).
    """
    address = _map_code()
    call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)(address)

    def ask(leaf: int, subleaf: int) -> Registers:
        out = (ctypes.c_uint32 * 4)()
        call(leaf, subleaf, ctypes.addressof(out))
        return Registers(*out)

    try:
        yield ask
    finally:
        ctypes.CDLL(None).munmap(ctypes.c_void_p(address), ctypes.c_size_t(len(_CODE)))


def _map_code() -> int:
    """Address of the code, mapped from a file in memory: written there first, executable only here.

    ``mmap.mmap`` would map it too, but tells nobody where.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    descriptor = os.memfd_create("cpuid", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, _CODE)
        protection = mmap.PROT_READ | mmap.PROT_EXEC
        address = libc.mmap(None, len(_CODE), protection, mmap.MAP_PRIVATE, descriptor, 0)
    finally:
        os.close(descriptor)
    if address == ctypes.c_void_p(-1).value:  # MAP_FAILED
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(address)


@contextmanager
def by_device(path: Path = Path("/dev/cpu/0/cpuid")) -> Iterator[Ask]:
    """CPUID as the kernel executes it (cpuid(4)); OSError where the file is not there or not to be read."""
    with path.open("rb", buffering=0) as file:

        def ask(leaf: int, subleaf: int) -> Registers:
            found = os.pread(file.fileno(), 16, subleaf << 32 | leaf)
            if len(found) < 16:
                raise OSError(errno.EIO, f"{path}: got {len(found)} bytes, expected 16")
            return Registers(*struct.unpack("<4I", found))

        yield ask


def describe(ask: Ask) -> Processor:
    """What CPUID tells of a processor."""
    last, *vendor = ask(0, 0)
    features = ask(_FEATURES, 0)
    extended = ask(_EXTENDED_FEATURES, 0) if last >= _EXTENDED_FEATURES else Registers(0, 0, 0, 0)
    sgx = bool(extended.ebx >> 2 & 1)
    return Processor(
        vendor=_text(vendor[0], vendor[2], vendor[1]),
        model=_model(ask),
        signature=_signature(features.eax),
        hypervisor=_hypervisor(ask) if features.ecx >> 31 else None,
        sgx=sgx,
        flc=bool(extended.ecx >> 30 & 1),
        leaf_12=_sgx(ask) if sgx and last >= _SGX else None,
    )


def _sgx(ask: Ask) -> SgxFacts:
    capabilities, attributes = ask(_SGX, 0), ask(_SGX, 1)
    size_bits = capabilities.edx >> 8 & 0xFF
    return SgxFacts(
        sgx1=bool(capabilities.eax & 1),
        sgx2=bool(capabilities.eax >> 1 & 1),
        miscselect=capabilities.ebx,
        max_enclave_size=1 << size_bits if size_bits else 0,
        attributes=attributes.ebx << 32 | attributes.eax,
        xfrm=attributes.edx << 32 | attributes.ecx,
        epc=tuple(_epc(ask)),
    )


def _epc(ask: Ask) -> Iterator[EpcSection]:
    """Sections of protected memory; the first subleaf that is not of type 1 ends the list."""
    for subleaf in range(2, 2 + _MAX_EPC_SECTIONS):
        eax, ebx, ecx, edx = ask(_SGX, subleaf)
        if eax & 0xF != 1:
            return
        base = (ebx & 0xF_FFFF) << 32 | eax & 0xFFFF_F000
        size = (edx & 0xF_FFFF) << 32 | ecx & 0xFFFF_F000
        yield EpcSection(base, size, integrity=ecx & 0xF == 1)


def _model(ask: Ask) -> str | None:
    if ask(_EXTENDED, 0).eax < _BRAND + 2:
        return None
    words = [word for leaf in range(_BRAND, _BRAND + 3) for word in ask(leaf, 0)]
    return " ".join(_text(*words).split()) or None


def _signature(eax: int) -> str:
    """Family, model, stepping as /proc/cpuinfo shows them (SDM volume 2A, CPUID, figure 3-6)."""
    family, model = eax >> 8 & 0xF, eax >> 4 & 0xF
    if family in (0x6, 0xF):
        model |= eax >> 12 & 0xF0
    if family == 0xF:
        family += eax >> 20 & 0xFF
    return f"family {family} model {model} stepping {eax & 0xF}"


def _hypervisor(ask: Ask) -> str:
    _, *words = ask(_HYPERVISOR, 0)
    name = struct.pack("<3I", *words).rstrip(b"\0")
    return _HYPERVISORS.get(name) or "".join(filter(str.isprintable, _text(*words))).strip() or "unknown"


def _text(*words: int) -> str:
    return struct.pack(f"<{len(words)}I", *words).split(b"\0")[0].decode("latin-1")
