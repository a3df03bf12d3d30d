"""What is known of a machine: frozen facts, made by ``machine.read`` or by a test.

What could not be learned is None, which is not the same as no.

>>> Kernel(release="6.1.0-18-amd64").version
(6, 1)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HWCAP2_FSGSBASE = 1 << 1  # arch/x86/include/uapi/asm/hwcap2.h


@dataclass(frozen=True)
class EpcSection:
    """Protected memory (CPUID leaf 0x12, subleaf 2 and up): address and size in bytes."""

    base: int
    size: int
    integrity: bool  # protected against replay too, not only against being read


@dataclass(frozen=True)
class SgxFacts:
    """CPUID leaf 0x12 (SDM volume 3D, 34.7.2). All zero when the firmware has not switched SGX on."""

    sgx1: bool = False
    sgx2: bool = False
    miscselect: int = 0
    max_enclave_size: int = 0  # bytes, of 64-bit enclaves
    attributes: int = 0  # what SECS.ATTRIBUTES.FLAGS may hold
    xfrm: int = 0  # what SECS.ATTRIBUTES.XFRM may hold
    epc: tuple[EpcSection, ...] = ()

    @property
    def epc_size(self) -> int:
        return sum(section.size for section in self.epc)


@dataclass(frozen=True)
class Processor:
    """CPUID, and what the kernel makes of it in /proc/cpuinfo."""

    vendor: str | None = None
    model: str | None = None
    signature: str | None = None  # family, model and stepping
    microcode: str | None = None
    hypervisor: str | None = None  # its name, or "unknown"; None on bare metal
    sgx: bool | None = None  # leaf 7, EBX bit 2
    flc: bool | None = None  # leaf 7, ECX bit 30
    leaf_12: SgxFacts | None = None
    flags: frozenset[str] = frozenset()  # /proc/cpuinfo: what the kernel uses
    cpuid_problem: str | None = None  # why CPUID was not read


@dataclass(frozen=True)
class Kernel:
    """The running kernel, and what it offers to this process."""

    system: str = "Linux"
    architecture: str = "x86_64"
    release: str = ""
    command_line: tuple[str, ...] = ()
    config_x86_sgx: bool | None = None  # CONFIG_X86_SGX, if the configuration is to be found
    misc_devices: frozenset[str] = frozenset()  # /proc/misc
    vdso_enters_enclaves: bool | None = None  # __vdso_sgx_enter_enclave
    hwcap2: int = 0
    syscall_user_dispatch: bool = False
    cpuid_faulting: bool = False
    tsc_faulting: bool = False

    @property
    def version(self) -> tuple[int, int]:
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def fsgsbase(self) -> bool:
        return bool(self.hwcap2 & HWCAP2_FSGSBASE)


@dataclass(frozen=True)
class Device:
    """A path in /dev (or a socket), and what came of opening it."""

    path: str
    kind: str | None = None  # "character device", "socket" or "other"; None: it is not there
    mode: int = 0
    group: str | None = None  # its name, or its number when it has none
    noexec: bool = False  # its file system is mounted so
    error: str | None = None  # errno with which this process cannot open it for reading and writing

    @property
    def present(self) -> bool:
        return self.kind is not None

    @property
    def usable(self) -> bool:
        return self.present and self.error is None


@dataclass(frozen=True)
class User:
    """Who asks."""

    name: str = "nobody"
    root: bool = False
    groups: frozenset[str] = frozenset()  # of this process
    member_of: frozenset[str] = frozenset()  # in the group database: in force from the next login


@dataclass(frozen=True)
class Machine:
    """Everything that decides where packages can run."""

    processor: Processor = Processor()
    kernel: Kernel = Kernel()
    enclave: Device = Device("/dev/sgx_enclave")
    provision: Device = Device("/dev/sgx_provision")
    old_drivers: tuple[Device, ...] = ()  # of those that were before Linux had its own, the ones present
    aesm: Device = Device("/var/run/aesmd/aesm.socket")
    container: str | None = None
    user: User = User()
    runtime_problem: str | None = None  # what is wrong with launcher, kernel and CRT image
